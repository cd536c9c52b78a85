//! Mounts: how a function image becomes a container's root file system.
//!
//! Three layers, each with its own guard that takes the mount away when it is dropped:
//!
//! 1. [`FuseHost`]: the worker's one FUSE file system. It shows one read-only file per image; reading from it
//!    asks the image's [`DataSource`], which fetches what is missing.
//! 2. [`ImageMount`]: the kernel's EROFS over the image's local metadata file and, as its extra device, the
//!    file of (1), or a plain file when the image is wholly local.
//! 3. [`Rootfs`]: overlayfs with a writable layer over (2), one for each container.
//!
//! All of them live below one directory whose mounts propagate ([`share`]), and [`clean_below`] clears that
//! directory after a crash.
//!
//! **Invariant:** nothing here opens a file of the FUSE file system, or mounts over one, from the thread that
//! answers FUSE requests. Mounting runs on blocking threads with a deadline.

mod error;
mod fuse;
mod fuse_fs;
mod image;
mod loop_device;
mod rootfs;
mod source;
mod sys;
mod table;

pub use error::MountError;
pub use fuse::{FuseHost, FuseOptions};
pub use image::{ImageMount, ImageMountOptions, Method};
pub use rootfs::Rootfs;
pub use source::{DataSource, ReadError, ReadFuture};
pub use sys::share;
pub use table::{MountEntry, clean_below, mounts};

pub(crate) use image::probe_file_backed;
pub(crate) use sys::{Context, attach};
