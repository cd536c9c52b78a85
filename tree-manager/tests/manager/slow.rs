//! VMs that hold others up, and limits.

use std::collections::BTreeSet;

use ft_proto::v1::{self, VmLimits, command, report};
use tonic::Code;

use crate::cluster::{Cluster, eventually, order};
use crate::worker::{Host, Worker};

/// The VMs that have children in any stripe.
fn interior(tree: &v1::Tree) -> BTreeSet<String> {
    tree.stripes.iter().flat_map(|stripe| &stripe.edges).map(|edge| edge.parent.clone()).collect()
}

/// So many workers in the tree of a function, who have heard of their edges.
async fn tree_of(cluster: &Cluster, count: u32) -> Vec<Worker> {
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(Worker::new(cluster).await);
    }
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", count)).await;
    for worker in &mut workers {
        worker.follow().await;
        worker.start().await;
    }
    workers
}

/// An interior VM of the tree.
async fn some_interior(cluster: &Cluster, workers: &[Worker]) -> usize {
    let interior = interior(&cluster.tree("py").await);
    workers.iter().position(|worker| interior.contains(&worker.vm)).unwrap()
}

async fn wait_for_leaf(cluster: &Cluster, vm: &str) {
    eventually(&format!("{vm} is a leaf"), async || {
        let tree = cluster.tree("py").await;
        let shown = tree.vms.iter().any(|entry| entry.vm == vm && entry.slow);
        shown && !interior(&tree).contains(vm)
    })
    .await;
    let vm = cluster.vm(vm).await;
    assert!(vm.slow && !vm.slow_cause.is_empty(), "{vm:?}");
}

/// The worker has sent so fast to two children, who could have taken more.
async fn beat(worker: &Worker, bytes_per_s: u64) {
    let rate = Some(v1::UploadRate { bytes_per_s, children: 2 });
    let beat = v1::Heartbeat { images: Vec::new(), upload_shown: rate, upload_saturated: rate };
    worker.report(report::Report::Heartbeat(beat)).await;
}

#[tokio::test]
async fn a_vm_that_sends_slowly_is_moved_while_the_tree_is_in_use_and_back() {
    let cluster = Cluster::start().await;
    let mut workers = tree_of(&cluster, 7).await;
    let slow = some_interior(&cluster, &workers).await;
    for (nth, worker) in workers.iter().enumerate() {
        beat(worker, if nth == slow { 12_500_000 } else { 25_000_000 }).await;
    }
    let vm = workers[slow].vm.clone();
    // One heartbeat is not enough.
    eventually("it is slow", async || {
        beat(&workers[slow], 12_500_000).await;
        cluster.vm(&vm).await.slow
    })
    .await;
    wait_for_leaf(&cluster, &vm).await;
    // Its worker hears of it at once, and its former children of theirs.
    let heard = workers[slow].follow().await;
    assert!(heard.stripes.iter().all(|stripe| stripe.children.is_empty()), "{heard:?}");
    let shown = cluster.vm(&vm).await;
    assert_eq!(shown.upload_bytes_per_s, 12_500_000);
    assert!(shown.slow_cause.contains("100 Mbit/s") && shown.slow_cause.contains("200 Mbit/s"));
    // Where it joins anew, it is a leaf from the start.
    cluster.create_function("js", "b").await;
    let _events = cluster.provision(order("js", 7)).await;
    let tree = cluster.tree("js").await;
    assert!(tree.vms.iter().any(|entry| entry.vm == vm && entry.slow) && !interior(&tree).contains(&vm));
    beat(&workers[slow], 25_000_000).await;
    eventually("it is trusted again", async || !cluster.vm(&vm).await.slow).await;
    assert!(cluster.tree("py").await.vms.iter().all(|vm| !vm.slow));
}

#[tokio::test]
async fn who_cannot_be_reached_by_several_gets_no_children() {
    let cluster = Cluster::start().await;
    let workers = tree_of(&cluster, 7).await;
    let lost = some_interior(&cluster, &workers).await;
    let (vm, image) = (workers[lost].vm.clone(), cluster.tree("py").await.function);
    assert_eq!(image, "py@1");
    let image = {
        let get = v1::GetFunctionRequest { function: "py".into(), tenant: String::new() };
        cluster.functions().await.get_function(get).await.unwrap().into_inner().image
    };
    let report = |vm: &str| {
        let lost = v1::PeerLost { image: image.clone(), vm: vm.into(), cause: "timed out".into() };
        report::Report::PeerLost(lost)
    };
    let mut others = workers.iter().filter(|worker| worker.vm != vm);
    let (one, other) = (others.next().unwrap(), others.next().unwrap());
    one.report(report(&vm)).await;
    one.report(report("vm-99")).await;
    one.report(report("nonsense")).await;
    one.report(report(&vm)).await;
    let held = eventually_heard(&cluster, one, &vm).await;
    assert!(!held, "one witness is not enough");
    other.report(report(&vm)).await;
    wait_for_leaf(&cluster, &vm).await;
    assert_eq!(cluster.tree("py").await.vms.len(), 7, "it keeps its place and its container");
}

/// Whether the VM is slow once the manager has taken in everything that this worker reported.
async fn eventually_heard(cluster: &Cluster, worker: &Worker, vm: &str) -> bool {
    let before = cluster.vm(&worker.vm).await.upload_bytes_per_s;
    beat(worker, before + 1).await;
    eventually("it was heard", async || cluster.vm(&worker.vm).await.upload_bytes_per_s == before + 1).await;
    cluster.vm(vm).await.slow
}

#[tokio::test]
async fn a_stuck_child_starves_nobody() {
    let cluster = Cluster::start().await;
    let workers = tree_of(&cluster, 7).await;
    let tree = cluster.tree("py").await;
    // One that has a parent and children.
    let inner = interior(&tree);
    let edge = tree.stripes[0].edges.iter().find(|edge| inner.contains(&edge.child)).unwrap().clone();
    let find = |vm: &str| workers.iter().find(|worker| worker.vm == vm).unwrap();
    let get = v1::GetFunctionRequest { function: "py".into(), tenant: String::new() };
    let image = cluster.functions().await.get_function(get).await.unwrap().into_inner().image;
    let stuck =
        |vm: &str| report::Report::PeerStuck(v1::PeerStuck { image: image.clone(), vm: vm.to_owned() });
    // Only a parent can know.
    find(&edge.child).report(stuck(&edge.parent)).await;
    assert!(!eventually_heard(&cluster, find(&edge.child), &edge.parent).await);
    find(&edge.parent).report(stuck(&edge.child)).await;
    wait_for_leaf(&cluster, &edge.child).await;
}

#[tokio::test]
async fn limits_are_set_while_the_worker_runs() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let started_with = VmLimits { upload_bytes_per_s: 9, download_bytes_per_s: 0 };
    let registration = v1::Registration { limits: Some(started_with), ..host.registration() };
    let mut worker = host.connect_with(&cluster, registration).await;
    assert_eq!(cluster.vm("vm-1").await.limits, Some(started_with));
    let limits = VmLimits { upload_bytes_per_s: 12_500_000, download_bytes_per_s: 7 };
    let set = move |vm: &str| v1::SetVmLimitsRequest { vm: vm.into(), limits: Some(limits) };
    let mut pool = cluster.pool().await;
    let call = tokio::spawn(async move { pool.set_vm_limits(set("vm-1")).await });
    let (id, command) = worker.command().await;
    assert_eq!(command, command::Command::SetLimits(v1::SetLimits { limits: Some(limits) }));
    assert_eq!(cluster.vm("vm-1").await.limits, Some(started_with), "its worker has not said so yet");
    worker.done(id).await;
    call.await.unwrap().unwrap();
    assert_eq!(cluster.vm("vm-1").await.limits, Some(limits));

    let mut pool = cluster.pool().await;
    assert_eq!(pool.set_vm_limits(set("vm-9")).await.unwrap_err().code(), Code::NotFound);
    let call = tokio::spawn(async move { pool.set_vm_limits(set("vm-1")).await });
    let (id, _) = worker.command().await;
    worker.refuse(id, "cannot").await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Aborted);
    drop(worker);
    cluster.wait_for_vm("vm-1", v1::VmState::Suspect).await;
    let mut pool = cluster.pool().await;
    assert_eq!(pool.set_vm_limits(set("vm-1")).await.unwrap_err().code(), Code::Unavailable);
}
