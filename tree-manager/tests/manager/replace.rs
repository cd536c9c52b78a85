//! Containers that were lost with their VM or its worker are placed again.

use std::time::Duration;

use ft_proto::v1::{self, ContainerState, VmState, command};

use crate::cluster::{Cluster, all, eventually, order};
use crate::lifecycle::{LONG, last_event, running};
use crate::worker::{Host, Worker, obedient};

const LEASE: Duration = Duration::from_millis(600);

/// The events of the container that replaces another, after checking that the other says so.
fn replacement(events: &[v1::ContainerEvent], failed: &v1::ContainerEvent) -> Vec<v1::ContainerEvent> {
    assert_eq!(failed.state(), ContainerState::Failed);
    assert!(failed.cause.contains(&format!("placed again as {}", failed.replaced_by)), "{}", failed.cause);
    let new: Vec<_> = events.iter().filter(|event| event.container == failed.replaced_by).cloned().collect();
    assert!(new.iter().all(|event| event.replaces == failed.container && event.replaced_by.is_empty()));
    new
}

#[tokio::test]
async fn the_caller_sees_the_failure_and_then_the_replacement() {
    let cluster = Cluster::with_lease(LEASE).await;
    let victim = Worker::new(&cluster).await;
    let _survivor = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 2)).await;
    drop(victim);
    let events = all(events).await;
    let failed = events.iter().find(|event| event.state() == ContainerState::Failed).unwrap();
    assert_eq!(failed.vm, "vm-1");
    assert!(failed.cause.contains("silent for"), "{}", failed.cause);
    let states: Vec<_> =
        replacement(&events, failed).iter().map(|event| (event.vm.clone(), event.state())).collect();
    assert_eq!(states.first(), Some(&("vm-2".to_owned(), ContainerState::Placed)));
    assert_eq!(states.last(), Some(&("vm-2".to_owned(), ContainerState::Ready)));
    let ready = events.iter().filter(|event| event.state() == ContainerState::Ready).count();
    assert_eq!(ready, 2, "as many as were asked for");
    let tree = cluster.tree("py").await;
    assert_eq!(tree.vms.iter().map(|vm| vm.vm.as_str()).collect::<Vec<_>>(), ["vm-2"]);
    let function = v1::GetFunctionRequest { function: "py".into(), tenant: String::new() };
    let function = cluster.functions().await.get_function(function).await.unwrap().into_inner();
    assert_eq!(function.containers, 2);
}

#[tokio::test]
async fn a_restarted_worker_has_lost_its_containers_and_gets_others() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    let _other = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 2)).await;
    worker.follow().await;
    let start = worker.start().await;
    worker.reach(&start.container, ContainerState::Ready).await;
    eventually("it is ready", async || last_event(&cluster, 0).await.state() == ContainerState::Ready).await;
    drop(worker);
    let mut restarted = host.connect(&cluster).await;
    let failed = last_event(&cluster, 0).await;
    assert_eq!(failed.state(), ContainerState::Failed);
    assert!(failed.cause.contains("restarted"), "{}", failed.cause);
    // Its own VM has fewest containers, and the blocks.
    let follow = restarted.follow().await;
    assert_eq!((follow.image, follow.stripes.len()), (start.image.clone(), 2));
    let again = restarted.start().await;
    assert_eq!(again.container, failed.replaced_by);
    assert_ne!(again.container, start.container);
    let placed = last_event(&cluster, 2).await;
    assert_eq!((placed.state(), placed.replaces), (ContainerState::Joined, start.container));
    assert_eq!(cluster.tree("py").await.vms.len(), 2);
}

#[tokio::test]
async fn what_fails_by_itself_stays_failed() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    let _other = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let only = v1::ProvisionRequest { vms: vec!["vm-1".into()], ..order("py", 1) };
    let events = cluster.provision(only).await;
    worker.follow().await;
    let start = worker.start().await;
    worker.reach(&start.container, ContainerState::Failed).await;
    let last = all(events).await.pop().unwrap();
    assert_eq!((last.state(), last.replaced_by.as_str()), (ContainerState::Failed, ""));
    assert_eq!(cluster.containers("py").await.len(), 1);
}

#[tokio::test]
async fn without_a_vm_it_is_said_why_nothing_replaces_it() {
    let cluster = Cluster::with_lease(LEASE).await;
    let victim = Worker::new(&cluster).await;
    let _other = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let only = v1::ProvisionRequest { vms: vec!["vm-1".into()], ..order("py", 1) };
    let events = cluster.provision(only).await;
    drop(victim);
    let last = all(events).await.pop().unwrap();
    assert_eq!((last.state(), last.replaced_by.as_str()), (ContainerState::Failed, ""));
    assert!(last.cause.contains("cannot be placed again") && last.cause.contains("1 lost"), "{}", last.cause);
}

#[tokio::test]
async fn a_container_that_goes_under_again_and_again_is_given_up() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 1)).await;
    for _ in 0..4 {
        worker.follow().await;
        let start = worker.start().await;
        worker.reach(&start.container, ContainerState::Started).await;
        eventually("it has started", async || {
            let containers = cluster.containers("py").await;
            containers.last().is_some_and(|container| container.state() == ContainerState::Started)
        })
        .await;
        drop(worker);
        worker = host.connect(&cluster).await;
    }
    let events = all(events).await;
    let last = events.last().unwrap();
    assert!(last.cause.contains("3 times already"), "{}", last.cause);
    let failed = events.iter().filter(|event| event.state() == ContainerState::Failed);
    assert_eq!(failed.count(), 4);
    assert!(cluster.tree("py").await.vms.is_empty());
    assert_eq!(cluster.vm(&host.vm).await.state(), VmState::Free);
}

#[tokio::test]
async fn who_does_not_want_a_container_does_not_want_its_replacement() {
    let cluster = Cluster::with_lease(LEASE).await;
    let victim = Worker::new(&cluster).await;
    let _survivor = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 2)).await;
    drop(victim);
    let events = all(events).await;
    let failed = events.iter().find(|event| event.state() == ContainerState::Failed).unwrap();
    let mut scheduler = cluster.scheduler().await;
    let reclaim = |containers| v1::ReclaimRequest { function: "py".into(), containers, ..Default::default() };
    scheduler.reclaim(reclaim(vec![failed.container.clone()])).await.unwrap();
    let listed = cluster.containers("py").await;
    let new = listed.iter().find(|container| container.container == failed.replaced_by).unwrap();
    assert_eq!(new.state(), ContainerState::Stopped);
    let running = listed.iter().filter(|container| container.state() == ContainerState::Ready);
    assert_eq!(running.count(), 1);
    // And what is reclaimed while its worker is away has stopped, and is not replaced.
    scheduler.reclaim(reclaim(Vec::new())).await.unwrap();
    assert_eq!(cluster.containers("py").await.len(), 3);
}

#[tokio::test]
async fn a_repeated_call_means_the_replacements() {
    let cluster = Cluster::with_lease(LEASE).await;
    let victim = Worker::new(&cluster).await;
    let _survivor = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let keyed = || v1::ProvisionRequest { idempotency_key: "k".into(), ..order("py", 2) };
    let events = cluster.provision(keyed()).await;
    drop(victim);
    let first = all(events).await;
    let failed = first.iter().find(|event| event.state() == ContainerState::Failed).unwrap();
    let again = all(cluster.provision(keyed()).await).await;
    assert_eq!(again.iter().filter(|event| event.state() == ContainerState::Ready).count(), 2);
    assert!(again.iter().any(|event| event.container == failed.replaced_by));
    assert_eq!(cluster.containers("py").await.len(), 3, "nothing new was placed");
}

/// A power cut: manager and worker come back together, and the worker has nothing.
#[tokio::test]
async fn what_ran_before_manager_and_worker_restarted_never_runs_under_the_same_name() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 1)).await;
    worker.follow().await;
    let start = worker.start().await;
    worker.reach(&start.container, ContainerState::Ready).await;
    all(events).await;
    drop(worker);
    let cluster = cluster.restart(LONG, LONG).await;
    let mut worker = host.connect(&cluster).await;
    worker.follow().await;
    let again = worker.start().await;
    assert_ne!(again.container, start.container);
    let failed = last_event(&cluster, 0).await;
    assert_eq!((failed.state(), failed.container), (ContainerState::Failed, start.container.clone()));
    assert_eq!(failed.replaced_by, again.container);
    // The replacement is on disk in the place of the other.
    drop(worker);
    let cluster = cluster.restart(LONG, LONG).await;
    let containers = cluster.containers("py").await;
    assert_eq!(containers.iter().map(|one| &one.container).collect::<Vec<_>>(), [&again.container]);
    assert_eq!(containers[0].history[0].replaces, start.container);
    let registration =
        v1::Registration { containers: vec![running(&again, ContainerState::Ready)], ..host.registration() };
    let mut worker = host.connect_with(&cluster, registration).await;
    assert!(matches!(worker.command().await, (_, command::Command::Follow(_))));
}

#[tokio::test]
async fn many_are_spread_over_those_who_are_left() {
    let cluster = Cluster::with_lease(LEASE).await;
    let victim = Worker::new(&cluster).await.obey();
    let _survivors = obedient(&cluster, 3).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 12)).await).await;
    drop(victim);
    let live = async || {
        let containers = cluster.containers("py").await;
        let ready = containers.into_iter().filter(|one| one.state() == ContainerState::Ready);
        let mut vms: Vec<_> = ready.map(|one| one.vm).collect();
        vms.sort();
        vms
    };
    eventually("all are ready elsewhere", async || {
        let vms = live().await;
        ["vm-2", "vm-3", "vm-4"].iter().all(|vm| vms.iter().filter(|one| one == vm).count() == 4)
    })
    .await;
}
