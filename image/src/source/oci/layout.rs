//! The OCI image layout: `index.json` and `blobs/sha256/…`, in a folder or in an archive.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::documents::{self, Descriptor, Index};
use super::{Blobs, Files, Root, read_document};
use crate::Error;

/// An image layout.
pub(in crate::source) struct Layout<F> {
    files: F,
    /// Its name in messages.
    place: String,
}

impl<F: Files> Layout<F> {
    pub(in crate::source) fn new(files: F, place: impl Into<String>) -> Self {
        Self { files, place: place.into() }
    }

    /// The image called `tag`, or without one the only image.
    pub(in crate::source) fn find(&self, tag: Option<&str>) -> Result<Root, Error> {
        let name = format!("{}: index.json", self.place);
        let json = read_document(self.files.open("index.json")?, &name)?;
        let index: Index = documents::parse(&json, &name)?;
        let matching = |image: &&Descriptor| tag.is_none() || image.ref_name() == tag;
        let found: Vec<Descriptor> = index.manifests.iter().filter(matching).cloned().collect();
        // One name may stand for several platforms; several names are a choice that is not ours.
        let ambiguous = found.iter().any(|image| image.ref_name() != found[0].ref_name());
        if found.is_empty() || ambiguous {
            let names: Vec<_> = index.manifests.iter().filter_map(Descriptor::ref_name).collect();
            return Err(Error::NoSuchImage {
                place: self.place.clone(),
                wanted: tag.map_or("without a name".to_owned(), |tag| format!("named {tag:?}")),
                offered: if names.is_empty() { "no named image".to_owned() } else { names.join(", ") },
            });
        }
        Ok(Root::List(found))
    }
}

impl<F: Files> Blobs for Layout<F> {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, Error> {
        self.files.open(&format!("blobs/sha256/{}", blob.digest.hex()))
    }
}

/// The files of a folder.
pub(in crate::source) struct Folder(pub(in crate::source) PathBuf);

impl Files for Folder {
    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, Error> {
        let path = self.0.join(name);
        let file = File::open(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        Ok(Box::new(file))
    }
}
