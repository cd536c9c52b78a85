//! What the kernel and `fsck.erofs`, which we did not write, say about our images. Needs root.

#[cfg(test)]
#[path = "synthetic/mod.rs"]
mod synthetic;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ft_image::LayerSink;
use ft_image::builder::{BuildOptions, Converted, ImageBuilder};
use ft_image::erofs::{FileDevice, Reader};
use ft_image::materialize::{MaterializeOptions, materialize};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The image's two devices as files below `dir`.
#[cfg(test)]
fn unpack(image: &Converted, dir: &Path) -> (PathBuf, PathBuf) {
    let (meta, data) = synthetic::devices(image);
    let (meta_path, data_path) = (dir.join("meta.img"), dir.join("data.img"));
    fs::write(&meta_path, meta).unwrap();
    fs::write(&data_path, data).unwrap();
    (meta_path, data_path)
}

/// An image mounted by the kernel; unmounted when dropped.
struct Mounted {
    dir: tempfile::TempDir,
    root: PathBuf,
}

#[cfg(test)]
impl Mounted {
    fn new(layers: &[Vec<synthetic::Item>]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts an image: run it as root");
        let dir = tempfile::tempdir().unwrap();
        let image = synthetic::build(dir.path(), layers, 2);
        let (meta, data) = unpack(&image, dir.path());
        let root = dir.path().join("mnt");
        fs::create_dir(&root).unwrap();
        let has_data = fs::metadata(&data).unwrap().len() > 0;
        let options = if has_data { format!("device={}", data.display()) } else { String::new() };
        let options = std::ffi::CString::new(options).unwrap();
        mount(&meta, &root, "erofs", MountFlags::RDONLY, Some(options.as_c_str())).expect(
            "the kernel mounts EROFS from a file (Linux 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE)",
        );
        Self { dir, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

#[cfg(test)]
impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.root, UnmountFlags::DETACH).unwrap();
    }
}

#[cfg(test)]
fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(path, name).unwrap()
}

#[test]
fn the_kernel_sees_what_the_layers_say() {
    let image = Mounted::new(&synthetic::layers());
    let stat = |path: &str| fs::symlink_metadata(image.at(path)).unwrap();
    let read = |path: &str| fs::read(image.at(path)).unwrap();

    assert_eq!(stat("").mode(), 0o041_755);
    assert_eq!((stat("bin").mode(), stat("bin").uid(), stat("bin").gid()), (0o040_700, 3, 4));
    assert_eq!((stat("bin").mtime(), stat("bin").mtime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!((stat("bin/ping").mode(), stat("bin/ping").nlink()), (0o104_755, 2));
    assert_eq!(stat("bin/ping").ino(), stat("bin/ping6").ino());
    assert_eq!(xattr(&image.at("bin/ping"), "security.capability").unwrap().len(), 20);
    assert_eq!(read("bin/ping"), synthetic::noise(1, 70_000));
    assert_eq!(fs::read_link(image.at("bin/sh")).unwrap(), Path::new("ping"));
    assert_eq!(fs::read_link(image.at("bin/long-link")).unwrap().as_os_str().len(), 4095);
    assert!(stat("dev/null").file_type().is_char_device());
    assert_eq!(stat("dev/null").rdev(), rustix::fs::makedev(1, 3));
    assert!(stat("dev/big").file_type().is_block_device());
    assert_eq!(stat("dev/big").rdev(), rustix::fs::makedev(259, 70_000));
    assert!(stat("dev/fifo").file_type().is_fifo());
    assert!(stat("dev/socket").file_type().is_socket());
    assert_eq!(stat("dev").nlink(), 2);
    assert_eq!(stat("implicit").nlink(), 3);
    assert_eq!(read("implicit/parents/file"), b"below directories without entries\n");

    assert!(!image.at("removed").exists());
    assert_eq!(read("hidden"), b"a file now");
    let names: Vec<_> =
        fs::read_dir(image.at("opaque")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["new"]);
    assert_eq!(read("replaced/by-a-directory"), b"yes\n");
    assert_eq!(read("twice"), b"second and last");
    assert_eq!(read("large"), b"smaller now");
    assert_eq!(read("link-to-lower"), synthetic::noise(7, 3_000_000));
    assert_eq!((stat("large").nlink(), stat("link-to-lower").nlink()), (1, 1));

    assert_eq!(fs::read_dir(image.at("many")).unwrap().count(), 399);
    assert_eq!(read("many/file-number-00399"), synthetic::noise(399, 49));
    assert_eq!(xattr(&image.at("acl-2"), "user.note").unwrap(), b"shared by two");
    assert_eq!(xattr(&image.at("acl-1"), "system.posix_acl_access").unwrap().len(), 44);
    assert_eq!(xattr(&image.at("acl-dir"), "system.posix_acl_default").unwrap().len(), 44);
    assert_eq!(xattr(&image.at("acl-dir"), "trusted.t").unwrap(), b"only root");
    assert_eq!(xattr(&image.at("big-xattr"), "user.big").unwrap(), [b'v'; 5000]);
    assert_eq!(read("empty"), b"");
    assert_eq!(read("zeros"), vec![0; 1 << 20]);
}

#[test]
fn the_kernel_reads_sparse_files() {
    let image = Mounted::new(&synthetic::layers());
    let size = (8 << 20) + 77;
    let noise = synthetic::noise(size as u64, 2 << 20);
    let mut expected = vec![0; size];
    expected[1 << 20..2 << 20].copy_from_slice(&noise[..1 << 20]);
    expected[5 << 20..6 << 20].copy_from_slice(&noise[1 << 20..]);
    assert!(fs::read(image.at("sparse")).unwrap() == expected);
    let odd = fs::read(image.at("sparse-odd")).unwrap();
    assert_eq!(odd.len(), 100_000);
    assert_eq!([&odd[5000..5010], &odd[50_001..50_011]].concat(), synthetic::noise(100_000, 20));
    assert_eq!(
        odd.iter().filter(|byte| **byte != 0).count(),
        synthetic::noise(100_000, 20).iter().filter(|byte| **byte != 0).count()
    );
    assert_eq!(fs::metadata(image.at("all-hole")).unwrap().len(), 1 << 34);
    let holes = rustix::fs::seek(fs::File::open(image.at("sparse")).unwrap(), rustix::fs::SeekFrom::Data(0));
    assert_eq!(holes, Ok(1 << 20), "the hole is a hole to the kernel as well");
}

#[test]
fn the_kernel_finds_every_name_and_no_other() {
    let image = Mounted::new(&synthetic::layers());
    let mut found = BTreeMap::new();
    let mut pending = vec![image.root.clone()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                pending.push(path.clone());
            }
            let name = path.strip_prefix(&image.root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, kind.is_dir());
        }
    }
    assert_eq!(found.len(), synthetic::NAMES);
    assert!(found.contains_key(&b"not-utf8-\xff\xfe"[..]));
    assert!(found.contains_key(&[b'n'; 255][..]));
}

/// Everything that `lstat`, `listxattr` and reading say about an object, but its inode number.
#[cfg(test)]
fn describe(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    let content = match stat.file_type() {
        kind if kind.is_file() => blake3::hash(&fs::read(path).unwrap()).to_string(),
        kind if kind.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
        _ => String::new(),
    };
    let mut xattrs: Vec<_> =
        xattr::list(path).unwrap().map(|name| (name.clone(), xattr::get(path, &name).unwrap())).collect();
    xattrs.sort_unstable();
    // A directory's size and link count are the file system's own business; Linux has no permissions on
    // links.
    let counted = !stat.is_dir();
    let mode = if stat.is_symlink() { 0o120_777 } else { stat.mode() };
    format!(
        "{mode:o} {}:{} {}.{:09} size {} links {} device {} {content} {xattrs:?}",
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec(),
        if counted { stat.len() } else { 0 },
        if counted { stat.nlink() } else { 0 },
        stat.rdev(),
    )
}

/// Every path below `root` with its description.
#[cfg(test)]
fn describe_all(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::from([(PathBuf::new(), describe(root))]);
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path.clone());
            }
            found.insert(path, describe(&entry.path()));
        }
    }
    found
}

#[test]
fn what_is_materialised_is_what_the_kernel_shows() {
    let mut layers = synthetic::layers();
    // Too large to read whole, and for ext4's xattrs.
    layers.push(vec![synthetic::whiteout(".wh.all-hole"), synthetic::whiteout(".wh.big-xattr")]);
    let image = Mounted::new(&layers);
    let device = |name| FileDevice::new(fs::File::open(image.dir.path().join(name)).unwrap()).unwrap();
    let reader = Reader::open(device("meta.img"), device("data.img")).unwrap();
    let out = image.dir.path().join("out");
    materialize(&reader, &out, &MaterializeOptions::ALL).unwrap();
    let (shown, written) = (describe_all(&image.root), describe_all(&out));
    assert_eq!(shown.len(), 1 + synthetic::NAMES - 2);
    for (path, description) in &shown {
        assert_eq!(written.get(path), Some(description), "{}", path.display());
    }
    assert_eq!(shown.len(), written.len());
    let blocks = |root: &Path| fs::metadata(root.join("sparse")).unwrap().blocks();
    assert!(blocks(&out) <= (2 << 20) / 512 + 16, "holes stay holes: {} sectors", blocks(&out));
}

#[test]
fn an_image_without_file_data_needs_no_device() {
    let image = Mounted::new(&[vec![synthetic::directory("only"), synthetic::directory("only/directories")]]);
    assert!(image.at("only/directories").is_dir());
}

/// Runs `fsck.erofs` and returns what it says.
#[cfg(test)]
fn fsck(meta: &Path, data: &Path, more: &str) -> String {
    let mut command = Command::new("fsck.erofs");
    command.arg("-d3").arg(format!("--device={}", data.display())).arg(more).arg(meta);
    let fsck = command
        .output()
        .expect("fsck.erofs is there (Debian package erofs-utils; cargo xtask test installs it)");
    let said = String::from_utf8_lossy(&[fsck.stdout, fsck.stderr].concat()).into_owned();
    assert!(fsck.status.success(), "{said}");
    said
}

#[test]
fn fsck_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let image = synthetic::build(dir.path(), &synthetic::layers(), 2);
    let (meta, data) = unpack(&image, dir.path());
    let said = fsck(&meta, &data, "-p");
    assert!(said.contains("No errors found"), "{said}");
    let out = dir.path().join("extracted");
    fsck(&meta, &data, &format!("--extract={}", out.display()));
    assert!(fs::read(out.join("bin/ping6")).unwrap() == synthetic::noise(1, 70_000));
}

#[test]
fn mounted_images_leave_nothing_behind() {
    let image = Mounted::new(&synthetic::layers());
    let root = image.root.clone();
    let dir = image.dir.path().to_owned();
    drop(image);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(root.to_str().unwrap()));
    assert!(!dir.exists());
}

#[test]
fn a_full_disk_is_reported_and_nothing_is_left() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts a file system: run it as root");
    let dir = tempfile::tempdir().unwrap();
    mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
    let mut builder = ImageBuilder::new(BuildOptions::new(dir.path()));
    let mut layer = builder.begin_layer("LAYER").unwrap();
    let (entry, data) = synthetic::file("large", synthetic::noise(1, 20 << 20));
    let error = layer.entry(&entry, &mut &data[..]).and_then(|()| layer.finish()).unwrap_err().to_string();
    drop(builder);
    let left = fs::read_dir(dir.path()).unwrap().count();
    unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    assert!(error.contains("pack of layer LAYER") && error.contains("No space left"), "{error}");
    assert_eq!(left, 0);
}
