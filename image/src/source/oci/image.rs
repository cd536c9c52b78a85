//! From an index to one image's configuration and layers.

use ft_core::Digest;

use super::documents::{self, Descriptor, Document, Manifest};
use super::{Blobs, read_document};
use crate::Error;
use crate::config::ImageConfig;
use crate::source::platform::Platform;

/// Most layers of one image. The most that any builder makes is 127, overlayfs's limit in Docker.
const MAX_LAYERS: usize = 1024;
/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;

/// Where the search for an image starts.
pub(in crate::source) enum Root {
    /// Any of these, whichever suits the platform.
    List(Vec<Descriptor>),
    /// A document that has been read and verified, and its name in messages.
    Document { json: Vec<u8>, name: String },
}

/// One image: its configuration, and its layers from the lowest up.
pub(in crate::source) struct Image {
    pub(in crate::source) config: ImageConfig,
    pub(in crate::source) layers: Vec<Descriptor>,
}

/// Follows `root` to the image for `wanted`.
pub(in crate::source) fn resolve(blobs: &dyn Blobs, root: Root, wanted: &Platform) -> Result<Image, Error> {
    let mut root = root;
    for _ in 0..MAX_DEPTH {
        let (json, name) = match root {
            Root::Document { json, name } => (json, name),
            Root::List(list) => {
                let chosen = choose(&list, wanted)?;
                let name = format!("manifest {}", chosen.digest);
                (verified(blobs.manifest(chosen, &name)?, chosen, &name)?, name)
            }
        };
        match Document::parse(&json, &name)? {
            Document::Index(index) => root = Root::List(index.manifests),
            Document::Manifest(manifest) => return Image::read(blobs, manifest, &name, wanted),
        }
    }
    let reason = format!("indexes are nested more than {MAX_DEPTH} deep");
    Err(Error::Malformed { document: "image index".to_owned(), reason })
}

/// The best suited of several images. One that does not say its platform is taken if it is the only one.
fn choose<'a>(list: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, Error> {
    if let [only] = list
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let rank = |image: &Descriptor| wanted.rank(image.platform.as_ref()?);
    let suited = list.iter().filter_map(|image| Some((rank(image)?, image)));
    // `min_by_key` takes the first of equals.
    suited.min_by_key(|(rank, _)| *rank).map(|(_, image)| image).ok_or_else(|| {
        let platforms = list.iter().map(|image| match &image.platform {
            Some(platform) => platform.to_string(),
            None => "an image that does not say".to_owned(),
        });
        Error::NoSuchImage {
            place: "the image index".to_owned(),
            wanted: format!("for {wanted}"),
            offered: platforms.collect::<Vec<_>>().join(", "),
        }
    })
}

/// Checks a document against its descriptor.
fn verified(bytes: Vec<u8>, descriptor: &Descriptor, name: &str) -> Result<Vec<u8>, Error> {
    let (actual, expected) = (Digest::of(&bytes), descriptor.digest);
    if actual != expected {
        let reason = format!("its bytes have the digest {actual}, not {expected}: the copy is damaged");
        return Err(Error::Malformed { document: name.to_owned(), reason });
    }
    Ok(bytes)
}

impl Image {
    fn read(blobs: &dyn Blobs, manifest: Manifest, name: &str, wanted: &Platform) -> Result<Self, Error> {
        let Manifest { config, layers } = manifest;
        check_media_types(&config, &layers, name)?;
        let document = format!("configuration {}", config.digest);
        let json = verified(read_document(blobs.open(&config)?, &document)?, &config, &document)?;
        let config = Self::parse_config(&json, &document, layers.len(), wanted)?;
        Ok(Self { config, layers })
    }

    /// Parses an image's configuration, which must be for `wanted` and know all `layers`.
    pub(super) fn parse_config(
        json: &[u8],
        name: &str,
        layers: usize,
        wanted: &Platform,
    ) -> Result<ImageConfig, Error> {
        let malformed = |reason| Error::Malformed { document: name.to_owned(), reason };
        let config: ImageConfig = documents::parse(json, name)?;
        let known = config.diff_ids().len();
        if known != layers {
            return Err(malformed(format!("it has {known} diff_ids for {layers} layers")));
        }
        if layers > MAX_LAYERS {
            return Err(malformed(format!("it has more than {MAX_LAYERS} layers")));
        }
        if let Some(platform) = config.platform()
            && wanted.rank(&platform).is_none()
        {
            return Err(Error::NoSuchImage {
                place: name.to_owned(),
                wanted: format!("for {wanted}"),
                offered: platform.to_string(),
            });
        }
        Ok(config)
    }
}

fn check_media_types(config: &Descriptor, layers: &[Descriptor], name: &str) -> Result<(), Error> {
    let malformed = |reason| Err(Error::Malformed { document: name.to_owned(), reason });
    if !matches!(
        config.media_type.as_str(),
        "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
    ) {
        return malformed(format!("it is not a container image: its configuration is {}", config.media_type));
    }
    match layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        Some(layer) => {
            malformed(format!("its layer {} is of the unknown type {}", layer.digest, layer.media_type))
        }
        None => Ok(()),
    }
}

/// Whether a layer of this type is a tar archive, plain or compressed with gzip or zstd. Which of them is
/// seen from its first bytes: tools get the type wrong, and decide like this themselves.
fn is_layer(media_type: &str) -> bool {
    const OCI: &str = "application/vnd.oci.image.layer.";
    const DOCKER: &str = "application/vnd.docker.image.rootfs.";
    if let Some(rest) = media_type.strip_prefix(OCI) {
        let rest = rest.strip_prefix("nondistributable.").unwrap_or(rest);
        return matches!(rest, "v1.tar" | "v1.tar+gzip" | "v1.tar+zstd");
    }
    let Some(rest) = media_type.strip_prefix(DOCKER) else { return false };
    matches!(
        rest,
        "diff.tar" | "diff.tar.gzip" | "diff.tar.zstd" | "foreign.diff.tar" | "foreign.diff.tar.gzip"
    )
}
