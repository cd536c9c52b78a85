//! EROFS and overlayfs mounts over local files and over the FUSE file system. Needs root.
#![allow(clippy::unwrap_used, reason = "tests")]

mod mount_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ft_worker::mount::{
    DataSource, FuseOptions, ImageMount, ImageMountOptions, Method, MountError, ReadFuture, Rootfs,
    clean_below, share,
};
use mount_support::{Area, assert_same_tree, blocking, file_source, image_of, small_tree};
use rustix::mount::MountFlags;

const DEADLINE: Duration = Duration::from_secs(20);

fn by(method: Option<Method>) -> ImageMountOptions {
    ImageMountOptions { method, deadline: DEADLINE, ..ImageMountOptions::default() }
}

/// Loop devices whose backing file lies in `dir`.
fn loop_devices_on(dir: &Path) -> Vec<PathBuf> {
    let blocks = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    blocks
        .filter_map(|block| fs::read_to_string(block.join("loop/backing_file")).ok())
        .map(|file| PathBuf::from(file.trim_end()))
        .filter(|file| file.starts_with(dir))
        .collect()
}

async fn image_over_fuse_reads_as_its_tree(method: Option<Method>, expected: Method) {
    let area = Area::new();
    let tree = small_tree(area.path());
    let image = image_of(&tree, area.path());
    let host = area.fuse(FuseOptions::default());
    let data = host.add("image", file_source(&image.data)).unwrap();

    let at = area.dir("image");
    let mount = ImageMount::mount(&image.meta, Some(&data), &at, by(method)).await.unwrap();
    assert_eq!(mount.method(), expected);
    assert_eq!(mount.path(), at);
    let (left, right) = (tree.clone(), at.clone());
    blocking(move || assert_same_tree(&left, &right)).await;
    assert!(fs::write(at.join("new"), "").is_err(), "the image is read-only");

    mount.unmount(DEADLINE).await.unwrap();
    host.shutdown();
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
    assert_eq!(loop_devices_on(area.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn file_backed() {
    image_over_fuse_reads_as_its_tree(Some(Method::File), Method::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_loop_devices() {
    image_over_fuse_reads_as_its_tree(Some(Method::Loop), Method::Loop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_is_found_by_trying() {
    let expected = if ft_worker_kernel_is_at_least(6, 12) { Method::File } else { Method::Loop };
    image_over_fuse_reads_as_its_tree(None, expected).await;
}

fn ft_worker_kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_image_needs_no_fuse() {
    let area = Area::new();
    let tree = small_tree(area.path());
    let image = image_of(&tree, area.path());
    let mount =
        ImageMount::mount(&image.meta, Some(&image.data), &area.dir("image"), by(None)).await.unwrap();
    assert_same_tree(&tree, mount.path());
    drop(mount);
    assert_eq!(area.mounted(), Vec::<PathBuf>::new(), "dropping unmounts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_is_refused_and_leaves_nothing() {
    let area = Area::new();
    let meta = area.path().join("meta.img");
    fs::write(&meta, vec![0xA5; 8192]).unwrap();
    let error = ImageMount::mount(&meta, None, &area.dir("image"), by(None)).await.unwrap_err();
    assert!(error.to_string().contains("erofs"), "{error}");
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
    assert_eq!(loop_devices_on(area.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named() {
    let area = Area::new();
    let missing = area.path().join("missing.img");
    let error =
        ImageMount::mount(&missing, None, &area.dir("image"), by(Some(Method::Loop))).await.unwrap_err();
    assert!(error.to_string().contains("missing.img"), "{error}");
}

/// Never answers.
struct Silent;

impl DataSource for Silent {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read(&self, _offset: u64, _len: u32) -> ReadFuture<'_> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounting_has_a_deadline() {
    let area = Area::new();
    let host = area.fuse(FuseOptions::default());
    let meta = host.add("image", Arc::new(Silent)).unwrap();
    let options = ImageMountOptions { deadline: Duration::from_millis(100), ..by(None) };
    let error = ImageMount::mount(&meta, None, &area.dir("image"), options).await.unwrap_err();
    assert!(matches!(error, MountError::Deadline { .. }), "{error}");
    // This also ends the mount call that still waits in the kernel.
    blocking(move || host.shutdown()).await;
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_file_system_is_writable_and_the_image_stays_as_it_is() {
    // overlayfs and mount options have opinions on these characters.
    let area = Area::new();
    let odd = area.dir(r"a b,c:d\e");
    let tree = small_tree(area.path());
    let image = image_of(&tree, area.path());
    let (lower, scratch, at) = (odd.join("image"), odd.join("scratch"), odd.join("root"));
    for dir in [&lower, &scratch, &at] {
        fs::create_dir(dir).unwrap();
    }
    let mount = ImageMount::mount(&image.meta, Some(&image.data), &lower, by(None)).await.unwrap();
    let rootfs = Rootfs::overlay(mount.path(), &scratch, &at, DEADLINE).await.unwrap();
    assert_same_tree(&tree, rootfs.path());
    let metadata = |path: &Path| fs::metadata(path).unwrap();
    assert_eq!(metadata(&at).permissions(), metadata(&tree).permissions());
    assert_eq!(metadata(&at).modified().unwrap(), metadata(&lower).modified().unwrap());

    fs::write(at.join("small"), "changed").unwrap();
    fs::remove_file(at.join("a/page")).unwrap();
    assert_eq!(fs::read(scratch.join("upper/small")).unwrap(), b"changed");
    assert_same_tree(&tree, mount.path());

    // A scratch directory serves once.
    let again = Rootfs::overlay(mount.path(), &scratch, &at, DEADLINE).await.unwrap_err();
    assert!(again.to_string().contains("upper"), "{again}");

    rootfs.unmount(DEADLINE).await.unwrap();
    mount.unmount(DEADLINE).await.unwrap();
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_too_long_for_the_kernel_is_said_to_be_so() {
    let area = Area::new();
    let long = area.dir(&format!("{0}/{0}", "d".repeat(120)));
    let (lower, at) = (area.dir("lower"), area.dir("root"));
    let error = Rootfs::overlay(&lower, &long, &at, DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("shorter path"), "{error}");
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn unmounting_works_while_files_are_open() {
    let area = Area::new();
    let image = image_of(&small_tree(area.path()), area.path());
    let mount =
        ImageMount::mount(&image.meta, Some(&image.data), &area.dir("image"), by(None)).await.unwrap();
    let open = fs::File::open(mount.path().join("a/b/large")).unwrap();
    mount.unmount(DEADLINE).await.unwrap();
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
    assert!(std::io::read_to_string(open).is_err(), "not text, but still readable");
}

#[test]
fn a_shared_directory_is_shared_once_and_cleaned_with_what_is_in_it() {
    let area = Area::new();
    let dir = area.dir("mnt");
    share(&dir).unwrap();
    share(&dir).unwrap();
    let entries = ft_worker::mount::mounts().unwrap();
    let ours: Vec<_> = entries.iter().filter(|entry| entry.at == dir.canonicalize().unwrap()).collect();
    assert_eq!(ours.len(), 1);
    assert!(ours.iter().all(|entry| entry.shared));

    // Two stacked on one another, and one within.
    let inner = area.dir("mnt/inner");
    for _ in 0..2 {
        rustix::mount::mount("tmpfs", &inner, "tmpfs", MountFlags::empty(), None).unwrap();
    }
    assert_eq!(clean_below(&dir).unwrap(), 2, "the directory's own mount stays");
    assert_eq!(clean_below(area.path()).unwrap(), 1);
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}
