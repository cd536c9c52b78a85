//! What an outbox takes in, and what it cuts that into.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::wire::MuxHeader;

/// Bytes that a lane is to carry.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    /// Told once the kernel has every byte; dropped if that will never be.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// A frame to be written.
#[derive(Debug)]
pub(super) struct Piece {
    header: [u8; MuxHeader::BYTES],
    head: Bytes,
    body: Bytes,
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl Piece {
    /// A frame that is no part of a parcel.
    pub(super) fn small(header: MuxHeader, body: Bytes) -> Self {
        Self { header: header.encode(), head: Bytes::new(), body, done: None }
    }

    pub(super) fn len(&self) -> usize {
        self.header.len() + self.head.len() + self.body.len()
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.header, &self.head, &self.body]
    }
}

/// What to write, in order.
pub(super) fn parts(pieces: &[Piece]) -> impl Iterator<Item = &[u8]> {
    pieces.iter().flat_map(Piece::parts)
}

impl Parcel {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Takes the first `len` bytes off.
    pub(super) fn cut(&mut self, header: MuxHeader, len: usize) -> Piece {
        let head = self.head.split_to(len.min(self.head.len()));
        let body = self.body.split_to(len - head.len());
        let done = if self.len() == 0 { self.done.take() } else { None };
        Piece { header: header.encode(), head, body, done }
    }
}
