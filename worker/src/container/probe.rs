//! What this host can do for mounts and containers, and how to mend what it cannot.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::cgroup::{Parent, Version};
use super::runc::find_in_path;
use super::{Helper, Sandbox, SandboxOptions};
use crate::mount::{Method, probe_file_backed};

/// How well something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should.
    Good,
    /// With a substitute, or less well.
    Limited,
    /// Not at all.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is, in a word or two.
    pub name: &'static str,
    /// How well it works.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// How to make it better, where something is not good.
    pub cure: Option<&'static str>,
}

/// What a host can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProbe {
    /// The kernel's release, such as `6.12.1`.
    pub kernel: String,
    /// Whether this process may mount and make namespaces (`CAP_SYS_ADMIN`).
    pub root: bool,
    /// Whether `/dev/fuse` can be opened.
    pub fuse: bool,
    /// How EROFS images can be mounted, if at all. Unknown, so none, without root.
    pub erofs: Option<Method>,
    /// Whether the kernel has overlayfs.
    pub overlay: bool,
    /// Whether a user without root may make namespaces. Only tried without root; with root not needed.
    pub user_namespaces: bool,
    /// The `runc` program and what it says its version is.
    pub runc: Option<(PathBuf, String)>,
    /// Where memory can be limited, for people.
    pub memory_limits: Option<String>,
    /// All of this, for people.
    pub findings: Vec<Finding>,
}

impl HostProbe {
    /// Whether images can be mounted; otherwise they are materialised.
    pub fn can_mount(&self) -> bool {
        self.root && self.fuse && self.erofs.is_some() && self.overlay
    }
}

/// Finds out, partly by trying, what this host can do. `helper` is needed to try user namespaces; without it they
/// count as missing. Blocking, for some tens of milliseconds.
pub fn probe(helper: Option<&Helper>) -> HostProbe {
    let mut findings = Vec::new();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    findings.push(Finding { name: "kernel", state: State::Good, detail: kernel.clone(), cure: None });
    let root = !Sandbox::new(SandboxOptions::new("")).is_rootless();
    findings.push(finding(
        "root",
        if root { State::Good } else { State::Limited },
        if root { "yes" } else { "no: images are materialised instead of mounted" },
        "run as root, or with CAP_SYS_ADMIN",
    ));
    let fuse = probe_fuse(&mut findings);
    let erofs = probe_erofs(root, &mut findings);
    let overlay = probe_overlay(&mut findings);
    let user_namespaces = !root && probe_user_namespaces(helper, &mut findings);
    let runc = probe_runc(&mut findings);
    let memory_limits = probe_cgroups(&mut findings);
    HostProbe { kernel, root, fuse, erofs, overlay, user_namespaces, runc, memory_limits, findings }
}

fn finding(name: &'static str, state: State, detail: impl Into<String>, cure: &'static str) -> Finding {
    Finding { name, state, detail: detail.into(), cure: (state != State::Good).then_some(cure) }
}

fn probe_fuse(findings: &mut Vec<Finding>) -> bool {
    let open = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let (state, detail) = match &open {
        Ok(_) => (State::Good, "/dev/fuse".to_owned()),
        Err(error) => (State::Missing, format!("/dev/fuse: {error}")),
    };
    findings.push(finding("FUSE", state, detail, "modprobe fuse; in a container, pass in /dev/fuse"));
    open.is_ok()
}

fn probe_erofs(root: bool, findings: &mut Vec<Finding>) -> Option<Method> {
    let cure = "use a kernel with CONFIG_EROFS_FS (modprobe erofs); from 6.12 on no loop devices are needed";
    if !root {
        let known = kernel_has("erofs");
        let detail = if known { "there, but mounting needs root" } else { "not loaded" };
        findings.push(finding("EROFS", State::Limited, detail, cure));
        return None;
    }
    let tried = tempfile::tempdir()
        .map_err(|error| error.to_string())
        .and_then(|dir| probe_file_backed(dir.path()).map_err(|error| error.to_string()));
    let (state, detail) = match &tried {
        Ok(Method::File) => (State::Good, "mounts files directly".to_owned()),
        Ok(Method::Loop) => (State::Limited, "mounts files through loop devices".to_owned()),
        Err(error) => (State::Missing, error.clone()),
    };
    findings.push(finding("EROFS", state, detail, cure));
    tried.ok()
}

fn probe_overlay(findings: &mut Vec<Finding>) -> bool {
    let known = kernel_has("overlay");
    let (state, detail) = if known { (State::Good, "there") } else { (State::Missing, "not loaded") };
    findings.push(finding("overlayfs", state, detail, "modprobe overlay"));
    known
}

/// Whether the kernel has a file system, asking for it first: that loads its module.
fn kernel_has(fs: &str) -> bool {
    let _loads_the_module = rustix::mount::fsopen(fs, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(fs))
}

fn probe_user_namespaces(helper: Option<&Helper>, findings: &mut Vec<Finding>) -> bool {
    let cure = "run as root, or allow them: sysctl kernel.unprivileged_userns_clone=1 \
                user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0";
    let tried = match helper {
        None => Err("not tried".to_owned()),
        Some(helper) => match helper.command(["try"]).as_std_mut().output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    let (state, detail) = match &tried {
        Ok(()) => (State::Good, "allowed".to_owned()),
        Err(error) => (State::Missing, error.clone()),
    };
    findings.push(finding("user namespaces", state, detail, cure));
    tried.is_ok()
}

fn probe_runc(findings: &mut Vec<Finding>) -> Option<(PathBuf, String)> {
    let found = find_in_path("runc").and_then(|path| {
        let output = Command::new(&path).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Some((path, said.lines().next()?.trim_start_matches("runc version ").to_owned()))
    });
    let (state, detail) = match &found {
        Some((path, version)) => (State::Good, format!("{version} at {}", path.display())),
        None => (State::Limited, "not found; the built-in sandbox is used".to_owned()),
    };
    findings.push(finding("runc", state, detail, "apt-get install runc"));
    found
}

fn probe_cgroups(findings: &mut Vec<Finding>) -> Option<String> {
    let found = Parent::find().and_then(|parent| {
        let writable = rustix::fs::access(parent.dir(), rustix::fs::Access::WRITE_OK);
        writable.map(|()| parent).map_err(std::io::Error::from)
    });
    let (state, detail) = match &found {
        Ok(parent) => {
            let version = match parent.version() {
                Version::V1 => 1,
                Version::V2 => 2,
            };
            (State::Good, format!("cgroup version {version} at {}", parent.dir().display()))
        }
        Err(error) => (State::Limited, format!("not enforced: {error}")),
    };
    let cure = "run as root with the memory controller; in a service unit, set Delegate=yes";
    findings.push(finding("memory limits", state, detail.clone(), cure));
    found.is_ok().then_some(detail)
}
