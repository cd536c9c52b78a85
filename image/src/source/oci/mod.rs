//! Images in OCI's and Docker's formats, wherever their blobs are.

mod archive;
mod docker_archive;
mod documents;
mod image;
mod layout;
mod registry;

use std::io::Read;

pub(super) use self::archive::Archive;
pub(super) use self::docker_archive::DockerArchive;
pub(super) use self::documents::Descriptor;
pub(super) use self::image::{Image, Root, resolve};
pub(super) use self::layout::{Folder, Layout};
pub(super) use self::registry::Registry;
use crate::Error;

/// Where the blobs of an image come from.
pub(super) trait Blobs: Send + Sync {
    /// Opens a blob for one reading from front to back. The bytes are not yet verified.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, Error>;

    /// Reads a manifest or index, called `name` in messages; not yet verified. Registries keep them apart
    /// from other blobs.
    fn manifest(&self, manifest: &Descriptor, name: &str) -> Result<Vec<u8>, Error> {
        read_document(self.open(manifest)?, name)
    }
}

/// Files by name: a folder, or the members of an archive.
pub(super) trait Files: Send + Sync {
    /// Opens the file `name`, a relative path.
    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, Error>;
}

/// The most bytes of an index, manifest or configuration (registries agree on this limit).
const MAX_DOCUMENT: u64 = 4 << 20;

/// Reads a document, called `name`, to its end.
fn read_document(reader: impl Read, name: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(Error::io(format!("reading {name}")))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        let reason = format!("it is larger than {MAX_DOCUMENT} bytes");
        return Err(Error::Malformed { document: name.to_owned(), reason });
    }
    Ok(bytes)
}
