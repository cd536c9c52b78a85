//! What is left when a worker is killed: readers get errors, and the next start clears the mounts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod mount_support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ft_worker::mount::clean_below;
use mount_support::{Area, Killed, image_of, small_tree};

#[test]
fn after_kill_9_readers_get_errors_and_the_mounts_can_be_cleared() {
    let area = Area::new();
    image_of(&small_tree(area.path()), area.path());
    for dir in ["fuse", "image", "scratch", "root"] {
        area.dir(dir);
    }
    let child = Command::new(env!("CARGO_BIN_EXE_ft-worker-test-helper"))
        .arg("mount-host")
        .arg(area.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut host = Killed(child);
    let mut line = String::new();
    BufReader::new(host.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "mounted\n");
    assert_eq!(area.mounted().len(), 3);

    let file = File::open(area.path().join("root/a/b/large")).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 0).unwrap();
    host.kill();

    let begun = Instant::now();
    let far_from_what_is_cached = 2_900_000;
    assert!(file.read_at(&mut page, far_from_what_is_cached).is_err());
    assert!(fs::read_dir(area.path().join("fuse")).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "errors come at once");

    assert_eq!(clean_below(area.path()).unwrap(), 3);
    assert_eq!(clean_below(area.path()).unwrap(), 0);
    assert!(fs::read_dir(area.path().join("fuse")).unwrap().next().is_none());
}
