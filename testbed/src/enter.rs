//! Moving a thread of this process onto a host.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::host::Host;
use crate::tool::Error;

impl Host {
    /// Moves the calling thread onto this host: sockets that it, its threads and its processes make from now on
    /// are the host's. A thread cannot leave again, so give it one that ends.
    ///
    /// # Errors
    /// The namespace is gone, or this is not root.
    pub fn enter(&self) -> Result<(), Error> {
        enter(&self.namespace)
    }
}

fn enter(namespace: &str) -> Result<(), Error> {
    let path = PathBuf::from("/run/netns").join(namespace);
    let failed = |source| Error::Enter { namespace: namespace.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| failed(errno.into()))
}

/// Where a machine's packet filters look at bridged packets too, they need not look at a testbed's: a tenth of what
/// a packet costs.
pub(crate) fn spare_filters(switch: &str) -> Result<(), Error> {
    const SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let spare = || {
        enter(switch)?;
        match std::fs::write(SETTING, "0") {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(Error::Enter { namespace: switch.to_owned(), source })
            }
            _ => Ok(()),
        }
    };
    // A thread's namespace is its own.
    std::thread::scope(|scope| scope.spawn(spare).join().unwrap_or(Ok(())))
}

/// Gives the calling thread a mount namespace of its own: what it, its threads and its processes mount from now
/// on nobody else sees, and it is gone with the last of them, however that ends.
///
/// # Errors
/// This is not root.
pub fn own_mounts() -> Result<(), Error> {
    let failed = |errno: rustix::io::Errno| Error::Mounts { source: errno.into() };
    // SAFETY: only `UnshareFlags::FILES` endangers others' file descriptors, and it is not among these.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed)?;
    let kind = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", kind).map_err(failed)
}

/// Mounts an empty file system in memory at `dir`, for at most `bytes`.
///
/// # Errors
/// The kernel refuses it.
pub fn mount_memory(dir: &Path, bytes: u64) -> Result<(), Error> {
    let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).unwrap_or_default();
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), options.as_c_str())
        .map_err(|errno| Error::Mounts { source: errno.into() })
}
