//! Blocks: what is transferred, verified and relayed.

use core::fmt;
use core::str::FromStr;

use crate::digest::{Hex, ParseDigestError, parse_hex};

/// Bytes of an image's address space in one block; the last block of a segment may be shorter.
pub const BLOCK_SIZE: u32 = 512 * 1024;

/// The BLAKE3 hash of a block's *stored* (possibly compressed) bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId([u8; 32]);

impl BlockId {
    /// The id with these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id of a block whose stored bytes are `stored`.
    pub fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }

    /// The id's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", Hex(&self.0[..6]))
    }
}

impl FromStr for BlockId {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text.as_bytes()).map(Self).ok_or(ParseDigestError)
    }
}

/// A block's place in the image: the manifest's segments in order, metadata first, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u32);

impl BlockIndex {
    /// The stripe that carries this block in a tree of `stripes` stripes (1: `avl`, 2: `paired`).
    pub const fn stripe(self, stripes: u8) -> Stripe {
        Stripe(if stripes > 1 { (self.0 % 2) as u8 } else { 0 })
    }
}

impl fmt::Display for BlockIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// In a paired tree, the half of the blocks that one of the two trees carries: 0 even, 1 odd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stripe(pub u8);

impl Stripe {
    /// The stripe as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a block's stored bytes encode its raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Stored as they are: compression gained nothing.
    Raw = 0,
    /// One LZ4 block (no frame, no length prefix).
    Lz4 = 1,
}

impl Codec {
    /// The codec with this number in a manifest.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }
}
