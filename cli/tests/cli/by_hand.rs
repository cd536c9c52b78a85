//! A function's life by hand: seeded, provisioned, looked at, seeded again, reclaimed, removed, collected.

use crate::cluster::Cluster;
use crate::rootfs::GREETING;

#[test]
fn a_function_lives_in_both_runtimes_and_new_versions_leave_running_ones_alone() {
    let cluster = Cluster::start(&["runc", "sandbox"]);
    cluster.seed("one");
    let first = cluster.run(&["-o", "json", "provision", "hello", "--count", "2", "--wait", "ready"]).ok();
    assert!(first.stderr.is_empty(), "{first:?}");
    for state in ["placed", "joined", "mounted", "started", "ready"] {
        assert_eq!(first.lines().iter().filter(|event| event["state"] == state).count(), 2, "{first:?}");
    }
    let old = cluster.containers("ready");
    let greets = |container: &str| cluster.run(&["exec", container, "--", "/bin/cat", GREETING]).ok().stdout;
    assert_eq!(old.iter().map(|name| greets(name)).collect::<Vec<_>>(), ["one", "one"]);

    looks_as_expected(&cluster, &old);

    cluster.seed("two");
    assert_eq!(cluster.json(&["function", "show", "hello"])["version"], 2);
    cluster.run(&["provision", "hello", "--count", "1"]).ok();
    let all = cluster.containers("ready");
    let new: Vec<_> = all.iter().filter(|name| !old.contains(name)).collect();
    assert_eq!(new.iter().map(|name| greets(name)).collect::<Vec<_>>(), ["two"]);
    assert_eq!(old.iter().map(|name| greets(name)).collect::<Vec<_>>(), ["one", "one"]);
    cluster.run(&["provision", "hello@1"]).ok();

    let refused = cluster.run(&["function", "rm", "hello@1"]);
    refused.fails(1, "hello@1");
    let reclaimed = cluster.json(&["reclaim", "hello@1", "--count", "1"]);
    assert_eq!(reclaimed["reclaimed"].as_array().map(Vec::len), Some(1), "{reclaimed}");
    cluster.run(&["reclaim", "hello"]).ok();
    cluster.wait_for("all containers to stop", || cluster.json(&["ps"]).as_array()?.is_empty().then_some(()));
    assert_eq!(cluster.json(&["ps", "-a"]).as_array().map(Vec::len), Some(4));
    assert_eq!(cluster.run(&["function", "rm", "hello@1"]).ok().stdout, "hello@1\n");
    cluster.run(&["provision", "hello@1"]).fails(3, "hello@1");
}

/// What the commands that list and show say of two containers of `hello@1`.
fn looks_as_expected(cluster: &Cluster, containers: &[String]) {
    let ps = cluster.run(&["ps"]).ok();
    assert!(ps.stdout.starts_with("CONTAINER") && ps.stderr.is_empty(), "{ps:?}");
    assert!(containers.iter().all(|name| ps.stdout.contains(name)), "{ps:?}");

    let tree = cluster.run(&["tree", "show", "hello"]).ok();
    assert!(tree.stdout.starts_with("hello@1 · paired · 2 VMs"), "{tree:?}");
    let tree = cluster.json(&["tree", "show", "hello"]);
    assert_eq!(tree["vms"].as_array().map(Vec::len), Some(2), "{tree}");

    let vms = cluster.run(&["vm", "ls"]).ok();
    assert!(vms.stdout.contains("host-0") && vms.stdout.contains("host-1"), "{vms:?}");
    let vms = cluster.json(&["vm", "ls"]);
    assert!(vms.as_array().expect("a list").iter().all(|vm| vm["state"] == "active"), "{vms}");

    let functions = cluster.run(&["function", "ls"]).ok();
    assert!(functions.stdout.contains("hello@1"), "{functions:?}");
    let function = cluster.json(&["function", "show", "hello"]);
    assert_eq!((&function["version"], &function["containers"]), (&1.into(), &2.into()));
}

#[test]
fn garbage_is_what_no_function_uses() {
    let cluster = Cluster::start(&[]);
    cluster.seed("one");
    cluster.seed("two");
    let gc = ["gc", "--grace", "0s", "--state-dir"];
    let gc = |more: &[&str]| {
        let dir = cluster.manager_dir();
        cluster.json(&[&gc[..], &[dir.to_str().expect("ours")], more].concat())
    };
    assert_eq!(gc(&[])["objects"].as_array().map(Vec::len), Some(0));
    cluster.run(&["function", "rm", "hello@1"]).ok();
    let promised = gc(&["--dry-run"]);
    assert_eq!(promised["removed"], false);
    cluster.run(&["image", "verify", "hello"]).ok();
    let removed = gc(&[]);
    assert_eq!((&removed["removed"], &removed["images"]), (&true.into(), &promised["images"]));
    assert_eq!(removed["images"].as_array().map(Vec::len), Some(1), "{removed}");
    assert!(removed["bytes"].as_u64() > Some(1 << 20), "{removed}");
    cluster.run(&["image", "verify", "hello"]).ok();
    assert_eq!(gc(&[])["objects"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_drained_vm_gets_no_more_containers_and_a_new_token_lets_another_join() {
    let mut cluster = Cluster::start(&["sandbox"]);
    cluster.seed("one");
    cluster.run(&["provision", "hello"]).ok();
    let vms = cluster.json(&["vm", "ls"]);
    let vm = vms[0]["vm"].as_str().expect("a name").to_owned();
    cluster.run(&["vm", "drain", &vm]).ok();
    cluster.wait_for("its container to stop", || cluster.json(&["ps"]).as_array()?.is_empty().then_some(()));
    assert_eq!(cluster.json(&["vm", "ls"])[0]["state"], "draining");
    cluster.run(&["provision", "hello"]).fails(1, "no VM");

    let token = cluster.run(&["vm", "token", "--ttl", "1h"]).ok().stdout;
    let file = cluster.dir.path().join("token");
    std::fs::write(&file, &token).expect("a file");
    cluster.add_worker(|worker| worker.env("FT_RUNTIME", "sandbox").arg("--join-token-file").arg(&file));
    let placed = cluster.run(&["-o", "json", "provision", "hello"]).ok();
    assert!(placed.lines().iter().all(|event| event["vm"] != vm.as_str()), "{placed:?}");
}

#[test]
fn containers_that_have_done_their_work_have_been_ready() {
    let cluster = Cluster::start(&["runc", "sandbox"]);
    cluster.seed_once("one");
    let run = cluster.run(&["-o", "json", "provision", "once", "--count", "6"]).ok();
    let events = run.lines();
    let ready: Vec<_> = events.iter().filter(|event| event["state"] == "ready").collect();
    assert_eq!(ready.len(), 6, "{run:?}");
    assert!(ready.iter().all(|event| event["output_tail"] == "one" && event["exit_code"] == 0), "{run:?}");
    cluster.wait_for("them to end", || cluster.json(&["ps"]).as_array()?.is_empty().then_some(()));
}
