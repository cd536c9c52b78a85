//! What the FUSE file system answers: one flat directory of read-only files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry,
    ReplyOpen, Request,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{DataSource, FuseOptions, ReadError};

/// Sizes and modes never change and inode numbers are never used again, so the kernel may keep attributes.
const ATTRIBUTE_TTL: Duration = Duration::from_secs(3600);
/// Names come and go, and are looked up once per mount: not kept.
const NAME_TTL: Duration = Duration::ZERO;
const BLOCK_SIZE: u32 = 4096;

/// The files of the file system, shared between whoever adds them and the thread that answers.
#[derive(Debug, Default)]
pub(super) struct Files(RwLock<Table>);

#[derive(Debug)]
struct Table {
    by_name: BTreeMap<String, u64>,
    by_inode: BTreeMap<u64, Arc<File>>,
    next_inode: u64,
}

struct File {
    source: Arc<dyn DataSource>,
    removed: CancellationToken,
}

impl Default for Table {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), by_inode: BTreeMap::new(), next_inode: INodeNo::ROOT.0 + 1 }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("len", &self.source.len()).finish_non_exhaustive()
    }
}

impl Files {
    /// Returns whether the name was free.
    pub(super) fn add(&self, name: &str, source: Arc<dyn DataSource>) -> bool {
        let mut table = self.write();
        if table.by_name.contains_key(name) {
            return false;
        }
        let inode = table.next_inode;
        table.next_inode += 1;
        table.by_name.insert(name.to_owned(), inode);
        table.by_inode.insert(inode, Arc::new(File { source, removed: CancellationToken::new() }));
        true
    }

    /// Returns whether the name was there.
    pub(super) fn remove(&self, name: &str) -> bool {
        let mut table = self.write();
        let Some(inode) = table.by_name.remove(name) else { return false };
        if let Some(file) = table.by_inode.remove(&inode) {
            file.removed.cancel();
        }
        true
    }

    pub(super) fn clear(&self) {
        let mut table = self.write();
        table.by_name.clear();
        for file in std::mem::take(&mut table.by_inode).into_values() {
            file.removed.cancel();
        }
    }

    fn file(&self, inode: INodeNo) -> Option<Arc<File>> {
        self.read().by_inode.get(&inode.0).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Nothing panics while it holds the lock, and every step leaves the table usable.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file system itself.
pub(super) struct ImageFiles {
    files: Arc<Files>,
    runtime: Handle,
    options: FuseOptions,
}

impl ImageFiles {
    pub(super) fn new(files: Arc<Files>, runtime: Handle, options: FuseOptions) -> Self {
        Self { files, runtime, options }
    }
}

impl Filesystem for ImageFiles {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each call refuses what the kernel does not allow and names the nearest it does.
        if let Err(nearest) = config.set_max_readahead(self.options.max_readahead) {
            let _previous = config.set_max_readahead(nearest);
        }
        if let Err(nearest) = config.set_max_background(self.options.max_background) {
            let _previous = config.set_max_background(nearest);
        }
        // Direct reads that EROFS sends without waiting; kernels without it answer them one by one.
        let _unsupported = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = (parent == INodeNo::ROOT)
            .then(|| {
                let table = self.files.read();
                let inode = *table.by_name.get(name.to_str()?)?;
                Some((inode, Arc::clone(table.by_inode.get(&inode)?)))
            })
            .flatten();
        match found {
            Some((inode, file)) => {
                let attributes = file_attributes(inode, file.source.len());
                reply.entry_with_ttls(&ATTRIBUTE_TTL, &NAME_TTL, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if ino == INodeNo::ROOT {
            return reply.attr(&ATTRIBUTE_TTL, &directory_attributes());
        }
        match self.files.file(ino) {
            Some(file) => reply.attr(&ATTRIBUTE_TTL, &file_attributes(ino.0, file.source.len())),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        match self.files.file(ino) {
            Some(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.files.file(ino) else { return reply.error(Errno::EIO) };
        let left = file.source.len().saturating_sub(offset);
        let len = u32::try_from(left).map_or(size, |left| size.min(left));
        if len == 0 {
            return reply.data(&[]);
        }
        let deadline = self.options.read_deadline;
        // Should the task end without an answer (it panics, the runtime goes away), dropping `reply` says EIO.
        self.runtime.spawn(async move {
            match file.read(offset, len, deadline).await {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => {
                    tracing::warn!(%error, offset, len, "a read of an image fails");
                    reply.error(Errno::EIO);
                }
            }
        });
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let table = self.files.read();
        let dots = [".", ".."].map(|name| (INodeNo::ROOT.0, FileType::Directory, name));
        let files = table.by_name.iter().map(|(name, inode)| (*inode, FileType::RegularFile, name.as_str()));
        for (next, (inode, kind, name)) in (1u64..).zip(dots.into_iter().chain(files)) {
            if next > offset && reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

impl File {
    async fn read(&self, offset: u64, len: u32, deadline: Duration) -> Result<Bytes, ReadError> {
        let read = tokio::time::timeout(deadline, self.source.read(offset, len));
        let bytes = tokio::select! {
            biased;
            () = self.removed.cancelled() => return Err(ReadError::new("the image is no longer served")),
            read = read => read.map_err(|_| ReadError::new(format!("no answer within {deadline:?}")))??,
        };
        if bytes.len() as u64 != u64::from(len) {
            return Err(ReadError::new(format!(
                "the data source gave {} bytes instead of {len}",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

fn directory_attributes() -> FileAttr {
    FileAttr { kind: FileType::Directory, perm: 0o500, nlink: 2, ..file_attributes(INodeNo::ROOT.0, 0) }
}

fn file_attributes(inode: u64, size: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0o400,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}
