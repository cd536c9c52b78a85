//! Loop devices, for kernels whose EROFS wants a block device.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

use super::MountError;

const CONTROL: &str = "/dev/loop-control";
/// Others take free devices too, so the one we are told may be gone when we come for it.
const ATTEMPTS: usize = 32;

// From <linux/loop.h>.
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// A read-only loop device over a file. The kernel frees it when this handle and all mounts of it are gone.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Takes a free loop device for `file`.
    pub(super) fn attach(file: &Path, direct_io: bool) -> Result<Self, MountError> {
        let backing = File::open(file).map_err(MountError::io("open", file))?;
        let control_path = Path::new(CONTROL);
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(control_path)
            .map_err(MountError::io("open (is the loop driver there? `modprobe loop`)", control_path))?;
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for _ in 0..ATTEMPTS {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number.
            let number = unsafe { ioctl::ioctl(&control, GetFree) }
                .map_err(MountError::sys("get a free loop device from", control_path))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = File::open(&path).map_err(MountError::io("open", &path))?;
            match configure(&device, &backing, direct_io) {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(Errno::BUSY) => last = Errno::BUSY.into(),
                Err(errno) => return Err(MountError::sys("attach a loop device to", file)(errno)),
            }
        }
        Err(MountError::io("find a free loop device for", file)(last))
    }

    /// Its device node.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, backing: &File, direct_io: bool) -> Result<(), Errno> {
    let mut flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if direct_io {
        flags |= LO_FLAGS_DIRECT_IO;
    }
    let config = LoopConfig::new(backing.as_raw_fd(), flags);
    // SAFETY: LOOP_CONFIGURE reads a `struct loop_config`, which `LoopConfig` is, and writes nothing. The file
    // descriptor in it is open for the length of the call.
    unsafe { ioctl::ioctl(device, ioctl::Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }
}

/// `struct loop_config` of <linux/loop.h>, with `struct loop_info64` in its midst.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopConfig {
    fn new(backing: RawFd, flags: u32) -> Self {
        let info = LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        };
        Self { fd: backing.cast_unsigned(), block_size: 0, info, reserved: [0; 8] }
    }
}

/// The request for a free device's number, which is the call's return value.
struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE ignores its argument, touches no memory of ours and returns the number.
unsafe impl Ioctl for GetFree {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(std::mem::offset_of!(LoopInfo, flags), 52);
    }
}
