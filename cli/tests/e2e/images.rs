//! The images that the tests seed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The realistic image: Debian, python3, numpy, scipy and pandas in three layers, more than 500 MB.
/// As `LAYOUT:TAG`, an OCI layout's name for umoci and skopeo.
pub(crate) fn python() -> String {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-images/py");
    let layout = target
        .canonicalize()
        .unwrap_or_else(|_| panic!("{} is missing: `cargo xtask test-image` makes it", target.display()));
    format!("{}:v1", layout.display())
}

/// A root file system of `megabytes` of incompressible files, with a static busybox to run.
pub(crate) fn rootfs(dir: &Path, megabytes: usize) -> PathBuf {
    let root = dir.join("rootfs");
    for sub in ["bin", "tmp", "proc", "dev", "sys", "data"] {
        std::fs::create_dir_all(root.join(sub)).expect("a directory");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("/bin/busybox (Debian's busybox-static: run `cargo xtask test`)");
    for name in ["sh", "cat", "sleep", "sha256sum", "find", "sort", "xargs", "test", "true"] {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
    }
    let mut state = 1u64;
    for nth in 0..megabytes {
        let mut file = std::fs::File::create(root.join(format!("data/{nth:04}"))).expect("a file");
        file.write_all(&noise(&mut state, 1 << 20)).expect("room on the disk");
    }
    root
}

/// The command that prints one digest over all of a [`rootfs`]'s data, and its result on the host.
pub(crate) const DIGEST: [&str; 3] = ["/bin/sh", "-c", "cat /data/* | sha256sum"];

/// What [`DIGEST`] prints in a container of this root file system.
pub(crate) fn digest(root: &Path) -> String {
    let command = format!("cat {}/data/* | sha256sum", root.display());
    let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("sh");
    String::from_utf8(output.stdout).expect("a digest").trim().to_owned()
}

/// Incompressible bytes, the same on every run (xorshift64).
fn noise(state: &mut u64, len: usize) -> Vec<u8> {
    let words = std::iter::repeat_with(|| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}
