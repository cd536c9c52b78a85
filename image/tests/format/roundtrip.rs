//! Files and directories of any shape come out of an image as they went in.

use std::collections::BTreeSet;

use ft_image::entry::{Entry, EntryKind, Meta, Segment};
use ft_image::erofs::{Kind, Reader};
use proptest::prelude::*;

use crate::synthetic::{build, devices, file, noise};

/// A sparse file: its size and its parts with data.
fn sparse_file() -> impl Strategy<Value = (u64, Vec<Segment>)> {
    let gaps = prop_oneof![1u64..10_000, Just(4096), Just(8192), Just(65_536)];
    let lens = prop_oneof![1u64..20_000, Just(4096), Just(65_536)];
    (proptest::collection::vec((gaps, lens), 0..8), 0u64..10_000).prop_map(|(parts, tail)| {
        let mut at = 0;
        let mut segments = Vec::new();
        for (gap, len) in parts {
            // A gap of one byte stands for none.
            let offset = at + gap - u64::from(gap == 1);
            segments.push(Segment { offset, len });
            at = offset + len;
        }
        (at + tail, segments)
    })
}

/// A random name of up to `longest` bytes; not a whiteout, for it begins with no dot.
fn name(seed: u64, longest: usize) -> Vec<u8> {
    let len = 1 + usize::from(noise(seed, 1)[0]) % longest;
    let allowed = |byte| if matches!(byte, 0 | b'/' | b'.') { b'_' } else { byte };
    noise(seed ^ 1, len).into_iter().map(allowed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn sparse_files_keep_every_byte((size, segments) in sparse_file(), from in any::<prop::sample::Index>()) {
        let data = noise(size, usize::try_from(segments.iter().map(|part| part.len).sum::<u64>()).unwrap());
        let mut expected = vec![0; usize::try_from(size).unwrap()];
        let mut taken = 0;
        for part in &segments {
            let (start, len) = (usize::try_from(part.offset).unwrap(), usize::try_from(part.len).unwrap());
            expected[start..start + len].copy_from_slice(&data[taken..taken + len]);
            taken += len;
        }
        let kind = EntryKind::File { size, segments };
        let entry = Entry { path: b"f".to_vec(), meta: Meta::default(), kind };
        let dir = tempfile::tempdir().unwrap();
        let (meta, data) = devices(&build(dir.path(), &[vec![(entry, data)]], 1));
        let reader = Reader::open(&meta[..], &data[..]).unwrap();
        let inode = reader.resolve(b"f").unwrap().unwrap();
        let mut read = vec![1; expected.len() + 1];
        prop_assert_eq!(reader.read(&inode, 0, &mut read).unwrap(), expected.len());
        prop_assert!(read[..expected.len()] == expected);
        // From somewhere in the middle.
        let from = from.index(expected.len() + 1);
        let count = reader.read(&inode, from as u64, &mut read).unwrap();
        prop_assert!(read[..count] == expected[from..]);
    }

    #[test]
    fn directories_keep_every_name(seed in any::<u64>(), count in 0u64..400, longest in 1usize..256) {
        let names: BTreeSet<_> = (0..count).map(|n| name(seed.wrapping_add(n), longest)).collect();
        let items: Vec<_> = names.iter().map(|name| file(name.clone(), Vec::new())).collect();
        let dir = tempfile::tempdir().unwrap();
        let (meta, data) = devices(&build(dir.path(), &[items], 1));
        let reader = Reader::open(&meta[..], &data[..]).unwrap();
        let root = reader.root().unwrap();
        let found: Vec<_> = reader.read_dir(&root).unwrap().map(|entry| entry.unwrap().name).collect();
        prop_assert!(found.iter().eq(&names), "every name, in order: {:?}", found);
        for name in &names {
            prop_assert!(reader.lookup(&root, name).unwrap().is_some());
        }
    }
}

#[test]
fn a_huge_sparse_file_makes_a_small_image() {
    let size = 5 << 40;
    let segments = vec![Segment { offset: 4 << 40, len: 5000 }];
    let kind = EntryKind::File { size, segments };
    let entry = Entry { path: b"huge".to_vec(), meta: Meta::default(), kind };
    let dir = tempfile::tempdir().unwrap();
    let image = build(dir.path(), &[vec![(entry, noise(1, 5000))]], 1);
    assert!(image.stats.stored_bytes < 128 << 10, "{:?}", image.stats);
    let (meta, data) = devices(&image);
    let reader = Reader::open(&meta[..], &data[..]).unwrap();
    let inode = reader.resolve(b"huge").unwrap().unwrap();
    assert_eq!((inode.kind(), inode.size()), (Kind::File, size));
    let mut bytes = [0; 5000];
    assert_eq!(reader.read(&inode, 4 << 40, &mut bytes).unwrap(), 5000);
    assert!(bytes[..] == noise(1, 5000));
}
