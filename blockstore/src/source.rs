//! What is put into an origin: bytes in memory, or a file.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

/// How many bytes of a file are read at once.
const CHUNK: usize = 256 << 10;

/// The content of an object to be stored. It can be read more than once.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// The bytes themselves.
    Bytes(Bytes),
    /// A file, which must not change meanwhile.
    File(PathBuf),
}

impl BlobSource {
    /// Bytes of the object.
    ///
    /// # Errors
    /// If the file cannot be examined.
    pub async fn len(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => Ok(tokio::fs::metadata(path).await?.len()),
        }
    }

    /// The bytes in order, from the start.
    pub(crate) fn chunks(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let source = self.clone();
        stream::once(async move {
            Ok::<_, io::Error>(match source {
                Self::Bytes(bytes) => stream::once(async { Ok(bytes) }).boxed(),
                Self::File(path) => {
                    let file = tokio::fs::File::open(path).await?;
                    ReaderStream::with_capacity(file, CHUNK).boxed()
                }
            })
        })
        .try_flatten()
    }
}
