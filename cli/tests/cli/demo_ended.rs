//! A demo that is ended before it is done.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::cluster::{directory, names_in, turn};
use crate::daemon::Daemon;
use crate::run::{ft, wait_for};
use crate::{host, rootfs};

/// The VMs of these demos.
const VMS: usize = 2;

/// A demo whose containers start but never become ready.
struct Endless {
    dir: tempfile::TempDir,
    demo: Daemon,
    _image: tempfile::TempDir,
}

impl Endless {
    fn start(runtime: &str) -> Self {
        let (dir, image) = (directory(), directory());
        let source = format!("dir:{}", rootfs::make(image.path(), "hello").display());
        let mut command = ft(&["demo", &source, "--vms", &VMS.to_string(), "--runtime", runtime]);
        command.arg("--dir").arg(dir.path()).args(["--", "/bin/sleep", "1000"]);
        let demo = Daemon::start(&mut command, &image.path().join("log"));
        Self { dir, demo, _image: image }
    }

    /// The state directories of its workers.
    fn workers(&self) -> Vec<PathBuf> {
        let names = names_in(self.dir.path());
        let name = names.iter().find(|name| name.starts_with("ft-demo-")).expect("the demo's directory");
        (1..=VMS).map(|nth| self.dir.path().join(name).join(format!("demo-{nth}"))).collect()
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        // After a failed test, as in any: the demo cleans up behind itself.
        self.demo.signal(Signal::INT);
        self.demo.has_ended();
    }
}

fn interrupted_after(text: &str, runtime: &str) {
    let _turn = turn();
    let networks = host::network_namespaces();
    let mut endless = Endless::start(runtime);
    endless.demo.wait_until_it_says(text);
    let workers = endless.workers();
    endless.demo.signal(Signal::INT);
    let status = endless.demo.ended();
    assert_eq!(status.code(), Some(1), "{}", endless.demo.said());
    assert!(endless.demo.said().contains("interrupted"), "{}", endless.demo.said());
    assert_eq!(names_in(endless.dir.path()), Vec::<String>::new());
    host::assert_nothing_of(endless.dir.path(), &workers);
    assert_eq!(host::network_namespaces(), networks);
}

#[test]
fn interrupted_while_the_manager_starts_it_leaves_nothing() {
    interrupted_after("starting a manager", "auto");
}

#[test]
fn interrupted_while_workers_start_it_leaves_nothing() {
    interrupted_after("starting 2 workers", "auto");
}

#[test]
fn interrupted_while_seeding_it_leaves_nothing() {
    interrupted_after("seeding", "auto");
}

#[test]
fn interrupted_while_containers_are_placed_it_leaves_nothing() {
    interrupted_after("placed", "runc");
}

#[test]
fn interrupted_while_containers_run_in_runc_it_leaves_nothing() {
    interrupted_after("started", "runc");
}

#[test]
fn interrupted_while_containers_run_in_the_sandbox_it_leaves_nothing() {
    interrupted_after("started", "sandbox");
}

#[test]
fn daemons_of_a_demo_that_was_killed_end_by_themselves_and_take_their_mounts_away() {
    let _turn = turn();
    let mut endless = Endless::start("auto");
    endless.demo.wait_until_it_says("started");
    let workers = endless.workers();
    endless.demo.signal(Signal::KILL);
    endless.demo.ended();
    let left = |dir: &Path| [host::processes_naming(dir), host::mounts_below(dir)].concat();
    let dir = endless.dir.path();
    wait_for("the daemons to end", || left(dir).join("\n"), || left(dir).is_empty().then_some(()));
    host::assert_nothing_of(dir, &workers);
}
