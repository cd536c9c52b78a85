//! What quinn sends in small pieces is given to the kernel in large ones.
//!
//! quinn sends at most ten datagrams in a call. Every call costs much the same whatever it carries: a walk through
//! the kernel's network stack here and, as the kernel keeps its pieces together, at the receiver; there it is one
//! wake-up and one acknowledgement, and that is one wake-up of the sender. So datagrams of one destination are
//! gathered while more may follow, up to what one call can carry, at most until the endpoint's task has run twice.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::socket::{Socket, Writable};

#[cfg(test)]
mod tests;

/// Datagrams that quinn hands over in one call when it has more (`MAX_TRANSMIT_SEGMENTS` of quinn 0.11). A call
/// with fewer says that nothing follows.
pub(super) const FULL_CALL: usize = 10;
/// What one call can carry: an IPv4 packet's 65,535 bytes less its headers.
const MAX_BYTES: usize = 65_507;
/// Destinations that are gathered for at the same time; a VM rarely has more children that it pushes to.
const MAX_BATCHES: usize = 8;

/// A socket that gathers what it sends.
#[derive(Debug)]
pub(super) struct GatheringSocket {
    socket: Arc<Socket>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    batches: Vec<Batch>,
    /// The endpoint's task, which sends what nothing follows.
    endpoint: Option<Waker>,
    writable: Writable,
}

/// Datagrams for one destination, all of one size but for the last.
#[derive(Debug)]
struct Batch {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<IpAddr>,
    segment: usize,
    bytes: Vec<u8>,
    /// Whether something was added since the endpoint's task looked.
    grown: bool,
}

impl Batch {
    fn new(transmit: &Transmit<'_>, segment: usize) -> Self {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        bytes.extend_from_slice(transmit.contents);
        let Transmit { destination, ecn, src_ip: source, .. } = *transmit;
        Self { destination, ecn, source, segment, bytes, grown: true }
    }

    fn takes(&self, transmit: &Transmit<'_>) -> bool {
        let fits = match transmit.segment_size {
            Some(segment) => segment == self.segment,
            // The last of a batch may be shorter.
            None => transmit.contents.len() <= self.segment,
        };
        fits && self.ecn == transmit.ecn
            && self.source == transmit.src_ip
            && self.bytes.len() + transmit.contents.len() <= MAX_BYTES
    }

    fn has_room(&self) -> bool {
        self.bytes.len() + self.segment <= MAX_BYTES
    }

    fn send(&self, socket: &Socket) -> io::Result<()> {
        socket.send(&Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.bytes,
            segment_size: Some(self.segment),
            src_ip: self.source,
        })
    }
}

impl GatheringSocket {
    pub(super) fn new(socket: Socket) -> Self {
        let socket = Arc::new(socket);
        let writable = Writable::new(Arc::clone(&socket));
        let gathered = Gathered { batches: Vec::new(), endpoint: None, writable };
        Self { socket, gathered: Mutex::new(gathered) }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of each datagram, if more may follow, and this socket can send them all at once.
    fn full_call(&self, transmit: &Transmit<'_>) -> Option<usize> {
        let segment = transmit.segment_size?;
        let full = transmit.contents.len() == FULL_CALL * segment;
        (full && self.max_transmit_segments() * segment >= MAX_BYTES).then_some(segment)
    }

    /// Sends the batches that have not grown since the last time. To the others more may follow, and the task comes back
    /// after whoever sends.
    fn drain(&self, context: &mut Context<'_>) {
        let mut gathered = self.lock();
        if gathered.endpoint.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            gathered.endpoint = Some(context.waker().clone());
        }
        let Gathered { batches, writable, .. } = &mut *gathered;
        let mut full = false;
        batches.retain_mut(|batch| {
            if full || std::mem::take(&mut batch.grown) {
                return true;
            }
            let sent = batch.send(&self.socket);
            full = sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            full
        });
        if !full {
            if !batches.is_empty() {
                context.waker().wake_by_ref();
            }
            return;
        }
        match Pin::new(writable).poll_writable(context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => context.waker().wake_by_ref(),
            // Nobody would be told when there is room: they are lost, as datagrams may be.
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "datagrams are dropped");
                batches.clear();
            }
        }
    }
}

impl Gathered {
    /// More may follow; the endpoint's task sees to it if not.
    fn wake(&self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.wake_by_ref();
        }
    }
}

impl AsyncUdpSocket for GatheringSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable::new(Arc::clone(&self.socket)))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut gathered = self.lock();
        let full = self.full_call(transmit);
        let mut at = gathered.batches.iter().position(|batch| batch.destination == transmit.destination);
        if let Some(found) = at.filter(|found| !gathered.batches[*found].takes(transmit)) {
            // In order: first what came before.
            gathered.batches[found].send(&self.socket)?;
            gathered.batches.swap_remove(found);
            at = None;
        }
        let Some(at) = at else {
            return match full {
                Some(segment) if gathered.endpoint.is_some() && gathered.batches.len() < MAX_BATCHES => {
                    gathered.batches.push(Batch::new(transmit, segment));
                    gathered.wake();
                    Ok(())
                }
                _ => self.socket.send(transmit),
            };
        };
        let batch = &mut gathered.batches[at];
        let before = batch.bytes.len();
        batch.bytes.extend_from_slice(transmit.contents);
        if full.is_some() && batch.has_room() {
            batch.grown = true;
            gathered.wake();
            return Ok(());
        }
        if let Err(error) = batch.send(&self.socket) {
            // Whoever called keeps this one, and tries again.
            batch.bytes.truncate(before);
            return Err(error);
        }
        gathered.batches.swap_remove(at);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.drain(context);
        self.socket.poll_receive(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.state().max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.state().gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.state().may_fragment()
    }
}
