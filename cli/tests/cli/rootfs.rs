//! A small image: a static busybox, and some files.

use std::path::{Path, PathBuf};

/// What the image of a version says.
pub(crate) const GREETING: &str = "/data/greeting";

/// A root file system of about 3 MB below `dir`; `text` makes its content differ from others'.
pub(crate) fn make(dir: &Path, text: &str) -> PathBuf {
    let root = dir.join(format!("rootfs-{text}"));
    for sub in ["bin", "tmp", "proc", "dev", "sys", "etc", "data/deep/er"] {
        std::fs::create_dir_all(root.join(sub)).expect("a directory");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("/bin/busybox (Debian's busybox-static: run `cargo xtask test`)");
    for name in ["sh", "cat", "sleep", "test", "true", "false", "echo"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    std::fs::write(root.join(&GREETING[1..]), text).expect("a file");
    std::fs::write(root.join("data/noise"), noise(text, 1 << 20)).expect("a file");
    std::fs::write(root.join("data/deep/er/ünï code"), "named unusually").expect("a file");
    root
}

/// Incompressible bytes that depend on `text` only (xorshift64).
fn noise(text: &str, len: usize) -> Vec<u8> {
    let mut state =
        text.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| state.rotate_left(8) ^ u64::from(byte));
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}
