//! What to run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ContainerError;

/// The most bytes in an id; runc and file names have their limits.
const LONGEST_ID: usize = 128;
/// The kernel's limit on host names.
const LONGEST_HOSTNAME: usize = 64;
/// Where programs are looked for when the image does not say.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Its own, with a loopback interface only. Containers on one VM can then listen on the same port.
    #[default]
    Isolated,
    /// The host's, with its `/etc/hosts` and `/etc/resolv.conf`.
    Host,
}

/// One container to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name: letters, digits, `_`, `-` and `.`, unique on this host.
    pub id: String,
    /// Its root file system, an absolute path: a mounted [`Rootfs`](crate::mount::Rootfs) or a plain directory.
    pub rootfs: PathBuf,
    /// The program (looked for in the `PATH` of `env`) and its arguments.
    pub args: Vec<String>,
    /// Environment, each `NAME=value`. `PATH` has a usual default.
    pub env: Vec<String>,
    /// The working directory in the container, absolute.
    pub cwd: String,
    /// The user number. Without root, the sandbox knows only number 0 and runs everything as that.
    pub uid: u32,
    /// The group number.
    pub gid: u32,
    /// The most memory, in bytes; more gets processes killed. Not enforced where cgroups cannot be used.
    pub memory_bytes: Option<u64>,
    /// The host name it sees.
    pub hostname: String,
    /// What network it sees.
    pub network: Network,
    /// The file that takes what it writes to stdout and stderr ([`OUTPUT_LIMIT`](super::OUTPUT_LIMIT) at most).
    pub output: PathBuf,
}

impl Spec {
    /// Checks what the kernel and the runtimes would refuse with less clear words, and fills in the default
    /// `PATH`.
    pub(super) fn checked(mut self) -> Result<Self, ContainerError> {
        if let Err(reason) = self.check() {
            return Err(ContainerError::Invalid { id: self.id, reason });
        }
        if !self.env.iter().any(|variable| variable.starts_with("PATH=")) {
            self.env.push(DEFAULT_PATH.to_owned());
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), &'static str> {
        let id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let starts_well = self.id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || self.id.len() > LONGEST_ID || !self.id.bytes().all(id_byte) {
            return Err(
                "an id has 1 to 128 letters, digits, '_', '-' and '.', and starts with one of the former",
            );
        }
        if !self.rootfs.is_absolute() {
            return Err("the root file system's path must be absolute");
        }
        check_process(&self.args, &self.env, &self.cwd)?;
        if self.hostname.len() > LONGEST_HOSTNAME || self.hostname.contains('\0') {
            return Err("a host name has at most 64 bytes");
        }
        Ok(())
    }
}

/// What holds for every process that is started.
pub(super) fn check_process(args: &[String], env: &[String], cwd: &str) -> Result<(), &'static str> {
    if args.first().is_none_or(String::is_empty) {
        return Err("there is no program to run: the image names none, so name one");
    }
    check_texts(args, env, cwd)
}

/// What holds for arguments, environment and working directory, whether or not there is a program yet.
pub(super) fn check_texts(args: &[String], env: &[String], cwd: &str) -> Result<(), &'static str> {
    if args.iter().chain(env).any(|text| text.contains('\0')) || cwd.contains('\0') {
        return Err("a NUL byte in an argument, variable or path");
    }
    if env.iter().any(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        return Err("an environment variable is not NAME=value");
    }
    if !cwd.starts_with('/') {
        return Err("the working directory must be absolute");
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::container) fn valid() -> Spec {
        Spec {
            id: "c-1".into(),
            rootfs: "/root/fs".into(),
            args: vec!["sh".into()],
            env: vec!["A=b=c".into()],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            memory_bytes: None,
            hostname: "host".into(),
            network: Network::Isolated,
            output: "/tmp/output".into(),
        }
    }

    #[test]
    fn a_missing_path_is_filled_in() {
        assert_eq!(valid().checked().unwrap().env, ["A=b=c", DEFAULT_PATH]);
        let own = Spec { env: vec!["PATH=/x".into()], ..valid() };
        assert_eq!(own.checked().unwrap().env, ["PATH=/x"]);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let refused = |change: fn(&mut Spec)| {
            let mut spec = valid();
            change(&mut spec);
            assert!(spec.clone().checked().is_err(), "{spec:?}");
        };
        refused(|spec| spec.id = String::new());
        refused(|spec| spec.id = "../x".into());
        refused(|spec| spec.id = "a/b".into());
        refused(|spec| spec.id = "x".repeat(129));
        refused(|spec| spec.rootfs = "relative".into());
        refused(|spec| spec.args.clear());
        refused(|spec| spec.args = vec![String::new()]);
        refused(|spec| spec.args.push("nul\0".into()));
        refused(|spec| spec.env.push("novalue".into()));
        refused(|spec| spec.env.push("=noname".into()));
        refused(|spec| spec.cwd = "tmp".into());
        refused(|spec| spec.hostname = "h".repeat(65));
    }
}
