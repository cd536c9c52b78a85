//! Damaged blocks, in a worker's store and in the origin: detected, not passed on, not readable.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ft_testbed::Rate;

use crate::cluster::Cluster;
use crate::images;

const READ_ALL: &str = "cat /data/* > /tmp/all && touch /tmp/done && sleep 3600";

fn seed(cluster: &Cluster, root: &Path) {
    let source = format!("dir:{}", root.display());
    let seed = ["seed", &source, "--name", "f", "--check-exec", "test -e /tmp/done", "--"];
    cluster.json(&[&seed[..], &["/bin/sh", "-c", READ_ALL]].concat());
}

/// The regular files below `dir` of at least `len` bytes, largest first.
fn files_below(dir: &Path, len: u64) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if metadata.is_file() && metadata.len() >= len {
                found.push((metadata.len(), entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Inverts the byte in the middle of a file.
fn damage(path: &Path) {
    let mut file = std::fs::File::options().read(true).write(true).open(path).expect("a file");
    let middle = file.metadata().expect("metadata").len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).expect("seekable");
    file.read_exact(&mut byte).expect("a byte");
    file.seek(SeekFrom::Start(middle)).expect("seekable");
    file.write_all(&[!byte[0]]).expect("writable");
}

#[test]
fn damaged_blocks_of_a_worker_are_fetched_again() {
    let mut cluster = Cluster::start(3, Some(Rate::from_mbit(400)));
    let root = images::rootfs(cluster.dir.path(), 16);
    let expected = images::digest(&root);
    seed(&cluster, &root);
    cluster.json(&["provision", "f", "--count", "3", "--mode", "full"]);
    cluster.json(&["reclaim", "f"]);
    cluster.kill_worker(1);
    // Every block that is stored there, half a megabyte each.
    let blocks = files_below(&cluster.worker_dir(1).join("blocks/blocks"), 400_000);
    assert!(blocks.len() >= 16, "{blocks:?}");
    blocks.iter().for_each(|path| damage(path));
    cluster.start_worker(1);
    cluster.wait_for("the worker to be back", |cluster| {
        let vms = cluster.json(&["vm", "ls"]);
        vms.as_array().unwrap().iter().filter(|vm| vm["state"] == "free").count() == 3
    });
    cluster.json(&["provision", "f", "--count", "3", "--mode", "full"]);
    for container in cluster.json(&["ps", "f"]).as_array().unwrap() {
        let name = container["container"].as_str().unwrap();
        let digest = cluster.json(&[&["exec", name, "--"], &images::DIGEST[..]].concat());
        assert_eq!(digest["stdout"].as_str().unwrap().trim(), expected);
    }
    let tree = cluster.json(&["tree", "show", "f"]);
    let corrupt = |vm: &serde_json::Value| vm["image"]["corrupt_blocks"].as_u64().unwrap();
    for vm in tree["vms"].as_array().unwrap() {
        let here = cluster.worker_of(vm["vm"].as_str().unwrap()) == 1;
        assert_eq!(corrupt(vm) > 0, here, "only the damaged worker saw damage, nobody was sent any: {vm}");
    }
}

#[test]
fn a_damaged_block_in_the_origin_is_named_and_not_readable() {
    let cluster = Cluster::start(3, Some(Rate::from_mbit(400)));
    let root = images::rootfs(cluster.dir.path(), 16);
    seed(&cluster, &root);
    let packs = files_below(&cluster.dir.path().join("manager/origin"), 8 << 20);
    damage(packs.first().expect("the data pack"));
    let output = cluster.ft(&["-o", "json", "provision", "f", "--count", "3", "--timeout", "90s"]);
    assert!(!output.status.success());
    let containers = cluster.json(&["ps", "--all", "f"]);
    for container in containers.as_array().unwrap() {
        assert_eq!(container["state"], "failed", "{container}");
        let cause = container["history"].as_array().unwrap().last().unwrap()["cause"].as_str().unwrap();
        assert!(cause.contains("block") && cause.contains("origin"), "which block, from where? {cause}");
    }
}
