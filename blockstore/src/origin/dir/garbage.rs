//! Finding and removing objects that nothing leads to.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ft_core::Digest;
use ft_core::manifest::{MAX_MANIFEST_BYTES, Manifest};
use oci_spec::image::{ImageIndex, ImageManifest};

use super::layout::{LayoutDir, Lock};
use crate::origin::artifact::MAX_ARTIFACT_BYTES;
use crate::origin::{Object, OriginError};

pub(super) fn unreferenced(
    layout: &LayoutDir,
    keep: &[Digest],
    grace: Duration,
) -> Result<Vec<Object>, OriginError> {
    let mut reachable = BTreeSet::new();
    let roots: Vec<Digest> = layout.read_index()?.manifests().chain(keep.iter().copied()).collect();
    reach(layout, roots, &mut reachable)?;
    let mut found = Vec::new();
    for entry in entries(&layout.blobs())? {
        let name = entry.file_name();
        let Some(digest) = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok()) else {
            continue;
        };
        if reachable.contains(&digest) {
            continue;
        }
        if let Some(size) =
            size_if_older(&entry, grace).map_err(OriginError::file(&entry.path(), "examine"))?
        {
            found.push(Object { digest, size });
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn collect(
    layout: &LayoutDir,
    keep: &[Digest],
    grace: Duration,
) -> Result<Vec<Object>, OriginError> {
    // While this is held, nobody stores an object, finds that one is there already, or publishes.
    let _lock = layout.lock(Lock::Exclusive)?;
    let garbage = unreferenced(layout, keep, grace)?;
    for object in &garbage {
        remove(&layout.blob(&object.digest))?;
    }
    // What crashed processes left half-written.
    for entry in entries(&layout.temporary())? {
        let path = entry.path();
        if size_if_older(&entry, grace).map_err(OriginError::file(&path, "examine"))?.is_some() {
            remove(&path)?;
        }
    }
    Ok(garbage)
}

/// Adds everything that `roots` lead to: OCI indexes and manifests lead to what they list, our manifests to
/// their packs, everything else to itself alone.
fn reach(
    layout: &LayoutDir,
    roots: Vec<Digest>,
    reachable: &mut BTreeSet<Digest>,
) -> Result<(), OriginError> {
    let mut left = roots;
    while let Some(digest) = left.pop() {
        if reachable.insert(digest) {
            left.extend(listed(layout, &digest)?);
        }
    }
    Ok(())
}

/// The digests that an object lists. One that is corrupt could list anything, so that is an error.
pub(super) fn listed(layout: &LayoutDir, digest: &Digest) -> Result<Vec<Digest>, OriginError> {
    let path = layout.blob(digest);
    let failed = |error| OriginError::file(&path, "read")(error);
    let mut file = match fs::File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    // The first byte tells: our manifests begin with F, JSON with a brace; packs are mostly not read further.
    let limit = match file.fill_buf().map_err(failed)?.first() {
        Some(b'F') => MAX_MANIFEST_BYTES,
        Some(b'{') => MAX_ARTIFACT_BYTES,
        _ => return Ok(Vec::new()),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Ok(Vec::new());
    }
    match Digest::of(&bytes) {
        actual if actual != *digest => Err(layout.corrupt(digest, actual)),
        _ => Ok(match Manifest::decode(&bytes) {
            Ok(manifest) => manifest.segments.iter().map(|segment| segment.pack).collect(),
            Err(_) => listed_by_oci(&bytes),
        }),
    }
}

fn listed_by_oci(bytes: &[u8]) -> Vec<Digest> {
    let descriptors = if let Ok(manifest) = ImageManifest::from_reader(bytes) {
        let mut descriptors = manifest.layers().clone();
        descriptors.push(manifest.config().clone());
        descriptors
    } else if let Ok(index) = ImageIndex::from_reader(bytes) {
        index.manifests().clone()
    } else {
        Vec::new()
    };
    descriptors.iter().filter_map(|descriptor| descriptor.digest().to_string().parse().ok()).collect()
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, OriginError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.map_err(OriginError::file(folder, "list the directory"))
}

/// The file's bytes if it was last stored more than `grace` ago; a time in the future counts as young.
fn size_if_older(entry: &DirEntry, grace: Duration) -> io::Result<Option<u64>> {
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    Ok((metadata.is_file() && age > grace).then_some(metadata.len()))
}

fn remove(path: &Path) -> Result<(), OriginError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OriginError::file(path, "remove")(error))
        }
        _ => Ok(()),
    }
}
