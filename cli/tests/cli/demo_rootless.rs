//! `ft demo` and `ft doctor` without root.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::cluster::{directory, names_in, turn};
use crate::run::{Run, binary, without_variables};
use crate::{host, rootfs};

/// Nobody.
const USER: &str = "65534";

/// A directory that anybody may use, with a copy of `ft` in it: the build's own may not be readable for others.
fn shared_directory() -> tempfile::TempDir {
    let dir = directory();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).expect("our directory");
    // By another process: one that this process forks meanwhile would hold the copy open, and too busy to run.
    Run::of(Command::new("install").arg("-m755").arg(binary()).arg(dir.path())).ok();
    std::fs::rename(dir.path().join(binary().file_name().expect("a file")), dir.path().join("ft"))
        .expect("ours");
    dir
}

/// `ft ARGS` as a user who is nobody.
fn as_nobody(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(dir.join("ft")).current_dir("/");
    command.env("HOME", dir).env("TMPDIR", dir);
    without_variables(command, args)
}

/// `ft ARGS` where nobody may make user namespaces: within one that allows none inside and gives no rights. The
/// limit is that namespace's own, so this host keeps its.
fn without_user_namespaces(dir: &Path, args: &[&str]) -> Command {
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(dir.join("ft"));
    command.env("TMPDIR", dir);
    without_variables(command, args)
}

#[test]
fn without_root_the_demo_materialises_images_and_says_so() {
    let _turn = turn();
    let (dir, work) = (shared_directory(), directory());
    std::fs::set_permissions(work.path(), Permissions::from_mode(0o1777)).expect("our directory");
    let source = format!("dir:{}", rootfs::make(dir.path(), "hello").display());
    let mut command = as_nobody(dir.path(), &["demo", &source, "--vms", "2", "-o", "json", "--dir"]);
    command.arg(work.path()).args(["--", "/bin/cat", rootfs::GREETING]);
    let run = Run::of(&mut command).ok();
    assert!(run.stderr.contains("materialised instead"), "{run:?}");
    let report = run.json();
    assert_eq!((&report["containers_ready"], &report["mounts"]), (&2.into(), &false.into()));
    assert!(
        report["per_vm"].as_array().expect("a list").iter().all(|vm| vm["output"] == "hello"),
        "{report}"
    );
    assert_eq!(names_in(work.path()), Vec::<String>::new());
    host::assert_nothing_of(work.path(), &[]);
}

#[test]
fn without_user_namespaces_the_demo_names_the_cure() {
    let dir = shared_directory();
    let work = directory();
    let run = Run::of(without_user_namespaces(dir.path(), &["demo", "--vms", "1", "--dir"]).arg(work.path()));
    let run = run.fails(1, "user namespaces");
    assert!(run.stderr.contains("next: run as root") && run.stderr.contains("sysctl"), "{run:?}");
    assert_eq!(names_in(work.path()), Vec::<String>::new());
}

#[test]
fn doctor_says_what_is_missing_and_fails_where_nothing_can_run() {
    let dir = shared_directory();
    let run = Run::of(&mut without_user_namespaces(dir.path(), &["doctor", "-o", "json"]));
    assert_eq!(run.code(), 1, "{run:?}");
    let rows = run.json();
    let row = rows.as_array().expect("a list").iter().find(|row| row["name"] == "user namespaces");
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    assert!(row["state"] == "missing" && row["cure"].is_string(), "{row}");
}
