//! A directory tree as one layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tracing::warn;
use walkdir::WalkDir;

use super::layer::Counted;
use crate::Error;
use crate::entry::{Entry, EntryKind, LayerSink, Meta, Segment};
use crate::error::{EntryProblem, LayerProblem};
use crate::limits::Limits;
use crate::path;
use crate::progress::Progress;

/// Gives `sink` the directory at `root` and all below it: parents first, names in byte order. Sockets are left
/// out, as tar leaves them out. File systems mounted below it are part of it.
pub(super) fn read(
    root: &Path,
    label: &str,
    limits: Limits,
    sink: &mut dyn LayerSink,
    progress: &dyn Progress,
) -> Result<(), Error> {
    // `dir:` may name a link to a directory; only links below it are data.
    let root = root.canonicalize().map_err(Error::io(format!("opening {label}")))?;
    if !root.is_dir() {
        return Err(Error::io(format!("opening {label}"))(io::ErrorKind::NotADirectory.into()));
    }
    let mut walk = Walk { label, links: HashMap::new(), sink, progress };
    for (count, found) in (0u64..).zip(WalkDir::new(&root).sort_by_file_name()) {
        let found = found.map_err(|e| walk.cannot_walk(&root, e))?;
        if count >= limits.layer_entries {
            let problem = LayerProblem::Limit { what: "entries", limit: limits.layer_entries };
            return Err(Error::layer(label, problem));
        }
        let below = found.path().strip_prefix(&root).unwrap_or(found.path()).as_os_str();
        walk.visit(found.path(), below).map_err(|failure| match failure {
            Failure::Problem(problem) => Error::entry(label, below.as_bytes(), problem),
            Failure::Sink(error) => error,
        })?;
    }
    Ok(())
}

struct Walk<'a> {
    label: &'a str,
    /// The first name of each file that has several, by device and inode. Looked up, never iterated.
    links: HashMap<(u64, u64), Vec<u8>>,
    sink: &'a mut dyn LayerSink,
    progress: &'a dyn Progress,
}

enum Failure {
    Problem(EntryProblem),
    Sink(Error),
}

impl From<EntryProblem> for Failure {
    fn from(problem: EntryProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self::Problem(EntryProblem::Read(cause))
    }
}

impl Walk<'_> {
    fn cannot_walk(&self, root: &Path, cause: walkdir::Error) -> Error {
        let at = cause.path().unwrap_or(root);
        let below = at.strip_prefix(root).unwrap_or(at).as_os_str().as_bytes().to_vec();
        Error::entry(self.label, &below, EntryProblem::Read(cause.into()))
    }

    fn visit(&mut self, at: &Path, below: &OsStr) -> Result<(), Failure> {
        let path = path::normalise(below.as_bytes(), "path")?;
        let found = at.symlink_metadata()?;
        let file_type = found.file_type();
        if file_type.is_socket() {
            warn!(path = %at.display(), "left out: a socket cannot be part of an image");
            return Ok(());
        }
        let meta = meta(at, &found)?;
        if !file_type.is_dir()
            && found.nlink() > 1
            && let Some(first) = self.links.get(&(found.dev(), found.ino()))
        {
            let kind = EntryKind::HardLink(first.clone());
            return self.give(&Entry { path, meta, kind }, &mut io::empty());
        }
        if !file_type.is_dir() && found.nlink() > 1 {
            self.links.insert((found.dev(), found.ino()), path.clone());
        }
        if file_type.is_file() {
            return self.visit_file(at, &found, path, meta);
        }
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let kind = if file_type.is_dir() {
            EntryKind::Directory
        } else if file_type.is_symlink() {
            EntryKind::Symlink(path::symlink_target(at.read_link()?.into_os_string().into_vec())?)
        } else if file_type.is_char_device() {
            EntryKind::CharDevice { major, minor }
        } else if file_type.is_block_device() {
            EntryKind::BlockDevice { major, minor }
        } else {
            EntryKind::Fifo
        };
        self.give(&Entry { path, meta, kind }, &mut io::empty())
    }

    fn visit_file(&mut self, at: &Path, found: &Metadata, path: Vec<u8>, meta: Meta) -> Result<(), Failure> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = flags.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(at)?;
        if !is_same(found, &file.metadata()?) {
            return Err(EntryProblem::Changed.into());
        }
        let segments = segments(&file, found)?;
        let data =
            Segments { file: &file, left: segments.clone().into_iter(), offset: 0, end: 0, short: false };
        let mut data = Counted { inner: data, progress: self.progress };
        let entry = Entry { path, meta, kind: EntryKind::File { size: found.len(), segments } };
        let given = self.give(&entry, &mut data);
        if data.inner.short || !is_same(found, &file.metadata()?) {
            return Err(EntryProblem::Changed.into());
        }
        given
    }

    fn give(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Failure> {
        self.sink.entry(entry, data).map_err(Failure::Sink)
    }
}

/// Whether two looks at a file saw the same, unchanged file.
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    let key =
        |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    key(a) == key(b)
}

fn meta(at: &Path, found: &Metadata) -> Result<Meta, Failure> {
    let mut xattrs = Vec::new();
    match xattr::list(at) {
        Ok(names) => {
            for name in names.filter(|name| belongs_to_image(name.as_bytes())) {
                // Gone meanwhile: as if it had not been there.
                if let Some(value) = xattr::get(at, &name)? {
                    xattrs.push((name.into_vec(), value));
                }
            }
        }
        // The file system has none.
        Err(e) if e.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => {}
        Err(e) => return Err(e.into()),
    }
    xattrs.sort();
    Ok(Meta {
        mode: (found.mode() & 0o7777) as u16,
        uid: found.uid(),
        gid: found.gid(),
        mtime_secs: found.mtime(),
        // The kernel keeps it below 10^9.
        mtime_nanos: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        xattrs,
    })
}

/// Whether an attribute describes the file, and not how this host keeps it.
fn belongs_to_image(name: &[u8]) -> bool {
    !matches!(name, b"security.selinux" | b"system.nfs4_acl")
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
}

/// The parts of a file that hold data.
fn segments(file: &File, found: &Metadata) -> Result<Vec<Segment>, Failure> {
    let size = found.len();
    // Sizes count blocks of 512 bytes. As many as are needed: no holes.
    if size > 0 && found.blocks().saturating_mul(512) >= size {
        return Ok(vec![Segment { offset: 0, len: size }]);
    }
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(offset) if offset < size => offset,
            // ENXIO: nothing but a hole from here on.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(e) => return Err(io::Error::from(e).into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(offset)).map_err(io::Error::from)?.min(size);
        if end <= offset {
            return Err(EntryProblem::Changed.into());
        }
        segments.push(Segment { offset, len: end - offset });
        at = end;
    }
    Ok(segments)
}

/// Reads a file's segments back to back.
struct Segments<'a> {
    file: &'a File,
    left: std::vec::IntoIter<Segment>,
    offset: u64,
    end: u64,
    /// The file ended before its last segment did.
    short: bool,
}

impl Read for Segments<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.offset == self.end {
            let Some(next) = self.left.next() else { return Ok(0) };
            (self.offset, self.end) = (next.offset, next.offset + next.len);
        }
        let want = buf.len().min(usize::try_from(self.end - self.offset).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buf[..want], self.offset)?;
        self.offset += got as u64;
        if got == 0 && want > 0 {
            self.short = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(got)
    }
}
