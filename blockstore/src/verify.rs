//! Verifying bytes by SHA-256 as they pass.

use std::io;

use bytes::Bytes;
use ft_core::Digest;
use futures_util::stream::{self, Stream, TryStreamExt};
use sha2::{Digest as _, Sha256};

/// Hashes what passes.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

/// For `io::copy`; never fails.
impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes a stream on and ends it with `wrong(expected, actual)` unless its bytes have the digest `expected`.
pub(crate) fn verified<E: Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    expected: Digest,
    wrong: impl FnOnce(Digest, Digest) -> E + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static {
    let state = (Box::pin(chunks), Hasher::default(), wrong);
    stream::try_unfold(Some(state), move |state| async move {
        let Some((mut chunks, mut hasher, wrong)) = state else { return Ok(None) };
        if let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
            return Ok(Some((chunk, Some((chunks, hasher, wrong)))));
        }
        match hasher.finish() {
            actual if actual == expected => Ok(None),
            actual => Err(wrong(expected, actual)),
        }
    })
}
