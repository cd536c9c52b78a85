//! Workers and managers that go away and come back.

use std::time::Duration;

use ft_proto::v1::{self, ContainerState, VmState, command};
use tonic::Code;

use crate::cluster::{Cluster, all, eventually, order};
use crate::worker::{Host, Worker, obedient};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// How a worker that lived on describes a container of its own.
pub(crate) fn running(start: &v1::StartContainer, state: ContainerState) -> v1::RunningContainer {
    v1::RunningContainer {
        container: start.container.clone(),
        function: start.function.clone(),
        image: start.image.clone(),
        state: state.into(),
        mode: start.mode,
        shape: start.shape,
    }
}

pub(crate) fn following(follow: &v1::FollowImage) -> v1::ImageStatus {
    v1::ImageStatus { image: follow.image.clone(), epoch: follow.epoch, ..v1::ImageStatus::default() }
}

pub(crate) async fn last_event(cluster: &Cluster, number: usize) -> v1::ContainerEvent {
    cluster.containers("py").await[number].history.last().cloned().unwrap()
}

#[tokio::test]
async fn a_silent_vm_is_suspect_at_once_and_lost_when_its_lease_ends() {
    let lease = Duration::from_millis(1500);
    let cluster = Cluster::with_lease(lease).await;
    let _survivors = obedient(&cluster, 2).await;
    let victim = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 3)).await).await;
    let broken = tokio::time::Instant::now();
    drop(victim);
    cluster.wait_for_vm("vm-3", VmState::Suspect).await;
    assert!(broken.elapsed() < lease, "suspect long before the lease ends");
    assert_eq!(cluster.tree("py").await.vms.len(), 3, "and in its trees until then");
    cluster.wait_for_vm("vm-3", VmState::Lost).await;
    assert!(broken.elapsed() > lease - Duration::from_millis(100));
    eventually("it has left its tree", async || cluster.tree("py").await.vms.len() == 2).await;
    let failed = last_event(&cluster, 2).await;
    assert_eq!((failed.vm.as_str(), failed.state()), ("vm-3", ContainerState::Failed));
    assert!(failed.cause.contains("silent for"), "{}", failed.cause);
    let survivors = cluster.containers("py").await;
    assert!(survivors[..2].iter().all(|container| container.state() == ContainerState::Ready));
}

#[tokio::test]
async fn a_stream_of_events_ends_when_its_vm_is_lost() {
    let cluster = Cluster::with_lease(Duration::from_millis(300)).await;
    let mut worker = Worker::new(&cluster).await;
    cluster.create_function("py", "a").await;
    let events = cluster.provision(order("py", 1)).await;
    worker.follow().await;
    drop(worker);
    let states: Vec<_> = all(events).await.iter().map(v1::ContainerEvent::state).collect();
    assert_eq!(states.last(), Some(&ContainerState::Failed), "{states:?}: there is no other VM");
}

#[tokio::test]
async fn a_worker_that_reconnects_with_what_it_had_is_told_nothing() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 1)).await;
    let (follow, start) = (worker.follow().await, worker.start().await);
    worker.reach(&start.container, ContainerState::Ready).await;
    eventually("it is ready", async || last_event(&cluster, 0).await.state() == ContainerState::Ready).await;
    drop(worker);
    cluster.wait_for_vm(&host.vm, VmState::Suspect).await;
    let registration = v1::Registration {
        containers: vec![running(&start, ContainerState::Ready)],
        images: vec![following(&follow)],
        ..host.registration()
    };
    let mut worker = host.connect_with(&cluster, registration).await;
    worker.assert_quiet(&cluster).await;
    assert_eq!(cluster.vm(&host.vm).await.state(), VmState::Active);
}

#[tokio::test]
async fn a_reconnecting_worker_gets_the_commands_that_it_missed() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 1)).await;
    // It breaks off before it has confirmed anything.
    let (_, missed) = worker.command().await;
    assert!(matches!(missed, command::Command::Follow(_)));
    drop(worker);
    cluster.wait_for_vm(&host.vm, VmState::Suspect).await;
    let mut worker = host.connect(&cluster).await;
    let follow = worker.follow().await;
    let start = worker.start().await;
    assert_eq!(start.container, cluster.containers("py").await[0].container);

    // And the other way round: a container is reclaimed while its worker is away.
    worker.reach(&start.container, ContainerState::Started).await;
    eventually("it has started", async || last_event(&cluster, 0).await.state() == ContainerState::Started)
        .await;
    drop(worker);
    cluster.wait_for_vm(&host.vm, VmState::Suspect).await;
    let mut scheduler = cluster.scheduler().await;
    let reclaim = v1::ReclaimRequest { function: "py".into(), ..Default::default() };
    let call = tokio::spawn(async move { scheduler.reclaim(reclaim).await.unwrap() });
    let registration = v1::Registration {
        containers: vec![running(&start, ContainerState::Started)],
        images: vec![following(&follow)],
        ..host.registration()
    };
    let mut worker = host.connect_with(&cluster, registration).await;
    assert_eq!(worker.stop().await, start.container);
    assert_eq!(worker.leave().await, start.image);
    call.await.unwrap();
}

#[tokio::test]
async fn what_nobody_wants_is_stopped_and_left() {
    let cluster = Cluster::start().await;
    let image = cluster.create_function("py", "a").await.image;
    let host = Host::join(&cluster).await;
    let stray = v1::StartContainer { container: "c7-7".into(), ..v1::StartContainer::default() };
    let epoch = Some(v1::Epoch { term: 7, counter: 7 });
    let registration = v1::Registration {
        containers: vec![running(&stray, ContainerState::Ready)],
        images: vec![v1::ImageStatus { image: image.clone(), epoch, ..v1::ImageStatus::default() }],
        ..host.registration()
    };
    let mut worker = host.connect_with(&cluster, registration).await;
    assert_eq!(worker.stop().await, "c7-7");
    let (id, command) = worker.command().await;
    assert!(matches!(command, command::Command::Leave(_)));
    worker.refuse(id, "a container uses it").await;
    assert_eq!(worker.leave().await, image, "asked again");
    worker.assert_quiet(&cluster).await;
}

#[tokio::test]
async fn neighbours_hear_of_a_new_address() {
    let cluster = Cluster::start().await;
    let hosts = [Host::join(&cluster).await, Host::join(&cluster).await];
    let mut first = hosts[0].connect(&cluster).await;
    let mut second = hosts[1].connect(&cluster).await;
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 2)).await;
    let (before, _) = (first.follow().await, second.follow().await);
    let (_, start) = (first.start().await, second.start().await);
    drop(second);
    cluster.wait_for_vm("vm-2", VmState::Suspect).await;
    let registration = v1::Registration {
        peer_address: "127.0.0.1:999".into(),
        transports: vec![v1::Transport::Tcp.into(), v1::Transport::Quic.into()],
        containers: vec![running(&start, ContainerState::Started)],
        ..hosts[1].registration()
    };
    let mut second = hosts[1].connect_with(&cluster, registration).await;
    assert!(!second.follow().await.stripes.is_empty());
    // Leaving and joining again are two changes; the last one is what counts.
    let mut heard = first.follow().await;
    while !heard.peers.iter().any(|peer| peer.address == "127.0.0.1:999") {
        heard = first.follow().await;
    }
    assert!(heard.epoch.unwrap().counter > before.epoch.unwrap().counter);
    let moved = heard.peers.iter().find(|peer| peer.address == "127.0.0.1:999").unwrap();
    let transports: Vec<_> = moved.transports().collect();
    assert_eq!(transports, [v1::Transport::Tcp, v1::Transport::Quic], "in the worker's order");
}

#[tokio::test]
async fn a_second_session_of_a_vm_replaces_the_first() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut first = host.connect(&cluster).await;
    let mut second = host.connect(&cluster).await;
    assert_eq!(first.end().await, Code::Unavailable);
    second.assert_quiet(&cluster).await;
    assert_eq!(cluster.vm(&host.vm).await.state(), VmState::Free);
}

#[tokio::test]
async fn a_session_begins_with_a_usable_registration() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let wildcard = v1::Registration { peer_address: "0.0.0.0:5".into(), ..host.registration() };
    let nonsense = v1::Registration { peer_address: "here".into(), ..host.registration() };
    let heartbeat = v1::report::Report::Heartbeat(v1::Heartbeat::default());
    for first in
        [v1::report::Report::Registration(wildcard), v1::report::Report::Registration(nonsense), heartbeat]
    {
        let report = v1::Report { report: Some(first) };
        let mut commands =
            host.client(&cluster).await.session(tokio_stream::iter([report])).await.unwrap().into_inner();
        assert_eq!(commands.message().await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(cluster.vm(&host.vm).await.state(), VmState::Lost, "it has joined, but never connected");
}

#[tokio::test]
async fn a_restarted_manager_takes_up_what_runs() {
    let cluster = Cluster::start().await;
    let hosts = [Host::join(&cluster).await, Host::join(&cluster).await];
    let (mut first, mut second) = (hosts[0].connect(&cluster).await, hosts[1].connect(&cluster).await);
    let image = cluster.create_function("py", "a").await.image;
    let request = v1::ProvisionRequest {
        shape: v1::TreeShape::Avl.into(),
        mode: v1::Mode::Full.into(),
        idempotency_key: "k".into(),
        ..order("py", 2)
    };
    let _events = cluster.provision(request.clone()).await;
    let follows = [first.follow().await, second.follow().await];
    let starts = [first.start().await, second.start().await];
    let cluster = cluster.restart(LONG, LONG).await;
    assert_eq!(first.end().await, Code::Unavailable);

    assert_eq!(cluster.vm("vm-1").await.state(), VmState::Suspect);
    let containers = cluster.containers("py").await;
    assert_eq!(containers.len(), 2);
    let registration = |number: usize| v1::Registration {
        containers: vec![running(&starts[number], ContainerState::Ready)],
        images: vec![following(&follows[number])],
        ..hosts[number].registration()
    };
    // The first to come back keeps its old edges until the other is there too.
    let mut first = hosts[0].connect_with(&cluster, registration(0)).await;
    first.assert_quiet(&cluster).await;
    let mut second = hosts[1].connect_with(&cluster, registration(1)).await;
    let (root, leaf) = (first.follow().await, second.follow().await);
    assert_eq!((root.image.as_str(), root.mode()), (image.as_str(), v1::Mode::Full));
    assert_eq!((root.stripes.len(), leaf.stripes[0].parent.as_str()), (1, "vm-1"));
    assert!(root.epoch.unwrap().term > follows[0].epoch.unwrap().term, "a new term");
    let listed = cluster.containers("py").await;
    assert!(listed.iter().all(|container| container.state() == ContainerState::Ready));
    // The same call still means the same containers, and new ones have new names.
    all(cluster.provision(request).await).await;
    assert_eq!(cluster.containers("py").await.len(), 2);
    let _events = cluster.provision(order("py", 1)).await;
    let names: Vec<_> =
        cluster.containers("py").await.into_iter().map(|container| container.container).collect();
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{names:?}");
}

#[tokio::test]
async fn vms_that_do_not_come_back_after_a_restart_are_lost() {
    let cluster = Cluster::start().await;
    let hosts = [Host::join(&cluster).await, Host::join(&cluster).await];
    let (mut first, mut second) = (hosts[0].connect(&cluster).await, hosts[1].connect(&cluster).await);
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 2)).await;
    let (_, start) = (first.follow().await, first.start().await);
    second.follow().await;
    let cluster = cluster.restart(LONG, Duration::from_millis(1500)).await;
    let registration = v1::Registration {
        containers: vec![running(&start, ContainerState::Ready)],
        ..hosts[0].registration()
    };
    let mut first = hosts[0].connect_with(&cluster, registration).await;
    let follow = first.follow().await;
    assert!(follow.stripes.iter().all(|stripe| stripe.parent.is_empty() && stripe.children.is_empty()));
    assert_eq!(cluster.vm("vm-2").await.state(), VmState::Lost);
    assert_eq!(last_event(&cluster, 1).await.state(), ContainerState::Failed);
}

#[tokio::test]
async fn functions_tokens_and_vms_survive_a_restart() {
    let cluster = Cluster::start().await;
    let function = cluster.create_function("py", "a").await;
    let token = cluster.manager.join_token().to_string();
    Host::join(&cluster).await;
    cluster.pool().await.drain_vm(v1::DrainVmRequest { vm: "vm-1".into() }).await.unwrap();
    let cluster = cluster.restart(LONG, LONG).await;
    let get = v1::GetFunctionRequest { function: "py".into(), tenant: String::new() };
    let found = cluster.functions().await.get_function(get).await.unwrap().into_inner();
    assert_eq!(found, function);
    assert_eq!(cluster.manager.join_token().to_string(), token);
    assert_eq!(Host::join(&cluster).await.vm, "vm-2");
    assert_eq!(cluster.vm("vm-1").await.state(), VmState::Draining);
    assert_eq!(cluster.create_function("py", "b").await.version, 2);
}

#[tokio::test]
async fn a_worker_that_takes_no_commands_is_disconnected_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let command_timeout = Duration::from_millis(200);
    let cluster = Cluster::with_options(dir, |options| ft_manager::ManagerOptions {
        lease: LONG,
        command_timeout,
        ..options
    })
    .await;
    let mut stuck = Worker::new(&cluster).await;
    cluster.create_function("py", "a").await;
    let _events = cluster.provision(order("py", 1)).await;
    stuck.follow().await;
    let container = stuck.start().await.container;
    stuck.reach(&container, ContainerState::Started).await;
    eventually("it has started", async || last_event(&cluster, 0).await.state() == ContainerState::Started)
        .await;
    // Far more than fits into the connection, and nobody reads it.
    let exec = v1::ExecContainerRequest {
        container,
        args: vec!["cat".into()],
        stdin: vec![0; 1 << 20],
        ..v1::ExecContainerRequest::default()
    };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut scheduler, exec) = (cluster.scheduler().await, exec.clone());
        calls.spawn(async move { scheduler.exec_container(exec).await.unwrap_err().code() });
    }
    cluster.wait_for_vm(&stuck.vm, VmState::Suspect).await;
    while let Some(code) = calls.join_next().await {
        assert_eq!(code.unwrap(), Code::Unavailable);
    }
}

#[tokio::test]
async fn the_manager_renews_its_own_certificate() {
    let certificate_lifetime = Duration::from_secs(2);
    let cluster = Cluster::with_options(tempfile::tempdir().unwrap(), |options| ft_manager::ManagerOptions {
        certificate_lifetime,
        ..options
    })
    .await;
    let pool = cluster.pool().await;
    let expires = cluster.manager.identity().get().expires_at();
    while std::time::SystemTime::now() < expires + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pool.clone().list_vms(v1::ListVmsRequest {}).await.expect("the old connection goes on");
    cluster.pool().await.list_vms(v1::ListVmsRequest {}).await.expect("new connections are accepted");
}
