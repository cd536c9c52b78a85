//! The JSON documents of image formats, as far as they are needed here.
//!
//! OCI image specification 1.1: `descriptor.md`, `image-index.md`, `manifest.md`; Docker's schema 2, which
//! has the same members; `manifest.json` of `docker save`.

use std::collections::BTreeMap;

use ft_core::Digest;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};

use crate::Error;
use crate::source::platform::Platform;

/// The annotation that names an image in an image layout.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Names a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Descriptor {
    #[serde(default)]
    pub(in crate::source) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(in crate::source) digest: Digest,
    pub(in crate::source) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The name of the image in an image layout.
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
    }
}

/// A list of images, one for each platform.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    pub(super) manifests: Vec<Descriptor>,
}

/// One image.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// Either of them.
pub(super) enum Document {
    Index(Index),
    Manifest(Manifest),
}

impl Document {
    /// Tells index and manifest apart by what they have: the media type is optional in both.
    pub(super) fn parse(json: &[u8], name: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: Option<u64>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = parse(json, name)?;
        if shape.schema_version != Some(2) {
            let reason = "it is not of schema version 2; pull and push the image with a current tool";
            return Err(Error::Malformed { document: name.to_owned(), reason: reason.to_owned() });
        }
        if shape.manifests.is_some() {
            parse(json, name).map(Self::Index)
        } else {
            parse(json, name).map(Self::Manifest)
        }
    }
}

/// One image in the `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SavedImage {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Vec<String>,
}

/// Parses a document called `name`.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8], name: &str) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|e| Error::Malformed { document: name.to_owned(), reason: e.to_string() })
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
