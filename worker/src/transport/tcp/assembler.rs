//! Puts messages and blocks together from the frames of a lane, each read straight into its own buffer.

use std::io;

use bytes::Bytes;
use ft_blockstore::BlockBuffer;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Side;
use crate::transport::Frame;
use crate::wire::{Envelope, FrameHeader, MuxLane, ToChild, ToParent, WireError};

/// Something whole that arrived on a lane.
#[derive(Debug)]
pub(super) enum Arrived {
    Request(ToParent),
    Reply(ToChild),
    Block(Frame),
}

/// Why reading stops.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Wire(WireError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WireError> for ReadError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What has come of the next message or block of a lane.
#[derive(Debug)]
pub(super) struct Assembler {
    side: Side,
    lane: MuxLane,
    head: [u8; FrameHeader::BYTES],
    head_len: usize,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    of: Head,
    len: usize,
    bytes: BlockBuffer,
}

#[derive(Clone, Copy, Debug)]
enum Head {
    Message(Envelope),
    Block(FrameHeader),
}

impl Assembler {
    pub(super) fn new(side: Side, lane: MuxLane) -> Self {
        Self { side, lane, head: [0; FrameHeader::BYTES], head_len: 0, body: None }
    }

    /// Reads at most `left` bytes, up to the end of the next thing; with it, how many bytes it took on the lane.
    /// Without one, `left` is 0. Calls `heard` whenever something came.
    pub(super) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        left: &mut usize,
        heard: &impl Fn(),
    ) -> Result<Option<(Arrived, u32)>, ReadError> {
        if self.body.is_none() {
            let missing = &mut self.head[self.head_len..head_bytes(self.lane)];
            let len = missing.len().min(*left);
            stream.read_exact(&mut missing[..len]).await?;
            heard();
            *left -= len;
            self.head_len += len;
            if self.head_len < head_bytes(self.lane) {
                return Ok(None);
            }
            self.body = Some(self.begin()?);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        while body.bytes.len() < body.len && *left > 0 {
            let most = (body.len - body.bytes.len()).min(*left);
            let len = stream.take(most as u64).read_buf(&mut *body.bytes).await?;
            if len == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            heard();
            *left -= len;
        }
        if body.bytes.len() < body.len {
            return Ok(None);
        }
        Ok(Some(self.finish()?))
    }

    fn begin(&self) -> Result<Body, WireError> {
        let (of, len) = match self.lane {
            MuxLane::Control => {
                let [kind, a, b, c, d, ..] = self.head;
                let envelope = Envelope::decode([kind, a, b, c, d])?;
                (Head::Message(envelope), envelope.len)
            }
            MuxLane::Blocks(_) => {
                let header = FrameHeader::decode(self.head)?;
                (Head::Block(header), header.stored_len)
            }
        };
        let len = len as usize;
        Ok(Body { of, len, bytes: BlockBuffer::with_capacity(len) })
    }

    fn finish(&mut self) -> Result<(Arrived, u32), WireError> {
        let (head, bytes) = match self.body.take() {
            Some(body) => (body.of, body.bytes.freeze()),
            None => return Err(WireError::Unexpected { what: "the end of a message" }),
        };
        self.head_len = 0;
        // Both lengths are bounded by the wire's limits.
        let len = u32::try_from(head_bytes(self.lane) + bytes.len()).unwrap_or(u32::MAX);
        Ok((self.decode(head, bytes)?, len))
    }

    fn decode(&self, head: Head, bytes: Bytes) -> Result<Arrived, WireError> {
        Ok(match (head, self.side) {
            (Head::Block(FrameHeader { block, class, .. }), _) => {
                Arrived::Block(Frame { block, class, stored: bytes })
            }
            (Head::Message(envelope), Side::Parent) => {
                Arrived::Request(ToParent::decode(envelope.kind, &bytes)?)
            }
            (Head::Message(envelope), Side::Child) => Arrived::Reply(ToChild::decode(envelope.kind, &bytes)?),
        })
    }
}

fn head_bytes(lane: MuxLane) -> usize {
    match lane {
        MuxLane::Control => Envelope::BYTES,
        MuxLane::Blocks(_) => FrameHeader::BYTES,
    }
}
