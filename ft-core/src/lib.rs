//! The pure heart of Function Trees: block and manifest formats, function trees, and the relay engine.
//!
//! Nothing here does IO, reads a clock, draws randomness or iterates a hash map. The worker and the
//! simulator run this very code, so a simulated result is a statement about the product.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod clock;
pub mod digest;
pub mod epoch;
pub mod manifest;
pub mod profile;
pub mod relay;
pub mod tree;
pub mod vm;

pub use block::{BLOCK_SIZE, BlockId, BlockIndex, Codec, Stripe};
pub use clock::{Duration, Instant};
pub use digest::Digest;
pub use epoch::Epoch;
pub use vm::VmId;
