//! What the pool tests share: a manager, workers, and a function image of busybox.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ft_blockstore::codec::compress_block;
use ft_blockstore::{BlobSource, DirOrigin, Origin};
use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::{BLOCK_SIZE, BlockId, Digest};
use ft_identity::{
    ALPN_H2, CurrentIdentity, ExpectedPeer, Identity, TrustRoots, client_config, connect_grpc,
};
use ft_manager::{Manager, ManagerOptions};
use ft_proto::v1;
use ft_proto::v1::functions_client::FunctionsClient;
use ft_proto::v1::pool_client::PoolClient;
use ft_proto::v1::scheduler_client::SchedulerClient;
use ft_worker::container::{Helper, Network, RuntimeChoice};
use ft_worker::{Materializer, RootChoice, TransportChoice, Worker, WorkerLimits, WorkerOptions};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::container_support::{HELPER, busybox_tree};
use crate::mount_support::{Area, Killed, image_of, pattern};

/// Far beyond what anything here takes; a test that meets it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the containers run: they say that they are up, and stay.
const CONFIG: &str = r#"{
    "args": ["/bin/sh", "-c", "echo up; exec sleep 1000"],
    "env": ["WHO=image"],
    "cwd": "/tmp",
    "check": {"exec": {"args": ["/bin/test", "-e", "/etc/marker"]}}
}"#;

/// A function image in an origin of its own, and the tree that it was made from.
pub(crate) struct FunctionImage {
    pub(crate) tree: PathBuf,
    pub(crate) origin: PathBuf,
    pub(crate) manifest: Manifest,
}

impl FunctionImage {
    /// Busybox, and a large file that nobody needs for a start.
    pub(crate) async fn busybox(area: &Area) -> Self {
        let tree = busybox_tree(&area.dir("source"));
        fs::write(tree.join("etc/large"), pattern(9_000_000)).unwrap();
        let made = image_of(&tree, &area.dir("made"));
        let origin = area.dir("origin");
        let store = DirOrigin::open(&origin).unwrap();
        let segments = vec![
            segment(SegmentKind::Metadata, &made.meta, &store).await,
            segment(SegmentKind::Data, &made.data, &store).await,
        ];
        Self { tree, origin, manifest: Manifest { config: CONFIG.into(), segments } }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest.encode())
    }
}

/// Packs a file into a segment whose pack goes to `origin`.
async fn segment(kind: SegmentKind, file: &Path, origin: &DirOrigin) -> Segment {
    let raw = fs::read(file).unwrap();
    let mut pack = Vec::new();
    let mut blocks = Vec::new();
    for block in raw.chunks(BLOCK_SIZE as usize) {
        let (codec, stored) = compress_block(block);
        let stored_len = u32::try_from(stored.len()).unwrap();
        blocks.push(BlockEntry { id: BlockId::of(&stored), stored_len, codec });
        pack.extend_from_slice(&stored);
    }
    let digest = Digest::of(&pack);
    origin.put(&digest, BlobSource::Bytes(Bytes::from(pack))).await.unwrap();
    Segment { kind, raw_len: raw.len() as u64, pack: digest, blocks }
}

/// A manager with everything to talk to it.
pub(crate) struct Pool<'a> {
    area: &'a Area,
    manager: Option<(Manager, CancellationToken)>,
    address: std::net::SocketAddr,
}

impl<'a> Pool<'a> {
    pub(crate) async fn new(area: &'a Area) -> Self {
        Self::with(area, |_| ()).await
    }

    pub(crate) async fn with(area: &'a Area, change: impl FnOnce(&mut ManagerOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut pool = Self { area, manager: None, address };
        pool.start_manager(listener, change).await;
        pool
    }

    async fn start_manager(&mut self, listener: TcpListener, change: impl FnOnce(&mut ManagerOptions)) {
        let stop = CancellationToken::new();
        // No container needs the default origin: each function here names its own.
        let mut options = ManagerOptions::new(self.area.dir("manager"), listener, "https://127.0.0.1:1");
        change(&mut options);
        let manager = Manager::start(options, stop.clone()).await.unwrap();
        self.manager = Some((manager, stop));
    }

    pub(crate) async fn stop_manager(&mut self) {
        let (manager, stop) = self.manager.take().unwrap();
        stop.cancel();
        manager.wait().await.unwrap();
    }

    pub(crate) async fn restart_manager(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.start_manager(listener, |_| ()).await;
    }

    /// What a worker with its state below `name` is told.
    pub(crate) fn options(&self, name: &str) -> WorkerOptions {
        let token = fs::read_to_string(self.area.dir("manager").join("join-token")).unwrap();
        WorkerOptions {
            state_dir: self.area.path().join(name),
            manager: format!("https://{}", self.address),
            join_token: Some(token.trim().parse().unwrap()),
            name: name.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            transport: TransportChoice::Auto,
            advertise: None,
            runtime: RuntimeChoice::Sandbox,
            helper: Helper::at(HELPER),
            network: Network::Isolated,
            roots: RootChoice::Mount,
            materializer: None,
            limits: WorkerLimits { stop_grace: Duration::from_millis(200), ..WorkerLimits::default() },
        }
    }

    /// Starts such a worker.
    pub(crate) async fn worker(&self, name: &str, change: impl FnOnce(&mut WorkerOptions)) -> Running {
        let mut options = self.options(name);
        change(&mut options);
        let stop = CancellationToken::new();
        let worker = timeout(PATIENCE, Worker::start(options, stop.clone())).await.unwrap().unwrap();
        let vm = worker.vm().to_string();
        timeout(PATIENCE, self.await_session(&vm))
            .await
            .unwrap_or_else(|_| panic!("{name} is in no session"));
        Running { worker, stop }
    }

    /// Starts a worker with its state below `name` as a process of its own, which may receive so many bytes per
    /// second.
    pub(crate) fn worker_process(&self, name: &str, download_bytes_per_s: u64) -> Killed {
        let WorkerOptions { state_dir, manager, join_token, .. } = self.options(name);
        let mut command = std::process::Command::new(HELPER);
        command.arg("worker").arg(state_dir).arg(manager);
        command.args([join_token.unwrap().to_string(), download_bytes_per_s.to_string()]);
        Killed(command.spawn().unwrap())
    }

    /// Waits until the manager is in session with a VM.
    async fn await_session(&self, vm: &str) {
        let mut pool = PoolClient::new(self.channel().await);
        loop {
            let listed = pool.list_vms(v1::ListVmsRequest {}).await.unwrap().into_inner();
            let known = listed.vms.iter().find(|known| known.vm == vm);
            if known.is_some_and(|vm| matches!(vm.state(), v1::VmState::Free | v1::VmState::Active)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A connection as the admin whose credential the manager wrote.
    async fn channel(&self) -> Channel {
        let json = fs::read(self.area.dir("manager").join("admin.json")).unwrap();
        let admin: BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
        let identity =
            Identity::from_pem(&format!("{}{}", admin["certificate_pem"], admin["key_pem"])).unwrap();
        let roots = TrustRoots::from_pem(&admin["ca_pem"]).unwrap();
        let identity = Some(CurrentIdentity::new(identity).unwrap());
        let config = client_config(&roots, identity, ExpectedPeer::Manager, &[ALPN_H2]).unwrap();
        connect_grpc(&admin["manager"], Arc::new(config)).await.unwrap()
    }

    pub(crate) async fn scheduler(&self) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.channel().await)
    }

    pub(crate) async fn create(&self, name: &str, image: &FunctionImage) {
        let request = v1::CreateFunctionRequest {
            name: name.to_owned(),
            manifest: image.manifest.encode(),
            origin: format!("dir:{}", image.origin.display()),
            source: "a test".to_owned(),
            tenant: String::new(),
        };
        FunctionsClient::new(self.channel().await).create_function(request).await.unwrap();
    }

    /// Starts containers and waits until each is ready or failed; the last event of each.
    pub(crate) async fn provision(&self, function: &str, count: u32) -> Vec<v1::ContainerEvent> {
        self.provision_with(function, count, Vec::new()).await
    }

    /// The same with another command than the image's.
    pub(crate) async fn provision_with(
        &self,
        function: &str,
        count: u32,
        args: Vec<String>,
    ) -> Vec<v1::ContainerEvent> {
        let request =
            v1::ProvisionRequest { function: function.to_owned(), count, args, ..Default::default() };
        let mut events = self.scheduler().await.provision(request).await.unwrap().into_inner();
        let mut last = BTreeMap::new();
        let all = async {
            while let Some(event) = events.message().await.unwrap() {
                last.insert(event.container.clone(), event);
            }
        };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("not all ended"));
        last.into_values().collect()
    }

    /// The same, for containers that all become ready; their ids.
    pub(crate) async fn provision_ready(&self, function: &str, count: u32) -> Vec<String> {
        let events = self.provision(function, count).await;
        assert_eq!(events.len(), count as usize);
        for event in &events {
            assert_eq!(event.state(), v1::ContainerState::Ready, "{event:?}");
        }
        events.into_iter().map(|event| event.container).collect()
    }

    /// Runs a command in a container; its output.
    pub(crate) async fn exec(&self, container: &str, args: &[&str]) -> String {
        let request = v1::ExecContainerRequest {
            container: container.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            ..Default::default()
        };
        let answer = self.scheduler().await.exec_container(request).await.unwrap().into_inner();
        assert_eq!(answer.exit_code, 0, "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }

    pub(crate) async fn reclaim(&self, function: &str) {
        let request = v1::ReclaimRequest { function: function.to_owned(), ..Default::default() };
        self.scheduler().await.reclaim(request).await.unwrap();
    }

    /// Waits until the manager sees every container in `state`.
    pub(crate) async fn await_state(&self, state: v1::ContainerState) {
        let mut scheduler = self.scheduler().await;
        let request = v1::ListContainersRequest::default();
        let reached = async {
            loop {
                let listed = scheduler.list_containers(request.clone()).await.unwrap().into_inner();
                if listed.containers.iter().all(|container| container.state() == state) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("not all became {state:?}"));
    }

    /// Limits a VM's traffic.
    pub(crate) async fn limit(&self, vm: String, limits: v1::VmLimits) {
        let request = v1::SetVmLimitsRequest { vm, limits: Some(limits) };
        PoolClient::new(self.channel().await).set_vm_limits(request).await.unwrap();
    }

    /// How many VMs are in `state`.
    pub(crate) async fn vms(&self, state: v1::VmState) -> usize {
        let listed = PoolClient::new(self.channel().await).list_vms(v1::ListVmsRequest {}).await.unwrap();
        listed.into_inner().vms.iter().filter(|vm| vm.state() == state).count()
    }

    /// The images on the VMs, as last reported.
    pub(crate) async fn statuses(&self) -> Vec<v1::ImageStatus> {
        let listed = PoolClient::new(self.channel().await).list_vms(v1::ListVmsRequest {}).await.unwrap();
        listed.into_inner().vms.into_iter().flat_map(|vm| vm.images).collect()
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not so in time: {what}"));
}

/// The same, for what takes a call to find out.
pub(crate) async fn eventually_async(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not so in time: {what}"));
}

/// A running worker.
pub(crate) struct Running {
    pub(crate) worker: Worker,
    stop: CancellationToken,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.worker.wait()).await.unwrap().unwrap();
    }
}

/// Checks that it is given the image's files, and writes out the tree that they were made from.
pub(crate) struct Copier {
    pub(crate) tree: PathBuf,
    pub(crate) made: PathBuf,
}

impl Materializer for Copier {
    fn materialize(
        &self,
        metadata: &Path,
        data: &Path,
        dest: &Path,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for (given, made) in [(metadata, "meta.img"), (data, "data.img")] {
            if fs::read(given)? != fs::read(self.made.join(made))? {
                return Err(format!("{} is not the image's {made}", given.display()).into());
            }
        }
        let copied = std::process::Command::new("cp").arg("-a").args([&*self.tree, dest]).status()?;
        if copied.success() { Ok(()) } else { Err("cp failed".into()) }
    }
}
