//! Start-up profiles: reported by workers, merged, told to the tree.

use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::{BLOCK_SIZE, BlockId, Codec, Digest};
use ft_proto::v1::{self, ContainerState, report};

use crate::cluster::{Cluster, create_request, eventually, order};
use crate::lifecycle::LONG;
use crate::worker::{Host, Worker};

const STORED: u32 = 100;

/// Registers an image with so many blocks of data behind one of metadata.
async fn create_function(cluster: &Cluster, name: &str, blocks: u8) {
    let segment = |kind, count: u8| Segment {
        kind,
        raw_len: u64::from(BLOCK_SIZE) * u64::from(count),
        pack: Digest::of(&[count]),
        blocks: (0..count)
            .map(|nth| BlockEntry { id: BlockId::of(&[count, nth]), stored_len: STORED, codec: Codec::Lz4 })
            .collect(),
    };
    let segments = vec![segment(SegmentKind::Metadata, 1), segment(SegmentKind::Data, blocks)];
    let manifest = Manifest { config: b"{}".to_vec(), segments }.encode();
    let request = v1::CreateFunctionRequest { manifest, ..create_request(name, "") };
    cluster.functions().await.create_function(request).await.unwrap();
}

async fn report(worker: &Worker, start: &v1::StartContainer, blocks: &[u32]) {
    let profile = v1::StartProfile {
        container: start.container.clone(),
        function: start.function.clone(),
        image: start.image.clone(),
        blocks: blocks.to_vec(),
    };
    worker.report(report::Report::StartProfile(profile)).await;
}

#[tokio::test]
async fn what_a_start_read_is_told_to_the_tree_and_to_whoever_joins_it() {
    let cluster = Cluster::start().await;
    let (mut first, mut second) = (Worker::new(&cluster).await, Worker::new(&cluster).await);
    create_function(&cluster, "py", 20).await;
    let _events = cluster.provision(order("py", 2)).await;
    let (before, _) = (first.follow().await, second.follow().await);
    assert!(before.profile.is_empty());
    let (start, _) = (first.start().await, second.start().await);
    first.reach(&start.container, ContainerState::Ready).await;
    report(&first, &start, &[0, 7, 3, 7, 20]).await;
    for worker in [&mut first, &mut second] {
        let told = worker.follow().await;
        assert_eq!(told.profile, [0, 7, 3, 20]);
    }
    let tree = cluster.tree("py").await;
    assert_eq!((tree.profile.as_slice(), tree.profiled_starts), ([0, 7, 3, 20].as_slice(), 1));
    assert_eq!(tree.profile_bytes, u64::from(4 * STORED));
    // Those who know it hear of new edges alone.
    let mut third = Worker::new(&cluster).await;
    let _events = cluster.provision(order("py", 1)).await;
    assert_eq!(third.follow().await.profile, [0, 7, 3, 20]);
    assert!(first.follow().await.profile.is_empty());
}

#[tokio::test]
async fn what_cannot_be_true_does_not_count() {
    let cluster = Cluster::start().await;
    let (mut first, mut second) = (Worker::new(&cluster).await, Worker::new(&cluster).await);
    create_function(&cluster, "py", 20).await;
    create_function(&cluster, "js", 10).await;
    let _events = cluster.provision(order("py", 2)).await;
    first.follow().await;
    second.follow().await;
    let (own, others) = (first.start().await, second.start().await);
    second.reach(&others.container, ContainerState::Ready).await;
    report(&first, &own, &[1]).await; // It has not started.
    first.reach(&own.container, ContainerState::Started).await;
    report(&first, &others, &[2]).await;
    let js = cluster.functions().await;
    let get = v1::GetFunctionRequest { function: "js".into(), tenant: String::new() };
    let image = js.clone().get_function(get).await.unwrap().into_inner().image;
    report(&first, &v1::StartContainer { image, ..own.clone() }, &[3]).await;
    report(&first, &v1::StartContainer { container: "nonsense".into(), ..own.clone() }, &[4]).await;
    report(&second, &others, &[21]).await; // Past the image's end.
    report(&second, &others, &[5]).await; // Once is enough.
    first.assert_quiet(&cluster).await;
    second.assert_quiet(&cluster).await;
    let tree = cluster.tree("py").await;
    assert_eq!((tree.profile.len(), tree.profiled_starts), (0, 0));
}

#[tokio::test]
async fn a_start_from_memory_is_no_cold_one() {
    let cluster = Cluster::start().await;
    let mut worker = Worker::new(&cluster).await;
    create_function(&cluster, "py", 20).await;
    let _events = cluster.provision(order("py", 2)).await;
    worker.follow().await;
    let (cold, warm) = (worker.start().await, worker.start().await);
    for start in [&cold, &warm] {
        worker.reach(&start.container, ContainerState::Ready).await;
    }
    report(&worker, &warm, &[9]).await;
    report(&worker, &cold, &[]).await;
    worker.assert_quiet(&cluster).await;
    assert_eq!(cluster.tree("py").await.profiled_starts, 0);
}

#[tokio::test]
async fn a_profile_survives_a_restart_and_goes_with_the_function() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    create_function(&cluster, "py", 20).await;
    let _events = cluster.provision(order("py", 1)).await;
    worker.follow().await;
    let start = worker.start().await;
    worker.reach(&start.container, ContainerState::Ready).await;
    report(&worker, &start, &[4, 2]).await;
    assert_eq!(worker.follow().await.profile, [4, 2]);
    let reclaim = v1::ReclaimRequest { function: "py".into(), ..Default::default() };
    let mut scheduler = cluster.scheduler().await;
    let call = tokio::spawn(async move { scheduler.reclaim(reclaim).await.unwrap() });
    worker.stop().await;
    call.await.unwrap();

    let cluster = cluster.restart(LONG, LONG).await;
    let mut worker = host.connect(&cluster).await;
    let _events = cluster.provision(order("py", 1)).await;
    assert_eq!(worker.follow().await.profile, [4, 2]);
    worker.start().await;
    assert_eq!(cluster.tree("py").await.profiled_starts, 1);
    drop(worker);
    let mut scheduler = cluster.scheduler().await;
    let reclaim = v1::ReclaimRequest { function: "py".into(), ..Default::default() };
    drop(tokio::spawn(async move { scheduler.reclaim(reclaim).await }));
    // The worker comes back with nothing: what is not wanted any more has stopped.
    let delete = v1::DeleteFunctionRequest { function: "py".into(), tenant: String::new() };
    cluster.wait_for_vm("vm-1", v1::VmState::Suspect).await;
    let _worker = host.connect(&cluster).await;
    let mut functions = cluster.functions().await;
    eventually("the function is gone", async || functions.delete_function(delete.clone()).await.is_ok())
        .await;
    // The same image again is a new function's.
    create_function(&cluster, "py", 20).await;
    assert_eq!(cluster.tree("py").await.profiled_starts, 0);
    let cluster = cluster.restart(LONG, LONG).await;
    assert_eq!(cluster.tree("py").await.profiled_starts, 0);
}

#[tokio::test]
async fn everyone_hears_the_trees_size_when_it_matters() {
    let cluster = Cluster::start().await;
    cluster.create_function("py", "a").await;
    let mut workers = Vec::new();
    let mut heard: Vec<Vec<u32>> = Vec::new();
    let avl = |count| v1::ProvisionRequest { shape: v1::TreeShape::Avl.into(), ..order("py", count) };
    for size in 1..=6u32 {
        workers.push(Worker::new(&cluster).await);
        heard.push(Vec::new());
        let _events = cluster.provision(avl(1)).await;
        let newest = workers.len() - 1;
        heard[newest].push(workers[newest].follow().await.vms);
        workers[newest].start().await;
        // Everyone at the border of small trees and at twice the size, else only those with new edges.
        if [2, 3, 6].contains(&size) {
            for (worker, heard) in workers.iter_mut().zip(&mut heard).take(newest) {
                heard.push(worker.follow().await.vms);
            }
        } else if size > 1 {
            let parent = (newest - 1) / 2;
            heard[parent].push(workers[parent].follow().await.vms);
        }
        for worker in &mut workers {
            worker.assert_quiet(&cluster).await;
        }
    }
    let expected = [vec![1, 2, 3, 6], vec![2, 3, 4, 5, 6], vec![3, 6], vec![4, 6], vec![5, 6], vec![6]];
    assert_eq!(heard, expected);
}
