//! Writing images out as files: for `ft image`, and for workers, which do not know the format and are handed this.

use std::fs::File;
use std::path::Path;

use ft_image::erofs::{FileDevice, Reader};
use ft_image::materialize::{MaterializeOptions, Materialized, materialize};
use ft_worker::Materializer;

/// What of an image this user can write out: everything for root, what any user may do for others.
pub(crate) fn options() -> MaterializeOptions {
    match rustix::process::geteuid().is_root() {
        true => MaterializeOptions::ALL,
        false => MaterializeOptions::UNPRIVILEGED,
    }
}

/// Writes the image in the files `metadata` and `data` to the directory `dest`. Blocking.
pub(crate) fn write_out(
    metadata: &Path,
    data: &Path,
    dest: &Path,
    options: &MaterializeOptions,
) -> anyhow::Result<Materialized> {
    let open = |path| anyhow::Ok(FileDevice::new(File::open(path)?)?);
    let reader = Reader::open(open(metadata)?, open(data)?)?;
    Ok(materialize(&reader, dest, options)?)
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
        write_out(metadata, data, dest, &options())?;
        Ok(())
    }
}
