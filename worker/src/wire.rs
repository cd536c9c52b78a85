//! The peer protocol `ft/1`: what a child and its parent say to each other about one function image.
//!
//! Pure functions between values and bytes; every length is bounded before anything is allocated for it.
//! `docs/formats.md` has every byte. All integers are little-endian.
//!
//! A child opens a *session* for an image with its parent: a control stream both ways ([`ToParent`],
//! [`ToChild`]), and block streams from parent to child, each of which starts with a [`StreamHeader`] and then
//! holds frames (a [`FrameHeader`] and the stored bytes of one block) until the session ends. Over QUIC, these are
//! streams; over TCP, lanes of one byte stream ([`MuxHeader`]).

use ft_core::manifest::MAX_BLOCKS;

mod error;
mod frame;
mod message;
mod mux;
mod reader;
#[cfg(test)]
mod tests;

pub use error::WireError;
pub use frame::{FrameHeader, Lane, StreamHeader};
pub use message::{Decline, Envelope, Hello, ToChild, ToParent};
pub use mux::{MAX_CLOSE_REASON, MAX_MUX_DATA, MuxHeader, MuxLane};

/// The protocol's name in TLS.
pub const ALPN: &[u8] = b"ft/1";
/// The version of the protocol that this build speaks.
pub const VERSION: u16 = 1;
/// The most bytes that a block's stored form may have: 512 KiB.
pub const MAX_STORED_LEN: u32 = ft_core::BLOCK_SIZE;
/// The most bytes that a control message's payload may have: a subscription with a bitmap of every block.
pub const MAX_PAYLOAD: u32 = 8 + MAX_BLOCKS_U32 / 8;

/// [`MAX_BLOCKS`], as wide as a block index.
const MAX_BLOCKS_U32: u32 = 1 << 20;
const _: () = assert!(MAX_BLOCKS_U32 as usize == MAX_BLOCKS, "the wire's limit is the manifest's");

/// Why a session or a connection was closed, as a number that the other side sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing more to say.
    Done = 0,
    /// The peer broke the protocol.
    Protocol = 1,
    /// The worker shuts down.
    Shutdown = 2,
    /// The peer is not one that may speak here.
    NotAllowed = 3,
}
