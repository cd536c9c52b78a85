//! A manager on loopback, and clients with credentials of all kinds.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::{BlockId, Codec, Digest};
use ft_identity::{
    ALPN_H2, CurrentIdentity, ExpectedPeer, Identity, TrustRoots, client_config, client_config_pinned,
    connect_grpc,
};
use ft_manager::{Manager, ManagerOptions};
use ft_proto::v1;
use ft_proto::v1::functions_client::FunctionsClient;
use ft_proto::v1::pool_client::PoolClient;
use ft_proto::v1::scheduler_client::SchedulerClient;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub(crate) const ORIGIN: &str = "https://127.0.0.1:1";
/// Nothing in these tests takes nearly as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A manager and its state folder.
pub(crate) struct Cluster {
    pub(crate) manager: Manager,
    pub(crate) dir: tempfile::TempDir,
    shutdown: CancellationToken,
}

impl Cluster {
    /// A manager with a lease that no test outlives, so that workers need no heartbeat.
    pub(crate) async fn start() -> Self {
        Self::with_lease(Duration::from_secs(600)).await
    }

    pub(crate) async fn with_lease(lease: Duration) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), lease, Duration::from_secs(600)).await
    }

    pub(crate) async fn in_dir(dir: tempfile::TempDir, lease: Duration, restart_grace: Duration) -> Self {
        Self::with_options(dir, |options| ManagerOptions { lease, restart_grace, ..options }).await
    }

    pub(crate) async fn with_options(
        dir: tempfile::TempDir,
        change: impl FnOnce(ManagerOptions) -> ManagerOptions,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let shutdown = CancellationToken::new();
        let options = change(ManagerOptions::new(dir.path(), listener, ORIGIN));
        let manager = Manager::start(options, shutdown.clone()).await.unwrap();
        Self { manager, dir, shutdown }
    }

    /// Ends the manager as a shutdown does; its state stays.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.manager.wait()).await.unwrap().unwrap();
        self.dir
    }

    /// The same state under a new manager, at another port.
    pub(crate) async fn restart(self, lease: Duration, restart_grace: Duration) -> Self {
        Self::in_dir(self.stop().await, lease, restart_grace).await
    }

    pub(crate) fn admin_json(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.dir.path().join("admin.json")).unwrap()).unwrap()
    }

    /// A channel with the credential in `admin.json`.
    pub(crate) async fn admin(&self) -> Channel {
        let json = self.admin_json();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let roots = TrustRoots::from_pem(&text("ca_pem")).unwrap();
        let identity = Identity::from_pem(&(text("key_pem") + &text("certificate_pem"))).unwrap();
        connect(&text("manager"), &roots, Some(identity)).await
    }

    /// A channel with this identity, or none.
    pub(crate) async fn channel(&self, identity: Option<Identity>) -> Channel {
        connect(self.manager.url(), self.manager.trust_roots(), identity).await
    }

    /// A channel as a joining worker has it: it knows the token alone.
    pub(crate) async fn pinned(&self) -> Channel {
        let config = client_config_pinned(self.manager.join_token().ca_sha256, &[ALPN_H2]).unwrap();
        connect_grpc(self.manager.url(), Arc::new(config)).await.unwrap()
    }

    pub(crate) async fn scheduler(&self) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.admin().await)
    }

    pub(crate) async fn functions(&self) -> FunctionsClient<Channel> {
        FunctionsClient::new(self.admin().await)
    }

    pub(crate) async fn pool(&self) -> PoolClient<Channel> {
        PoolClient::new(self.admin().await)
    }

    /// Registers a function whose image is told apart by `content`.
    pub(crate) async fn create_function(&self, name: &str, content: &str) -> v1::Function {
        let request = create_request(name, content);
        self.functions().await.create_function(request).await.unwrap().into_inner()
    }

    /// A VM as `ft vm ls` shows it.
    pub(crate) async fn vm(&self, vm: &str) -> v1::Vm {
        let vms = self.pool().await.list_vms(v1::ListVmsRequest {}).await.unwrap().into_inner().vms;
        vms.into_iter().find(|other| other.vm == vm).unwrap()
    }

    /// Waits until a VM is in this state.
    pub(crate) async fn wait_for_vm(&self, vm: &str, state: v1::VmState) {
        eventually(&format!("{vm} is {state:?}"), async || self.vm(vm).await.state() == state).await;
    }

    /// The containers of a function, in the order in which they were placed.
    pub(crate) async fn containers(&self, function: &str) -> Vec<v1::Container> {
        let request = v1::ListContainersRequest { function: function.into(), tenant: String::new() };
        self.scheduler().await.list_containers(request).await.unwrap().into_inner().containers
    }

    pub(crate) async fn tree(&self, function: &str) -> v1::Tree {
        let request = v1::ShowTreeRequest { function: function.into(), tenant: String::new() };
        self.functions().await.show_tree(request).await.unwrap().into_inner()
    }

    /// Starts provisioning and returns the stream of events.
    pub(crate) async fn provision(
        &self,
        request: v1::ProvisionRequest,
    ) -> tonic::Streaming<v1::ContainerEvent> {
        self.scheduler().await.provision(request).await.unwrap().into_inner()
    }
}

/// Asks again until the answer is yes.
pub(crate) async fn eventually(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !question().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connect(url: &str, roots: &TrustRoots, identity: Option<Identity>) -> Channel {
    let identity = identity.map(|identity| CurrentIdentity::new(identity).unwrap());
    let config = client_config(roots, identity, ExpectedPeer::Manager, &[ALPN_H2]).unwrap();
    connect_grpc(url, Arc::new(config)).await.unwrap()
}

pub(crate) fn create_request(name: &str, content: &str) -> v1::CreateFunctionRequest {
    v1::CreateFunctionRequest {
        name: name.into(),
        manifest: manifest(content).encode(),
        source: "dir:/src".into(),
        ..v1::CreateFunctionRequest::default()
    }
}

/// An image with a metadata segment of its own and a data segment that all images share.
pub(crate) fn manifest(content: &str) -> Manifest {
    Manifest {
        config: b"{}".to_vec(),
        segments: vec![segment(SegmentKind::Metadata, content), segment(SegmentKind::Data, "shared")],
    }
}

fn segment(kind: SegmentKind, content: &str) -> Segment {
    let block = BlockEntry {
        id: BlockId::of(content.as_bytes()),
        stored_len: u32::try_from(content.len()).unwrap(),
        codec: Codec::Raw,
    };
    Segment { kind, raw_len: content.len() as u64, pack: Digest::of(content.as_bytes()), blocks: vec![block] }
}

/// A request for containers, with the defaults for the rest.
pub(crate) fn order(function: &str, count: u32) -> v1::ProvisionRequest {
    v1::ProvisionRequest { function: function.into(), count, ..v1::ProvisionRequest::default() }
}

/// All events until the stream ends, by container, as state names.
pub(crate) async fn outcome(
    events: tonic::Streaming<v1::ContainerEvent>,
) -> Vec<(String, Vec<v1::ContainerState>)> {
    let mut found = std::collections::BTreeMap::<String, Vec<v1::ContainerState>>::new();
    for event in all(events).await {
        found.entry(event.container.clone()).or_default().push(event.state());
    }
    found.into_iter().collect()
}

/// All events until the stream ends.
pub(crate) async fn all(mut events: tonic::Streaming<v1::ContainerEvent>) -> Vec<v1::ContainerEvent> {
    let collect = async {
        let mut found = Vec::new();
        while let Some(event) = events.message().await.unwrap() {
            found.push(event);
        }
        found
    };
    tokio::time::timeout(PATIENCE, collect).await.expect("the stream did not end")
}

/// The permissions of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
