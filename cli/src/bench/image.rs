//! The image that a benchmark distributes: incompressible data, the same on every run, and a program that sleeps.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ft_proto::v1;

use crate::args::{ConvertArgs, Global, SeedArgs};
use crate::client::Client;
use crate::cmd::seed_into;
use crate::failure::{Failure, Kind};

/// Debian's busybox-static, which needs no libraries.
const BUSYBOX: &str = "/bin/busybox";
/// Of each file but the last.
pub(super) const FILE_BYTES: u64 = 16 << 20;

/// Where a container that reads at its start listens once it has.
pub(super) const READY_PORT: u16 = 8080;

/// The function that is provisioned.
pub(super) const NAME: &str = "bench";
/// Room in every store beyond the image's blocks: metadata, and what a container's start unpacks.
const SLACK_BYTES: u64 = 64 << 20;

/// What a worker's store may take for an image of `size`.
pub(super) fn quota(size: u64) -> u64 {
    size + size / 4 + SLACK_BYTES
}

/// What making and publishing an image of `size` takes.
pub(super) fn origin_bytes(size: u64) -> u64 {
    3 * size + SLACK_BYTES
}

/// Makes an image of `size` in `dir` and publishes it beside the manager.
pub(super) async fn seed(
    global: &Global,
    client: &Client,
    dir: &Path,
    size: u64,
) -> Result<v1::Function, Failure> {
    let rootfs = rootfs(dir, size)?;
    let source = format!("dir:{}", rootfs.display());
    let function = publish(global, client, dir, source, ConvertArgs::default(), command()).await?;
    std::fs::remove_dir_all(rootfs)?;
    Ok(function)
}

/// Converts a source and publishes it beside the manager.
pub(super) async fn publish(
    global: &Global,
    client: &Client,
    dir: &Path,
    source: String,
    convert: ConvertArgs,
    args: Vec<String>,
) -> Result<v1::Function, Failure> {
    let convert = ConvertArgs { work_dir: Some(dir.to_owned()), ..convert };
    let (name, tenant) = (NAME.to_owned(), String::new());
    seed_into(global, client, &SeedArgs { source, name, tenant, origin: None, convert, args }).await
}

/// What a container of the image runs: it sleeps for longer than any benchmark.
fn command() -> Vec<String> {
    ["/bin/busybox", "sleep", "86400"].map(str::to_owned).to_vec()
}

/// What a container runs that is to read at its start: a block in eight of every file, in an order that no read-ahead
/// foresees. Then it answers at [`READY_PORT`].
pub(super) fn reading_command() -> Vec<String> {
    let script = format!(
        "for skip in 21 5 29 13; do for file in /data/*; do \
         /bin/busybox dd if=$file of=/dev/null bs=512k count=1 skip=$skip || exit 1; done; done; \
         exec /bin/busybox httpd -f -p 127.0.0.1:{READY_PORT} -h /tmp"
    );
    ["/bin/busybox", "sh", "-c", &script].map(str::to_owned).to_vec()
}

/// A root file system of `bytes` of incompressible data below `dir`.
pub(super) fn rootfs(dir: &Path, bytes: u64) -> Result<PathBuf, Failure> {
    let root = dir.join("rootfs");
    for sub in ["bin", "tmp", "proc", "dev", "sys", "data"] {
        std::fs::create_dir_all(root.join(sub))?;
    }
    static_busybox()?;
    std::fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    let mut state = 1;
    let mut left = bytes;
    for nth in 0.. {
        let length = left.min(FILE_BYTES);
        if length == 0 {
            break;
        }
        let mut file = BufWriter::new(File::create(root.join(format!("data/{nth:04}")))?);
        noise(&mut state, length, &mut file)?;
        left -= length;
    }
    Ok(root)
}

/// An error unless containers can run this host's busybox without any library.
pub(super) fn static_busybox() -> Result<(), Failure> {
    let failure = |cause: String| {
        Failure::message(Kind::Failed, format!("containers need a static {BUSYBOX}: {cause}"))
            .next("install Debian's package busybox-static")
    };
    let program = std::fs::read(BUSYBOX).map_err(|error| failure(error.to_string()))?;
    // A dynamic program names its loader.
    let dynamic = program.windows(7).take(4096).any(|window| window == b"ld-linu" || window == b"ld-musl");
    if dynamic { Err(failure("this one is dynamically linked".to_owned())) } else { Ok(()) }
}

/// Incompressible bytes (xorshift64, Marsaglia 2003).
fn noise(state: &mut u64, bytes: u64, into: &mut impl Write) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let word = state.to_le_bytes();
        let take = left.min(8);
        into.write_all(&word[..usize::try_from(take).unwrap_or(8)])?;
        left -= take;
    }
    into.flush()
}
