//! What a worker is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ft_identity::Token;

use crate::container::{Helper, Network, RuntimeChoice};
use crate::relay::LinkLimits;
use crate::root::Materializer;
use crate::transport::TransportChoice;

/// Everything that a worker is told. Plain data, except for the materializer.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Where the worker keeps its identity, blocks and mounts. One worker per directory.
    pub state_dir: PathBuf,
    /// The manager's address, `https://HOST:PORT`.
    pub manager: String,
    /// Needed for the first start, and when the identity has expired.
    pub join_token: Option<Token>,
    /// A label for people, e.g. the host's name.
    pub name: String,
    /// Where to listen for peers, with one port number for every transport.
    pub listen: SocketAddr,
    /// Which transports to offer and to use.
    pub transport: TransportChoice,
    /// Where peers reach this worker, if that is another address than `listen`'s. An unspecified IP address in
    /// `listen` is replaced by the one from which this host reaches the manager.
    pub advertise: Option<SocketAddr>,
    /// What runs containers.
    pub runtime: RuntimeChoice,
    /// How the runtime's helper is started.
    pub helper: Helper,
    /// What network containers see.
    pub network: Network,
    /// How a container gets its root file system.
    pub roots: RootChoice,
    /// How images are written out where they cannot be mounted.
    pub materializer: Option<Arc<dyn Materializer>>,
    /// Limits and deadlines.
    pub limits: WorkerLimits,
}

/// How a container gets its root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootChoice {
    /// Mounts as root, files otherwise.
    #[default]
    Auto,
    /// Lazy mounts: starts before the data is there. Needs root and /dev/fuse.
    Mount,
    /// The whole image written out as files, owned by the worker's user.
    Materialize,
}

/// Limits and deadlines of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Bytes that blocks and unpacked images may take on disk. Blocks in use are never evicted.
    pub quota_bytes: u64,
    /// Bytes of recent blocks kept in memory to be sent on.
    pub recent_bytes: usize,
    /// Limits of the traffic in blocks.
    pub link: LinkLimits,
    /// When a read from a mount fails because its bytes did not come.
    pub read_deadline: Duration,
    /// When a container fails because its image did not come or could not be mounted.
    pub root_deadline: Duration,
    /// When a container that runs fails because its check did not pass.
    pub ready_deadline: Duration,
    /// How long a process may take to end by itself once it is told to.
    pub stop_grace: Duration,
    /// How long the whole worker may take to end.
    pub shutdown_deadline: Duration,
    /// How often the manager hears of this worker.
    pub heartbeat: Duration,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            quota_bytes: 20 << 30,
            recent_bytes: 8 << 20,
            link: LinkLimits::default(),
            read_deadline: Duration::from_secs(60),
            root_deadline: Duration::from_secs(300),
            ready_deadline: Duration::from_secs(300),
            stop_grace: Duration::from_secs(5),
            shutdown_deadline: Duration::from_secs(20),
            heartbeat: Duration::from_secs(1),
        }
    }
}
