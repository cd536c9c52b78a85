//! The cgroups that runc makes for our containers, one in every hierarchy.
//!
//! Each is at the top of its hierarchy: a common parent could only be removed, in the end, at the risk of taking
//! it from under a container that another worker is just starting.

use std::path::Path;

use crate::container::cgroup::{name_of, remove_when_empty};
use crate::mount::mounts;

/// Where a container's cgroup is, from the root of each hierarchy. `state` is runc's own directory.
pub(super) fn path_of(state: &Path, id: &str) -> String {
    format!("/{}", name_of(state, id))
}

/// Removes a container's cgroups. runc does so itself, unless it is killed while it starts the container.
pub(super) async fn remove(state: &Path, id: &str) {
    let own = path_of(state, id);
    for hierarchy in mounts().unwrap_or_default() {
        if !matches!(hierarchy.fs.as_str(), "cgroup" | "cgroup2") {
            continue;
        }
        let dir = hierarchy.at.join(own.trim_start_matches('/'));
        if let Err(error) = remove_when_empty(&dir).await {
            tracing::warn!(%error, dir = %dir.display(), "a cgroup is left behind");
        }
    }
}
