//! Root file systems written out as files: for hosts without root. Owners and devices are not kept.

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
        Ok(Root { path, dir: dir.to_owned(), mounted: None, recording: None })
    }
}
