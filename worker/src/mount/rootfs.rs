//! A container's writable root file system over a read-only image.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::MountError;
use super::sys::{Context, Mounted, with_deadline};

/// overlayfs: the image below, a directory of the container's own above.
///
/// Device nodes of the image show but cannot be opened (`nodev`): a container's devices are those in its `/dev`,
/// which the runtime makes. Setuid bits hold as far as the runtime's no-new-privileges lets them.
#[derive(Debug)]
pub struct Rootfs {
    mounted: Mounted,
}

impl Rootfs {
    /// Mounts at the existing directory `at` what is in `lower`, writable; what is written goes to `scratch`,
    /// in which `upper` and `work` are made. They must not exist: a layer is never used again. Needs root.
    ///
    /// # Errors
    /// When the kernel refuses or `deadline` passes; nothing stays mounted then.
    pub async fn overlay(
        lower: &Path,
        scratch: &Path,
        at: &Path,
        deadline: Duration,
    ) -> Result<Self, MountError> {
        let (lower, scratch, target) = (lower.to_owned(), scratch.to_owned(), at.to_owned());
        with_deadline(at, deadline, move || overlay(&lower, &scratch, &target)).await
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Takes the mount away. What was written stays in the scratch directory, which is the caller's to remove.
    ///
    /// # Errors
    /// When the kernel refuses or `deadline` passes.
    pub async fn unmount(self, deadline: Duration) -> Result<(), MountError> {
        let at = self.path().to_owned();
        with_deadline(&at, deadline, move || self.mounted.unmount()).await
    }
}

fn overlay(lower: &Path, scratch: &Path, at: &Path) -> Result<Rootfs, MountError> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for dir in [&upper, &work] {
        fs::create_dir(dir).map_err(MountError::io("create", dir))?;
    }
    // The root directory's own mode, owner and times are the upper directory's.
    copy_root_attributes(lower, &upper).map_err(MountError::io("take over the attributes of", lower))?;
    let attempt = |volatile: bool| {
        let context = Context::open("overlay", at)?;
        context.set("lowerdir", &escape(lower))?;
        context.set("upperdir", &escape(&upper))?;
        context.set("workdir", &escape(&work))?;
        if volatile {
            context.flag("volatile")?;
        }
        context.mount(MountAttrFlags::MOUNT_ATTR_NODEV)
    };
    // The layer does not outlive the container, so nothing has to reach the disk (Linux 5.10 and later).
    let mounted = match attempt(true) {
        Err(error) if error.errno() == Some(Errno::INVAL) => attempt(false)?,
        other => other?,
    };
    Ok(Rootfs { mounted })
}

fn copy_root_attributes(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())?;
    fs::File::open(to)?
        .set_times(fs::FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?))
}

/// overlayfs takes `:` for the end of a path, and `\` for an escape.
fn escape(path: &Path) -> PathBuf {
    let mut out = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(escape(Path::new(r"/a:b\c,d e")), Path::new(r"/a\:b\\c,d e"));
    }
}
