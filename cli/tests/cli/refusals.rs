//! Daemons that cannot start say why, at once.

use std::path::Path;

use crate::cluster::{Cluster, manager};
use crate::daemon::Daemon;
use crate::run::{Run, ft};

/// A worker that is refused ends with a clear error.
fn refused(cluster: &Cluster, nth: usize, token: &str, code: i32, word: &str) {
    let file = cluster.dir.path().join("token");
    std::fs::write(&file, token).expect("a file");
    let run = Run::of(cluster.worker(nth).arg("--join-token-file").arg(&file));
    run.fails(code, word);
}

#[test]
fn a_worker_without_a_good_token_is_refused() {
    let cluster = Cluster::start(&[]);
    let good = std::fs::read_to_string(cluster.manager_dir().join("join-token")).expect("a token");
    refused(&cluster, 0, "garbled", 4, "holds no join token");
    refused(&cluster, 1, "", 4, "holds no join token");

    // The same authority, another secret.
    let (authority, secret) = good.trim().rsplit_once('.').expect("ft1.CA.SECRET");
    refused(&cluster, 2, &format!("{authority}.{}A", "A".repeat(secret.len() - 1)), 1, "token");

    let missing = Run::of(cluster.worker(3).args(["--join-token-file", "/no/such/token"]));
    missing.fails(1, "/no/such/token");

    // A token of another manager names another authority, so this manager is not believed.
    let dir = cluster.dir.path().join("other");
    let log = cluster.dir.path().join("other.log");
    let mut stranger = Daemon::start(&mut manager(&dir), &log);
    stranger.wait_until_it_says("the manager and its origin serve");
    let token = std::fs::read_to_string(dir.join("join-token")).expect("a token");
    refused(&cluster, 4, &token, 1, "the token pins");
}

#[test]
fn a_token_ends() {
    let cluster = Cluster::start(&[]);
    let token = cluster.run(&["vm", "token", "--ttl", "1s"]).ok().stdout;
    // Its time passes; nothing else tells.
    std::thread::sleep(std::time::Duration::from_secs(2));
    refused(&cluster, 0, &token, 1, "expired");
}

#[test]
fn a_daemon_that_is_there_already_is_named() {
    let cluster = Cluster::start(&["sandbox"]);
    let address = cluster.url().trim_start_matches("https://").to_owned();
    let mut second = ft(&["manager", "--origin-listen", "127.0.0.1:0", "--listen", &address, "--state-dir"]);
    let second = Run::of(second.arg(cluster.dir.path().join("second"))).fails(1, &address);
    assert!(second.stderr.contains("another manager"), "{second:?}");
    Run::of(&mut manager(&cluster.manager_dir())).fails(1, cluster.manager_dir().to_str().expect("ours"));

    let token = cluster.manager_dir().join("join-token");
    let second = Run::of(cluster.worker(0).arg("--join-token-file").arg(token));
    second.fails(1, cluster.worker_dir(0).to_str().expect("ours"));
    assert_eq!(cluster.json(&["vm", "ls"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let cluster = Cluster::start(&[]);
    let file = cluster.dir.path().join("file");
    std::fs::write(&file, "no directory").expect("a file");
    let below = file.join("state");
    Run::of(&mut manager(&below)).fails(1, "file/state");
    let token = cluster.manager_dir().join("join-token");
    let worker = |state: &Path| {
        let mut worker =
            ft(&["worker", "--listen", "127.0.0.1:0", "--manager", &cluster.url(), "--state-dir"]);
        Run::of(worker.arg(state).arg("--join-token-file").arg(&token))
    };
    worker(&below).fails(1, "file/state");
    worker(Path::new("/proc/state")).fails(1, "/proc/state");
    Run::of(ft(&["demo", "--vms", "1", "--dir"]).arg(&below)).fails(1, "file/state");
}
