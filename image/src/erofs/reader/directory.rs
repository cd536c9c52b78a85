//! Reading directories.

use super::super::disk::{BLOCK, DIRENT_BYTES};
use super::{Inode, Kind, ReadAt, ReadError, Reader};

/// The longest name that Linux allows.
const MAX_NAME: usize = 255;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name: not empty, without `/` and NUL, and neither `.` nor `..`.
    pub name: Vec<u8>,
    /// The inode's number.
    pub node: u64,
    /// The inode's type in EROFS's numbering, repeated for programs that list directories.
    pub(super) kind: u8,
}

/// A directory's names in ascending order, each once, without `.` and `..`; reads a block at a time. Ends
/// after the first error.
#[derive(Debug)]
pub struct ReadDir<'a, M, D> {
    reader: &'a Reader<M, D>,
    directory: Inode,
    /// Where the block after the current one starts.
    next_block: u64,
    block: Vec<u8>,
    next_entry: usize,
    entries: usize,
    last_name: Option<Vec<u8>>,
}

impl<M: ReadAt, D: ReadAt> Reader<M, D> {
    /// The names in a directory.
    ///
    /// # Errors
    /// The inode is no directory.
    pub fn read_dir(&self, directory: &Inode) -> Result<ReadDir<'_, M, D>, ReadError> {
        if directory.kind() != Kind::Directory {
            return Err(directory.damaged("it is no directory"));
        }
        if directory.size() > self.metadata_len() {
            return Err(directory.damaged("its size is beyond the metadata"));
        }
        Ok(ReadDir {
            reader: self,
            directory: *directory,
            next_block: 0,
            block: Vec::new(),
            next_entry: 0,
            entries: 0,
            last_name: None,
        })
    }

    /// The number of the inode that `directory` has under `name`.
    ///
    /// # Errors
    /// The directory is damaged.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<Option<u64>, ReadError> {
        for entry in self.read_dir(directory)? {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(entry.node));
            }
        }
        Ok(None)
    }
}

impl<M: ReadAt, D: ReadAt> ReadDir<'_, M, D> {
    fn read_next(&mut self) -> Result<Option<DirEntry>, ReadError> {
        loop {
            if self.next_entry == self.entries && !self.read_block()? {
                return Ok(None);
            }
            let entry = self.parse_entry(self.next_entry)?;
            self.next_entry += 1;
            if self.last_name.as_ref().is_some_and(|last| *last >= entry.name) {
                return Err(self.directory.damaged("its names are not in order"));
            }
            self.last_name = Some(entry.name.clone());
            if entry.name != b"." && entry.name != b".." {
                return Ok(Some(entry));
            }
        }
    }

    /// Reads the next block; `false` at the end.
    fn read_block(&mut self) -> Result<bool, ReadError> {
        let left = self.directory.size() - self.next_block;
        if left == 0 {
            return Ok(false);
        }
        let len = left.min(BLOCK.into());
        self.block.resize(usize::try_from(len).unwrap_or_default(), 0);
        self.reader.read_flat(&self.directory, &mut self.block, self.next_block)?;
        self.next_block += len;
        // The first name starts where the entries end.
        let names_start = self.name_offset(0);
        let whole = names_start.filter(|start| start % DIRENT_BYTES == 0 && *start > 0);
        self.entries = whole.ok_or(self.directory.damaged("a block of it has no entries"))? / DIRENT_BYTES;
        self.next_entry = 0;
        Ok(true)
    }

    /// Where entry `nth` of the block says that its name starts; `None` if it is not in the block.
    fn name_offset(&self, nth: usize) -> Option<usize> {
        let at = nth * DIRENT_BYTES + 8;
        let bytes = self.block.get(at..at + 2)?;
        let offset = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        (offset <= self.block.len()).then_some(offset)
    }

    fn parse_entry(&self, nth: usize) -> Result<DirEntry, ReadError> {
        let damaged = |what| self.directory.damaged(what);
        let start = self.name_offset(nth).ok_or(damaged("a name of it is outside its block"))?;
        let is_last = nth + 1 == self.entries;
        let end = if is_last { Some(self.block.len()) } else { self.name_offset(nth + 1) };
        let name = end.and_then(|end| self.block.get(start..end));
        let mut name = name.ok_or(damaged("a name of it is outside its block"))?;
        if is_last {
            // Zeros fill up a block that is not the directory's last.
            name = name.split(|byte| *byte == 0).next().unwrap_or(name);
        }
        if name.is_empty() || name.len() > MAX_NAME || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err(damaged("a name of it is impossible"));
        }
        let mut node = [0; 8];
        let at = nth * DIRENT_BYTES;
        node.copy_from_slice(self.block.get(at..at + 8).ok_or(damaged("an entry of it is cut off"))?);
        Ok(DirEntry { name: name.to_vec(), node: u64::from_le_bytes(node), kind: self.block[at + 10] })
    }
}

impl<M: ReadAt, D: ReadAt> Iterator for ReadDir<'_, M, D> {
    type Item = Result<DirEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next().transpose();
        if matches!(next, Some(Err(_))) {
            // Nothing follows an error.
            self.next_entry = 0;
            self.entries = 0;
            self.next_block = self.directory.size();
        }
        next
    }
}
