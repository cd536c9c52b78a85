//! Functions, their versions, and what the origin may throw away.

use ft_core::Digest;
use ft_proto::v1::{self, ContainerState};
use tonic::Code;

use crate::cluster::{Cluster, all, create_request, order};
use crate::worker::obedient;

fn get(function: &str) -> v1::GetFunctionRequest {
    v1::GetFunctionRequest { function: function.into(), tenant: String::new() }
}

fn delete(function: &str) -> v1::DeleteFunctionRequest {
    v1::DeleteFunctionRequest { function: function.into(), tenant: String::new() }
}

fn digest(content: &str) -> String {
    Digest::of(content.as_bytes()).to_string()
}

#[tokio::test]
async fn a_function_is_described_by_its_manifest() {
    let cluster = Cluster::start().await;
    let function = cluster.create_function("py", "metadata").await;
    let manifest = crate::cluster::manifest("metadata");
    assert_eq!((function.name.as_str(), function.version, function.tenant.as_str()), ("py", 1, "default"));
    assert_eq!(function.image, Digest::of(&manifest.encode()).to_string());
    assert_eq!((function.image_bytes, function.stored_bytes, function.blocks), (14, 14, 2));
    assert!(function.created_unix_us > 0);
    let mut functions = cluster.functions().await;
    assert_eq!(functions.get_function(get("py")).await.unwrap().into_inner(), function);
    let broken = v1::CreateFunctionRequest { manifest: b"no manifest".to_vec(), ..create_request("py", "") };
    for (request, code) in [
        (broken, Code::InvalidArgument),
        (create_request("Py", "a"), Code::InvalidArgument),
        (
            v1::CreateFunctionRequest { tenant: "-".into(), ..create_request("py", "a") },
            Code::InvalidArgument,
        ),
        (
            v1::CreateFunctionRequest { origin: "x".repeat(5000), ..create_request("py", "a") },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(functions.create_function(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn seeding_a_name_again_makes_a_version_and_running_trees_keep_theirs() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 2).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 1)).await).await;
    let second = cluster.create_function("py", "b").await;
    assert_eq!(second.version, 2);
    let placed = all(cluster.provision(order("py", 1)).await).await;
    assert!(placed.iter().all(|event| event.function == "py@2"));
    let versions: Vec<_> =
        cluster.containers("py").await.into_iter().map(|container| container.function).collect();
    assert_eq!(versions, ["py@1", "py@2"]);
    assert_eq!(cluster.containers("py@1").await.len(), 1);
    for (name, vms) in [("py@1", 1), ("py@2", 1), ("py", 1)] {
        assert_eq!(cluster.tree(name).await.vms.len(), vms, "{name}");
    }
    all(cluster.provision(order("py@1", 1)).await).await;
    assert_eq!(cluster.tree("py@1").await.vms.len(), 2);

    let list = async |all_versions| {
        let request = v1::ListFunctionsRequest { tenant: String::new(), all_versions };
        let functions =
            cluster.functions().await.list_functions(request).await.unwrap().into_inner().functions;
        functions.into_iter().map(|function| (function.version, function.containers)).collect::<Vec<_>>()
    };
    assert_eq!(list(false).await, [(2, 1)]);
    assert_eq!(list(true).await, [(1, 2), (2, 1)]);
}

#[tokio::test]
async fn two_versions_with_one_image_share_a_tree() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 2).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 1)).await).await;
    cluster.create_function("py", "a").await;
    all(cluster.provision(order("py", 1)).await).await;
    assert_eq!(cluster.tree("py@1").await.vms.len(), 2);
    assert_eq!(cluster.tree("py@1").await.epoch, cluster.tree("py@2").await.epoch);
    // Each version has its own containers all the same.
    let reclaim = v1::ReclaimRequest { function: "py@1".into(), ..Default::default() };
    assert_eq!(cluster.scheduler().await.reclaim(reclaim).await.unwrap().into_inner().containers.len(), 1);
    let states: Vec<_> = cluster.containers("py").await.iter().map(v1::Container::state).collect();
    assert_eq!(states, [ContainerState::Stopped, ContainerState::Ready]);
}

#[tokio::test]
async fn reclaiming_a_name_takes_from_all_versions_the_newest_first() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 2).await;
    for (version, image) in ["a", "b"].iter().enumerate() {
        cluster.create_function("py", image).await;
        all(cluster.provision(order(&format!("py@{}", version + 1), 2)).await).await;
    }
    let running = async || {
        let containers = cluster.containers("py").await;
        let running = containers.into_iter().filter(|container| container.state() == ContainerState::Ready);
        running.map(|container| container.function).collect::<Vec<_>>()
    };
    let reclaim = async |count| {
        let request = v1::ReclaimRequest { function: "py".into(), count, ..Default::default() };
        cluster.scheduler().await.reclaim(request).await.unwrap().into_inner().containers.len()
    };
    assert_eq!((reclaim(3).await, running().await), (3, vec!["py@1".to_owned()]));
    assert_eq!((reclaim(0).await, running().await), (1, vec![]));
}

#[tokio::test]
async fn a_function_in_use_stays_and_shared_packs_are_spared() {
    let cluster = Cluster::start().await;
    let _workers = obedient(&cluster, 1).await;
    let (first, second) =
        (cluster.create_function("py", "a").await, cluster.create_function("py", "b").await);
    all(cluster.provision(order("py@1", 1)).await).await;
    let mut functions = cluster.functions().await;
    let status = functions.delete_function(delete("py")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("ft reclaim py@1"), "{status}");
    functions.get_function(get("py@2")).await.expect("all or none are deleted");

    let gone = functions.delete_function(delete("py@2")).await.unwrap().into_inner();
    assert_eq!(gone.deleted.iter().map(|function| function.version).collect::<Vec<_>>(), [2]);
    let mut expected = vec![second.image, digest("b")];
    expected.sort();
    assert_eq!(gone.unreferenced, expected, "the shared pack is spared");

    let reclaim = v1::ReclaimRequest { function: "py".into(), ..Default::default() };
    cluster.scheduler().await.reclaim(reclaim).await.unwrap();
    let gone = functions.delete_function(delete("py")).await.unwrap().into_inner();
    let mut expected = vec![first.image, digest("a"), digest("shared")];
    expected.sort();
    assert_eq!(gone.unreferenced, expected);
    assert_eq!(functions.get_function(get("py")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(functions.delete_function(delete("py")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(cluster.create_function("py", "a").await.version, 3, "no version number twice");
}

#[tokio::test]
async fn a_manifest_above_grpcs_usual_limit_passes_both_ways() {
    use ft_core::manifest::{BlockEntry, SegmentKind};
    let cluster = Cluster::start().await;
    let host = crate::worker::Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    let mut manifest = crate::cluster::manifest("a");
    let data = manifest.segments.iter_mut().find(|segment| segment.kind == SegmentKind::Data).unwrap();
    let block = BlockEntry { codec: ft_core::Codec::Lz4, ..data.blocks[0] };
    data.blocks = (0..120_000u32)
        .map(|number| BlockEntry { id: ft_core::BlockId::of(&number.to_le_bytes()), ..block })
        .collect();
    data.raw_len = 120_000 * u64::from(ft_core::BLOCK_SIZE);
    let encoded = manifest.encode();
    assert!(encoded.len() > 4 << 20);
    let request = v1::CreateFunctionRequest { manifest: encoded.clone(), ..create_request("big", "") };
    let mut functions = cluster.functions().await.max_encoding_message_size(ft_proto::MAX_MESSAGE_BYTES);
    let image = functions.create_function(request).await.unwrap().into_inner().image;
    let _events = cluster.provision(order("big", 1)).await;
    worker.follow().await;
    let mut client = host.client(&cluster).await.max_decoding_message_size(ft_proto::MAX_MESSAGE_BYTES);
    let answer = client.get_manifest(v1::GetManifestRequest { image }).await.unwrap().into_inner();
    assert!(answer.manifest == encoded);
}
