//! Containers whose root file system is a lazily read image: FUSE, EROFS, overlayfs and a runtime together.
//! Needs root, runc, busybox and mkfs.erofs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod container_support;
mod mount_support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use container_support::{Kind, LONG, busybox_tree, output, runtime, script};
use ft_worker::container::Spec;
use ft_worker::mount::{DataSource, FuseOptions, ImageMount, ImageMountOptions, ReadFuture, Rootfs};
use mount_support::{Area, Memory, image_of};

/// Counts what is read, and takes a while for it.
struct Slow {
    bytes: Memory,
    read: Arc<AtomicU64>,
}

impl DataSource for Slow {
    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_> {
        self.read.fetch_add(u64::from(len), Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.bytes.read(offset, len).await
        })
    }
}

async fn a_container_runs_from_blocks_that_come_when_needed(kind: Kind) {
    let area = Area::new();
    let tree = busybox_tree(area.path());
    fs::write(tree.join("unneeded"), vec![7; 16 << 20]).unwrap();
    let image = image_of(&tree, area.path());
    let host = area.fuse(FuseOptions::default());
    let read = Arc::new(AtomicU64::new(0));
    let bytes = Memory(fs::read(&image.data).unwrap());
    let data = host.add("image", Arc::new(Slow { bytes, read: Arc::clone(&read) })).unwrap();
    let at = area.dir("image");
    let mounted =
        ImageMount::mount(&image.meta, Some(&data), &at, ImageMountOptions::default()).await.unwrap();
    let rootfs =
        Rootfs::overlay(mounted.path(), &area.dir("scratch"), &area.dir("root"), LONG).await.unwrap();

    let change = "cat /etc/marker; echo changed > /etc/marker; cat /etc/marker";
    let spec = Spec { rootfs: rootfs.path().to_owned(), ..script(&area, change) };
    let container = runtime(kind, &area).start(spec).await.unwrap();
    container.ready(None, LONG).await.unwrap();
    assert_eq!(container.wait().await.code, 0);
    assert_eq!(output(&container), "of the image\nchanged\n");
    let read = read.load(Ordering::Relaxed);
    assert!(read > 0 && read < 8 << 20, "{read} bytes of the image were read");

    rootfs.unmount(LONG).await.unwrap();
    assert_eq!(fs::read_to_string(at.join("etc/marker")).unwrap(), "of the image\n");
    mounted.unmount(LONG).await.unwrap();
    host.shutdown();
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_runc() {
    a_container_runs_from_blocks_that_come_when_needed(Kind::Runc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_sandbox() {
    a_container_runs_from_blocks_that_come_when_needed(Kind::Sandbox).await;
}
