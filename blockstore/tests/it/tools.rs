//! What the tests against real servers share.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ft_blockstore::codec::compress_block;
use ft_blockstore::{BlobSource, ImageObjects, Origin};
use ft_core::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};
use ft_core::{BLOCK_SIZE, BlockId, Digest};

/// The one account of a registry with a password.
pub(crate) const USER: &str = "tester";
/// Its password.
pub(crate) const PASSWORD: &str = "correct horse";

/// Debian's docker-registry on a loopback port of its own; stopped when dropped.
pub(crate) struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    dir: tempfile::TempDir,
}

impl Registry {
    /// A registry that anyone may use.
    pub(crate) fn open() -> Self {
        Self::start(|_| String::new())
    }

    /// A registry that wants [`USER`] and [`PASSWORD`].
    pub(crate) fn with_password() -> Self {
        Self::start(|dir| {
            let file = dir.join("htpasswd");
            let file = file.to_str().expect("a UTF-8 path");
            run("apache2-utils", "htpasswd", &["-Bbc", file, USER, PASSWORD]);
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {file}\n")
        })
    }

    fn start(auth: impl Fn(&Path) -> String) -> Self {
        // Another process may take the port between the look and the start: then another one is tried.
        (0..5).find_map(|_| Self::try_start(&auth)).expect("docker-registry does not start")
    }

    fn try_start(auth: &impl Fn(&Path) -> String) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let host = free_address();
        let config = dir.path().join("config.yml");
        let yaml = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n{}",
            dir.path().join("storage").display(),
            auth(dir.path())
        );
        std::fs::write(&config, yaml).expect("the configuration is written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| missing("docker-registry", &error));
        let mut registry = Self { process, host, dir };
        answers(&mut registry.process, &registry.host).then_some(registry)
    }

    /// A docker `config.json` with the right or a wrong password.
    pub(crate) fn docker_config(&self, password: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(format!("config-{}.json", password.len()));
        let json = format!(
            r#"{{"auths": {{"{}": {{"username": "{USER}", "password": "{password}"}}}}}}"#,
            self.host
        );
        std::fs::write(&path, json).expect("the credentials are written");
        path
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// An address that nobody listens on at the moment.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// Runs a tool of a Debian package to its successful end and gives its output.
pub(crate) fn run(package: &str, tool: &str, arguments: &[&str]) -> Output {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| missing(package, &error));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {}\n{errors}", output.status);
    output
}

fn missing(package: &str, error: &std::io::Error) -> ! {
    panic!("{package} is needed ({error}): run `cargo xtask test`, or apt-get install {package}")
}

/// Busybox's web server over the files of a directory; stopped when dropped.
pub(crate) struct StaticServer {
    process: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
}

impl StaticServer {
    /// Serves the files below `root`.
    pub(crate) fn start(root: &Path) -> Self {
        (0..5).find_map(|_| Self::try_start(root)).expect("busybox httpd does not start")
    }

    fn try_start(root: &Path) -> Option<Self> {
        let address = free_address();
        let mut command = Command::new("busybox");
        command.args(["httpd", "-f", "-p", &address, "-h"]).arg(root);
        let process = command.spawn().unwrap_or_else(|error| missing("busybox-static", &error));
        let mut server = Self { process, url: format!("http://{address}") };
        answers(&mut server.process, &address).then_some(server)
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// Waits until the port is open or the process has ended.
fn answers(process: &mut Child, address: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && matches!(process.try_wait(), Ok(None)) {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn stop(process: &mut Child) {
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// Bytes that do not repeat, different for each `seed`.
pub(crate) fn noise(seed: u32, len: usize) -> Bytes {
    let digests = (0u32..).flat_map(|n| *Digest::of(&[seed, n].map(u32::to_le_bytes).concat()).as_bytes());
    digests.take(len).collect::<Vec<u8>>().into()
}

/// An image of a metadata block and two data segments, with its packs in the order of the segments.
pub(crate) struct Sample {
    pub(crate) manifest: Manifest,
    pub(crate) encoded: Bytes,
    pub(crate) packs: Vec<Bytes>,
}

impl Sample {
    /// The image that `seed` stands for, with so many data blocks per segment. Some compress, some do not.
    pub(crate) fn new(seed: u32, blocks: usize) -> Self {
        let mut segments = Vec::new();
        let mut packs = Vec::new();
        for (nth, count) in [1, blocks, blocks].into_iter().enumerate() {
            let mut pack = Vec::new();
            let mut entries = Vec::new();
            for block in 0..count {
                let salt = seed * 100_000 + u32::try_from(nth * 1000 + block).expect("few blocks");
                let raw = match block % 3 {
                    0 => noise(salt, BLOCK_SIZE as usize),
                    _ => noise(salt, 1024).repeat(BLOCK_SIZE as usize / 1024).into(),
                };
                let (codec, stored) = compress_block(&raw);
                let stored_len = u32::try_from(stored.len()).expect("at most a block");
                entries.push(BlockEntry { id: BlockId::of(&stored), stored_len, codec });
                pack.extend_from_slice(&stored);
            }
            let kind = if nth == 0 { SegmentKind::Metadata } else { SegmentKind::Data };
            let raw_len = count as u64 * u64::from(BLOCK_SIZE);
            segments.push(Segment { kind, raw_len, pack: Digest::of(&pack), blocks: entries });
            packs.push(pack.into());
        }
        let manifest = Manifest { config: br#"{"args":["python3"]}"#.to_vec(), segments };
        let encoded = manifest.encode().into();
        Self { manifest, encoded, packs }
    }

    pub(crate) fn objects(&self) -> ImageObjects {
        ImageObjects::new(&self.manifest, &self.encoded)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.manifest)
    }

    /// Stores all objects, without giving the image a name.
    pub(crate) async fn store(&self, origin: &dyn Origin) {
        let objects = [Bytes::from(self.manifest.config.clone()), self.encoded.clone()];
        for bytes in objects.into_iter().chain(self.packs.iter().cloned()) {
            origin.put(&Digest::of(&bytes), BlobSource::Bytes(bytes)).await.expect("it is stored");
        }
    }
}
