//! How a peer is reached: its address, and the transports that it takes there.

use std::fmt;
use std::net::SocketAddr;

/// A way to carry sessions between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// QUIC, over UDP.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        })
    }
}

/// Which transports a worker offers and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// Every one; of those that a parent offers, the one that is preferred here.
    #[default]
    Auto,
    /// This one and no other.
    Only(TransportKind),
}

impl TransportChoice {
    /// The transports of [`TransportChoice::Auto`], the preferred one first.
    pub const PREFERENCE: [TransportKind; 2] = [TransportKind::Tcp, TransportKind::Quic];

    /// The transports chosen, the preferred one first.
    pub fn kinds(self) -> Vec<TransportKind> {
        match self {
            Self::Auto => Self::PREFERENCE.to_vec(),
            Self::Only(kind) => vec![kind],
        }
    }
}

/// Where a peer listens, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The same port for UDP and TCP.
    pub address: SocketAddr,
    /// What it takes there.
    pub transports: Vec<TransportKind>,
}
/// Kinds in a row, for people.
pub(super) struct Kinds<'a>(pub(super) &'a [TransportKind]);

impl fmt::Display for Kinds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, kind) in self.0.iter().enumerate() {
            write!(f, "{}{kind}", if nth == 0 { "" } else { ", " })?;
        }
        if self.0.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
