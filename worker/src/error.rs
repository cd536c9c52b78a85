//! Why a worker cannot start, or stopped.

use std::io;
use std::path::PathBuf;

use crate::container::ContainerError;
use crate::mount::MountError;
use crate::transport::TransportError;

/// Why a worker cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Another worker runs with the same state directory.
    #[error("another worker uses {}; give each its own state directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The state directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    State {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The worker has no identity, and no token to get one.
    #[error(
        "this worker has not joined yet: give it a join token (the manager writes one to STATE_DIR/join-token)"
    )]
    NoToken,
    /// The manager does not take this worker.
    #[error("the manager at {manager} refused: {cause}")]
    Refused {
        /// The manager.
        manager: String,
        /// Why.
        cause: String,
    },
    /// The manager cannot answer at the moment.
    #[error("the manager at {manager} cannot answer: {cause}")]
    Unreachable {
        /// The manager.
        manager: String,
        /// Why.
        cause: String,
    },
    /// The manager's address cannot be used.
    #[error("{manager:?} is no manager's address: {cause}; write https://HOST:PORT")]
    Manager {
        /// What was given.
        manager: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Something about certificates.
    #[error(transparent)]
    Identity(#[from] ft_identity::Error),
    /// The block store cannot be opened.
    #[error("cannot open the block store: {0}")]
    Store(#[from] ft_blockstore::StoreError),
    /// The peers' endpoint cannot be opened.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// No container runtime works here.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// Containers cannot get root file systems here.
    #[error("images cannot be had as root file systems: {0}")]
    NoRoots(String),
    /// The worker was told to stop before it was up.
    #[error("stopped before it was up")]
    Stopped,
    /// A part of the worker ended unexpectedly.
    #[error("a part of the worker died: {0}")]
    Died(String),
}

impl WorkerError {
    /// Whether trying again later may help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Identity(ft_identity::Error::Connect { .. }))
    }
}
