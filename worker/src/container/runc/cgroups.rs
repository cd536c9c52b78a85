//! The cgroups that runc makes for our containers, one in every hierarchy.

use std::fs;
use std::path::PathBuf;

use crate::container::cgroup::remove_when_empty;
use crate::mount::mounts;

/// The group that holds those of all our containers.
const PARENT: &str = "function-trees";

/// Where a container's cgroup is, from the root of each hierarchy.
pub(super) fn path_of(id: &str) -> String {
    format!("/{PARENT}/{id}")
}

/// Removes a container's cgroups. runc does so itself, unless it is killed while it starts the container.
pub(super) async fn remove(id: &str) {
    for parent in parents() {
        if let Err(error) = remove_when_empty(&parent.join(id)).await {
            tracing::warn!(%error, id, parent = %parent.display(), "a cgroup is left behind");
        }
        let _absent_or_in_use = fs::remove_dir(parent);
    }
}

fn parents() -> impl Iterator<Item = PathBuf> {
    let hierarchies = mounts().unwrap_or_default().into_iter();
    hierarchies
        .filter(|entry| matches!(entry.fs.as_str(), "cgroup" | "cgroup2"))
        .map(|entry| entry.at.join(PARENT))
}
