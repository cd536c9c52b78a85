//! Block streams: a header, then frames.

use ft_core::relay::Class;
use ft_core::{BlockIndex, Stripe};

use super::reader::Reader;
use super::{MAX_STORED_LEN, WireError};

/// One of the ways that blocks take from a parent to a child. Lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Blocks that a reader waits for. Overtakes every push lane of the connection.
    Demand,
    /// Blocks of one stripe that the child will want.
    Push(Stripe),
}

impl Lane {
    /// Every lane of a session.
    pub const ALL: [Self; 3] = [Self::Demand, Self::Push(Stripe(0)), Self::Push(Stripe(1))];

    const DEMAND_NUMBER: u8 = 0xff;

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Demand => Self::DEMAND_NUMBER,
            Self::Push(stripe) => stripe.0,
        }
    }

    pub(super) fn from_number(number: u8) -> Result<Self, WireError> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.number() == number)
            .ok_or(WireError::Unknown { field: "lane", value: number })
    }
}

/// The start of a block stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// The session that the stream belongs to: the number in the child's hello.
    pub session: u32,
    /// The stream's lane.
    pub lane: Lane,
}

impl StreamHeader {
    /// Its length in bytes.
    pub const BYTES: usize = 6;
    const KIND: u8 = 0x20;

    /// The header's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let session = self.session.to_le_bytes();
        [Self::KIND, self.lane.number(), session[0], session[1], session[2], session[3]]
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for a stream kind or lane that does not exist.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, WireError> {
        let mut reader = Reader::new(&bytes);
        let kind = reader.u8("stream kind")?;
        if kind != Self::KIND {
            return Err(WireError::Unknown { field: "stream kind", value: kind });
        }
        let lane = Lane::from_number(reader.u8("lane")?)?;
        Ok(Self { session: reader.u32("session")?, lane })
    }
}

/// The start of a frame: which block follows, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The block.
    pub block: BlockIndex,
    /// How urgent the sender thinks it is.
    pub class: Class,
    /// Stored bytes that follow, 1 to [`MAX_STORED_LEN`].
    pub stored_len: u32,
}

impl FrameHeader {
    /// Its length in bytes.
    pub const BYTES: usize = 9;

    /// The header's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.block.0.to_le_bytes());
        bytes[4] = self.class as u8;
        bytes[5..].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`WireError`] for a block number, class or length out of bounds.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, WireError> {
        let mut reader = Reader::new(&bytes);
        let block = reader.block()?;
        let class = class_from_number(reader.u8("class")?)?;
        let stored_len = reader.u32("stored length")?;
        if !(1..=MAX_STORED_LEN).contains(&stored_len) {
            return Err(WireError::FrameLength { len: stored_len });
        }
        Ok(Self { block, class, stored_len })
    }
}

pub(super) fn class_from_number(number: u8) -> Result<Class, WireError> {
    [Class::Demand, Class::Metadata, Class::Profile, Class::Rest]
        .into_iter()
        .find(|class| *class as u8 == number)
        .ok_or(WireError::Unknown { field: "class", value: number })
}
