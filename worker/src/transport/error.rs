//! Why a session could not be had, or ended.

use std::net::SocketAddr;

use ft_core::VmId;

use super::TransportKind;
use super::peer::Kinds;
use crate::wire::{Decline, WireError};

/// A cause that another library reported.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a session could not be had, or ended.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The endpoint's address cannot be used.
    #[error("cannot listen for peers at {address} ({kind}): {source}")]
    Bind {
        /// The transport.
        kind: TransportKind,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The TLS configuration cannot be used.
    #[error("cannot use this worker's certificate for peers: {0}")]
    Tls(#[source] Cause),
    /// No connection to a peer.
    #[error("cannot connect to {peer} at {address} ({kind}): {source}")]
    Connect {
        /// Over which transport.
        kind: TransportKind,
        /// The peer.
        peer: VmId,
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: Cause,
    },
    /// The peer takes no transport that this worker uses.
    #[error(
        "no transport in common with {peer} at {address}: it takes {}, this worker uses {}; see --transport",
        Kinds(theirs),
        Kinds(ours)
    )]
    NothingInCommon {
        /// The peer.
        peer: VmId,
        /// Its address.
        address: SocketAddr,
        /// What it takes.
        theirs: Vec<TransportKind>,
        /// What this worker uses.
        ours: Vec<TransportKind>,
    },
    /// The peer's certificate does not name a VM of this trust domain.
    #[error("a peer at {address} is no worker of this trust domain: {source}")]
    NoWorker {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: Cause,
    },
    /// The peer did not do something in time.
    #[error("{peer} did not {what} in time")]
    Deadline {
        /// The peer.
        peer: VmId,
        /// What.
        what: &'static str,
    },
    /// The peer does not want the session.
    #[error("{peer} declined: {why}")]
    Declined {
        /// The peer.
        peer: VmId,
        /// Why.
        why: Decline,
    },
    /// The peer broke the protocol and was disconnected.
    #[error("{peer} broke the protocol and was disconnected: {source}")]
    Protocol {
        /// The peer.
        peer: VmId,
        /// How.
        source: WireError,
    },
    /// The connection is gone.
    #[error("lost {peer}: {source}")]
    Lost {
        /// The peer.
        peer: VmId,
        /// Why.
        source: Cause,
    },
    /// The peer ended the session.
    #[error("{peer} ended the session")]
    Ended {
        /// The peer.
        peer: VmId,
    },
    /// This transport is closed.
    #[error("this worker's transport is closed")]
    Closed,
}
