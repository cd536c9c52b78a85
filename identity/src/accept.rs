//! The server's side of a TLS connection over TCP: handshakes with a deadline, and who the peer is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::{SpiffeUri, peer_uri};

/// How long accepting rests after the operating system refused (say, no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on what strangers can hold before they have shown who they are.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// At most so many handshakes at a time; further connections wait in the kernel's queue.
    pub handshakes: usize,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(5), handshakes: 1024 }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The identity in the peer's verified certificate; none if it showed no certificate.
    pub uri: Option<SpiffeUri>,
    /// Its address.
    pub address: SocketAddr,
}

/// An established connection: a byte stream whose peer is known.
#[derive(Debug)]
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: PeerInfo,
}

impl PeerStream {
    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }
}

/// Established connections, as they come. For tonic: `serve_with_incoming`; handlers then find
/// [`PeerInfo`] in the request's extensions. Ends never by itself; dropping it ends the listening.
#[derive(Debug)]
pub struct TlsIncoming {
    established: mpsc::Receiver<PeerStream>,
}

impl TlsIncoming {
    /// Accepts from `listener`. Needs a tokio runtime.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>, limits: AcceptLimits) -> Self {
        let (sender, established) = mpsc::channel(16);
        tokio::spawn(accept(listener, TlsAcceptor::from(config), limits, sender));
        Self { established }
    }

    /// The next established connection; none once listening has ended.
    pub async fn next(&mut self) -> Option<PeerStream> {
        self.established.recv().await
    }
}

impl Stream for TlsIncoming {
    type Item = io::Result<PeerStream>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.established.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    limits: AcceptLimits,
    sender: mpsc::Sender<PeerStream>,
) {
    let slots = Arc::new(Semaphore::new(limits.handshakes));
    loop {
        // Never closed, so this only waits for a slot.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(limits.handshake_timeout, handshake(acceptor, stream, address)).await {
                // A closed channel means that the server is going.
                Ok(Ok(stream)) => drop(sender.send(stream).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
            drop(slot);
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) -> io::Result<PeerStream> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let uri = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Some(peer_uri(chain).map_err(io::Error::other)?),
        None => None,
    };
    Ok(PeerStream { stream, peer: PeerInfo { uri, address } })
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;
    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
