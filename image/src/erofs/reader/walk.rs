//! Going through a whole image.

use std::collections::HashSet;

use super::super::disk::dirent_type;
use super::{Inode, Kind, ReadAt, ReadDir, ReadError, Reader};

/// The deepest directory that is visited; no path of 4,096 bytes is deeper.
const MAX_DEPTH: usize = 2048;
/// The most names that are visited. An image that was made to make this endless is stopped here.
const MAX_NAMES: u64 = 16_000_000;

/// Is told of every name of an image, in order: a directory, what is in it, its end.
pub trait Visitor {
    /// What the visitor's own work may fail with.
    type Error: From<ReadError>;

    /// A directory; the root has an empty name.
    ///
    /// # Errors
    /// Stops the walk.
    fn enter(&mut self, name: &[u8], directory: &Inode) -> Result<(), Self::Error>;

    /// Anything else, in the directory entered last.
    ///
    /// # Errors
    /// Stops the walk.
    fn leaf(&mut self, name: &[u8], inode: &Inode) -> Result<(), Self::Error>;

    /// The end of the directory entered last.
    ///
    /// # Errors
    /// Stops the walk.
    fn leave(&mut self, directory: &Inode) -> Result<(), Self::Error>;
}

/// Visits every name of an image. Ends for any image, however damaged.
///
/// # Errors
/// The first damage found, or the visitor's error.
pub fn walk<M: ReadAt, D: ReadAt, V: Visitor>(
    reader: &Reader<M, D>,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let root = reader.root()?;
    visitor.enter(b"", &root)?;
    let mut visited = HashSet::from([root.node()]);
    let mut names = 0;
    let mut stack: Vec<(Inode, ReadDir<'_, M, D>)> = vec![(root, reader.read_dir(&root)?)];
    while let Some((directory, entries)) = stack.last_mut() {
        let Some(entry) = entries.next().transpose()? else {
            visitor.leave(directory)?;
            stack.pop();
            continue;
        };
        names += 1;
        if names > MAX_NAMES {
            return Err(directory.damaged("the image has more names than are possible").into());
        }
        let inode = reader.inode(entry.node)?;
        if entry.kind != dirent_type(inode.disk.mode) {
            return Err(directory.damaged("an entry of it has another type than its inode").into());
        }
        if inode.kind() != Kind::Directory {
            visitor.leaf(&entry.name, &inode)?;
            continue;
        }
        if !visited.insert(inode.node()) {
            return Err(inode.damaged("it is a directory with two names").into());
        }
        if stack.len() >= MAX_DEPTH {
            return Err(inode.damaged("it lies deeper than a path can be long").into());
        }
        visitor.enter(&entry.name, &inode)?;
        stack.push((inode, reader.read_dir(&inode)?));
    }
    Ok(())
}
