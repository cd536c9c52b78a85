//! TLS 1.3 over a TCP connection, with a record layer of our own: blocks are sealed straight into what the kernel
//! is given, and opened where the kernel put them, so each side copies them once. rustls makes the handshake and
//! the keys, and opens records; reading and writing share nothing but the keys' succession.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ft_core::VmId;
use rustls::ServerConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CLOSE_DEADLINE;
use crate::transport::TransportError;
use crate::transport::tls::{PeerTls, SERVER_NAME};
use crate::wire::ALPN;

mod handshake;
mod keys;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod write;

use handshake::{Handshaken, handshake};
pub(super) use read::ReadStream;
pub(super) use write::WriteStream;

/// What a peer may still send at the end: more than windows let out that hold blocks for a few sessions.
const MOST_DISCARDED: usize = 16 << 20;

/// A connection whose peer has shown its certificate.
pub(super) struct Stream {
    peer_certificates: Vec<CertificateDer<'static>>,
    read: ReadStream,
    write: WriteStream,
}

impl Stream {
    /// What the peer has shown.
    pub(super) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// The socket, to set options of.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.read.socket()
    }

    /// Its two directions, which go on independently.
    pub(super) fn split(self) -> (ReadStream, WriteStream) {
        (self.read, self.write)
    }
}

/// Tells the peer the last word (that this was all, or what it did wrong), and waits until it has heard.
pub(super) async fn part(read: &mut ReadStream, write: &mut WriteStream) {
    if timeout(CLOSE_DEADLINE, write.shutdown()).await.is_ok_and(|shut| shut.is_ok()) {
        // A socket that is closed with something unread in it takes back what it has sent.
        let _ = timeout(CLOSE_DEADLINE, read.discard(MOST_DISCARDED)).await;
    }
}

/// What [`accept`] needs of a worker.
pub(super) fn server(tls: &PeerTls) -> Result<Arc<ServerConfig>, TransportError> {
    let mut config = tls.server()?;
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// The child's side of the handshake, with `peer` and nobody else.
pub(super) async fn connect(
    tcp: TcpStream,
    tls: &PeerTls,
    peer: VmId,
) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = tls.client(peer)?;
    config.enable_secret_extraction = true;
    let connection = UnbufferedClientConnection::new(Arc::new(config), ServerName::try_from(SERVER_NAME)?)?;
    checked(handshake(connection, tcp).await?)
}

/// The parent's side of the handshake.
pub(super) async fn accept(
    tcp: TcpStream,
    server: &Arc<ServerConfig>,
) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    let connection = UnbufferedServerConnection::new(Arc::clone(server))?;
    checked(handshake(connection, tcp).await?)
}

/// A peer that names no protocol is none of ours, although TLS would let it pass.
fn checked(made: Handshaken) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    if made.protocol.as_deref() != Some(ALPN) {
        return Err("it does not speak ft/1".into());
    }
    let (read, write) = made.tcp.into_split();
    Ok(Stream {
        peer_certificates: made.peer_certificates,
        read: ReadStream::new(read, made.opener, Arc::clone(&made.keys), made.unread),
        write: WriteStream::new(write, made.sealer, made.keys),
    })
}
