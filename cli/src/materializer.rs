//! The worker's way of writing images out as files: it does not know the format, so it is handed this.

use std::fs::File;
use std::path::Path;

use ft_image::erofs::{FileDevice, Reader};
use ft_image::materialize::materialize;
use ft_worker::Materializer;

/// What of an image this user can write out.
pub(crate) mod write_out {
    use ft_image::materialize::MaterializeOptions;

    /// Everything for root; what any user may do for others.
    pub(crate) fn options() -> MaterializeOptions {
        match rustix::process::geteuid().is_root() {
            true => MaterializeOptions::ALL,
            false => MaterializeOptions::UNPRIVILEGED,
        }
    }
}

/// Reads EROFS in this process and writes files.
pub(crate) struct ErofsMaterializer;

impl Materializer for ErofsMaterializer {
    fn materialize(
        &self,
        metadata: &Path,
        data: &Path,
        dest: &Path,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let reader =
            Reader::open(FileDevice::new(File::open(metadata)?)?, FileDevice::new(File::open(data)?)?)?;
        materialize(&reader, dest, &write_out::options())?;
        Ok(())
    }
}
