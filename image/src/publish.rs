//! Putting a function image into an origin.

use std::sync::Arc;

use bytes::Bytes;
use ft_blockstore::{BlobSource, ImageObjects, Object, Origin, OriginError, RefName};

use crate::builder::Converted;
use crate::progress::{Progress, ProgressEvent};

/// What publishing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Bytes that were stored.
    pub stored_bytes: u64,
    /// Bytes of objects that the origin had already.
    pub reused_bytes: u64,
}

/// Stores an image's objects and names the image.
///
/// Packs first, then the manifest that lists their blocks, the run configuration, and the name last:
/// whenever this is interrupted, every name leads to a whole image. Objects that are there already are not
/// sent again, so repeating it after an interruption continues it; damaged ones are, so repeating it mends an
/// origin.
///
/// # Errors
/// What the origin reports.
pub async fn publish(
    image: &Converted,
    origin: &dyn Origin,
    name: &RefName,
    progress: &dyn Progress,
) -> Result<Published, OriginError> {
    let objects = ImageObjects::new(&image.manifest, &image.manifest_bytes);
    progress.report(ProgressEvent::PublishStarted { bytes: objects.iter().map(|object| object.size).sum() });
    let mut published = Published::default();
    for pack in &image.packs {
        let object = Object { digest: pack.digest, size: pack.len };
        store(origin, &object, BlobSource::File(Arc::clone(&pack.file)), progress, &mut published).await?;
    }
    let manifest = BlobSource::Bytes(Bytes::copy_from_slice(&image.manifest_bytes));
    store(origin, &objects.manifest, manifest, progress, &mut published).await?;
    let config = BlobSource::Bytes(Bytes::copy_from_slice(&image.manifest.config));
    store(origin, &objects.config, config, progress, &mut published).await?;
    origin.publish(name, &objects).await?;
    Ok(published)
}

async fn store(
    origin: &dyn Origin,
    object: &Object,
    source: BlobSource,
    progress: &dyn Progress,
    published: &mut Published,
) -> Result<(), OriginError> {
    let was_there = !origin.put(&object.digest, source).await?;
    if was_there {
        published.reused_bytes += object.size;
    } else {
        published.stored_bytes += object.size;
    }
    progress.report(ProgressEvent::Published { bytes: object.size, was_there });
    Ok(())
}
