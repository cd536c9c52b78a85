//! What the tests against real servers share.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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
        registry.answers().then_some(registry)
    }

    /// Waits until the port is open or the process has ended.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            if TcpStream::connect(&self.host).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
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
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
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
