//! A real image from a real registry, read on demand by seven VMs.

use ft_testbed::Rate;

use crate::cluster::Cluster;
use crate::registry::Registry;
use crate::{images, tree_digest};

/// What the container runs: it is ready when numpy is imported, which the open port tells.
const IMPORT: &str = "import numpy, socket, time
server = socket.create_server(('127.0.0.1', 8080))
time.sleep(3600)";

#[test]
fn seven_vms_start_a_registry_image_before_a_fifth_of_it_has_moved() {
    let image = images::python();
    let cluster = Cluster::start(7, Some(Rate::from_mbit(200)));
    let registry = Registry::start(&cluster);
    registry.push(&cluster, &format!("oci:{image}"), "docker://127.0.0.1:5000/py:v1");
    let seed = ["seed", "docker://127.0.0.1:5000/py:v1", "--name", "py", "--check-tcp", "8080"];
    let env = ["--env", "PYTHONDONTWRITEBYTECODE=1", "--", "python3", "-c", IMPORT];
    let function = cluster.json(&[&seed[..], &env[..]].concat());
    let stored = function["stored_bytes"].as_u64().unwrap();
    assert!(function["image_bytes"].as_u64().unwrap() >= 500_000_000, "{function}");

    let inspected = cluster.json(&["image", "inspect", "py"]);
    let data = inspected["segments"].as_array().unwrap().iter().filter(|segment| segment["kind"] == "data");
    assert!(data.count() >= 3, "a segment for each layer: {inspected}");

    let events = cluster.json(&["provision", "py", "--count", "7", "--wait", "ready"]);
    let ready: Vec<_> = events.as_array().unwrap().iter().filter(|event| event["state"] == "ready").collect();
    assert_eq!(ready.len(), 7, "{events}");

    let tree = cluster.json(&["tree", "show", "py"]);
    assert_eq!(tree["vms"].as_array().map(Vec::len), Some(7), "{tree}");
    let mut report = Vec::new();
    for vm in tree["vms"].as_array().unwrap() {
        let moved = vm["image"]["stored_bytes"].as_u64().unwrap();
        report.push(format!("{:.1}%", 100.0 * moved as f64 / stored as f64));
        assert!(moved * 5 < stored, "{}: {moved} of {stored} bytes had moved", vm["vm"]);
    }
    let origin = tree["origin_bytes"].as_u64().unwrap();
    let touched = tree["touched_bytes"].as_u64().unwrap();
    assert!(touched > 0 && origin > 0);
    // Read-ahead and races cost a little.
    assert!(origin as f64 <= 1.25 * touched as f64, "origin {origin}, touched {touched}");
    println!(
        "moved when ready: {}; origin ÷ touched: {:.3}",
        report.join(" "),
        origin as f64 / touched as f64
    );

    let expected = tree_digest::of_umoci_unpack(&image, cluster.dir.path());
    std::thread::scope(|scope| {
        let digests = ready.iter().map(|event| {
            let container = event["container"].as_str().unwrap();
            let cluster = &cluster;
            scope.spawn(move || {
                let args =
                    ["exec", container, "--timeout", "5m", "--", "python3", "-c", tree_digest::SCRIPT, "/"];
                cluster.json(&args)["stdout"].as_str().unwrap().trim().to_owned()
            })
        });
        for digest in digests.collect::<Vec<_>>() {
            assert_eq!(digest.join().unwrap(), expected);
        }
    });
    let reclaimed = cluster.json(&["reclaim", "py"]);
    assert_eq!(reclaimed["reclaimed"].as_array().unwrap().len(), 7);
}
