//! The worker's FUSE file system, mounted for real. Needs root and /dev/fuse.
#![allow(clippy::unwrap_used, reason = "tests")]

mod mount_support;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ft_worker::mount::{DataSource, FuseOptions, MountError, ReadError, ReadFuture};
use mount_support::{Area, Memory, blocking, pattern};
use tokio::sync::{Barrier, Notify};

const KIB: usize = 1024;

/// Opened past the page cache: every read is one request of just that size.
fn open_direct(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap()
}

fn short_deadline() -> FuseOptions {
    FuseOptions { read_deadline: Duration::from_millis(100), ..FuseOptions::default() }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reads_as_its_source() {
    let area = Area::new();
    let host = area.fuse(FuseOptions::default());
    let bytes = pattern(1_000_003);
    let path = host.add("image", Arc::new(Memory(bytes.clone()))).unwrap();

    blocking(move || {
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1_000_003);
        assert!(std::fs::read(&path).unwrap() == bytes);
        let file = open_direct(&path);
        let mut tail = [0; 8];
        let got = file.read_at(&mut tail, 1_000_000).unwrap();
        assert_eq!(tail.get(..got), bytes.get(1_000_000..));
        assert_eq!(file.read_at(&mut tail, 1_000_003).unwrap(), 0, "the end");
        assert_eq!(file.read_at(&mut tail, u64::from(u32::MAX) * 3).unwrap(), 0, "far behind the end");
        let write = errno(OpenOptions::new().write(true).open(&path));
        assert_eq!(write, Some(libc::EROFS));
    })
    .await;
    host.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_and_go_by_name() {
    let area = Area::new();
    let host = area.fuse(FuseOptions::default());
    for name in ["b", "a"] {
        host.add(name, Arc::new(Memory(name.into()))).unwrap();
    }
    assert!(matches!(host.add("a", Arc::new(Memory(vec![]))), Err(MountError::Duplicate(_))));
    for bad in ["", ".", "..", "x/y", "x\0y", &"n".repeat(256)] {
        assert!(matches!(host.add(bad, Arc::new(Memory(vec![]))), Err(MountError::BadName(_))), "{bad:?}");
    }
    let names = |dir: std::path::PathBuf| {
        blocking(move || {
            let entries = std::fs::read_dir(dir).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        })
    };
    assert_eq!(names(host.mountpoint().to_owned()).await, ["a", "b"]);

    assert!(host.remove("a"));
    assert!(!host.remove("a"));
    assert_eq!(names(host.mountpoint().to_owned()).await, ["b"]);

    // A new file of the same name is a new file.
    let path = host.add("a", Arc::new(Memory(b"again".to_vec()))).unwrap();
    assert_eq!(blocking(move || std::fs::read(path).unwrap()).await, b"again");
    host.shutdown();
}

/// Answers when a given number of reads wait at the same time.
struct AllAtOnce(Barrier);

impl DataSource for AllAtOnce {
    fn len(&self) -> u64 {
        1 << 30
    }

    fn read(&self, _offset: u64, len: u32) -> ReadFuture<'_> {
        Box::pin(async move {
            self.0.wait().await;
            Ok(Bytes::from(vec![7; len as usize]))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_slow_reads_are_in_flight_together() {
    const READERS: usize = 15;
    let area = Area::new();
    let host = area.fuse(FuseOptions { read_deadline: Duration::from_secs(20), ..FuseOptions::default() });
    let path = host.add("image", Arc::new(AllAtOnce(Barrier::new(READERS)))).unwrap();
    blocking(move || {
        let file = &open_direct(&path);
        std::thread::scope(|scope| {
            for reader in 0..READERS {
                scope.spawn(move || {
                    let mut block = vec![0; 128 * KIB];
                    file.read_exact_at(&mut block, (reader << 20) as u64).unwrap();
                    assert!(block.iter().all(|byte| *byte == 7));
                });
            }
        });
    })
    .await;
    host.shutdown();
}

/// A source that misbehaves as its first byte says.
enum Bad {
    Never,
    Refuses,
    Short,
    Panics,
}

impl DataSource for Bad {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read(&self, _offset: u64, len: u32) -> ReadFuture<'_> {
        Box::pin(async move {
            match self {
                Self::Never => std::future::pending().await,
                Self::Refuses => Err(ReadError::new("no such block")),
                Self::Short => Ok(Bytes::from(vec![0; len as usize - 1])),
                Self::Panics => panic!("a source that panics, on purpose"),
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_gives_an_input_output_error() {
    let area = Area::new();
    let host = area.fuse(short_deadline());
    for (name, bad) in
        [("never", Bad::Never), ("refuses", Bad::Refuses), ("short", Bad::Short), ("panics", Bad::Panics)]
    {
        let path = host.add(name, Arc::new(bad)).unwrap();
        let result = blocking(move || open_direct(&path).read_at(&mut [0; 4 * KIB], 0)).await;
        assert_eq!(errno(result), Some(libc::EIO), "{name}");
    }
    // The others are served as before.
    let path = host.add("good", Arc::new(Memory(pattern(10)))).unwrap();
    assert_eq!(blocking(move || std::fs::read(path).unwrap()).await, pattern(10));
    host.shutdown();
}

/// Says when a read has arrived, and never answers it.
struct Stuck(Arc<Notify>);

impl DataSource for Stuck {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read(&self, _offset: u64, _len: u32) -> ReadFuture<'_> {
        Box::pin(async {
            self.0.notify_one();
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_file_ends_its_reads() {
    let area = Area::new();
    let host = area.fuse(FuseOptions::default());
    let arrived = Arc::new(Notify::new());
    let path = host.add("image", Arc::new(Stuck(Arc::clone(&arrived)))).unwrap();
    let file = Arc::new(blocking(move || open_direct(&path)).await);
    let reader = tokio::task::spawn_blocking({
        let file = Arc::clone(&file);
        move || file.read_at(&mut [0; 4 * KIB], 0)
    });
    arrived.notified().await;
    assert!(host.remove("image"));
    assert_eq!(errno(reader.await.unwrap()), Some(libc::EIO), "the read in flight");
    let later = blocking(move || file.read_at(&mut [0; 4 * KIB], 0)).await;
    assert_eq!(errno(later), Some(libc::EIO), "a later read");
    host.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_readers_and_leaves_no_mount() {
    let area = Area::new();
    let host = area.fuse(FuseOptions::default());
    let arrived = Arc::new(Notify::new());
    let path = host.add("image", Arc::new(Stuck(Arc::clone(&arrived)))).unwrap();
    let reader = tokio::task::spawn_blocking(move || open_direct(&path).read_at(&mut [0; 4 * KIB], 0));
    arrived.notified().await;

    let begun = Instant::now();
    blocking(move || host.shutdown()).await;
    assert!(reader.await.unwrap().is_err());
    assert!(begun.elapsed() < Duration::from_secs(10), "shutdown waited for the read's deadline");
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_is_shutting_down() {
    let area = Area::new();
    drop(area.fuse(FuseOptions::default()));
    assert_eq!(area.mounted(), Vec::<std::path::PathBuf>::new());
    // The directory is free for the next one.
    area.fuse(FuseOptions::default()).shutdown();
}

#[test]
fn without_a_runtime_reads_fail_at_once() {
    let area = Area::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let host = {
        let _entered = runtime.enter();
        area.fuse(FuseOptions::default())
    };
    let path = host.add("image", Arc::new(Memory(pattern(10)))).unwrap();
    runtime.shutdown_background();
    assert_eq!(errno(std::fs::read(path)), Some(libc::EIO));
    host.shutdown();
}
