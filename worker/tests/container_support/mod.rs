//! What the container tests share: a root file system made of busybox, and both runtimes.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ft_worker::container::{
    Container, Exit, Helper, Network, Runc, RuncOptions, Runtime, Sandbox, SandboxOptions, Spec,
};

use crate::mount_support::Area;

/// More than anything here takes; only a hang is longer.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The binary that stands in for `ft`.
pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_ft-worker-test-helper");

/// A root file system in `dir` whose programs are busybox's.
pub(crate) fn busybox_tree(dir: &Path) -> PathBuf {
    let root = dir.join("rootfs");
    for name in ["bin", "tmp", "etc"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("/bin/busybox is missing: `cargo xtask test` installs it (Debian: busybox-static)");
    for applet in
        "cat chmod echo false grep head hostname httpd id ls mknod mount nc printf ps pwd sed sh sleep tail test touch \
         true wc".split_whitespace()
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/marker"), "of the image\n").unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/home/of/root:/bin/sh\n").unwrap();
    root
}

/// Which runtime a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Runc,
    Sandbox,
}

/// A runtime with its state in `area`.
pub(crate) fn runtime(kind: Kind, area: &Area) -> Arc<dyn Runtime> {
    let helper = Helper::at(HELPER);
    let state = area.dir("state");
    match kind {
        Kind::Runc => Arc::new(
            Runc::new(RuncOptions { helper, ..RuncOptions::new(state) })
                .expect("runc is missing: `cargo xtask test` installs it (Debian: runc)"),
        ),
        Kind::Sandbox => Arc::new(Sandbox::new(SandboxOptions { helper, ..SandboxOptions::new(state) })),
    }
}

/// A shell script to run in a container.
pub(crate) fn script(area: &Area, script: &str) -> Spec {
    spec(area, &["sh", "-c", script])
}

/// A container in a plain directory.
pub(crate) fn spec(area: &Area, args: &[&str]) -> Spec {
    let root = area.path().join("rootfs");
    let rootfs = if root.exists() { root } else { busybox_tree(area.path()) };
    Spec {
        // Unique on the host: tests run side by side.
        id: area.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned(),
        rootfs,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: vec!["GREETING=hello world".to_owned()],
        cwd: "/tmp".to_owned(),
        uid: 0,
        gid: 0,
        memory_bytes: None,
        hostname: "function".to_owned(),
        network: Network::Isolated,
        output: area.path().join("output"),
    }
}

/// Runs a script to its end and returns how it ended and what it wrote.
pub(crate) async fn run(runtime: &dyn Runtime, spec: Spec) -> (Exit, String) {
    let container = runtime.start(spec).await.unwrap();
    let exit = tokio::time::timeout(LONG, container.wait()).await.expect("the container does not end");
    (exit, output(&container))
}

/// What a container has written.
pub(crate) fn output(container: &Container) -> String {
    String::from_utf8(container.output_tail(1 << 20)).unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether a process is alive: there, and no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Everything of the runtimes in `area` that should be gone when no container runs.
pub(crate) fn left_over(area: &Area) -> Vec<PathBuf> {
    let state = area.path().join("state");
    let id = area.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
    let mut left = Vec::new();
    for dir in ["runc", "bundles", "containers"] {
        left.extend(fs::read_dir(state.join(dir)).into_iter().flatten().map(|entry| entry.unwrap().path()));
    }
    let groups = ft_worker::mount::mounts().unwrap();
    for group in groups.into_iter().filter(|entry| entry.fs.starts_with("cgroup")) {
        left.extend(find_named(&group.at, &id, 4));
    }
    left.extend(area.mounted());
    left
}

fn find_named(dir: &Path, part: &str, depth: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.flat_map(|entry| {
        if entry.file_name().to_string_lossy().contains(part) {
            return vec![entry.path()];
        }
        if depth == 0 { vec![] } else { find_named(&entry.path(), part, depth - 1) }
    })
    .collect()
}
