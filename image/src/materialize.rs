//! Writing an image's tree into a directory: for hosts that may not mount it, and to look at it.
//!
//! The image is not trusted. Every object is made under a name that did not exist, in a directory that was
//! made just before and is held open; no link is ever followed, so nothing outside the destination is
//! touched.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use crate::erofs::{Inode, Kind, ReadAt, ReadError, Reader, Visitor, Xattr, walk};

mod attributes;
mod content;
mod place;

use attributes::{Target, apply};
use place::{Place, cannot, open_directory};

/// What of an image to apply besides names, contents, permissions and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaterializeOptions {
    /// Set owners; needs root. Without, set-user-id and set-group-id bits are left out as well, for they
    /// would lend the caller's rights to programs of the image.
    pub owners: bool,
    /// Make device nodes; needs root. Without, they are left out.
    pub devices: bool,
    /// Set extended attributes; most need root.
    pub xattrs: bool,
}

impl MaterializeOptions {
    /// Everything, for root.
    pub const ALL: Self = Self { owners: true, devices: true, xattrs: true };
    /// What any user may do.
    pub const UNPRIVILEGED: Self = Self { owners: false, devices: false, xattrs: false };
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Materialized {
    /// Names, the root not counted.
    pub names: u64,
    /// Bytes of file data, without holes.
    pub bytes: u64,
    /// Device nodes that were left out.
    pub devices_left_out: u64,
}

/// Why an image could not be materialised. What was written until then stays.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The destination is not a directory that can be filled.
    #[error("{path}: {reason}")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object cannot be made.
    #[error("cannot {action} {path}: {cause}")]
    Object {
        /// What was to be done.
        action: &'static str,
        /// The object's path in the image.
        path: String,
        /// The system's answer.
        cause: io::Error,
    },
}

/// Writes an image's tree into `destination`, which is made if it does not exist and must be empty if it
/// does.
///
/// # Errors
/// The image is damaged, the destination not empty, or the system refuses something; without root, leave out
/// what [`MaterializeOptions::UNPRIVILEGED`] leaves out.
pub fn materialize<M: ReadAt, D: ReadAt>(
    reader: &Reader<M, D>,
    destination: &Path,
    options: &MaterializeOptions,
) -> Result<Materialized, MaterializeError> {
    let root = open_destination(destination)?;
    let mut create = Create {
        reader,
        options,
        place: Place::new(&root)?,
        linked: HashMap::new(),
        done: Materialized::default(),
    };
    walk(reader, &mut create)?;
    let done = create.done;
    // Directories last: with their own modes, nothing more could be made in some of them, and their times
    // would change.
    walk(reader, &mut Finish { reader, options, place: Place::new(&root)? })?;
    Ok(done)
}

fn open_destination(path: &Path) -> Result<OwnedFd, MaterializeError> {
    let failed = |reason: String| MaterializeError::Destination { path: path.to_owned(), reason };
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = std::fs::read_dir(path).map_err(|error| failed(error.to_string()))?;
            if entries.next().is_some() {
                return Err(failed("the directory is not empty; give a new one".to_owned()));
            }
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    open_directory(CWD, path).map_err(|error| failed(error.to_string()))
}

/// Makes everything; directories without their attributes.
struct Create<'a, M, D> {
    reader: &'a Reader<M, D>,
    options: &'a MaterializeOptions,
    place: Place<'a>,
    /// By inode, the path of the first of several names.
    linked: HashMap<u64, Vec<u8>>,
    done: Materialized,
}

impl<M: ReadAt, D: ReadAt> Visitor for Create<'_, M, D> {
    type Error = MaterializeError;

    fn enter(&mut self, name: &[u8], _: &Inode) -> Result<(), MaterializeError> {
        if name.is_empty() {
            return Ok(());
        }
        self.done.names += 1;
        let made = rustix::fs::mkdirat(&self.place.directory, name, Mode::RWXU);
        made.map_err(|error| self.place.cannot("make the directory", name)(error.into()))?;
        self.place.enter(name)
    }

    fn leaf(&mut self, name: &[u8], inode: &Inode) -> Result<(), MaterializeError> {
        self.done.names += 1;
        if inode.links() > 1 {
            if let Some(first) = self.linked.get(&inode.node()) {
                return self.link(first, name);
            }
            self.linked.insert(inode.node(), self.place.path_of(name));
        }
        match inode.kind() {
            Kind::File => self.file(name, inode),
            Kind::Symlink => {
                let target = self.reader.read_link(inode)?;
                let made = rustix::fs::symlinkat(&target[..], &self.place.directory, name);
                self.made(name, inode, made, "make the symbolic link")
            }
            Kind::CharDevice { major, minor } => {
                self.device(name, inode, FileType::CharacterDevice, major, minor)
            }
            Kind::BlockDevice { major, minor } => {
                self.device(name, inode, FileType::BlockDevice, major, minor)
            }
            Kind::Fifo => self.node(name, inode, FileType::Fifo, 0),
            Kind::Socket => self.node(name, inode, FileType::Socket, 0),
            // The walk calls enter() for directories.
            Kind::Directory => Ok(()),
        }
    }

    fn leave(&mut self, _: &Inode) -> Result<(), MaterializeError> {
        self.place.leave().map(drop)
    }
}

impl<M: ReadAt, D: ReadAt> Create<'_, M, D> {
    fn file(&mut self, name: &[u8], inode: &Inode) -> Result<(), MaterializeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.place.directory, name, flags, Mode::RUSR | Mode::WUSR);
        let opened = opened.map_err(|error| self.place.cannot("make the file", name)(error.into()))?;
        let file = std::fs::File::from(opened);
        self.done.bytes +=
            content::write(self.reader, inode, &file)?.map_err(self.place.cannot("write the file", name))?;
        let xattrs = self.xattrs(inode)?;
        apply(Target::Open(&file), inode, &xattrs, self.options)
            .map_err(|(action, error)| self.place.cannot(action, name)(error))
    }

    fn device(
        &mut self,
        name: &[u8],
        inode: &Inode,
        kind: FileType,
        major: u32,
        minor: u32,
    ) -> Result<(), MaterializeError> {
        if self.options.devices {
            self.node(name, inode, kind, rustix::fs::makedev(major, minor))
        } else {
            self.done.devices_left_out += 1;
            self.linked.remove(&inode.node());
            Ok(())
        }
    }

    fn node(&self, name: &[u8], inode: &Inode, kind: FileType, device: u64) -> Result<(), MaterializeError> {
        let made = rustix::fs::mknodat(&self.place.directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        self.made(name, inode, made, "make the device, FIFO or socket")
    }

    /// Gives what was just made under `name` its attributes.
    fn made(
        &self,
        name: &[u8],
        inode: &Inode,
        made: rustix::io::Result<()>,
        action: &'static str,
    ) -> Result<(), MaterializeError> {
        made.map_err(|error| self.place.cannot(action, name)(error.into()))?;
        let xattrs = self.xattrs(inode)?;
        apply(Target::Named(&self.place.directory, name), inode, &xattrs, self.options)
            .map_err(|(action, error)| self.place.cannot(action, name)(error))
    }

    /// Makes `name` another name of what is at `first`. Every name in that path is a directory made here.
    fn link(&self, first: &[u8], name: &[u8]) -> Result<(), MaterializeError> {
        let linked =
            rustix::fs::linkat(self.place.root, first, &self.place.directory, name, AtFlags::empty());
        linked.map_err(|error| self.place.cannot("make the hard link", name)(error.into()))
    }

    fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, MaterializeError> {
        if self.options.xattrs { Ok(self.reader.xattrs(inode)?) } else { Ok(Vec::new()) }
    }
}

/// Gives directories their attributes, each after those in it.
struct Finish<'a, M, D> {
    reader: &'a Reader<M, D>,
    options: &'a MaterializeOptions,
    place: Place<'a>,
}

impl<M: ReadAt, D: ReadAt> Visitor for Finish<'_, M, D> {
    type Error = MaterializeError;

    fn enter(&mut self, name: &[u8], _: &Inode) -> Result<(), MaterializeError> {
        if name.is_empty() { Ok(()) } else { self.place.enter(name) }
    }

    fn leaf(&mut self, _: &[u8], _: &Inode) -> Result<(), MaterializeError> {
        Ok(())
    }

    fn leave(&mut self, directory: &Inode) -> Result<(), MaterializeError> {
        let path = self.place.path.clone();
        let left = self.place.leave()?;
        let xattrs = if self.options.xattrs { self.reader.xattrs(directory)? } else { Vec::new() };
        apply(Target::Open(&left), directory, &xattrs, self.options)
            .map_err(|(action, error)| cannot(action, &path)(error))
    }
}
