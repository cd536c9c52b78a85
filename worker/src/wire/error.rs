//! Why bytes are not of the peer protocol.

use super::{MAX_BLOCKS_U32, MAX_STORED_LEN, VERSION};

/// Why bytes are not of the peer protocol, or not in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A message, stream or lane number that the protocol does not have.
    #[error("unknown {field} {value:#04x}")]
    Unknown {
        /// What was read.
        field: &'static str,
        /// The number.
        value: u8,
    },
    /// A message whose length does not fit its kind.
    #[error("message {kind:#04x} with an impossible length of {len} bytes")]
    Length {
        /// The message's number.
        kind: u8,
        /// Its payload's length.
        len: u32,
    },
    /// A payload that ends inside a field, or goes on after the last.
    #[error("message payload is too short or too long for {field}")]
    Payload {
        /// The field.
        field: &'static str,
    },
    /// A field with a value that the protocol does not allow.
    #[error("{field} has the invalid value {value}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A block number beyond what any image has.
    #[error("block {block} is beyond the limit of {MAX_BLOCKS_U32} blocks")]
    Block {
        /// The number.
        block: u32,
    },
    /// A frame that claims no bytes, or more than a block can have.
    #[error("frame of {len} bytes; a block has 1 to {MAX_STORED_LEN}")]
    FrameLength {
        /// The claim.
        len: u32,
    },
    /// A hello that is none.
    #[error("not an ft peer: its hello does not start with FTPR")]
    Magic,
    /// A version that this build does not speak.
    #[error("peer speaks version {found}, this build speaks version {VERSION}; upgrade the older one")]
    Version {
        /// The peer's.
        found: u16,
    },
    /// A message that has no place at this point of the session.
    #[error("{what} is not expected here")]
    Unexpected {
        /// The message.
        what: &'static str,
    },
}
