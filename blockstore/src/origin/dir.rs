//! An origin in a directory, which is an [OCI image layout]: `oci-layout`, `index.json` and
//! `blobs/sha256/HEX`, so that ordinary tools can copy and list it. Our own files are below `.ft/`.
//!
//! What is written where and in which order: `docs/design.md`, "Crash story".
//!
//! [OCI image layout]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md

use std::io::SeekFrom;
use std::ops::Range;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use ft_core::Digest;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::artifact::MAX_ARTIFACT_BYTES;
use super::{ByteStream, ImageObjects, Object, Origin, OriginError};
use crate::name::RefName;
use crate::source::BlobSource;

mod garbage;
mod index;
mod layout;
mod retire;
#[cfg(test)]
mod tests;

pub(super) use index::Index;
use layout::LayoutDir;

/// How many bytes of a file are read at once.
const CHUNK: usize = 256 << 10;

/// An origin in a directory. Several processes may use it at the same time.
#[derive(Clone, Debug)]
pub struct DirOrigin {
    layout: LayoutDir,
    name: String,
}

impl DirOrigin {
    /// The origin in `root`; an empty or missing directory becomes one. Blocks for a moment.
    ///
    /// # Errors
    /// [`OriginError::File`] if the directory cannot be used.
    pub fn open(root: &Path) -> Result<Self, OriginError> {
        let layout = LayoutDir::open(root)?;
        Ok(Self { name: layout.describe(), layout })
    }

    /// The file of an object, whether it exists or not.
    pub fn object_path(&self, object: &Digest) -> PathBuf {
        self.layout.blob(object)
    }

    /// The OCI index that lists the images with names: the bytes of `index.json`.
    ///
    /// # Errors
    /// [`OriginError::File`].
    pub async fn index_bytes(&self) -> Result<Bytes, OriginError> {
        self.blocking(|layout| layout.read_index_bytes()).await
    }

    /// The OCI manifest of the image with this name, byte by byte, or `None`.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn artifact_bytes(&self, name: &RefName) -> Result<Option<Bytes>, OriginError> {
        let name = name.clone();
        let Some(digest) = self.blocking(move |layout| layout.lookup(&name)).await? else { return Ok(None) };
        super::read_object(self, &digest, MAX_ARTIFACT_BYTES as u64).await.map(Some)
    }

    /// Takes an image's name away; its objects stay until garbage is collected. Whether it had the name.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn unpublish(&self, name: &RefName) -> Result<bool, OriginError> {
        let name = name.clone();
        self.blocking(move |layout| layout.unlist(&name)).await
    }

    /// The names of function images that are none of `keep` (manifests) and were published more than `grace` ago.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn unused(
        &self,
        keep: &[Digest],
        grace: std::time::Duration,
    ) -> Result<Vec<RefName>, OriginError> {
        let keep = keep.to_vec();
        self.blocking(move |layout| retire::unused(layout, &keep, grace)).await
    }

    /// Takes the names away that [`DirOrigin::unused`] finds, and says which they were. Their objects stay
    /// until garbage is collected.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn retire(
        &self,
        keep: &[Digest],
        grace: std::time::Duration,
    ) -> Result<Vec<RefName>, OriginError> {
        let keep = keep.to_vec();
        self.blocking(move |layout| retire::retire(layout, &keep, grace)).await
    }

    /// Objects that no name leads to and none of `keep` (manifests, configurations or packs; what they list
    /// is kept as well), and that nobody stored within the last `grace`.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn unreferenced(
        &self,
        keep: &[Digest],
        grace: std::time::Duration,
    ) -> Result<Vec<Object>, OriginError> {
        let keep = keep.to_vec();
        self.blocking(move |layout| garbage::unreferenced(layout, &keep, grace)).await
    }

    /// Removes what [`DirOrigin::unreferenced`] finds, and says what that was. No object is removed that
    /// another process is about to publish, as long as that takes it less than `grace`.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn collect_garbage(
        &self,
        keep: &[Digest],
        grace: std::time::Duration,
    ) -> Result<Vec<Object>, OriginError> {
        let keep = keep.to_vec();
        self.blocking(move |layout| garbage::collect(layout, &keep, grace)).await
    }

    /// Notes that an object, which has `len` bytes, is about to be published: garbage collection spares it
    /// for its grace period. Whether it is there; one that is damaged is not.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn keep(&self, object: &Digest, len: u64) -> Result<bool, OriginError> {
        let object = *object;
        self.blocking(move |layout| layout.keep_blob(&object, len)).await
    }

    /// Stores an object from a stream, of which at most `limit` bytes are taken.
    ///
    /// # Errors
    /// [`OriginError`]; the object is then not there.
    pub async fn put_stream<E: std::fmt::Display>(
        &self,
        object: &Digest,
        limit: u64,
        chunks: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(), OriginError> {
        let (sender, receiver) = mpsc::channel(8);
        let object = *object;
        let writer = self.blocking(move |layout| layout.write_blob(&object, receiver));
        let feeder = feed(sender, object, limit, chunks);
        // If the writer fails first, the feeder notices that nobody listens; its own error is then empty.
        let (written, fed) = tokio::join!(writer, feeder);
        fed.and(written)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LayoutDir) -> Result<T, OriginError> + Send + 'static,
    ) -> Result<T, OriginError> {
        let layout = self.layout.clone();
        let root = layout.root().to_owned();
        let done = tokio::task::spawn_blocking(move || work(&layout)).await;
        done.unwrap_or_else(|error| {
            Err(OriginError::File { path: root, action: "finish", reason: error.to_string() })
        })
    }
}

/// Passes the chunks on to the writer, which ends when the sender is dropped.
async fn feed<E: std::fmt::Display>(
    sender: mpsc::Sender<Bytes>,
    object: Digest,
    limit: u64,
    chunks: impl Stream<Item = Result<Bytes, E>> + Send,
) -> Result<(), OriginError> {
    let mut chunks = std::pin::pin!(chunks);
    let mut left = limit;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| OriginError::NotStored { object, reason: error.to_string() })?;
        let len = chunk.len() as u64;
        if len > left {
            let reason = format!("they are more than the limit of {limit}");
            return Err(OriginError::NotStored { object, reason });
        }
        left -= len;
        if sender.send(chunk).await.is_err() {
            // The writer has failed, and says why itself.
            break;
        }
    }
    Ok(())
}

#[async_trait]
impl Origin for DirOrigin {
    fn describe(&self) -> &str {
        &self.name
    }

    async fn size(&self, object: &Digest) -> Result<Option<u64>, OriginError> {
        let object = *object;
        self.blocking(move |layout| layout.blob_size(&object)).await
    }

    fn stream(&self, object: &Digest, range: Range<u64>) -> ByteStream {
        let (origin, object) = (self.clone(), *object);
        stream::once(async move { origin.open_range(object, range).await }).try_flatten().boxed()
    }

    async fn put(&self, object: &Digest, source: BlobSource) -> Result<bool, OriginError> {
        let wanted = *object;
        let unreadable =
            |error: std::io::Error| OriginError::NotStored { object: wanted, reason: error.to_string() };
        let len = source.size().map_err(unreadable)?;
        if self.blocking(move |layout| layout.keep_blob(&wanted, len)).await? {
            return Ok(false);
        }
        self.put_stream(object, len, source.chunks()).await?;
        Ok(true)
    }

    async fn publish(&self, name: &RefName, image: &ImageObjects) -> Result<(), OriginError> {
        let document = image.encode();
        let artifact = Object::of(&document);
        self.put(&artifact.digest, BlobSource::Bytes(document)).await?;
        let (name, image) = (name.clone(), image.clone());
        self.blocking(move |layout| layout.list(&name, &artifact, &image)).await
    }

    async fn resolve(&self, name: &RefName) -> Result<Option<ImageObjects>, OriginError> {
        let Some(document) = self.artifact_bytes(name).await? else { return Ok(None) };
        let not_an_image =
            |reason| OriginError::NotAnImage { origin: self.name.clone(), name: name.to_string(), reason };
        ImageObjects::decode(&document).map(Some).map_err(not_an_image)
    }
}

impl DirOrigin {
    /// The bytes of `range`, after a look at the file's length.
    async fn open_range(&self, object: Digest, range: Range<u64>) -> Result<ByteStream, OriginError> {
        let path = self.object_path(&object);
        let mut file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OriginError::NoObject { origin: self.name.clone(), object });
            }
            Err(error) => return Err(OriginError::file(&path, "open the object")(error)),
        };
        let size = file.metadata().await.map_err(OriginError::file(&path, "examine the object"))?.len();
        if range.start > range.end || range.end > size {
            let Range { start, end } = range;
            return Err(OriginError::OutOfRange { origin: self.name.clone(), object, start, end, size });
        }
        let failed = move |error| OriginError::file(&path, "read the object")(error);
        file.seek(SeekFrom::Start(range.start)).await.map_err(&failed)?;
        let bytes = ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK);
        Ok(bytes.map_err(failed).boxed())
    }
}
