//! What `docker save` writes: `manifest.json` names each image's configuration and layers.

use std::io::Read;

use super::documents::{self, SavedImage};
use super::image::Image;
use super::{Archive, Files, read_document};
use crate::Error;
use crate::config::ImageConfig;
use crate::source::platform::Platform;

/// An archive of `docker save`, and which of its images was asked for.
pub(in crate::source) struct DockerArchive {
    files: Archive,
    place: String,
    image: SavedImage,
}

impl DockerArchive {
    /// Looks for the image called `reference`, or without one the only image.
    pub(in crate::source) fn new(
        files: Archive,
        place: impl Into<String>,
        reference: Option<&str>,
    ) -> Result<Self, Error> {
        let place = place.into();
        let name = format!("{place}: manifest.json");
        let json = read_document(files.open("manifest.json")?, &name)?;
        let mut images: Vec<SavedImage> = documents::parse(&json, &name)?;
        let matching = |image: &SavedImage| match (reference, &image.repo_tags) {
            (None, _) => true,
            (Some(reference), Some(tags)) => tags.iter().any(|tag| is_named(tag, reference)),
            (Some(_), None) => false,
        };
        let mut found = images.extract_if(.., |image| matching(image));
        let (first, second) = (found.next(), found.next());
        drop(found);
        match (first, second) {
            (Some(image), None) => Ok(Self { files, place, image }),
            (first, second) => {
                images.extend([first, second].into_iter().flatten());
                let names = images.iter().flat_map(|image| image.repo_tags.iter().flatten());
                let names: Vec<_> = names.map(String::as_str).collect();
                Err(Error::NoSuchImage {
                    place,
                    wanted: reference.map_or("without a name".to_owned(), |name| format!("named {name:?}")),
                    offered: if names.is_empty() { "no named image".to_owned() } else { names.join(", ") },
                })
            }
        }
    }

    /// The image's configuration; `wanted` is the platform it must be for.
    pub(in crate::source) fn config(&self, wanted: &Platform) -> Result<ImageConfig, Error> {
        let name = format!("{}: {}", self.place, self.image.config);
        let json = read_document(self.files.open(&self.image.config)?, &name)?;
        Image::parse_config(&json, &name, self.image.layers.len(), wanted)
    }

    /// How many layers there are.
    pub(in crate::source) fn layers(&self) -> &[String] {
        &self.image.layers
    }

    /// Stored bytes of the layer called `name`.
    pub(in crate::source) fn layer_size(&self, name: &str) -> Option<u64> {
        self.files.size(name)
    }

    /// Opens layer `n`.
    pub(in crate::source) fn open_layer(&self, n: usize) -> Result<Box<dyn Read + '_>, Error> {
        self.files.open(&self.image.layers[n])
    }
}

/// Whether `reference` means `tag`: as it is, or short for it.
fn is_named(tag: &str, reference: &str) -> bool {
    let short = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        name.strip_suffix(":latest").unwrap_or(name).to_owned()
    };
    tag == reference || short(tag) == short(reference)
}
