//! Where the bytes of a served file come from.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// What [`DataSource::read`] returns.
pub type ReadFuture<'a> = BoxFuture<'a, Result<Bytes, ReadError>>;

/// The bytes behind one file of a [`FuseHost`](super::FuseHost).
///
/// Reads come from many tasks at once, in any order and overlapping.
pub trait DataSource: Send + Sync + 'static {
    /// The file's size in bytes; the same at every call.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes `[offset, offset + len)`, which lie within [`DataSource::len`]: exactly `len` of them, or an error.
    ///
    /// The future may take as long as it needs and must not block its thread. It is dropped when the file
    /// system's read deadline passes.
    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_>;
}

/// Why bytes could not be had. It is logged; the reader of the file sees an input/output error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

impl ReadError {
    /// An error that says `cause`.
    pub fn new(cause: impl Into<String>) -> Self {
        Self(cause.into())
    }
}
