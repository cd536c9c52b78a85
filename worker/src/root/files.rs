//! Root file systems written out as files: for hosts without root. Owners and devices are not kept.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::{Materializer, Root, RootError};
use crate::image::Image;

/// Makes root file systems by writing images out, one copy per container.
pub(crate) struct FileRoots {
    materializer: Arc<dyn Materializer>,
}

impl FileRoots {
    pub(crate) fn new(materializer: Arc<dyn Materializer>) -> Self {
        Self { materializer }
    }

    pub(super) async fn make(&self, image: &Image, dir: &Path) -> Result<Root, RootError> {
        let (metadata, data) = image.everything().await?;
        image.touch_everything();
        let path = dir.join("rootfs");
        let dest = path.clone();
        let materializer = Arc::clone(&self.materializer);
        let written = tokio::task::spawn_blocking(move || {
            materializer.materialize(&metadata, &data, &dest).map_err(|error| error.to_string())
        });
        let written = written.await.unwrap_or_else(|error| Err(error.to_string()));
        written.map_err(|cause| RootError::Materialize { dest: path.clone(), cause })?;
        Ok(Root { path, dir: dir.to_owned(), mounted: None })
    }
}

/// Like `remove_dir_all`, also where an image's directories are read-only.
pub(super) fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => return other,
    }
    make_writable(dir)?;
    fs::remove_dir_all(dir)
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_directories_are_removed_too() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("root");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "x").unwrap();
        fs::set_permissions(dir.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        make_writable(&dir).unwrap();
        remove_all(&dir).unwrap();
        assert!(!dir.exists());
        remove_all(&dir).unwrap();
    }
}
