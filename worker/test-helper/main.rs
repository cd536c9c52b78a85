//! A binary for tests that need a process of their own: it stands in for `ft` where the sandbox runs `ft
//! __sandbox`, and for a worker that is to be killed while it holds mounts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ft_worker::mount::{
    DataSource, FuseHost, FuseOptions, ImageMount, ImageMountOptions, ReadError, ReadFuture, Rootfs,
};

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    match mode.to_str() {
        Some("__sandbox") => ft_worker::container::sandbox_main(args),
        Some("mount-host") => mount_host(Path::new(&args.next().unwrap_or_default())),
        _ => {
            eprintln!("unknown mode {mode:?}");
            std::process::exit(2);
        }
    }
}

struct Data(Vec<u8>);

impl DataSource for Data {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..start.saturating_add(len as usize)).map(Bytes::copy_from_slice);
        Box::pin(async { bytes.ok_or_else(|| ReadError::new("out of bounds")) })
    }
}

/// Mounts the image in `dir` as a worker would, says so, and waits to be killed.
#[tokio::main]
async fn mount_host(dir: &Path) {
    const DEADLINE: Duration = Duration::from_secs(20);
    let runtime = tokio::runtime::Handle::current();
    let host = FuseHost::start(&dir.join("fuse"), runtime, FuseOptions::default()).expect("FUSE");
    let data = fs::read(dir.join("data.img")).expect("the image's data");
    let device = host.add("image", Arc::new(Data(data))).expect("a free name");
    let (meta, image) = (dir.join("meta.img"), dir.join("image"));
    let mounted =
        ImageMount::mount(&meta, Some(&device), &image, ImageMountOptions::default()).await.expect("EROFS");
    let _rootfs = Rootfs::overlay(mounted.path(), &dir.join("scratch"), &dir.join("root"), DEADLINE)
        .await
        .expect("overlayfs");
    println!("mounted");
    std::future::pending::<()>().await;
}
