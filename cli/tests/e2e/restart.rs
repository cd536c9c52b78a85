//! The manager is killed and comes back; a worker is killed and comes back.

use crate::cluster::Cluster;
use crate::images;

const SLEEP: [&str; 3] = ["/bin/sh", "-c", "cat /data/* > /dev/null; sleep 3600"];

#[test]
fn a_manager_that_comes_back_knows_its_functions_trees_and_containers() {
    let mut cluster = Cluster::start(3, None);
    let root = images::rootfs(cluster.dir.path(), 8);
    let source = format!("dir:{}", root.display());
    cluster.json(&[&["seed", &source, "--name", "f", "--"], &SLEEP[..]].concat());
    cluster.json(&["provision", "f", "--count", "3"]);
    let before = cluster.json(&["tree", "show", "f"]);
    cluster.kill_manager();
    cluster.start_manager();
    cluster.wait_for("the workers to report back", |cluster| {
        let containers = cluster.json(&["ps", "f"]);
        containers.as_array().is_some_and(|list| list.iter().filter(|c| c["state"] == "ready").count() == 3)
    });
    let after = cluster.json(&["tree", "show", "f"]);
    assert_eq!(after["vms"].as_array().unwrap().len(), 3);
    let term = |tree: &serde_json::Value| {
        tree["epoch"].as_str().unwrap().split('.').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(term(&after) > term(&before), "epochs grow: {} then {}", before["epoch"], after["epoch"]);
    // The containers never noticed, and more can be had.
    for container in cluster.json(&["ps", "f"]).as_array().unwrap() {
        let name = container["container"].as_str().unwrap();
        let digest = cluster.json(&[&["exec", name, "--"], &images::DIGEST[..]].concat());
        assert_eq!(digest["stdout"].as_str().unwrap().trim(), images::digest(&root));
    }
    cluster.json(&["provision", "f", "--count", "3"]);
    assert_eq!(cluster.json(&["reclaim", "f"])["reclaimed"].as_array().unwrap().len(), 6);
}

#[test]
fn a_worker_that_comes_back_reuses_its_blocks() {
    let mut cluster = Cluster::start(3, None);
    let root = images::rootfs(cluster.dir.path(), 8);
    let source = format!("dir:{}", root.display());
    cluster.json(&[&["seed", &source, "--name", "f", "--"], &SLEEP[..]].concat());
    cluster.json(&["provision", "f", "--count", "3", "--mode", "full"]);
    cluster.wait_for("every block everywhere", |cluster| {
        let tree = cluster.json(&["tree", "show", "f"]);
        tree["vms"].as_array().unwrap().iter().all(|vm| vm["image"]["complete"] == true)
    });
    cluster.kill_worker(0);
    cluster.start_worker(0);
    cluster.wait_for(
        "the worker to be back, and another container in the place of the lost one",
        |cluster| {
            let vms = cluster.json(&["vm", "ls"]);
            let up = |vm: &serde_json::Value| vm["state"] == "free" || vm["state"] == "active";
            let back = vms.as_array().unwrap().iter().any(|vm| vm["name"] == "host-1" && up(vm));
            let containers = cluster.json(&["ps", "f"]);
            let containers = containers.as_array().unwrap();
            let replaced = containers.iter().any(|container| container["history"][0]["replaces"].is_string());
            back && replaced
                && containers.iter().filter(|container| container["state"] == "ready").count() == 3
        },
    );
    // That one is on the VM that came back, unless its lease had ended; these are on all.
    cluster.json(&["provision", "f", "--count", "3", "--mode", "full"]);
    let tree = cluster.json(&["tree", "show", "f"]);
    let back =
        tree["vms"].as_array().unwrap().iter().find(|vm| cluster.worker_of(vm["vm"].as_str().unwrap()) == 0);
    let image = &back.expect("the VM that came back has a container")["image"];
    assert_eq!(image["complete"], true, "{image}");
    let fetched = image["origin_bytes"].as_u64().unwrap() + image["peer_bytes_in"].as_u64().unwrap();
    assert_eq!(fetched, 0, "everything was there already: {image}");
}
