//! A function image as an OCI artifact: `docs/formats.md` has every field.

use bytes::Bytes;
use ft_core::Digest;
use ft_core::manifest::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, MAX_SEGMENTS, Manifest};
use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType, Sha256Digest};

/// The `artifactType` of a function image.
pub const ARTIFACT_TYPE: &str = "application/vnd.function-trees.image.v1";
/// The media type of a run configuration, the artifact's config.
pub const CONFIG_TYPE: &str = "application/vnd.function-trees.config.v1+json";
/// The media type of an encoded manifest, the artifact's first layer.
pub const MANIFEST_TYPE: &str = "application/vnd.function-trees.manifest.v1";
/// The media type of a pack, each of the other layers.
pub const PACK_TYPE: &str = "application/vnd.function-trees.pack.v1";
/// The media type of the document that lists all these.
pub const OCI_MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The most bytes of that document: 1024 packs take about 200 KiB.
pub(crate) const MAX_ARTIFACT_BYTES: usize = 1 << 20;

/// An object of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

impl Object {
    /// The object with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// The objects that make up a function image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageObjects {
    /// The run configuration.
    pub config: Object,
    /// The encoded manifest.
    pub manifest: Object,
    /// The packs in the order of their segments, each once.
    pub packs: Vec<Object>,
}

impl ImageObjects {
    /// The objects of the image with this manifest, whose encoded bytes are `encoded`.
    pub fn new(manifest: &Manifest, encoded: &[u8]) -> Self {
        let mut packs: Vec<Object> = Vec::new();
        for segment in &manifest.segments {
            if packs.iter().all(|pack| pack.digest != segment.pack) {
                packs.push(Object { digest: segment.pack, size: segment.pack_len() });
            }
        }
        Self { config: Object::of(&manifest.config), manifest: Object::of(encoded), packs }
    }

    /// All objects: configuration, manifest, packs.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        [&self.config, &self.manifest].into_iter().chain(&self.packs)
    }

    /// The OCI image manifest that lists the objects; the same bytes for the same objects.
    pub(crate) fn encode(&self) -> Bytes {
        let layers = std::iter::once(descriptor(MANIFEST_TYPE, &self.manifest))
            .chain(self.packs.iter().map(|pack| descriptor(PACK_TYPE, pack)));
        let document = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(OCI_MANIFEST_TYPE)
            .artifact_type(ARTIFACT_TYPE)
            .config(descriptor(CONFIG_TYPE, &self.config))
            .layers(layers.collect::<Vec<_>>());
        let text = document.build().and_then(|document| document.to_string());
        Bytes::from(text.expect("every required field is set, and all of them are JSON"))
    }

    /// Reads the OCI image manifest of a function image; says what is wrong if it is none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let document: ImageManifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let kind = document.artifact_type().as_ref().map(ToString::to_string);
        if kind.as_deref() != Some(ARTIFACT_TYPE) {
            let kind = kind.unwrap_or_else(|| document.config().media_type().to_string());
            return Err(format!("it is of the type {kind}; seed it to make a function image of it"));
        }
        let config = object(document.config(), CONFIG_TYPE, MAX_CONFIG_BYTES as u64)?;
        let Some((manifest, packs)) = document.layers().split_first() else {
            return Err("it has no layers".to_owned());
        };
        if packs.len() > MAX_SEGMENTS {
            return Err(format!("it has {} packs, more than the limit of {MAX_SEGMENTS}", packs.len()));
        }
        let manifest = object(manifest, MANIFEST_TYPE, MAX_MANIFEST_BYTES as u64)?;
        let packs = packs.iter().map(|pack| object(pack, PACK_TYPE, u64::MAX));
        Ok(Self { config, manifest, packs: packs.collect::<Result<_, _>>()? })
    }
}

fn descriptor(media_type: &str, object: &Object) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), object.size, oci_digest(&object.digest))
}

fn oci_digest(digest: &Digest) -> oci_spec::image::Digest {
    let hex: Sha256Digest = digest.hex().to_string().parse().expect("64 hexadecimal digits");
    hex.into()
}

fn object(descriptor: &Descriptor, media_type: &str, limit: u64) -> Result<Object, String> {
    let found = descriptor.media_type().to_string();
    if found != media_type {
        return Err(format!("it lists {found} where {media_type} belongs"));
    }
    if descriptor.size() > limit {
        return Err(format!(
            "it lists {} bytes of {found}, more than the limit of {limit}",
            descriptor.size()
        ));
    }
    let digest = descriptor.digest().to_string();
    let digest = digest.parse().map_err(|error| format!("{digest}: {error}"))?;
    Ok(Object { digest, size: descriptor.size() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ImageObjects {
        ImageObjects {
            config: Object::of(b"{}"),
            manifest: Object::of(b"manifest"),
            packs: vec![Object::of(b"a"), Object::of(b"bc")],
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        assert_eq!(ImageObjects::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn the_document_never_changes() {
        let descriptor = |kind: &str, bytes: &[u8]| {
            format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
        };
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""artifactType":"application/vnd.function-trees.image.v1","#,
                r#""config":{},"layers":[{},{},{}]}}"#
            ),
            descriptor("application/vnd.function-trees.config.v1+json", b"{}"),
            descriptor("application/vnd.function-trees.manifest.v1", b"manifest"),
            descriptor("application/vnd.function-trees.pack.v1", b"a"),
            descriptor("application/vnd.function-trees.pack.v1", b"bc"),
        );
        assert_eq!(sample().encode(), expected);
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        let good = String::from_utf8(sample().encode().to_vec()).unwrap();
        let image = good.replace(ARTIFACT_TYPE, "application/vnd.oci.image.config.v1+json");
        let no_manifest = good.replace(MANIFEST_TYPE, PACK_TYPE);
        let huge = good.replace("\"size\":8", "\"size\":99999999999");
        for (text, reason) in
            [(image, "seed it"), (no_manifest, "belongs"), (huge, "limit"), (String::new(), "EOF")]
        {
            let error = ImageObjects::decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
