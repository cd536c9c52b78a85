//! `kill -9` at arbitrary points: a child process writes, the parent kills it and looks at what is there.
//!
//! The child is this test binary again, running one of the `writer` tests with [`DIR`] set. Without it, those
//! tests write a little and check it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use ft_blockstore::{BlobSource, BlockStore, DirOrigin, Origin, RefName, StoreOptions, read_object};
use ft_core::{BlockId, Digest};

use crate::tools::{Sample, noise};

/// The environment variable that says where the child writes, until it is killed.
const DIR: &str = "FT_TEST_CRASH_DIR";
const ROUNDS: usize = 15;

/// Where to write, and how often: for ever if the parent said where.
fn task(test: &tempfile::TempDir) -> (PathBuf, u32) {
    match std::env::var_os(DIR) {
        Some(dir) => (dir.into(), u32::MAX),
        None => (test.path().to_owned(), 3),
    }
}

/// Starts a writer in `dir` and kills it once it has reported `lines` times; gives back all that it reported.
fn run_and_kill(writer: &str, dir: &Path, lines: usize) -> Vec<u32> {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test);
    command.args(["--exact", "--nocapture", writer]).env(DIR, dir);
    let mut writer = Writer(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut reported = Vec::new();
    let mut output = BufReader::new(writer.0.stdout.take().unwrap()).lines();
    let mut next = |reported: &mut Vec<u32>| {
        let line = output.next()?.ok()?;
        reported.extend(line.strip_prefix("stored ").and_then(|number| number.parse::<u32>().ok()));
        Some(())
    };
    while reported.len() < lines {
        next(&mut reported).expect("the writer goes on until it is killed");
    }
    drop(writer);
    // What it had said before it noticed nothing any more.
    while next(&mut reported).is_some() {}
    reported
}

/// The child; killed when dropped.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // `kill` fails only if it has ended, and then there is nobody to wait for long.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn report(number: u32) {
    // The test harness may hold its own lock on the output; a line is written as one piece.
    std::io::stdout().write_all(format!("\nstored {number}\n").as_bytes()).unwrap();
}

fn block(number: u32) -> (BlockId, Bytes) {
    let stored = noise(number, 1000 + 37 * (number as usize % 700));
    (BlockId::of(&stored), stored)
}

fn open_store(dir: &Path) -> Arc<BlockStore> {
    BlockStore::open(StoreOptions { dir: dir.to_owned(), quota_bytes: 1 << 30 }).unwrap()
}

#[test]
fn writer_of_blocks() {
    let test = tempfile::tempdir().unwrap();
    let (dir, count) = task(&test);
    let store = open_store(&dir);
    for number in 0..count {
        let (id, stored) = block(number);
        store.put(&id, &stored).unwrap();
        report(number);
    }
    assert_eq!(store.block_count(), 3);
}

#[test]
fn a_killed_store_has_every_block_that_it_said_it_has() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let reported = run_and_kill("crash::writer_of_blocks", dir.path(), 3 + 11 * round);
        let store = open_store(dir.path());
        assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        for number in &reported {
            let (id, stored) = block(*number);
            assert_eq!(store.get(&id), Ok(Some(stored)), "block {number} of round {round}");
        }
        // One more may have been stored than was reported, in this round or in an earlier, longer one.
        let longest = 4 + reported.len().max(store.block_count());
        let here = (0..u32::try_from(longest).unwrap()).map(block).filter(|(id, _)| store.contains(id));
        let bytes: u64 = here.map(|(_, stored)| stored.len() as u64).sum();
        assert_eq!(store.used_bytes(), bytes);
    }
}

fn image_name(number: u32) -> RefName {
    format!("image-{number}").parse().unwrap()
}

#[tokio::test]
async fn writer_of_images() {
    let test = tempfile::tempdir().unwrap();
    let (dir, count) = task(&test);
    let origin = DirOrigin::open(&dir).unwrap();
    for number in 0..count {
        let image = Sample::new(number % 4, 1);
        image.store(&origin).await;
        origin.publish(&image_name(number), &image.objects()).await.unwrap();
        report(number);
    }
    assert!(origin.resolve(&image_name(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_killed_origin_has_whole_images_only() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let reported = run_and_kill("crash::writer_of_images", dir.path(), 1 + 2 * round);
        let origin = DirOrigin::open(dir.path()).unwrap();
        for number in &reported {
            let image = origin.resolve(&image_name(*number)).await.unwrap();
            let image = image.unwrap_or_else(|| panic!("image {number} of round {round} is lost"));
            for object in image.iter() {
                read_object(&origin, &object.digest, object.size).await.unwrap();
            }
        }
        // And it can be written to at once.
        let bytes = Bytes::from(format!("round {round}"));
        origin.put(&Digest::of(&bytes), BlobSource::Bytes(bytes)).await.unwrap();
    }
}
