//! Taking the names away from images that nobody uses any more.

use std::fs;
use std::time::{Duration, SystemTime};

use ft_core::Digest;

use super::garbage::listed;
use super::layout::{LayoutDir, Lock};
use crate::name::RefName;
use crate::origin::OriginError;

/// The names of function images that list none of `keep`, published more than `grace` ago.
pub(super) fn unused(
    layout: &LayoutDir,
    keep: &[Digest],
    grace: Duration,
) -> Result<Vec<RefName>, OriginError> {
    let mut unused = Vec::new();
    for (name, artifact) in layout.read_index()?.function_images() {
        let path = layout.blob(&artifact);
        let published = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let published = published.map_err(OriginError::file(&path, "examine"))?;
        let old = SystemTime::now().duration_since(published).unwrap_or_default() > grace;
        if old && !listed(layout, &artifact)?.iter().any(|object| keep.contains(object)) {
            unused.push(name);
        }
    }
    Ok(unused)
}

/// Takes their names away.
pub(super) fn retire(
    layout: &LayoutDir,
    keep: &[Digest],
    grace: Duration,
) -> Result<Vec<RefName>, OriginError> {
    // While this is held, nobody publishes.
    let _lock = layout.lock(Lock::Exclusive)?;
    let names = unused(layout, keep, grace)?;
    let mut index = layout.read_index()?;
    for name in &names {
        index.remove(name);
    }
    layout.replace_index(&index)?;
    Ok(names)
}
