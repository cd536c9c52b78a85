//! How a container gets its root file system: by mounts, or by files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::WorkerError;
use crate::image::{Image, ImageError, StartRecording};
use crate::mount::MountError;
use crate::state;

mod files;
mod mounts;
#[cfg(test)]
mod tests;

pub(crate) use files::FileRoots;
pub(crate) use mounts::MountRoots;

/// Writes a whole image out as files, for hosts where it cannot be mounted.
pub trait Materializer: Send + Sync {
    /// Writes the image in the files `metadata` and `data` to the directory `dest`, which does not exist yet.
    /// Called once every byte of the image is there. Blocking.
    ///
    /// # Errors
    /// Says what could not be written, and why.
    fn materialize(
        &self,
        metadata: &Path,
        data: &Path,
        dest: &Path,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Why a container has no root file system.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    State(#[from] WorkerError),
    #[error("cannot write the image out to {}: {cause}", dest.display())]
    Materialize { dest: PathBuf, cause: String },
    #[error("cannot remove {}: {source}", path.display())]
    Remove { path: PathBuf, source: std::io::Error },
}

/// The one way in which this worker makes root file systems.
pub(crate) enum Roots {
    Mounts(MountRoots),
    Files(FileRoots),
}

/// A container's root file system. To be given back with [`Roots::remove`].
pub(crate) struct Root {
    path: PathBuf,
    /// The container's own directory: its writable layer, or its files.
    dir: PathBuf,
    mounted: Option<mounts::MountedRoot>,
    /// What is read of the image since its mount, if it was mounted for this container.
    recording: Option<StartRecording>,
}

impl Root {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives away what is recorded since the mount of the image. There is a recording only for the first
    /// container of a mount: what it read, the kernel has, so that a later one's reads are not all seen.
    pub(crate) fn take_recording(&mut self) -> Option<StartRecording> {
        self.recording.take()
    }
}

impl Roots {
    /// Whether images are received whole, whatever the tree's mode is.
    pub(crate) fn need_everything(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// Waits for as much of the image as a root file system needs. May be given up at any time.
    pub(crate) async fn await_image(&self, image: &Image) -> Result<(), RootError> {
        match self {
            Self::Mounts(_) => image.metadata().await.map(drop)?,
            Self::Files(_) => image.everything().await.map(drop)?,
        }
        Ok(())
    }

    /// Makes the root file system of a container whose directory is `dir`; not to be given up midway.
    pub(crate) async fn make(
        &self,
        image: &Arc<Image>,
        dir: &Path,
        container: &str,
    ) -> Result<Root, RootError> {
        match self {
            Self::Mounts(mounts) => mounts.make(image, dir, container).await,
            Self::Files(files) => files.make(image, dir).await,
        }
    }

    /// Takes a root file system away, and the container's directory with it.
    pub(crate) async fn remove(&self, root: Root) -> Result<(), RootError> {
        let Root { dir, mounted, .. } = root;
        if let (Self::Mounts(mounts), Some(mounted)) = (self, mounted) {
            mounts.unmount(mounted).await?;
        }
        remove_tree(dir).await
    }

    /// Takes away what serves mounts, once no root is left.
    pub(crate) fn shutdown(self) {
        match self {
            Self::Mounts(mounts) => mounts.shutdown(),
            Self::Files(_) => {}
        }
    }
}

/// Removes a directory that may hold read-only directories of an image.
pub(crate) async fn remove_tree(dir: PathBuf) -> Result<(), RootError> {
    let path = dir.clone();
    let removed = tokio::task::spawn_blocking(move || state::remove_all(&dir)).await;
    let removed = removed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    removed.map_err(|source| RootError::Remove { path, source })
}
