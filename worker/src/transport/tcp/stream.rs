//! TLS 1.3 over a TCP connection: handshakes, and writing without copies of our own.

use std::io::{self, IoSlice};
use std::sync::Arc;

use ft_core::VmId;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::outbox::Piece;
use crate::transport::tls::{PeerTls, SERVER_NAME};
use crate::wire::ALPN;

/// rustls asks for 4 KiB at a time; the kernel is asked for as much as it has.
const READ_BUFFER: usize = 64 << 10;

/// A connection whose peer has shown its certificate.
pub(super) type Stream = TlsStream<BufReader<TcpStream>>;

/// The child's side of the handshake, with `peer` and nobody else.
pub(super) async fn connect(
    tcp: TcpStream,
    tls: &PeerTls,
    peer: VmId,
) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    let connector = TlsConnector::from(Arc::new(tls.client(peer)?));
    let name = ServerName::try_from(SERVER_NAME)?;
    let stream = connector.connect(name, BufReader::with_capacity(READ_BUFFER, tcp)).await?;
    checked(TlsStream::Client(stream))
}

/// The parent's side of the handshake.
pub(super) async fn accept(
    tcp: TcpStream,
    acceptor: &TlsAcceptor,
) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    let stream = acceptor.accept(BufReader::with_capacity(READ_BUFFER, tcp)).await?;
    checked(TlsStream::Server(stream))
}

/// A peer that names no protocol is none of ours, although TLS would let it pass.
fn checked(stream: Stream) -> Result<Stream, Box<dyn std::error::Error + Send + Sync>> {
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN) => Ok(stream),
        _ => Err("it does not speak ft/1".into()),
    }
}

/// Writes frames, and waits until the kernel has them.
pub(super) async fn write_all(stream: &mut (impl AsyncWrite + Unpin), pieces: &[Piece]) -> io::Result<()> {
    let parts = pieces.iter().flat_map(Piece::parts).filter(|part| !part.is_empty());
    let mut slices: Vec<_> = parts.map(IoSlice::new).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = stream.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    stream.flush().await
}
