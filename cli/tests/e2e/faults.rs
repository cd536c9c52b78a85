//! Workers are killed while blocks flow; the others become ready all the same, byte for byte.

use std::process::{Child, Stdio};

use ft_testbed::Rate;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::images;

const VMS: usize = 7;
const IMAGE_MB: usize = 48;

/// Which VM of the tree dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Root,
    Interior,
    Leaf,
}

impl Victim {
    /// A VM with this place in the tree.
    fn pick(self, tree: &Value) -> String {
        let stripe = &tree["stripes"][0];
        let root = stripe["root"].as_str().unwrap();
        let has_children = |vm: &str| {
            let edges =
                tree["stripes"].as_array().unwrap().iter().flat_map(|s| s["edges"].as_array().unwrap());
            edges.into_iter().any(|edge| edge["parent"] == vm)
        };
        let roots: Vec<_> = tree["stripes"].as_array().unwrap().iter().map(|s| s["root"].clone()).collect();
        let vms = tree["vms"].as_array().unwrap().iter().map(|vm| vm["vm"].as_str().unwrap());
        let mut others = vms.filter(|vm| !roots.contains(&Value::from(*vm)));
        let found = match self {
            Self::Root => Some(root),
            Self::Interior => others.find(|vm| has_children(vm)),
            Self::Leaf => others.find(|vm| !has_children(vm)),
        };
        found.expect("a tree of seven has such a VM").to_owned()
    }
}

/// Provisions, kills the victim when it has some blocks but not all, and checks the others.
fn survive(victim: Victim, shape: &str, mode: &str) {
    let mut cluster = Cluster::start(VMS, Some(Rate::from_mbit(100)));
    let root = images::rootfs(cluster.dir.path(), IMAGE_MB);
    let expected = images::digest(&root);
    let source = format!("dir:{}", root.display());
    // The container reads everything first, so it is ready only with every byte.
    let command = "cat /data/* | sha256sum && touch /tmp/done && sleep 3600";
    let seed = ["seed", &source, "--name", "f", "--check-exec", "test -e /tmp/done", "--"];
    cluster.json(&[&seed[..], &["/bin/sh", "-c", command]].concat());
    let mut provision = provision(&cluster, shape, mode);
    let mut killed = None;
    cluster.wait_for("blocks to flow", |cluster| {
        let tree = cluster.ft(&["-o", "json", "tree", "show", "f"]);
        let Ok(tree) = serde_json::from_slice::<Value>(&tree.stdout) else { return false };
        if tree["vms"].as_array().is_none_or(|vms| vms.len() < VMS) {
            return false;
        }
        let vm = victim.pick(&tree);
        let image = tree["vms"].as_array().unwrap().iter().find(|entry| entry["vm"] == vm.as_str()).unwrap();
        let stored = image["image"]["stored_blocks"].as_u64().unwrap_or(0);
        let total = image["image"]["total_blocks"].as_u64().unwrap_or(u64::MAX);
        assert!(stored < total, "the image was there before anybody could be killed");
        killed = Some(vm);
        stored >= 4
    });
    let killed = killed.unwrap();
    cluster.kill_worker(cluster.worker_of(&killed));
    let status = provision.wait().unwrap();
    assert!(status.success(), "the container of the killed VM was placed again");
    let containers = cluster.json(&["ps", "--all", "f"]);
    let mut ready = 0;
    for container in containers.as_array().unwrap() {
        if container["vm"] == killed.as_str() {
            assert_eq!(container["state"], "failed", "{container}");
            let last = container["history"].as_array().and_then(|history| history.last()).unwrap();
            assert!(last["replaced_by"].is_string(), "{last}");
            continue;
        }
        assert_eq!(container["state"], "ready", "{victim:?} {shape} {mode}: {container}\n{}", cluster.logs());
        let name = container["container"].as_str().unwrap();
        let digest = cluster.json(&[&["exec", name, "--"], &images::DIGEST[..]].concat());
        assert_eq!(digest["stdout"].as_str().unwrap().trim(), expected);
        ready += 1;
    }
    assert_eq!(ready, VMS);
}

fn provision(cluster: &Cluster, shape: &str, mode: &str) -> Child {
    let count = VMS.to_string();
    let args = ["provision", "f", "--count", &count, "--mode", mode, "--tree", shape, "--timeout", "100s"];
    let mut command = cluster.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ft starts")
}

#[test]
fn a_killed_leaf_harms_nobody() {
    survive(Victim::Leaf, "paired", "full");
    survive(Victim::Leaf, "avl", "lazy");
}

#[test]
fn a_killed_interior_worker_harms_nobody() {
    survive(Victim::Interior, "paired", "lazy");
    survive(Victim::Interior, "avl", "full");
}

#[test]
fn a_killed_root_harms_nobody() {
    survive(Victim::Root, "paired", "full");
    survive(Victim::Root, "avl", "lazy");
}
