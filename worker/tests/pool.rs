//! Whole workers, with a real manager, from the first join to the last unmount.
#![cfg(test)]

mod container_support;
mod mount_support;
mod pool_support;

use std::time::Duration;

use ft_identity::Token;
use ft_proto::v1::{self, ContainerState};
use ft_worker::{RootChoice, TransportChoice, TransportKind, Worker, WorkerError, WorkerOptions};
use tokio_util::sync::CancellationToken;

use mount_support::Area;
use pool_support::{Copier, FunctionImage, Pool, eventually, eventually_async};

/// Three VMs start a container each before the data is there, read the same bytes, and leave nothing behind.
async fn start_lazily_on_every_vm_and_leave_nothing(transport: TransportChoice) {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pool = Pool::new(&area).await;
    let mut workers = Vec::new();
    for name in ["w1", "w2", "w3"] {
        workers.push(pool.worker(name, |options| options.transport = transport).await);
    }
    pool.create("busy", &image).await;
    let containers = pool.provision_ready("busy", 3).await;

    for status in pool.statuses().await {
        assert!(status.touched_blocks > 0 && !status.complete, "{status:?}");
    }
    let stored = image.manifest.stored_bytes();
    let fetched: u64 = pool.statuses().await.iter().map(|status| status.origin_bytes).sum();
    assert!(fetched < stored / 2, "{fetched} of {stored} bytes left the origin for a start");

    let expected = digest_of(&std::fs::read(image.tree.join("etc/large")).unwrap());
    for container in &containers {
        let printed = pool.exec(container, &["/bin/busybox", "sha256sum", "/etc/large"]).await;
        assert!(printed.starts_with(&expected), "{printed}");
        assert_eq!(pool.exec(container, &["/bin/sh", "-c", "echo $WHO; pwd"]).await, "image\n/tmp\n");
    }
    let fetched: u64 = pool.statuses().await.iter().map(|status| status.origin_bytes).sum();
    assert!(fetched <= stored, "the origin gave nothing twice: {fetched} of {stored}");

    pool.reclaim("busy").await;
    for worker in ["w1", "w2", "w3"] {
        let roots = area.path().join(worker).join("mnt/roots");
        eventually("the root is unmounted", || !area.mounted().iter().any(|at| at.starts_with(&roots))).await;
    }
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_lazily_on_every_vm_over_tcp() {
    start_lazily_on_every_vm_and_leave_nothing(TransportChoice::Only(TransportKind::Tcp)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_lazily_on_every_vm_over_quic() {
    start_lazily_on_every_vm_and_leave_nothing(TransportChoice::Only(TransportKind::Quic)).await;
}

fn digest_of(bytes: &[u8]) -> String {
    ft_core::Digest::of(bytes).hex().to_string()
}

/// A worker that starts again is the same VM, and has the blocks that it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_keeps_its_name_and_its_blocks() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    let vm = worker.worker.vm();
    pool.create("busy", &image).await;
    let containers = pool.provision_ready("busy", 1).await;
    pool.exec(&containers[0], &["/bin/sh", "-c", "cat /etc/large | wc -c"]).await;
    pool.reclaim("busy").await;
    worker.stop().await;

    let worker = pool.worker("w1", |_| ()).await;
    assert_eq!(worker.worker.vm(), vm);
    pool.provision_ready("busy", 1).await;
    for status in pool.statuses().await {
        assert_eq!((status.origin_bytes, status.complete), (0, true), "{status:?}");
    }
    worker.stop().await;
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

/// A worker that is killed in the middle of an image: what it had stored is used, and only the rest is fetched.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_fetches_only_what_it_lacks() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let stored = image.manifest.stored_bytes();
    let pool = Pool::new(&area).await;
    pool.create("busy", &image).await;
    let mut process = pool.worker_process("w1", stored / 4);
    eventually_async("the worker is a member", async || pool.vms(v1::VmState::Free).await == 1).await;
    let request = v1::ProvisionRequest {
        function: "busy".to_owned(),
        count: 1,
        mode: v1::Mode::Full.into(),
        ..Default::default()
    };
    let _events = pool.scheduler().await.provision(request).await.unwrap();
    let half = async || pool.statuses().await.iter().any(|status| status.stored_bytes >= stored / 2);
    eventually_async("half of the image is stored", half).await;
    process.kill();
    let kept = bytes_below(&area.path().join("w1/blocks/blocks"));
    assert!((stored / 2..stored).contains(&kept), "{kept} of {stored} bytes were stored");

    let worker = pool.worker("w1", |_| ()).await;
    pool.provision_ready("busy", 1).await;
    let complete = async || pool.statuses().await.iter().any(|status| status.complete);
    eventually_async("the image is complete", complete).await;
    for status in pool.statuses().await {
        assert_eq!(status.origin_bytes, stored - kept, "what was stored is used: {status:?}");
    }
    pool.reclaim("busy").await;
    worker.stop().await;
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

/// The sizes of all files in the folders of a directory.
fn bytes_below(dir: &std::path::Path) -> u64 {
    let folders = std::fs::read_dir(dir).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// A worker that ends tells the manager, which does not wait for the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_takes_leave() {
    let area = Area::new();
    let pool = Pool::with(&area, |options| options.lease = Duration::from_secs(3600)).await;
    let worker = pool.worker("w1", |_| ()).await;
    assert_eq!(pool.vms(v1::VmState::Free).await, 1);
    worker.stop().await;
    assert_eq!(pool.vms(v1::VmState::Lost).await, 1);
    let worker = pool.worker("w1", |_| ()).await;
    assert_eq!(pool.vms(v1::VmState::Free).await, 1, "it is welcome again");
    worker.stop().await;
}

/// Under a limit that lets only the first two blocks through, no container gets ready; lifting it through the
/// manager is enough.
#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_a_worker_runs() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |options| options.limits.link.download_bytes_per_s = 1).await;
    pool.create("busy", &image).await;
    let mut ready = std::pin::pin!(pool.provision_ready("busy", 1));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut ready).await;
    assert!(early.is_err(), "ready in spite of the limit: {early:?}");
    pool.limit(worker.worker.vm().to_string(), v1::VmLimits::default()).await;
    ready.await;
    let waits: u64 = pool.statuses().await.iter().flat_map(|status| &status.demand_waits).sum();
    assert!(waits > 0, "a reader waited, and was counted");
    worker.stop().await;
}

/// Without the manager, containers go on; when it is back, it knows of them again.
#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_restart_of_the_manager() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let mut pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    pool.create("busy", &image).await;
    let containers = pool.provision_ready("busy", 1).await;
    pool.exec(&containers[0], &["/bin/touch", "/tmp/before"]).await;
    pool.stop_manager().await;
    pool.restart_manager().await;
    pool.await_state(ContainerState::Ready).await;
    // The same container, with what it wrote; and data that was never read before still comes.
    pool.exec(&containers[0], &["/bin/test", "-e", "/tmp/before"]).await;
    let size = pool.exec(&containers[0], &["/bin/sh", "-c", "cat /etc/large | wc -c"]).await;
    assert_eq!(size.trim(), "9000000");
    worker.stop().await;
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

/// Where nothing can be mounted, the whole image is written out.
#[tokio::test(flavor = "multi_thread")]
async fn containers_run_from_files_where_nothing_can_be_mounted() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pool = Pool::new(&area).await;
    let copier = Copier { tree: image.tree.clone(), made: area.dir("made") };
    let worker = pool
        .worker("w1", |options| {
            options.roots = RootChoice::Materialize;
            options.materializer = Some(std::sync::Arc::new(copier));
        })
        .await;
    pool.create("busy", &image).await;
    let containers = pool.provision_ready("busy", 2).await;
    pool.exec(&containers[0], &["/bin/touch", "/etc/own"]).await;
    let listed = pool.exec(&containers[1], &["/bin/ls", "/etc"]).await;
    assert!(!listed.contains("own"), "each has files of its own: {listed}");
    pool.reclaim("busy").await;
    let files = area.path().join("w1/containers");
    eventually("the containers' files are gone", || std::fs::read_dir(&files).unwrap().count() == 0).await;
    worker.stop().await;
}

/// An image whose program is not there: the container fails, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_says_why() {
    let area = Area::new();
    let mut image = FunctionImage::busybox(&area).await;
    image.manifest.config = br#"{"args": ["/bin/absent"]}"#.to_vec();
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    pool.create("broken", &image).await;
    let events = pool.provision("broken", 1).await;
    assert_eq!(events[0].state(), ContainerState::Failed);
    assert!(events[0].cause.contains("/bin/absent"), "{}", events[0].cause);
    worker.stop().await;
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

/// An image without a command runs the caller's, and fails without one.
#[tokio::test(flavor = "multi_thread")]
async fn the_caller_may_name_the_command() {
    let area = Area::new();
    let mut image = FunctionImage::busybox(&area).await;
    image.manifest.config = br#"{"args": []}"#.to_vec();
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    pool.create("bare", &image).await;
    let args = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
    let events = pool.provision_with("bare", 1, args).await;
    assert_eq!(events[0].state(), ContainerState::Ready, "{:?}", events[0]);
    pool.reclaim("bare").await;
    let events = pool.provision("bare", 1).await;
    assert_eq!(events[0].state(), ContainerState::Failed);
    assert!(events[0].cause.contains("no program"), "{}", events[0].cause);
    worker.stop().await;
}

/// An origin without the data: the metadata is enough for a mount, then the program cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_read_is_explained() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pack = image.manifest.segments[1].pack;
    std::fs::remove_file(image.origin.join("blobs/sha256").join(pack.hex().to_string())).unwrap();
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    pool.create("gone", &image).await;
    let events = pool.provision("gone", 1).await;
    assert_eq!(events[0].state(), ContainerState::Failed);
    let cause = &events[0].cause;
    assert!(cause.contains("could not be read: block") && cause.contains(&pack.to_string()), "{cause}");
    worker.stop().await;
}

/// An origin without the image: the start fails, and the error names the block and the place.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_nowhere_is_named() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    std::fs::remove_dir_all(image.origin.join("blobs")).unwrap();
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |options| options.limits.root_deadline = Duration::from_secs(30)).await;
    pool.create("gone", &image).await;
    let events = pool.provision("gone", 1).await;
    assert_eq!(events[0].state(), ContainerState::Failed);
    let cause = &events[0].cause;
    assert!(cause.contains("block 0") && cause.contains(&image.origin.display().to_string()), "{cause}");
    assert!(cause.contains(&image.digest().to_string()), "{cause}");
    worker.stop().await;
}

/// Certificates that last for seconds: the worker stays a member, with a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_renews_its_certificate_in_time() {
    let area = Area::new();
    let pool = Pool::with(&area, |options| options.certificate_lifetime = Duration::from_secs(3)).await;
    let worker = pool.worker("w1", |_| ()).await;
    let file = area.path().join("w1/identity.pem");
    let first = std::fs::read(&file).unwrap();
    eventually("the certificate is another one", || std::fs::read(&file).unwrap() != first).await;
    worker.stop().await;
}

/// A token of this manager's authority, but with another secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_token_is_told_so() {
    let area = Area::new();
    let pool = Pool::new(&area).await;
    let options = pool.options("w1");
    let ca_sha256 = options.join_token.as_ref().unwrap().ca_sha256;
    let options = WorkerOptions { join_token: Some(Token::generate(ca_sha256).unwrap()), ..options };
    let error = Worker::start(options, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, WorkerError::Refused { .. }), "{error}");

    let options = WorkerOptions { join_token: None, ..pool.options("w2") };
    let error = Worker::start(options, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, WorkerError::NoToken), "{error}");
}

/// A command with input, and one that fails.
#[tokio::test(flavor = "multi_thread")]
async fn commands_in_containers_take_input_and_give_codes() {
    let area = Area::new();
    let image = FunctionImage::busybox(&area).await;
    let pool = Pool::new(&area).await;
    let worker = pool.worker("w1", |_| ()).await;
    pool.create("busy", &image).await;
    let containers = pool.provision_ready("busy", 1).await;
    let request = v1::ExecContainerRequest {
        container: containers[0].clone(),
        args: ["/bin/sh", "-c", "cat; echo bad >&2; exit 7"].map(str::to_owned).to_vec(),
        stdin: b"given".to_vec(),
        timeout_ms: 0,
    };
    let answer = pool.scheduler().await.exec_container(request).await.unwrap().into_inner();
    assert_eq!((answer.exit_code, &answer.stdout[..], &answer.stderr[..]), (7, &b"given"[..], &b"bad\n"[..]));
    worker.stop().await;
}
