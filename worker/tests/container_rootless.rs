//! The sandbox without root. Runs as root and becomes an ordinary user for it. Needs busybox, and a kernel that
//! allows user namespaces.
#![allow(clippy::unwrap_used, reason = "tests")]

mod container_support;
mod mount_support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use container_support::{HELPER, busybox_tree};
use mount_support::Area;

const NOBODY: u32 = 65534;

/// A directory that belongs to an ordinary user, with a root file system and the helper in it.
fn home() -> (Area, PathBuf) {
    let area = Area::new();
    fs::set_permissions(area.path(), fs::Permissions::from_mode(0o755)).unwrap();
    busybox_tree(area.path());
    let helper = area.path().join("helper");
    fs::copy(HELPER, &helper).unwrap();
    give_away(area.path());
    (area, helper)
}

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

fn as_nobody(helper: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(helper);
    command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/");
    command.output().unwrap()
}

#[test]
fn a_container_runs_without_root() {
    let (area, helper) = home();
    let output = as_nobody(&helper, &["run-rootless", area.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    let cause = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{cause}");
    let expected = "rootless: true\n\
                    0\nfunction\nof the image\nproc\n3\n\
                    written\n0\nfunction\nNoNewPrivs:\t1\n\
                    exit code 143 (signal 15)\n";
    assert_eq!(said, expected, "{cause}");
    // It wrote as the user that it is.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(area.path().join("rootfs/tmp/file")).unwrap().uid(), NOBODY);
}

#[test]
fn whether_it_is_allowed_can_be_tried() {
    let (_area, helper) = home();
    let tried = as_nobody(&helper, &["__sandbox", "try"]);
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
}

#[test]
fn the_helper_says_what_it_does_not_understand() {
    for args in
        [&["__sandbox"][..], &["__sandbox", "exec", "x", "y", "same-user"], &["__sandbox", "check", "1"]]
    {
        let output = Command::new(HELPER).args(args).stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("ft __sandbox"), "{args:?}");
    }
}
