//! Where packs and manifests rest for good.
//!
//! An origin holds *objects*, addressed by SHA-256, and names for function images. The three back ends differ
//! in nothing that a caller could see: one conformance suite runs against all of them.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use ft_core::Digest;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use crate::name::RefName;
use crate::source::BlobSource;

mod artifact;
mod dir;
mod error;
mod fetch;
mod http;
mod open;
mod registry;

pub(crate) use artifact::MAX_ARTIFACT_BYTES;
pub use artifact::{
    ARTIFACT_TYPE, CONFIG_TYPE, ImageObjects, MANIFEST_TYPE, OCI_MANIFEST_TYPE, Object, PACK_TYPE,
};
pub use dir::DirOrigin;
pub use error::OriginError;
pub use fetch::{MAX_RANGE_BYTES, fetch_blocks};
pub use http::HttpOrigin;
pub use open::{OriginContext, open_origin};
pub use registry::RegistryOrigin;

/// Bytes of an object as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, OriginError>>;

/// A place where packs and manifests rest.
///
/// Every wait in it has a deadline, and transient errors are met by trying again within a budget: an error
/// that comes out is final for the moment.
#[async_trait]
pub trait Origin: Debug + Send + Sync {
    /// Where it is, as the user would write it.
    fn describe(&self) -> &str;

    /// Bytes of an object, or `None` if the origin does not have it.
    async fn size(&self, object: &Digest) -> Result<Option<u64>, OriginError>;

    /// The bytes of `range`, exactly, as they arrive; nothing is asked for before the stream is polled. What
    /// comes is not verified: blocks have their own ids, and [`read_object`] verifies whole objects.
    fn stream(&self, object: &Digest, range: Range<u64>) -> ByteStream;

    /// Stores an object, unless the origin has it already, and says whether it did. Afterwards it is there whole,
    /// or not at all, and safe from garbage collection for a while. Our own origins replace a damaged one.
    async fn put(&self, object: &Digest, source: BlobSource) -> Result<bool, OriginError>;

    /// Gives a function image a name, or the name another image. Its objects have to be there already.
    async fn publish(&self, name: &RefName, image: &ImageObjects) -> Result<(), OriginError>;

    /// The objects of the image with this name, or `None` if no image has it.
    async fn resolve(&self, name: &RefName) -> Result<Option<ImageObjects>, OriginError>;

    /// The bytes of `range` in one piece; for ranges that fit in memory.
    async fn read(&self, object: &Digest, range: Range<u64>) -> Result<Bytes, OriginError> {
        let mut bytes = BytesMut::new();
        let mut stream = self.stream(object, range);
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

/// A whole object of at most `limit` bytes, verified.
///
/// # Errors
/// [`OriginError`]: among others, if the object does not exist, is larger, or hashes to something else.
pub async fn read_object(origin: &dyn Origin, object: &Digest, limit: u64) -> Result<Bytes, OriginError> {
    let missing = || OriginError::NoObject { origin: origin.describe().to_owned(), object: *object };
    let size = origin.size(object).await?.ok_or_else(missing)?;
    if size > limit {
        return Err(OriginError::TooLarge {
            origin: origin.describe().to_owned(),
            object: *object,
            size,
            limit,
        });
    }
    let bytes = origin.read(object, 0..size).await?;
    match Digest::of(&bytes) {
        actual if actual == *object => Ok(bytes),
        actual => {
            Err(OriginError::WrongDigest { origin: origin.describe().to_owned(), object: *object, actual })
        }
    }
}
