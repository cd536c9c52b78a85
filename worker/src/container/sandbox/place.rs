//! What a container has outside of itself: a note that it exists and, with a memory limit, a cgroup.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::container::ContainerError;
use crate::container::cgroup::{Group, Parent, name_of, remove_when_empty};

/// A container's place on the host, given up by [`Place::remove`]; dropping it does so too, without waiting for
/// processes that are still ending.
#[derive(Debug)]
pub(super) struct Place {
    group: Option<Group>,
    /// Dropped last: while there may be a cgroup, there is a note of it.
    _note: Note,
}

/// A file named after the container that holds the path of its cgroup, if it has one. It keeps a second
/// container from taking the same id, and finds the cgroup after a crash.
#[derive(Debug)]
struct Note(PathBuf);

impl Place {
    /// Takes a place for the container `id`, with its notes in the directory `notes`. `limit` is where its
    /// cgroup goes, and the bytes of memory it may use.
    ///
    /// A container without its limit is better than none, so a cgroup that cannot be made only causes a warning.
    pub(super) fn take(
        notes: &Path,
        id: &str,
        limit: Option<(&Result<Parent, String>, u64)>,
    ) -> Result<Self, ContainerError> {
        fs::create_dir_all(notes).map_err(ContainerError::io("create", notes))?;
        let path = notes.join(id);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ContainerError::Invalid { id: id.to_owned(), reason: "this id is in use" });
            }
            other => other.map_err(ContainerError::io("create", &path))?,
        };
        let note = Note(path);
        let group = limit.and_then(|(parent, bytes)| {
            let mut make = || -> Result<Group, String> {
                let parent = parent.as_ref().map_err(Clone::clone)?;
                let name = name_of(notes, id);
                // First the note: a note without a group is harmless.
                file.write_all(parent.dir().join(&name).as_os_str().as_encoded_bytes())
                    .and_then(|()| parent.limited(&name, bytes))
                    .map_err(|error| error.to_string())
            };
            make().inspect_err(|error| tracing::warn!(id, error, "the memory limit is not enforced")).ok()
        });
        Ok(Self { group, _note: note })
    }

    /// Puts a process into the container's cgroup; its future children come with it.
    pub(super) fn admit(&self, pid: u32) -> io::Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.add(pid))
    }

    /// The container's cgroup.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.group.as_ref().map(Group::dir)
    }

    /// Whether a process was killed because the memory did not suffice.
    pub(super) fn out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(Group::out_of_memory)
    }

    /// Gives the place up, once the container's processes are gone.
    pub(super) async fn remove(mut self) {
        if let Some(group) = self.group.take() {
            group.remove().await;
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, note = %self.0.display(), "a note of a container is left behind");
        }
    }
}

/// Gives up the places of containers that died with a killed worker, and says how many those were.
pub(super) async fn clean(notes: &Path) -> Result<usize, ContainerError> {
    let entries = match fs::read_dir(notes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(ContainerError::io("read", notes))?,
    };
    let mut cleaned = 0;
    for entry in entries {
        let note = entry.map_err(ContainerError::io("read", notes))?.path();
        let group = fs::read_to_string(&note).map_err(ContainerError::io("read", &note))?;
        if !group.is_empty() {
            // The processes may still be dying.
            let removed = remove_when_empty(group.as_ref()).await;
            removed.map_err(ContainerError::io("remove", group.as_ref()))?;
        }
        fs::remove_file(&note).map_err(ContainerError::io("remove", &note))?;
        cleaned += 1;
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_id_is_taken_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("containers");
        let place = Place::take(&notes, "a", None).unwrap();
        assert!(matches!(Place::take(&notes, "a", None), Err(ContainerError::Invalid { .. })));
        drop(place);
        std::mem::forget(Place::take(&notes, "a", None).unwrap()); // as a crash would
        assert_eq!(clean(&notes).await.unwrap(), 1);
        Place::take(&notes, "a", None).unwrap();
        assert_eq!(clean(&notes).await.unwrap(), 0);
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_no_reason_not_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let none = Err("no cgroups here".to_owned());
        let place = Place::take(dir.path(), "a", Some((&none, 1 << 20))).unwrap();
        assert_eq!(place.cgroup(), None);
        assert!(!place.out_of_memory());
    }
}
