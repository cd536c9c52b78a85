//! The kernel's EROFS over the files of a function image.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::MountError;
use super::loop_device::LoopDevice;
use super::sys::{Context, Mounted, with_deadline};

/// How EROFS reaches the image's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The kernel reads the files themselves (Linux 6.12 and later).
    File,
    /// Loop devices stand between (Linux 5.16 and later).
    Loop,
}

/// How an image is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageMountOptions {
    /// The method, or `None` to try [`Method::File`] first.
    pub method: Option<Method>,
    /// Read the data past the page cache of the file beneath, so that it is cached once, as the image's.
    pub direct_io: bool,
    /// How long mounting may take. It reads the superblock and the root directory, which may have to come over
    /// the network.
    pub deadline: Duration,
}

impl Default for ImageMountOptions {
    fn default() -> Self {
        Self { method: None, direct_io: true, deadline: Duration::from_secs(60) }
    }
}

/// A mounted function image: read-only, no setuid, no device nodes.
///
/// The flags hold for this mount alone. Containers see the image through overlayfs, which has flags of its own
/// ([`Rootfs`](super::Rootfs)).
#[derive(Debug)]
pub struct ImageMount {
    mounted: Mounted,
    method: Method,
}

impl ImageMount {
    /// Mounts the image whose metadata is the file `meta` and whose data is the file `device` (none when the
    /// metadata holds everything) at the existing directory `at`. Needs root.
    ///
    /// # Errors
    /// When the kernel refuses, or the deadline passes; nothing stays mounted then.
    pub async fn mount(
        meta: &Path,
        device: Option<&Path>,
        at: &Path,
        options: ImageMountOptions,
    ) -> Result<Self, MountError> {
        let (meta, device, target) = (meta.to_owned(), device.map(Path::to_owned), at.to_owned());
        with_deadline(at, options.deadline, move || {
            mount_by(&Files { meta, device }, &target, options.method, options.direct_io)
        })
        .await
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Which method worked.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Takes the mount away. Whatever still uses it keeps it until done.
    ///
    /// # Errors
    /// When the kernel refuses or `deadline` passes.
    pub async fn unmount(self, deadline: Duration) -> Result<(), MountError> {
        let at = self.path().to_owned();
        with_deadline(&at, deadline, move || self.mounted.unmount()).await
    }
}

struct Files {
    meta: PathBuf,
    device: Option<PathBuf>,
}

fn mount_by(
    files: &Files,
    at: &Path,
    method: Option<Method>,
    direct_io: bool,
) -> Result<ImageMount, MountError> {
    match method {
        Some(Method::File) => by_file(files, at, direct_io),
        Some(Method::Loop) => by_loop(files, at, direct_io),
        None => by_file(files, at, direct_io).or_else(|error| match error.errno() {
            // ENOTBLK: this kernel wants a block device. The others: it does not take these files for one,
            // for instance because they lie on an overlay.
            Some(Errno::NOTBLK | Errno::INVAL | Errno::OPNOTSUPP | Errno::LOOP) => {
                by_loop(files, at, direct_io).map_err(|over_loop| MountError::NoMethod {
                    at: at.to_owned(),
                    file: Box::new(error),
                    loop_device: Box::new(over_loop),
                })
            }
            _ => Err(error),
        }),
    }
}

fn by_file(files: &Files, at: &Path, direct_io: bool) -> Result<ImageMount, MountError> {
    let attempt = |direct_io| erofs(&files.meta, files.device.as_deref(), at, direct_io);
    let mounted = match attempt(direct_io) {
        // The option is refused when the files, or this kernel's EROFS, cannot do it.
        Err(error) if direct_io && error.errno() == Some(Errno::INVAL) => attempt(false)?,
        other => other?,
    };
    Ok(ImageMount { mounted, method: Method::File })
}

fn by_loop(files: &Files, at: &Path, direct_io: bool) -> Result<ImageMount, MountError> {
    let meta = LoopDevice::attach(&files.meta, direct_io)?;
    let device = files.device.as_deref().map(|path| LoopDevice::attach(path, direct_io)).transpose()?;
    let mounted = erofs(meta.path(), device.as_ref().map(LoopDevice::path), at, false)?;
    // From here on the mount holds the loop devices, and they go with it.
    Ok(ImageMount { mounted, method: Method::Loop })
}

fn erofs(meta: &Path, device: Option<&Path>, at: &Path, direct_io: bool) -> Result<Mounted, MountError> {
    let context = Context::open("erofs", at)?;
    context.set("source", meta)?;
    if let Some(device) = device {
        context.set("device", device)?;
    }
    if direct_io {
        context.flag("directio")?;
    }
    context.flag("ro")?;
    context.mount(
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOATIME,
    )
}

/// Whether this host mounts EROFS straight from a file, found out by doing it in `dir`, with a 4 KiB image that
/// holds an empty directory.
pub(crate) fn probe_file_backed(dir: &Path) -> Result<Method, MountError> {
    let (meta, at) = (dir.join("empty.erofs"), dir.join("mnt"));
    std::fs::write(&meta, empty_image()).map_err(MountError::io("write", &meta))?;
    std::fs::create_dir(&at).map_err(MountError::io("create", &at))?;
    let mounted = mount_by(&Files { meta, device: None }, &at, None, false)?;
    let method = mounted.method;
    mounted.mounted.unmount()?;
    Ok(method)
}

/// The smallest EROFS: a superblock at 1024 and, behind it, the inode of an empty root directory
/// (layout: the kernel's `Documentation/filesystems/erofs.rst` and `erofs_fs.h`).
fn empty_image() -> Vec<u8> {
    const SUPERBLOCK: usize = 1024;
    const ROOT_INODE: usize = SUPERBLOCK + 128;
    const ROOT_NUMBER: u8 = 36; // inodes are numbered by slots of 32 bytes from the start
    const MAGIC: u32 = 0xE0F5_E1E2;
    const BLOCK_BITS: u8 = 12;
    const DIRECTORY_0755: u16 = 0o40755;

    let mut image = vec![0u8; 1 << BLOCK_BITS];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in image.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(SUPERBLOCK, &MAGIC.to_le_bytes());
    put(SUPERBLOCK + 12, &[BLOCK_BITS]);
    put(SUPERBLOCK + 14, &[ROOT_NUMBER]); // 16 bits
    put(SUPERBLOCK + 16, &[1]); // inodes, 64 bits
    put(SUPERBLOCK + 36, &[1]); // blocks, 32 bits
    put(ROOT_INODE + 4, &DIRECTORY_0755.to_le_bytes());
    put(ROOT_INODE + 6, &[2]); // links, 16 bits
    image
}
