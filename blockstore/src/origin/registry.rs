//! An origin in one repository of an OCI registry: objects are blobs, names are tags.

use std::ops::Range;

use async_trait::async_trait;
use ft_core::Digest;
use futures_util::stream::{StreamExt, TryStreamExt};

use super::{ByteStream, ImageObjects, OCI_MANIFEST_TYPE, Origin, OriginError};
use crate::name::RefName;
use crate::oci::{Reference, RegistryClient, RegistryError, RegistryOptions};
use crate::source::BlobSource;

/// An origin in one repository of an OCI registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistryOrigin {
    client: RegistryClient,
    name: String,
}

impl RegistryOrigin {
    /// The repository that `reference` is in; its tag or digest is of no concern. Nothing is sent yet.
    ///
    /// # Errors
    /// [`OriginError::Registry`] if the reference or the options make no sense.
    pub fn new(reference: &Reference, options: &RegistryOptions) -> Result<Self, OriginError> {
        let client = RegistryClient::new(reference, options).map_err(OriginError::Registry)?;
        let name = format!("docker://{}/{}", reference.registry(), reference.repository());
        Ok(Self { client, name })
    }
}

#[async_trait]
impl Origin for RegistryOrigin {
    fn describe(&self) -> &str {
        &self.name
    }

    async fn size(&self, object: &Digest) -> Result<Option<u64>, OriginError> {
        self.client.blob_size(object).await.map_err(OriginError::Registry)
    }

    fn stream(&self, object: &Digest, range: Range<u64>) -> ByteStream {
        let (origin, object, Range { start, end }) = (self.name.clone(), *object, range.clone());
        let named = move |error| match error {
            RegistryError::Transfer { cause, .. } => {
                OriginError::Read { origin: origin.clone(), object, start, end, cause }
            }
            RegistryError::NotFound { .. } => OriginError::NoObject { origin: origin.clone(), object },
            other => OriginError::Registry(other),
        };
        self.client.blob_range(&object, range).map_err(named).boxed()
    }

    async fn put(&self, object: &Digest, source: BlobSource) -> Result<bool, OriginError> {
        self.client.push_blob(object, &source).await.map_err(OriginError::Registry)
    }

    async fn publish(&self, name: &RefName, image: &ImageObjects) -> Result<(), OriginError> {
        let pushed = self.client.push_manifest(name.as_str(), OCI_MANIFEST_TYPE, image.encode()).await;
        pushed.map(drop).map_err(OriginError::Registry)
    }

    async fn resolve(&self, name: &RefName) -> Result<Option<ImageObjects>, OriginError> {
        let document = match self.client.manifest(name.as_str(), &[OCI_MANIFEST_TYPE]).await {
            Ok(document) => document,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(OriginError::Registry(error)),
        };
        let not_an_image =
            |reason| OriginError::NotAnImage { origin: self.name.clone(), name: name.to_string(), reason };
        ImageObjects::decode(&document.bytes).map(Some).map_err(not_an_image)
    }
}
