//! Writing a regular file's data, holes left as holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::erofs::{Inode, ReadAt, ReadError, Reader};

/// How much is read and written at once.
const PIECE: usize = 256 << 10;

/// Writes all of `inode`'s data to the empty `file`; returns how many bytes that were, holes not counted. The
/// outer error is the image's, the inner one the file's.
pub(super) fn write<M: ReadAt, D: ReadAt>(
    reader: &Reader<M, D>,
    inode: &Inode,
    file: &File,
) -> Result<io::Result<u64>, ReadError> {
    let mut written = 0;
    let mut buffer = Vec::new();
    for extent in reader.extents(inode)? {
        let extent = extent?;
        if extent.device_offset.is_none() {
            continue;
        }
        let mut done = 0;
        while done < extent.len {
            let count = usize::try_from(extent.len - done).unwrap_or(PIECE).min(PIECE);
            buffer.resize(count, 0);
            reader.read_extent(&extent, done, &mut buffer)?;
            if let Err(error) = file.write_all_at(&buffer, extent.offset + done) {
                return Ok(Err(error));
            }
            done += count as u64;
        }
        written += extent.len;
    }
    Ok(file.set_len(inode.size()).map(|()| written))
}
