//! The model between sources and the builder: what one layer holds, entry by entry.
//!
//! A source reads a layer from front to back and calls [`LayerSink::entry`] for each member, in the
//! layer's own order. Whiteouts (`.wh.NAME`, `.wh..wh..opq`) arrive as the ordinary files they are in the
//! layer; the sink gives them their meaning.

use std::io::Read;

use crate::Error;

/// Longest path of an entry, link target or symbolic link, in bytes (Linux's `PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// Longest single name within a path, in bytes (Linux's `NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// One file, directory or other object of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, relative to the image's root: `usr/bin/env`; empty for the root itself. Any bytes but
    /// `/` and NUL within a name, no empty name, no `.` and no `..`; at most [`MAX_PATH`] bytes in all and
    /// [`MAX_NAME`] a name.
    pub path: Vec<u8>,
    /// Mode, owner, time and extended attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: EntryKind,
}

/// What every kind of entry has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission, set-id and sticky bits; nothing above `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, in whole seconds since 1970, rounded towards minus infinity.
    pub mtime_secs: i64,
    /// The rest of the modification time, in nanoseconds: 0 to 999,999,999.
    pub mtime_nanos: u32,
    /// Extended attributes, full names (`security.capability`), sorted by name, each name once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// The parts that hold data, in order, not empty, neither overlapping nor beyond `size`. What lies
        /// between them is a hole and reads as zeros.
        segments: Vec<Segment>,
    },
    /// A symbolic link; the target is data, never followed here.
    Symlink(Vec<u8>),
    /// Another name for the regular file (or device, FIFO, symbolic link) at this path, same form as
    /// [`Entry::path`]. Its `meta` is to be ignored: the inode is the target's.
    HardLink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// A part of a sparse file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has; never 0.
    pub len: u64,
}

impl EntryKind {
    /// A regular file of `size` bytes without holes.
    pub fn dense_file(size: u64) -> Self {
        let segments = if size == 0 { Vec::new() } else { vec![Segment { offset: 0, len: size }] };
        Self::File { size, segments }
    }
}

/// Takes a layer's entries, in the layer's order.
pub trait LayerSink {
    /// Takes one entry. For a regular file `data` gives the bytes of its segments back to back (holes are
    /// not in it) and ends exactly after the last; for every other kind it is empty. The sink need not
    /// read it to the end. A damaged layer shows as an error of `data`: the sink passes it on as it likes,
    /// the source then reports the true cause.
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error>;
}
