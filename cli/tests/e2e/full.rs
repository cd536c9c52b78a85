//! The whole image to every VM, over rate-capped links, with both tree shapes.

use ft_testbed::Rate;

use crate::cluster::Cluster;
use crate::images;

const RATE: Rate = Rate::from_mbit(200);

/// Provisions the image in full mode and gives T ÷ (S/B): T from the first placement to the last VM's last block.
fn t_over_bound(image: &str, shape: &str) -> f64 {
    let cluster = Cluster::start(7, Some(RATE));
    let source = format!("oci:{image}");
    let function = cluster.json(&[
        "seed",
        &source,
        "--name",
        "py",
        "--",
        "python3",
        "-c",
        "import time; time.sleep(3600)",
    ]);
    let stored = function["stored_bytes"].as_u64().unwrap();
    let args = ["provision", "py", "--count", "7", "--mode", "full", "--tree", shape];
    let events = cluster.json(&args);
    let events = events.as_array().expect("events");
    assert_eq!(events.iter().filter(|event| event["state"] == "ready").count(), 7);
    let placed = events.iter().filter(|event| event["state"] == "placed");
    let start = placed.map(|event| event["at_unix_us"].as_i64().unwrap()).min().unwrap();
    let vms = |cluster: &Cluster| cluster.json(&["tree", "show", "py"])["vms"].as_array().unwrap().clone();
    cluster.wait_for("every VM to have every block", |cluster| {
        vms(cluster).iter().all(|vm| vm["image"]["complete"] == true)
    });
    let mut end = 0;
    for vm in vms(&cluster) {
        assert_eq!(vm["image"]["stored_blocks"], vm["image"]["total_blocks"], "{vm}");
        end = end.max(vm["image"]["complete_unix_us"].as_i64().unwrap());
    }
    let seconds = (end - start) as f64 / 1e6;
    let bound = stored as f64 / RATE.bytes() as f64;
    println!(
        "{shape}: {stored} bytes in {seconds:.2} s; S/B is {bound:.2} s; T ÷ (S/B) = {:.3}",
        seconds / bound
    );
    seconds / bound
}

#[test]
fn every_vm_gets_every_block_and_the_pair_beats_the_single_tree() {
    let image = images::python();
    let avl = t_over_bound(&image, "avl");
    let paired = t_over_bound(&image, "paired");
    // No scheme beats S/B; less would mean that something was not counted.
    assert!(avl >= 1.0 && paired >= 1.0, "avl {avl:.3}, paired {paired:.3}");
    assert!(paired < avl, "avl {avl:.3}, paired {paired:.3}");
}
