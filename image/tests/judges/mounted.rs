//! Function images as the kernel sees them. Needs root.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ft_blockstore::codec::decompress_block;
use ft_core::manifest::{Layout, SegmentKind};
use ft_image::builder::Converted;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// The image's two devices as files `meta.img` and `data.img` below `dir`, decompressed from the packs.
pub(crate) fn unpack(image: &Converted, dir: &Path) -> (PathBuf, PathBuf) {
    let (meta, data) = (dir.join("meta.img"), dir.join("data.img"));
    let (meta_file, data_file) = (File::create(&meta).unwrap(), File::create(&data).unwrap());
    for place in Layout::new(&image.manifest).blocks() {
        let segment = &image.manifest.segments[place.segment as usize];
        let pack = image.packs.iter().find(|pack| pack.digest == segment.pack).unwrap();
        let mut stored = vec![0; place.stored_len as usize];
        pack.file.read_exact_at(&mut stored, place.pack_offset).unwrap();
        let raw = decompress_block(place.codec, &stored, place.raw_len).unwrap();
        let device = if segment.kind == SegmentKind::Metadata { &meta_file } else { &data_file };
        device.write_all_at(&raw, place.device_offset).unwrap();
    }
    (meta, data)
}

/// An image mounted by the kernel; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) root: PathBuf,
    /// Removed after the unmounting.
    _dir: TempDir,
}

impl Mounted {
    /// Unpacks the image below `dir` and mounts it there.
    pub(crate) fn new(dir: TempDir, image: &Converted) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts an image: run it as root");
        let (meta, data) = unpack(image, dir.path());
        let root = dir.path().join("mnt");
        fs::create_dir(&root).unwrap();
        let options = CString::new(format!("device={}", data.display())).unwrap();
        mount(&meta, &root, "erofs", MountFlags::RDONLY, Some(options.as_c_str())).expect(
            "the kernel mounts EROFS from a file (Linux 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE)",
        );
        Self { root, _dir: dir }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.root, UnmountFlags::DETACH).unwrap();
    }
}
