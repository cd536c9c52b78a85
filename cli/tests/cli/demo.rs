//! `ft demo` to its end.

use crate::cluster::{directory, names_in, turn};
use crate::host;
use crate::rootfs;
use crate::run::{Run, ft};

#[test]
fn the_demo_provisions_every_vm_through_the_tree_and_leaves_nothing() {
    let _turn = turn();
    let dir = directory();
    let networks = host::network_namespaces();
    let run = Run::of(ft(&["demo", "--vms", "3", "-o", "json", "--dir"]).arg(dir.path())).ok();
    let report = run.json();
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert_eq!((number("vms"), number("containers_ready")), (3.0, 3.0));
    assert!(number("image_bytes") >= 100e6, "{report}");
    assert!(number("stored_bytes") > 0.0 && number("stored_bytes") <= number("image_bytes"), "{report}");
    assert!(number("touched_bytes") > 0.0 && number("touched_bytes") <= number("stored_bytes"), "{report}");
    // Read-ahead and races cost a little.
    assert!(number("origin_bytes") <= 1.25 * number("touched_bytes"), "{report}");
    assert!(
        0.0 < number("first_ready_ms") && number("first_ready_ms") <= number("last_ready_ms"),
        "{report}"
    );
    let outputs: Vec<_> =
        report["per_vm"].as_array().expect("a list").iter().map(|vm| &vm["output"]).collect();
    assert_eq!(outputs, [outputs[0]; 3]);
    assert!(outputs[0].as_str().is_some_and(|text| text.contains("sha256")), "{report}");
    assert_eq!(names_in(dir.path()), Vec::<String>::new());
    // The demo's own directory had a name that nobody knows any more, so look for all of ours.
    host::assert_nothing_of(dir.path(), &[]);
    assert_eq!(host::network_namespaces(), networks);
}

#[test]
fn the_demo_takes_a_source_and_a_command_and_prints_a_table() {
    let _turn = turn();
    let dir = directory();
    let source = format!("dir:{}", rootfs::make(dir.path(), "hello").display());
    let work = directory();
    let mut command = ft(&["demo", &source, "--vms", "2", "--tree", "avl", "--mode", "full"]);
    command.arg("--dir").arg(work.path()).args(["--", "/bin/cat", rootfs::GREETING]);
    let run = Run::of(&mut command).ok();
    assert!(run.stdout.starts_with("VM "), "{run:?}");
    assert!(run.stdout.contains("2 of 2 containers printed: hello"), "{run:?}");
    assert!(run.stdout.contains("2 of 2 containers ready"), "{run:?}");
    assert!(run.stderr.contains("seeding dir:") && !run.stderr.contains('\u{1b}'), "{run:?}");
    assert_eq!(names_in(work.path()), Vec::<String>::new());
    host::assert_nothing_of(work.path(), &[]);
}

#[test]
fn a_function_that_fails_fails_the_demo_with_its_cause() {
    let _turn = turn();
    let dir = directory();
    let source = format!("dir:{}", rootfs::make(dir.path(), "hello").display());
    let work = directory();
    let mut command = ft(&["demo", &source, "--vms", "1", "--dir"]);
    command.arg(work.path()).args(["--", "/bin/sh", "-c", "echo no luck >&2; exit 7"]);
    let run = Run::of(&mut command);
    assert_eq!(run.code(), 1, "{run:?}");
    assert!(run.stderr.contains("exit code 7") && run.stdout.contains("no luck"), "{run:?}");
    assert!(run.stdout.contains("0 of 1 containers ready"), "{run:?}");
    assert_eq!(names_in(work.path()), Vec::<String>::new());
    host::assert_nothing_of(work.path(), &[]);
}
