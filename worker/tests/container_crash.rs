//! What is left of containers when their worker is killed. Needs root, runc and busybox.
#![allow(clippy::unwrap_used, reason = "tests")]

mod container_support;
mod mount_support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use container_support::{HELPER, Kind, alive, busybox_tree, eventually, left_over, runtime};
use mount_support::{Area, Killed};

/// Starts a container in a process of its own, kills that with SIGKILL, and returns the container's PID 1.
fn container_of_a_killed_worker(kind: &str, area: &Area) -> u32 {
    busybox_tree(area.path());
    area.dir("state");
    let child = Command::new(HELPER)
        .args(["hold-container", kind])
        .arg(area.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut worker = Killed(child);
    let mut line = String::new();
    BufReader::new(worker.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let init = line.trim().parse().unwrap();
    assert!(alive(init));
    worker.kill();
    init
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_dies_with_its_worker() {
    let area = Area::new();
    let init = container_of_a_killed_worker("sandbox", &area);
    eventually("the container dies", || !alive(init)).await;
    let sandbox = runtime(Kind::Sandbox, &area);
    assert_eq!(sandbox.clean().await.unwrap(), 1, "its cgroup is left to clean");
    assert_eq!(sandbox.clean().await.unwrap(), 0);
    assert_eq!(left_over(&area), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_removes_runcs_containers() {
    let area = Area::new();
    let init = container_of_a_killed_worker("runc", &area);
    let runc = runtime(Kind::Runc, &area);
    assert_eq!(runc.clean().await.unwrap(), 1);
    eventually("the container dies", || !alive(init)).await;
    assert_eq!(runc.clean().await.unwrap(), 0);
    assert_eq!(left_over(&area), Vec::<std::path::PathBuf>::new());
}
