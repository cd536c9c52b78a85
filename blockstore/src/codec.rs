//! Compressing and decompressing single blocks.

use bytes::Bytes;
use ft_core::{BLOCK_SIZE, Codec};

#[cfg(test)]
mod tests;

/// Why stored bytes are not the block that the manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The raw length is 0 or over [`BLOCK_SIZE`]: no manifest within the limits says so.
    #[error("a block of {raw_len} raw bytes is not possible (1 to {BLOCK_SIZE})")]
    RawLength {
        /// What the caller expects.
        raw_len: u32,
    },
    /// The bytes decode to another length than the manifest says.
    #[error("the block decodes to {found} bytes, but the manifest says {expected}")]
    Length {
        /// What the manifest says.
        expected: u32,
        /// What came out.
        found: usize,
    },
    /// The bytes are no LZ4 block of at most the expected length.
    #[error("the block is not valid LZ4 for {expected} raw bytes")]
    Lz4 {
        /// What the manifest says.
        expected: u32,
    },
}

/// Compresses a block of at most [`BLOCK_SIZE`] bytes: LZ4 if that is smaller, else the bytes as they are.
///
/// The same input gives the same output on every machine.
pub fn compress_block(raw: &[u8]) -> (Codec, Bytes) {
    let compressed = lz4_flex::block::compress(raw);
    if compressed.len() < raw.len() {
        (Codec::Lz4, compressed.into())
    } else {
        (Codec::Raw, Bytes::copy_from_slice(raw))
    }
}

/// The raw bytes of a block; never allocates more than [`BLOCK_SIZE`], whatever `stored` claims.
///
/// # Errors
/// [`CodecError`] if `stored` does not decode to exactly `raw_len` bytes.
pub fn decompress_block(codec: Codec, stored: &[u8], raw_len: u32) -> Result<Vec<u8>, CodecError> {
    if raw_len == 0 || raw_len > BLOCK_SIZE {
        return Err(CodecError::RawLength { raw_len });
    }
    let expected = raw_len as usize;
    let raw = match codec {
        Codec::Raw if stored.len() == expected => stored.to_vec(),
        Codec::Raw => return Err(CodecError::Length { expected: raw_len, found: stored.len() }),
        Codec::Lz4 => {
            let mut raw = vec![0; expected];
            let found = lz4_flex::block::decompress_into(stored, &mut raw)
                .map_err(|_| CodecError::Lz4 { expected: raw_len })?;
            raw.truncate(found);
            raw
        }
    };
    match raw.len() {
        found if found == expected => Ok(raw),
        found => Err(CodecError::Length { expected: raw_len, found }),
    }
}
