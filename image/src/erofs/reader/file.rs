//! Reading regular files.

use super::super::disk::{BLOCK, CHUNK_INDEX_BYTES, DataLayout, NULL_BLOCK, decode_chunk_index};
use super::{Inode, Kind, ReadAt, ReadError, Reader};

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// Where it starts on the data device; `None`: it is a hole and reads as zeros.
    pub device_offset: Option<u64>,
}

/// The parts of a file in order, without gaps; neighbours that also are neighbours on the device are one.
/// Ends after the first error.
#[derive(Debug)]
pub struct Extents<'a, M, D> {
    reader: &'a Reader<M, D>,
    inode: Inode,
    chunk_bits: u8,
    chunks: u64,
    next_chunk: u64,
    pending: Option<Extent>,
}

impl<M: ReadAt, D: ReadAt> Reader<M, D> {
    /// Where a regular file's bytes are.
    ///
    /// # Errors
    /// The inode is no regular file, or its size cannot be.
    pub fn extents(&self, inode: &Inode) -> Result<Extents<'_, M, D>, ReadError> {
        if inode.kind() != Kind::File {
            return Err(inode.damaged("it is no regular file"));
        }
        let (chunk_bits, chunks) = match inode.disk.layout {
            DataLayout::Chunks { bits } => (bits, inode.size().div_ceil(1 << bits)),
            _ if inode.size() == 0 => (0, 0),
            _ => return Err(inode.damaged("it has a size but no chunks")),
        };
        let room = self.metadata_len().saturating_sub(indices_start(inode)) / CHUNK_INDEX_BYTES as u64;
        if chunks > room || inode.size() > i64::MAX.cast_unsigned() {
            return Err(inode.damaged("its size is beyond its chunk indices"));
        }
        Ok(Extents { reader: self, inode: *inode, chunk_bits, chunks, next_chunk: 0, pending: None })
    }

    /// Reads a file's bytes from `offset` on; fewer than asked for only at its end.
    ///
    /// # Errors
    /// The inode is no regular file or damaged, or the data cannot be read.
    pub fn read(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let extents = self.extents(inode)?;
        let left = usize::try_from(inode.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let mut filled = 0;
        let first_chunk = if extents.chunks > 0 { offset >> extents.chunk_bits } else { 0 };
        for extent in (Extents { next_chunk: first_chunk, ..extents }) {
            let extent = extent?;
            let at = offset + filled as u64;
            let skip = at - extent.offset;
            let count = usize::try_from(extent.len - skip).unwrap_or(usize::MAX).min(len - filled);
            self.read_extent(&extent, skip, &mut buffer[filled..filled + count])?;
            filled += count;
            if filled == len {
                break;
            }
        }
        Ok(filled)
    }

    /// Fills `buffer` with an extent's bytes from its byte `skip` on; they all lie within the extent.
    pub(crate) fn read_extent(&self, extent: &Extent, skip: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match extent.device_offset {
            Some(start) => self.read_data(buffer, start + skip),
            None => {
                buffer.fill(0);
                Ok(())
            }
        }
    }
}

fn indices_start(inode: &Inode) -> u64 {
    inode.tail().next_multiple_of(CHUNK_INDEX_BYTES as u64)
}

impl<M: ReadAt, D: ReadAt> Extents<'_, M, D> {
    /// The next chunk as an extent of its own.
    fn read_chunk(&mut self) -> Result<Option<Extent>, ReadError> {
        if self.next_chunk >= self.chunks {
            return Ok(None);
        }
        let mut index = [0; CHUNK_INDEX_BYTES];
        let at = indices_start(&self.inode) + self.next_chunk * CHUNK_INDEX_BYTES as u64;
        self.reader.read_metadata(&mut index, at)?;
        let block = decode_chunk_index(&index).ok_or(self.inode.damaged("a chunk of it is on no device"))?;
        let offset = self.next_chunk << self.chunk_bits;
        let len = (self.inode.size() - offset).min(1 << self.chunk_bits);
        self.next_chunk += 1;
        if block == NULL_BLOCK {
            return Ok(Some(Extent { offset, len, device_offset: None }));
        }
        let start = u64::from(block) * u64::from(BLOCK);
        if start + len > self.reader.data_len() {
            return Err(self.inode.damaged("a chunk of it is beyond the file data"));
        }
        Ok(Some(Extent { offset, len, device_offset: Some(start) }))
    }

    fn read_next(&mut self) -> Result<Option<Extent>, ReadError> {
        let Some(mut extent) =
            self.pending.take().map_or_else(|| self.read_chunk(), |next| Ok(Some(next)))?
        else {
            return Ok(None);
        };
        while let Some(next) = self.read_chunk()? {
            if next.device_offset != extent.device_offset.map(|start| start + extent.len) {
                self.pending = Some(next);
                break;
            }
            extent.len += next.len;
        }
        Ok(Some(extent))
    }
}

impl<M: ReadAt, D: ReadAt> Iterator for Extents<'_, M, D> {
    type Item = Result<Extent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next().transpose();
        if matches!(next, Some(Err(_))) {
            self.next_chunk = self.chunks;
            self.pending = None;
        }
        next
    }
}
