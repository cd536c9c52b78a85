//! Reads the protocol from byte streams, whichever network they come from.

use std::time::Duration;

use bytes::Bytes;
use ft_blockstore::BlockBuffer;
use ft_core::VmId;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{Frame, TransportError};
use crate::wire::{Envelope, FrameHeader, StreamHeader, WireError};

/// How long a peer may take for the rest of something that it has begun. A block takes 44 ms at 100 Mbit/s;
/// demands may overtake a pushed one for a while.
const REST_DEADLINE: Duration = Duration::from_secs(60);

/// A byte stream from one peer.
pub(super) struct PeerReader<R> {
    pub(super) peer: VmId,
    pub(super) stream: R,
}

impl<R: AsyncRead + Unpin + Send> PeerReader<R> {
    /// The next control message, or `None` where the stream ends.
    pub(super) async fn message<T>(
        &mut self,
        decode: impl FnOnce(u8, &[u8]) -> Result<T, WireError>,
    ) -> Result<Option<T>, TransportError> {
        let Some(head) = self.head::<{ Envelope::BYTES }>().await? else { return Ok(None) };
        let envelope = self.check(Envelope::decode(head))?;
        let payload = self.body(envelope.len).await?;
        self.check(decode(envelope.kind, &payload)).map(Some)
    }

    /// The start of a block stream.
    pub(super) async fn stream_header(&mut self) -> Result<StreamHeader, TransportError> {
        let head = self.head().await?.ok_or(TransportError::Ended { peer: self.peer })?;
        self.check(StreamHeader::decode(head))
    }

    /// The next frame, or `None` where the stream ends.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>, TransportError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let FrameHeader { block, class, stored_len } = self.check(FrameHeader::decode(head))?;
        let stored = self.body(stored_len).await?;
        Ok(Some(Frame { block, class, stored }))
    }

    /// The next `N` bytes, or `None` if the stream ends before the first of them. Waits for the first for as
    /// long as it takes: silence is for the caller to judge.
    async fn head<const N: usize>(&mut self) -> Result<Option<[u8; N]>, TransportError> {
        let mut bytes = [0; N];
        let first = self.stream.read(&mut bytes).await.map_err(|source| self.lost(source))?;
        if first == 0 {
            return Ok(None);
        }
        let rest = self.stream.read_exact(&mut bytes[first..]);
        let rest = timeout(REST_DEADLINE, rest).await.map_err(|_| self.late())?;
        rest.map_err(|source| self.lost(source))?;
        Ok(Some(bytes))
    }

    /// The next `len` bytes, copied once, straight into the buffer that is passed on.
    async fn body(&mut self, len: u32) -> Result<Bytes, TransportError> {
        let len = len as usize;
        let mut bytes = BlockBuffer::with_capacity(len);
        let reading = async {
            while bytes.len() < len {
                let mut rest = (&mut self.stream).take((len - bytes.len()) as u64);
                if rest.read_buf(&mut *bytes).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        };
        let read = timeout(REST_DEADLINE, reading).await;
        read.map_err(|_| self.late())?.map_err(|source| self.lost(source))?;
        Ok(bytes.freeze())
    }

    fn check<T>(&self, decoded: Result<T, WireError>) -> Result<T, TransportError> {
        decoded.map_err(|source| TransportError::Protocol { peer: self.peer, source })
    }

    fn lost(&self, source: std::io::Error) -> TransportError {
        TransportError::Lost { peer: self.peer, source: Box::new(source) }
    }

    fn late(&self) -> TransportError {
        TransportError::Deadline { peer: self.peer, what: "finish what it was sending" }
    }
}
