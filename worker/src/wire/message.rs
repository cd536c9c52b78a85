//! Control messages: an envelope (number and length), then a payload.

use ft_core::relay::{Ask, BlockSet, StripeSet, Subscription};
use ft_core::{BlockIndex, Digest};

use super::frame::class_from_number;
use super::reader::Reader;
use super::{MAX_BLOCKS_U32, MAX_PAYLOAD, VERSION, WireError};

const HELLO: u8 = 0x01;
const SUBSCRIBE: u8 = 0x02;
const UNSUBSCRIBE: u8 = 0x03;
const ASK: u8 = 0x04;
const HAVE: u8 = 0x05;
const WELCOME: u8 = 0x81;
const DECLINE: u8 = 0x82;
const REFUSE: u8 = 0x83;

const MAGIC: [u8; 4] = *b"FTPR";

/// The start of a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The message's number.
    pub kind: u8,
    /// Bytes of payload that follow, at most [`MAX_PAYLOAD`].
    pub len: u32,
}

impl Envelope {
    /// Its length in bytes.
    pub const BYTES: usize = 5;

    /// Parses an envelope.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for a number without a message, [`WireError::Length`] for a length that the
    /// message cannot have: so no payload is read that could not be valid.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, WireError> {
        let [kind, len @ ..] = bytes;
        let len = u32::from_le_bytes(len);
        let allowed = match kind {
            HELLO => 42..=42,
            SUBSCRIBE => 8..=MAX_PAYLOAD,
            UNSUBSCRIBE => 0..=0,
            ASK => 5..=5,
            HAVE | REFUSE => 4..=4,
            WELCOME => 2..=2,
            DECLINE => 1..=1,
            _ => return Err(WireError::Unknown { field: "message", value: kind }),
        };
        if allowed.contains(&len) { Ok(Self { kind, len }) } else { Err(WireError::Length { kind, len }) }
    }
}

/// The first message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The number that the child gives the session; block streams name it.
    pub session: u32,
    /// The image, by its manifest's digest.
    pub image: Digest,
}

/// What a child says to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToParent {
    /// First of all, once.
    Hello(Hello),
    /// Push these blocks from now on; replaces the earlier subscription.
    Subscribe(Subscription),
    /// Push no more.
    Unsubscribe,
    /// A block is needed. Asking again raises its class.
    Ask {
        /// The block.
        block: BlockIndex,
        /// How.
        ask: Ask,
    },
    /// A block that was asked for, or would be pushed, came from elsewhere.
    Have {
        /// The block.
        block: BlockIndex,
    },
}

/// What a parent says to its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// The session is open: the answer to a hello.
    Welcome,
    /// The session is not to be: the other answer to a hello.
    Decline(Decline),
    /// A block that was asked for is not to be had here.
    Refuse {
        /// The block.
        block: BlockIndex,
    },
}

/// Why a parent declines a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Decline {
    /// It does not follow the image (any more, or yet).
    #[error("it does not follow the image")]
    NotFollowed = 1,
}

impl ToParent {
    /// The message's bytes, envelope included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => {
                let mut payload = Vec::with_capacity(42);
                payload.extend_from_slice(&MAGIC);
                payload.extend_from_slice(&VERSION.to_le_bytes());
                payload.extend_from_slice(&hello.session.to_le_bytes());
                payload.extend_from_slice(hello.image.as_bytes());
                enclose(HELLO, &payload)
            }
            Self::Subscribe(Subscription { stripes, of, have }) => {
                let mut payload = vec![stripes.0, *of, 0, 0];
                payload.extend_from_slice(&have.capacity().to_le_bytes());
                payload.extend_from_slice(&have.to_bytes());
                enclose(SUBSCRIBE, &payload)
            }
            Self::Unsubscribe => enclose(UNSUBSCRIBE, &[]),
            Self::Ask { block, ask } => {
                let [a, b, c, d] = block.0.to_le_bytes();
                enclose(ASK, &[a, b, c, d, encode_ask(*ask)])
            }
            Self::Have { block } => enclose(HAVE, &block.0.to_le_bytes()),
        }
    }

    /// Parses the message of kind `kind` with this payload.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let message = match kind {
            HELLO => Self::Hello(decode_hello(&mut reader)?),
            SUBSCRIBE => Self::Subscribe(decode_subscription(&mut reader)?),
            UNSUBSCRIBE => Self::Unsubscribe,
            ASK => Self::Ask { block: reader.block()?, ask: decode_ask(reader.u8("flags")?)? },
            HAVE => Self::Have { block: reader.block()? },
            _ => return Err(WireError::Unknown { field: "message to a parent", value: kind }),
        };
        reader.end("message to a parent")?;
        Ok(message)
    }
}

impl ToChild {
    /// The message's bytes, envelope included.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Welcome => enclose(WELCOME, &VERSION.to_le_bytes()),
            Self::Decline(why) => enclose(DECLINE, &[why as u8]),
            Self::Refuse { block } => enclose(REFUSE, &block.0.to_le_bytes()),
        }
    }

    /// Parses the message of kind `kind` with this payload.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let message = match kind {
            WELCOME => {
                check_version(&mut reader)?;
                Self::Welcome
            }
            DECLINE => Self::Decline(match reader.u8("reason")? {
                1 => Decline::NotFollowed,
                value => return Err(WireError::Unknown { field: "reason", value }),
            }),
            REFUSE => Self::Refuse { block: reader.block()? },
            _ => return Err(WireError::Unknown { field: "message to a child", value: kind }),
        };
        reader.end("message to a child")?;
        Ok(message)
    }
}

fn decode_hello(reader: &mut Reader<'_>) -> Result<Hello, WireError> {
    if reader.array::<4>("magic")? != MAGIC {
        return Err(WireError::Magic);
    }
    check_version(reader)?;
    Ok(Hello { session: reader.u32("session")?, image: Digest::from_bytes(reader.array("image")?) })
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), WireError> {
    match reader.u16("version")? {
        VERSION => Ok(()),
        found => Err(WireError::Version { found }),
    }
}

fn decode_subscription(reader: &mut Reader<'_>) -> Result<Subscription, WireError> {
    let stripes = reader.u8("stripes")?;
    let of = reader.u8("stripe count")?;
    if !(1..=2).contains(&of) {
        return Err(WireError::Invalid { field: "stripe count", value: u64::from(of) });
    }
    if stripes >> of != 0 {
        return Err(WireError::Invalid { field: "stripes", value: u64::from(stripes) });
    }
    let reserved = reader.u16("reserved")?;
    if reserved != 0 {
        return Err(WireError::Invalid { field: "reserved", value: u64::from(reserved) });
    }
    let blocks = reader.u32("block count")?;
    if blocks > MAX_BLOCKS_U32 {
        return Err(WireError::Invalid { field: "block count", value: u64::from(blocks) });
    }
    let have = BlockSet::from_bytes(blocks, reader.rest()).ok_or(WireError::Payload { field: "bitmap" })?;
    Ok(Subscription { stripes: StripeSet(stripes), of, have })
}

const CLASS_BITS: u8 = 0b0011;
const MAY_FETCH: u8 = 0b0100;
const AGAIN: u8 = 0b1000;

fn encode_ask(ask: Ask) -> u8 {
    let Ask { class, may_fetch, again } = ask;
    class as u8 | if may_fetch { MAY_FETCH } else { 0 } | if again { AGAIN } else { 0 }
}

fn decode_ask(flags: u8) -> Result<Ask, WireError> {
    if flags & !(CLASS_BITS | MAY_FETCH | AGAIN) != 0 {
        return Err(WireError::Invalid { field: "flags", value: u64::from(flags) });
    }
    let class = class_from_number(flags & CLASS_BITS)?;
    Ok(Ask { class, may_fetch: flags & MAY_FETCH != 0, again: flags & AGAIN != 0 })
}

fn enclose(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(Envelope::BYTES + payload.len());
    message.push(kind);
    // Payloads are far below 4 GiB: the longest has MAX_PAYLOAD bytes.
    message.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    message.extend_from_slice(payload);
    message
}
