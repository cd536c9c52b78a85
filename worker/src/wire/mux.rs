//! Several sessions over one byte stream: the frames of a TCP connection.
//!
//! Every frame starts with a [`MuxHeader`]. The bytes in the [`Data`](MuxHeader::Data) frames of one lane, one
//! after the other, are what a QUIC stream would carry: control messages, or block frames.

use super::reader::Reader;
use super::{Lane, WireError};

const DATA: u8 = 0x40;
const CREDIT: u8 = 0x41;
const END: u8 = 0x42;
const PING: u8 = 0x43;
const CLOSE: u8 = 0x44;

const CONTROL_NUMBER: u8 = 0xfe;

/// The most bytes that one data frame carries: with its header, 64 KiB, which is four TLS records.
pub const MAX_MUX_DATA: u16 = u16::MAX - 7;
/// The most bytes of text that a [`MuxHeader::Close`] carries.
pub const MAX_CLOSE_REASON: usize = 256;

/// A way over a connection that has a window of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MuxLane {
    /// Control messages.
    Control,
    /// Blocks.
    Blocks(Lane),
}

impl MuxLane {
    fn number(self) -> u8 {
        match self {
            Self::Control => CONTROL_NUMBER,
            Self::Blocks(lane) => lane.number(),
        }
    }

    fn from_number(number: u8) -> Result<Self, WireError> {
        if number == CONTROL_NUMBER { Ok(Self::Control) } else { Lane::from_number(number).map(Self::Blocks) }
    }
}

/// The start of a frame on a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuxHeader {
    /// Bytes of a lane follow.
    Data {
        /// The session.
        session: u32,
        /// The lane.
        lane: MuxLane,
        /// Bytes that follow, 1 to [`MAX_MUX_DATA`].
        len: u16,
    },
    /// The sender of a lane may send so many bytes more: four bytes follow.
    Credit {
        /// The session.
        session: u32,
        /// The lane.
        lane: MuxLane,
    },
    /// The session is over.
    End {
        /// The session.
        session: u32,
    },
    /// The sender is alive.
    Ping,
    /// The connection is over: a [`CloseCode`](super::CloseCode) in four bytes and a text follow.
    Close {
        /// Bytes that follow, 4 to 4 + [`MAX_CLOSE_REASON`].
        len: u16,
    },
}

impl MuxHeader {
    /// Its length in bytes.
    pub const BYTES: usize = 8;

    /// The header's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let (kind, lane, len, session) = match self {
            Self::Data { session, lane, len } => (DATA, lane.number(), len, session),
            Self::Credit { session, lane } => (CREDIT, lane.number(), 4, session),
            Self::End { session } => (END, 0, 0, session),
            Self::Ping => (PING, 0, 0, 0),
            Self::Close { len } => (CLOSE, 0, len, 0),
        };
        let [len0, len1] = len.to_le_bytes();
        let [s0, s1, s2, s3] = session.to_le_bytes();
        [kind, lane, len0, len1, s0, s1, s2, s3]
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`WireError`] for a kind, lane or length that does not exist, and for fields that must be zero.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, WireError> {
        let mut reader = Reader::new(&bytes);
        let kind = reader.u8("frame kind")?;
        let lane = reader.u8("lane")?;
        let len = reader.u16("frame length")?;
        let session = reader.u32("session")?;
        let length = || WireError::Length { kind, len: u32::from(len) };
        let header = match kind {
            DATA => Self::Data { session, lane: MuxLane::from_number(lane)?, len },
            CREDIT => Self::Credit { session, lane: MuxLane::from_number(lane)? },
            END => Self::End { session },
            PING => Self::Ping,
            CLOSE => Self::Close { len },
            value => return Err(WireError::Unknown { field: "frame kind", value }),
        };
        let allowed = match header {
            Self::Data { .. } => 1..=MAX_MUX_DATA,
            Self::Credit { .. } => 4..=4,
            Self::End { .. } | Self::Ping => 0..=0,
            // The constant is small.
            #[allow(clippy::cast_possible_truncation, reason = "260")]
            Self::Close { .. } => 4..=4 + MAX_CLOSE_REASON as u16,
        };
        if !allowed.contains(&len) {
            return Err(length());
        }
        if header.encode() != bytes {
            return Err(WireError::Invalid {
                field: "reserved",
                value: u64::from(lane | u8::from(session > 0)),
            });
        }
        Ok(header)
    }
}
