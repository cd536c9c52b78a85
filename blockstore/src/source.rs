//! What is put into an origin: bytes in memory, or a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};

/// How many bytes of a file are read at once.
const CHUNK: usize = 256 << 10;

/// The content of an object to be stored. It can be read more than once.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// The bytes themselves.
    Bytes(Bytes),
    /// An open file, which must not change meanwhile; it needs no name. Its position is not used.
    File(Arc<File>),
}

impl BlobSource {
    /// Bytes of the object.
    ///
    /// # Errors
    /// If the file cannot be examined.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }

    /// The bytes in order, from the start.
    pub(crate) fn chunks(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        match self.clone() {
            Self::Bytes(bytes) => stream::once(async { Ok(bytes) }).left_stream(),
            Self::File(file) => {
                stream::try_unfold(0, move |at| next_chunk(Arc::clone(&file), at)).right_stream()
            }
        }
    }
}

/// The bytes at `at` and where those after them begin; `None` at the file's end.
async fn next_chunk(file: Arc<File>, at: u64) -> io::Result<Option<(Bytes, u64)>> {
    let chunk = tokio::task::spawn_blocking(move || read_at(&file, at)).await.map_err(io::Error::other)??;
    let next = at + chunk.len() as u64;
    Ok(if chunk.is_empty() { None } else { Some((chunk, next)) })
}

fn read_at(file: &File, at: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
