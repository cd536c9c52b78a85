//! Each exit code with a real cause, and errors in JSON. (6 is in `images`.)

use serde_json::{Value, json};

use crate::cluster::{Cluster, directory};
use crate::run::{Run, ft};

#[test]
fn mistakes_on_the_command_line_are_2() {
    for (args, word) in [
        (&["no-such-command"][..], "no-such-command"),
        (&["demo", "--vms", "0"], "--vms"),
        (&["demo", "--vms", "many"], "many"),
        (&["worker", "--quota", "4 apples"], "apples"),
        (&["provision"], "FUNCTION"),
        (&["exec", "c-1"], "COMMAND"),
        (&["image", "inspect", "floppy:/dev/fd0"], "floppy"),
        (&["seed", "dir:/", "--name", "x", "--check-tcp", "1", "--check-exec", "true"], "--check"),
        (&["ps", "-v", "-q"], "--quiet"),
    ] {
        Run::of(&mut ft(args)).fails(2, word);
    }
}

#[test]
fn what_is_not_there_is_3() {
    let dir = directory();
    let missing = dir.path().join("admin.json");
    let run = Run::of(ft(&["ps", "-o", "json", "--credential"]).arg(&missing)).fails(3, "admin.json");
    let error: Value = serde_json::from_str(&run.stderr).expect("one object");
    assert_eq!((&error["exit_code"], &error["kind"]), (&json!(3), &json!("NotFound")));

    let cluster = Cluster::start(&[]);
    for args in [
        &["function", "show", "nobody"][..],
        &["function", "rm", "nobody"],
        &["provision", "nobody"],
        &["tree", "show", "nobody"],
        &["image", "verify", "nobody"],
    ] {
        cluster.run(args).fails(3, "nobody");
    }
    cluster.run(&["exec", "c9-99", "--", "true"]).fails(3, "c9-99");
    cluster.run(&["vm", "drain", "vm-99"]).fails(3, "vm-99");
}

#[test]
fn who_may_not_gets_4() {
    let cluster = Cluster::start(&["sandbox"]);
    let text = std::fs::read_to_string(cluster.credential()).expect("a credential");
    let mut credential: Value = serde_json::from_str(&text).expect("JSON");

    // A worker's certificate is good for a worker's work only.
    let identity = std::fs::read_to_string(cluster.worker_dir(0).join("identity.pem")).expect("an identity");
    let (key, certificate) = halves(&identity);
    credential["key_pem"] = key.into();
    credential["certificate_pem"] = certificate.into();
    let file = cluster.dir.path().join("worker.json");
    std::fs::write(&file, credential.to_string()).expect("a file");
    let as_worker = |args: &[&str]| Run::of(ft(args).arg("--credential").arg(&file));
    as_worker(&["vm", "token"]).fails(4, "is a worker");
    as_worker(&["function", "ls"]).fails(4, "is a worker");

    credential["certificate_pem"] = "garbled".into();
    std::fs::write(&file, credential.to_string()).expect("a file");
    as_worker(&["ps"]).fails(4, "credential");
    std::fs::write(&file, "no JSON").expect("a file");
    as_worker(&["ps"]).fails(1, "is no credential");
}

/// The key and the certificates of an identity.
fn halves(pem: &str) -> (&str, &str) {
    let key = pem.find("-----BEGIN PRIVATE KEY").expect("a key");
    let certificate = pem.find("-----BEGIN CERTIFICATE").expect("a certificate");
    if key < certificate {
        (&pem[key..certificate], &pem[certificate..])
    } else {
        (&pem[key..], &pem[certificate..key])
    }
}

#[test]
fn a_manager_that_is_not_there_is_5() {
    let mut cluster = Cluster::start(&[]);
    let url = cluster.url();
    cluster.stop_manager();
    let run = cluster.run(&["ps"]).fails(5, &url);
    assert!(run.stderr.contains("ft manager"), "{run:?}");
    let run = cluster.run(&["doctor", "--manager", &url, "-o", "json"]);
    assert_eq!(run.code(), 1, "{run:?}");
    let rows = run.json();
    let row = rows.as_array().expect("a list").iter().find(|row| row["name"] == "manager").expect("a row");
    assert_eq!(row["state"], "missing");
}

#[test]
fn what_fails_in_a_container_is_1_with_its_cause() {
    let cluster = Cluster::start(&["runc"]);
    cluster.seed("one");
    let run = cluster.run(&["provision", "hello", "--timeout", "30s", "--", "/bin/no-such-program"]);
    assert_eq!(run.code(), 1, "{run:?}");
    assert!(run.stdout.contains("failed") && run.stdout.contains("no-such-program"), "{run:?}");
    assert!(run.stderr.contains("1 of 1 containers failed"), "{run:?}");
    cluster.run(&["provision", "hello"]).ok();
    let container = &cluster.containers("ready")[0];
    cluster.run(&["exec", container, "--", "/bin/sh", "-c", "exit 9"]).fails(1, "exited with 9");
    cluster.run(&["seed", "dir:/no/such/dir", "--name", "x"]).fails(3, "/no/such/dir");
    cluster.run(&["seed", "dir:/etc", "--name", "Not A Name"]).fails(2, "Not A Name");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_and_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let temporary = dir.path().join("tmp");
    for made in [&source, &temporary] {
        std::fs::create_dir(made).unwrap();
    }
    std::fs::write(source.join("file"), "hello").unwrap();
    let mut command = ft(&["image", "inspect", "--work-dir"]);
    command.arg(&temporary).arg(format!("dir:{}", source.display()));
    // Nobody reads the other end.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).status().unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
