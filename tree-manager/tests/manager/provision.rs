//! Provisioning, reclaiming, exec, drain.

use std::collections::{BTreeMap, BTreeSet};

use ft_proto::v1::{self, ContainerState, command};
use tonic::Code;

use crate::cluster::{Cluster, all, order, outcome};
use crate::worker::{Worker, obedient};

const WHOLE_WAY: [ContainerState; 5] = [
    ContainerState::Placed,
    ContainerState::Joined,
    ContainerState::Mounted,
    ContainerState::Started,
    ContainerState::Ready,
];

#[tokio::test]
async fn every_container_is_placed_joined_mounted_started_and_ready() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 3).await;
    cluster.create_function("py", "a").await;
    let events = all(cluster.provision(order("py", 3)).await).await;
    let mut by_container = BTreeMap::<_, Vec<_>>::new();
    for event in &events {
        by_container.entry(event.container.clone()).or_default().push(event);
    }
    assert_eq!(by_container.len(), 3);
    for events in by_container.values() {
        let states: Vec<_> = events.iter().map(|event| event.state()).collect();
        assert_eq!(states, WHOLE_WAY);
        assert!(events.windows(2).all(|pair| pair[0].elapsed_us <= pair[1].elapsed_us));
        assert!(events.iter().all(|event| event.function == "py@1" && event.at_unix_us > 0));
        let by_worker: Vec<_> = events.iter().map(|event| event.worker_elapsed_us).collect();
        assert_eq!(by_worker, [None, None, Some(5), Some(5), Some(5)]);
    }
    let vms: BTreeSet<_> = events.iter().map(|event| event.vm.as_str()).collect();
    assert_eq!(vms.len(), 3, "one container on each VM");
    let listed = cluster.containers("py").await;
    assert!(listed.iter().all(|container| container.state() == ContainerState::Ready));
    assert!(listed.iter().all(|container| container.history.len() == 5));
}

#[tokio::test]
async fn workers_are_told_their_edges_before_they_start_anything() {
    let cluster = Cluster::start().await;
    let (mut first, mut second) = (Worker::new(&cluster).await, Worker::new(&cluster).await);
    let image = cluster.create_function("py", "a").await.image;
    let avl = v1::ProvisionRequest {
        shape: v1::TreeShape::Avl.into(),
        mode: v1::Mode::Full.into(),
        env: vec!["A=B".into()],
        args: vec!["run".into()],
        memory_bytes: 5,
        ..order("py", 2)
    };
    let _events = cluster.provision(avl).await;
    let (root, leaf) = (first.follow().await, second.follow().await);
    assert_eq!((root.image.as_str(), leaf.image.as_str()), (image.as_str(), image.as_str()));
    assert_eq!((root.mode(), leaf.mode()), (v1::Mode::Full, v1::Mode::Full));
    assert_eq!((root.stripes[0].parent.as_str(), &root.stripes[0].children), ("", &vec!["vm-2".to_owned()]));
    assert_eq!((leaf.stripes[0].parent.as_str(), &leaf.stripes[0].children), ("vm-1", &vec![]));
    assert_eq!(
        leaf.peers,
        [v1::Peer { vm: "vm-1".into(), address: "127.0.0.1:10001".into(), ..Default::default() }]
    );
    let start = first.start().await;
    assert_eq!((start.function.as_str(), start.image.as_str()), ("py@1", image.as_str()));
    assert_eq!((start.env, start.args, start.memory_bytes), (vec!["A=B".into()], vec!["run".into()], 5));
    assert_eq!((start.mode, start.shape), (v1::Mode::Full.into(), v1::TreeShape::Avl.into()));
    second.start().await;
}

#[tokio::test]
async fn only_vms_whose_edges_changed_hear_of_a_change() {
    let cluster = Cluster::start().await;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(Worker::new(&cluster).await);
    }
    cluster.create_function("py", "a").await;
    let avl = |count| v1::ProvisionRequest { shape: v1::TreeShape::Avl.into(), ..order("py", count) };
    let _first = cluster.provision(avl(3)).await;
    let mut epochs = Vec::new();
    for worker in &mut workers[..3] {
        epochs.push(worker.follow().await.epoch.unwrap());
        worker.start().await;
    }
    // The fourth VM comes under the second: those two hear of it, the root and the other leaf do not.
    let _second = cluster.provision(avl(1)).await;
    let parent = workers[1].follow().await;
    assert_eq!(parent.stripes[0].children, ["vm-4"]);
    assert_eq!(parent.stripes[0].parent, "vm-1");
    assert!(parent.epoch.unwrap().counter > epochs[1].counter);
    let child = workers[3].follow().await;
    assert_eq!((child.stripes[0].parent.as_str(), child.stripes[0].grandparent.as_str()), ("vm-2", "vm-1"));
    workers[0].assert_quiet(&cluster).await;
    workers[2].assert_quiet(&cluster).await;
}

#[tokio::test]
async fn containers_spread_evenly_and_may_outnumber_the_vms() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 3).await;
    cluster.create_function("py", "a").await;
    cluster.create_function("js", "b").await;
    let count = async |function: &str| {
        let mut counts = BTreeMap::new();
        for container in cluster.containers(function).await {
            *counts.entry(container.vm).or_insert(0) += 1;
        }
        counts.into_values().collect::<Vec<_>>()
    };
    all(cluster.provision(order("py", 4)).await).await;
    assert_eq!(count("py").await, [2, 1, 1]);
    all(cluster.provision(order("py", 2)).await).await;
    assert_eq!(count("py").await, [2, 2, 2], "VMs with fewer containers of the function come first");
    all(cluster.provision(order("js", 1)).await).await;
    let only = v1::ProvisionRequest { vms: vec!["vm-3".into()], ..order("js", 2) };
    let placed = all(cluster.provision(only).await).await;
    assert!(placed.iter().all(|event| event.vm == "vm-3"));
}

#[tokio::test]
async fn a_call_without_room_says_why() {
    let cluster = Cluster::start().await;
    cluster.create_function("py", "a").await;
    let mut scheduler = cluster.scheduler().await;
    let status = scheduler.provision(order("py", 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("none has joined"), "{status}");
    drop(Worker::new(&cluster).await);
    cluster.wait_for_vm("vm-1", v1::VmState::Suspect).await;
    let status = scheduler.provision(order("py", 1)).await.unwrap_err();
    assert!(status.message().contains("1 suspect"), "{status}");
    for (request, code) in [
        (order("nosuch", 1), Code::NotFound),
        (order("py@9", 1), Code::NotFound),
        (order("py", 0), Code::InvalidArgument),
        (order("PY", 1), Code::InvalidArgument),
        (v1::ProvisionRequest { vms: vec!["vm-9".into()], ..order("py", 1) }, Code::NotFound),
        (v1::ProvisionRequest { vms: vec!["host".into()], ..order("py", 1) }, Code::InvalidArgument),
        (v1::ProvisionRequest { env: vec!["nonsense".into()], ..order("py", 1) }, Code::InvalidArgument),
        (v1::ProvisionRequest { shape: 99, ..order("py", 1) }, Code::InvalidArgument),
    ] {
        let status = scheduler.provision(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request:?}: {status}");
    }
}

#[tokio::test]
async fn a_repeated_call_streams_the_same_containers() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 2).await;
    cluster.create_function("py", "a").await;
    let keyed = |key: &str| v1::ProvisionRequest { idempotency_key: key.into(), ..order("py", 2) };
    let first = outcome(cluster.provision(keyed("k")).await).await;
    let again = outcome(cluster.provision(keyed("k")).await).await;
    assert_eq!(first, again);
    assert_eq!(cluster.containers("py").await.len(), 2);
    assert_ne!(outcome(cluster.provision(keyed("other")).await).await, first);
    let other = v1::ProvisionRequest { count: 1, ..keyed("k") };
    let status = cluster.scheduler().await.provision(other).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn the_stream_ends_at_the_deadline_and_the_containers_go_on() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    cluster.create_function("py", "a").await;
    let hasty = v1::ProvisionRequest { deadline_ms: 50, ..order("py", 1) };
    let events = cluster.provision(hasty).await;
    worker.follow().await;
    let start = worker.start().await;
    let states: Vec<_> = all(events).await.iter().map(v1::ContainerEvent::state).collect();
    assert!(!states.contains(&ContainerState::Ready));
    worker.reach(&start.container, ContainerState::Ready).await;
    crate::cluster::eventually("it is ready", async || {
        cluster.containers("py").await[0].state() == ContainerState::Ready
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_cannot_do_fails_with_its_cause() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 1)).await;
    let (id, command) = worker.command().await;
    assert!(matches!(command, command::Command::Follow(_)));
    worker.refuse(id, "disk full").await;
    let last = all(events).await.pop().unwrap();
    assert_eq!(last.state(), ContainerState::Failed);
    assert!(last.cause.contains("disk full"), "{}", last.cause);
    // What was on its way is cleared up.
    loop {
        match worker.command().await.1 {
            command::Command::Start(start) => worker.reach(&start.container, ContainerState::Started).await,
            command::Command::Stop(_) => break,
            command::Command::Leave(_) => worker.reach(&last.container, ContainerState::Started).await,
            other => panic!("{other:?}"),
        }
    }
    let events = cluster.provision(order("py", 1)).await;
    while !matches!(worker.command().await, (_, command::Command::Follow(_))) {}
    let (id, command) = worker.command().await;
    assert!(matches!(command, command::Command::Start(_)));
    worker.refuse(id, "no runtime").await;
    let last = all(events).await.pop().unwrap();
    assert_eq!((last.state(), last.cause.as_str()), (ContainerState::Failed, "no runtime"));
}

#[tokio::test]
async fn reclaiming_stops_containers_and_empties_the_tree() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    let image = cluster.create_function("py", "a").await.image;
    let _events = cluster.provision(order("py", 2)).await;
    worker.follow().await;
    let (first, second) = (worker.start().await.container, worker.start().await.container);
    let mut scheduler = cluster.scheduler().await;
    let reclaim = |containers: &[&String], count| v1::ReclaimRequest {
        function: "py".into(),
        containers: containers.iter().map(ToString::to_string).collect(),
        count,
        tenant: String::new(),
    };
    let mut newest = scheduler.clone();
    let call = tokio::spawn(async move { newest.reclaim(reclaim(&[], 1)).await.unwrap().into_inner() });
    let (id, command) = worker.command().await;
    let stop = v1::StopContainer { container: second.clone() };
    assert_eq!(command, command::Command::Stop(stop), "the newest goes first");
    worker.done(id).await;
    // That it is stopping does not mean that it has stopped.
    worker.assert_quiet(&cluster).await;
    assert!(!call.is_finished());
    worker.reach(&second, ContainerState::Stopped).await;
    assert_eq!(call.await.unwrap().containers, vec![second]);
    assert_eq!(cluster.tree("py").await.vms.len(), 1, "the VM still has a container");

    let request = reclaim(&[&first], 0);
    let call = tokio::spawn(async move { scheduler.reclaim(request).await.unwrap().into_inner() });
    assert_eq!(worker.stop().await, first);
    assert_eq!(worker.leave().await, image);
    assert_eq!(call.await.unwrap().containers, std::slice::from_ref(&first));
    assert!(cluster.tree("py").await.vms.is_empty());
    assert_eq!(cluster.vm("vm-1").await.state(), v1::VmState::Free);
    let states: Vec<_> = cluster.containers("py").await.iter().map(v1::Container::state).collect();
    assert_eq!(states, [ContainerState::Stopped, ContainerState::Stopped]);
    let mut scheduler = cluster.scheduler().await;
    scheduler.reclaim(reclaim(&[&first], 0)).await.expect("a repeated call finds nothing to do");
    let status = scheduler.reclaim(reclaim(&[&"c9-9".to_owned()], 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn exec_goes_to_the_container_and_back() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 1).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 1)).await).await;
    let container = cluster.containers("py").await.remove(0).container;
    let exec = v1::ExecContainerRequest {
        container: container.clone(),
        args: vec!["echo".into(), "hi".into()],
        stdin: b"in".to_vec(),
        timeout_ms: 0,
    };
    let mut scheduler = cluster.scheduler().await;
    let result = scheduler.exec_container(exec.clone()).await.unwrap().into_inner();
    let expected =
        v1::ExecContainerResponse { stdout: b"echo hi".to_vec(), stderr: b"in".to_vec(), exit_code: 7 };
    assert_eq!(result, expected);
    for (bad, code) in [
        (v1::ExecContainerRequest { args: Vec::new(), ..exec.clone() }, Code::InvalidArgument),
        (v1::ExecContainerRequest { container: "c9-9".into(), ..exec.clone() }, Code::NotFound),
        (v1::ExecContainerRequest { container: "x".into(), ..exec.clone() }, Code::InvalidArgument),
    ] {
        assert_eq!(scheduler.exec_container(bad).await.unwrap_err().code(), code);
    }
    scheduler.reclaim(v1::ReclaimRequest { function: "py".into(), ..Default::default() }).await.unwrap();
    let status = scheduler.exec_container(exec).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message().contains("stopped")),
        (Code::FailedPrecondition, true),
        "{status}"
    );
}

#[tokio::test]
async fn a_broken_session_answers_those_who_wait_for_it() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 1)).await;
    worker.follow().await;
    let container = worker.start().await.container;
    worker.reach(&container, ContainerState::Started).await;
    crate::cluster::eventually("it has started", async || {
        cluster.containers("py").await[0].state() == ContainerState::Started
    })
    .await;
    let exec = v1::ExecContainerRequest { container, args: vec!["true".into()], ..Default::default() };
    let mut scheduler = cluster.scheduler().await;
    let call = tokio::spawn(async move { scheduler.exec_container(exec).await.unwrap_err() });
    assert!(matches!(worker.command().await.1, command::Command::Exec(_)));
    drop(worker);
    assert_eq!(call.await.unwrap().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_draining_vm_lets_its_containers_go_and_gets_no_more() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 2).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 2)).await).await;
    cluster.pool().await.drain_vm(v1::DrainVmRequest { vm: "vm-1".into() }).await.unwrap();
    assert_eq!(cluster.vm("vm-1").await.state(), v1::VmState::Draining);
    let drained = cluster.containers("py").await.remove(0);
    assert_eq!((drained.vm.as_str(), drained.state()), ("vm-1", ContainerState::Stopped));
    let placed = all(cluster.provision(order("py", 2)).await).await;
    assert!(placed.iter().all(|event| event.vm == "vm-2"));
    let tree = cluster.tree("py").await;
    assert_eq!(tree.vms.iter().map(|vm| vm.vm.as_str()).collect::<Vec<_>>(), ["vm-2"]);
}

#[tokio::test]
async fn the_tree_shows_edges_depths_and_what_was_touched() {
    let cluster = Cluster::start().await;
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(Worker::new(&cluster).await);
    }
    let image = cluster.create_function("py", "metadata").await.image;
    let _events = cluster.provision(order("py", 2)).await;
    for (worker, touched) in workers.iter_mut().zip([0b01, 0b11]) {
        worker.follow().await;
        let status = v1::ImageStatus {
            image: image.clone(),
            touched: vec![touched, 0xff],
            origin_bytes: 10,
            ..v1::ImageStatus::default()
        };
        worker.heartbeat(vec![status]).await;
    }
    crate::cluster::eventually("both have reported", async || {
        cluster.tree("py").await.vms.iter().all(|vm| vm.image.is_some())
    })
    .await;
    let tree = cluster.tree("py").await;
    assert_eq!(
        (tree.function.as_str(), tree.shape(), tree.mode()),
        ("py@1", v1::TreeShape::Paired, v1::Mode::Lazy)
    );
    assert_eq!(tree.stripes.len(), 2);
    assert!(tree.stripes.iter().all(|stripe| stripe.height == 1 && stripe.edges.len() == 1));
    assert!(tree.vms.iter().all(|vm| vm.name == "host" && vm.depths.len() == 2));
    let stored = ("metadata".len() + "shared".len()) as u64;
    assert_eq!((tree.touched_blocks, tree.touched_bytes, tree.origin_bytes), (2, stored, 20));
}
