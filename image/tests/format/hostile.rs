//! Damaged and hostile images: the reader gives errors, never panics, always ends.

use ft_image::entry::EntryKind;
use std::sync::LazyLock;

use ft_image::erofs::{Inode, Kind, ReadError, Reader, Visitor, walk};
use ft_image::materialize::{MaterializeOptions, materialize};
use proptest::prelude::*;

use crate::synthetic::{Item, build, devices, directory, file, sparse, special, with_xattrs};

fn small() -> Vec<Item> {
    let shared: &[(&str, &[u8])] = &[("user.shared", b"value"), ("user.z", b"")];
    vec![
        directory("d"),
        directory("d/e"),
        with_xattrs(file("d/e/f", b"data".to_vec()), shared),
        with_xattrs(directory("g"), shared),
        with_xattrs(file("own", Vec::new()), &[("security.capability", &[1; 20])]),
        special("link", EntryKind::Symlink(b"d/e/f".to_vec())),
        special("hard", EntryKind::HardLink(b"d/e/f".to_vec())),
        special("null", EntryKind::CharDevice { major: 1, minor: 3 }),
        sparse("sparse", 100_000, &[8192, 40_960], 5000),
    ]
}

/// Enough names for a directory of several blocks.
fn with_a_large_directory() -> Vec<Item> {
    let many = (0..150).map(|n| file(format!("many/{n:040}"), Vec::new()));
    small().into_iter().chain(many).collect()
}

/// Reads everything that can be read.
struct ReadAll<'r>(&'r Reader<&'r [u8], &'r [u8]>);

impl Visitor for ReadAll<'_> {
    type Error = ReadError;

    fn enter(&mut self, _: &[u8], directory: &Inode) -> Result<(), ReadError> {
        self.0.xattrs(directory).map(drop)
    }

    fn leaf(&mut self, _: &[u8], inode: &Inode) -> Result<(), ReadError> {
        self.0.xattrs(inode)?;
        match inode.kind() {
            Kind::Symlink => self.0.read_link(inode).map(drop),
            Kind::File => {
                self.0.extents(inode)?.try_for_each(|extent| extent.map(drop))?;
                self.0.read(inode, inode.size() / 3, &mut [0; 3000]).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn leave(&mut self, _: &Inode) -> Result<(), ReadError> {
        Ok(())
    }
}

fn read_all(meta: &[u8], data: &[u8]) -> Result<(), ReadError> {
    let reader = Reader::open(meta, data)?;
    walk(&reader, &mut ReadAll(&reader))
}

/// The superblock's checksum, computed bit by bit.
fn fix_checksum(meta: &mut [u8]) {
    meta[1028..1032].fill(0);
    let crc = meta[1024..4096].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    });
    meta[1028..1032].copy_from_slice(&crc.to_le_bytes());
}

fn image(items: Vec<Item>) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    devices(&build(dir.path(), &[items], 1))
}

#[test]
fn the_whole_image_is_readable() {
    let (mut meta, data) = image(with_a_large_directory());
    read_all(&meta, &data).unwrap();
    fix_checksum(&mut meta);
    read_all(&meta, &data).unwrap();
}

#[test]
fn any_single_byte_may_be_wrong() {
    let (meta, data) = image(small());
    let used = meta.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (1024..1280).chain(4096..=used) {
        for value in [meta[at] ^ 1, 0xff] {
            let mut changed = meta.clone();
            changed[at] = value;
            if at < 4096 {
                fix_checksum(&mut changed);
            }
            let _ = read_all(&changed, &data);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_mutation_makes_the_reader_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        static IMAGE: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| image(with_a_large_directory()));
        let (mut meta, data) = IMAGE.clone();
        let len = meta.len();
        for (at, value) in changes {
            let at = 1024 + at.index(len - 1024);
            meta[at] = value;
        }
        fix_checksum(&mut meta);
        let _ = read_all(&meta, &data);
    }

    #[test]
    fn bytes_that_are_no_image_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(read_all(&bytes, &[]).is_err());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let (meta, data) = image(with_a_large_directory());
    for len in (0..meta.len()).step_by(512) {
        assert!(read_all(&meta[..len], &data).is_err(), "{len} bytes of metadata");
    }
    assert!(read_all(&meta, &data[..data.len() - 1]).is_err());
}

/// Where the entry for `name` in some directory has its inode's number.
fn entry_of(meta: &[u8], node: u64, kind: u8) -> usize {
    let found = meta.windows(12).position(|entry| entry[..8] == node.to_le_bytes() && entry[10] == kind);
    found.unwrap()
}

#[test]
fn a_directory_in_itself_is_found() {
    let (mut meta, data) = image(with_a_large_directory());
    let reader = Reader::open(&meta[..], &data[..]).unwrap();
    let (above, inner) = (reader.resolve(b"d").unwrap().unwrap(), reader.resolve(b"d/e").unwrap().unwrap());
    // The first hit is the entry in the directory above, for its inode comes first.
    let at = entry_of(&meta, inner.node(), 2);
    meta[at..at + 8].copy_from_slice(&above.node().to_le_bytes());
    let error = read_all(&meta, &data).unwrap_err().to_string();
    assert!(error.contains("a directory with two names"), "{error}");
}

#[test]
fn names_that_would_leave_the_destination_are_refused() {
    for name in [b"../x", b"/etc"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut meta, data) = devices(&build(dir.path(), &[vec![file("evil", b"x".to_vec())]], 1));
        let at = meta.windows(4).rposition(|bytes| bytes == b"evil").unwrap();
        meta[at..at + 4].copy_from_slice(name);
        let reader = Reader::open(&meta[..], &data[..]).unwrap();
        let destination = dir.path().join("out");
        let error = materialize(&reader, &destination, &MaterializeOptions::UNPRIVILEGED).unwrap_err();
        assert!(error.to_string().contains("name of it is impossible"), "{error}");
        assert!(!dir.path().join("x").exists());
    }
}
