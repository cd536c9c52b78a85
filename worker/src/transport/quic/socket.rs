//! The UDP socket of an endpoint, with fewer wake-ups and calls than quinn's own.
//!
//! tokio's sockets are told whenever the kernel is done with a datagram, as they might wait to send. That is a
//! wake-up for everything that is sent, so this one listens for what arrives and, while its buffer is full, for room.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::gathering::GatheringSocket;

/// Tokio, with [`GatheringSocket`]s.
#[derive(Debug)]
pub(super) struct GatheringRuntime;

impl Runtime for GatheringRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(GatheringSocket::new(Socket::new(socket)?)))
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}

/// The kernel's socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// Whether the kernel took no more when it was asked last.
    full: AtomicBool,
}

impl Socket {
    /// Must be called within a tokio runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        // Makes it non-blocking, too.
        let state = UdpSocketState::new((&socket).into())?;
        let fd = register(socket, Interest::READABLE)?;
        Ok(Self { fd, state, full: AtomicBool::new(false) })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.fd.get_ref().local_addr()
    }

    /// What the kernel can do with large calls.
    pub(super) fn state(&self) -> &UdpSocketState {
        &self.state
    }

    /// Gives datagrams to the kernel.
    ///
    /// # Errors
    /// `WouldBlock`; [`Writable`] waits for its end. Anything else is lost, like datagrams are.
    pub(super) fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.fd.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    /// How many of `buffers` were filled.
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let room = buffers.len().min(BATCH_SIZE);
        loop {
            let mut readable = ready!(self.fd.poll_read_ready(context))?;
            match self.state.recv(self.fd.get_ref().into(), buffers, meta) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => readable.clear_ready(),
                Ok(filled) => {
                    // Fewer than there was room for: no need to ask whether there is more.
                    if filled < room {
                        readable.clear_ready();
                    }
                    return Poll::Ready(Ok(filled));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Waits until the kernel takes more.
    async fn room(&self) -> io::Result<()> {
        // Of its own, so that the socket itself goes on to hear only of what arrives.
        let fd = register(self.fd.get_ref().try_clone()?, Interest::WRITABLE)?;
        fd.writable().await?.retain_ready();
        self.full.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Hears of one kind of events alone.
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: a `UdpSocket` owns its descriptor, names the same one always, and closes it when it is dropped; nothing
    // here takes it out of the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}

/// Waits until a socket takes more. Each task that sends has its own.
pub(super) struct Writable {
    socket: Arc<Socket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl Writable {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self { socket, waiting: None }
    }
}

impl std::fmt::Debug for Writable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() {
            if !self.socket.full.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            let socket = Arc::clone(&self.socket);
            self.waiting = Some(Box::pin(async move { socket.room().await }));
        }
        let waited = match &mut self.waiting {
            Some(waiting) => ready!(waiting.as_mut().poll(context)),
            None => Ok(()),
        };
        self.waiting = None;
        Poll::Ready(waited)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn whoever_found_the_socket_full_waits_until_there_is_room() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = Arc::new(Socket::new(socket).unwrap());
        let mut pollers = [(); 2].map(|()| Writable::new(Arc::clone(&socket)));
        socket.full.store(true, Ordering::Relaxed);
        for poller in &mut pollers {
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(
                Pin::new(poller).poll_writable(&mut context).is_pending(),
                "not before the kernel was asked"
            );
        }
        for poller in &mut pollers {
            let writable = std::future::poll_fn(|context| Pin::new(&mut *poller).poll_writable(context));
            timeout(Duration::from_secs(20), writable).await.expect("an empty buffer has room").unwrap();
        }
        assert!(!socket.full.load(Ordering::Relaxed));
    }
}
