//! A small image with everything in it, the same on every machine, and helpers to build any image.

use std::os::unix::fs::FileExt;
use std::path::Path;

use ft_blockstore::codec::decompress_block;
use ft_core::manifest::{Layout, SegmentKind};
use ft_image::LayerSink;
use ft_image::builder::{BuildOptions, Converted, ImageBuilder};
use ft_image::entry::{Entry, EntryKind, Meta, Segment};

/// An entry and its data: of a file, the bytes of its segments back to back.
pub(crate) type Item = (Entry, Vec<u8>);

/// A stream of bytes that LZ4 cannot compress; xorshift64*.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn meta(mode: u16) -> Meta {
    Meta { mode, mtime_secs: 1_700_000_000, mtime_nanos: 123_456_789, ..Meta::default() }
}

pub(crate) fn directory(path: &str) -> Item {
    (Entry { path: path.into(), meta: meta(0o755), kind: EntryKind::Directory }, Vec::new())
}

pub(crate) fn file(path: impl Into<Vec<u8>>, data: Vec<u8>) -> Item {
    let kind = EntryKind::dense_file(data.len() as u64);
    (Entry { path: path.into(), meta: meta(0o644), kind }, data)
}

pub(crate) fn special(path: &str, kind: EntryKind) -> Item {
    (Entry { path: path.into(), meta: meta(0o600), kind }, Vec::new())
}

pub(crate) fn whiteout(path: &str) -> Item {
    file(path, Vec::new())
}

/// The same entry with another mode and owner.
pub(crate) fn owned((mut entry, data): Item, mode: u16, uid: u32, gid: u32) -> Item {
    (entry.meta.mode, entry.meta.uid, entry.meta.gid) = (mode, uid, gid);
    (entry, data)
}

/// The same entry with these xattrs (sorted by name).
pub(crate) fn with_xattrs((mut entry, data): Item, xattrs: &[(&str, &[u8])]) -> Item {
    entry.meta.xattrs =
        xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    (entry, data)
}

/// A sparse file with `len` bytes of noise at each of `offsets`.
pub(crate) fn sparse(path: &str, size: u64, offsets: &[u64], len: usize) -> Item {
    let segments: Vec<_> = offsets.iter().map(|&offset| Segment { offset, len: len as u64 }).collect();
    let data = noise(size, offsets.len() * len);
    (Entry { path: path.into(), meta: meta(0o644), kind: EntryKind::File { size, segments } }, data)
}

/// `cap_net_raw=ep`, as `setcap` writes it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// `user::rw-,user:1000:r--,group::r--,mask::r--,other::r--`.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

/// Names in the image of [`layers`], the root not counted: of the bottom layer 28 and 400 and two implicit
/// directories; the middle one takes away "removed", "hidden", "hidden/a" and "opaque/old" and adds eight
/// names; the top one takes away one of many and adds "hidden" and "late-fifo".
pub(crate) const NAMES: usize = 28 + 400 + 2 - 4 + 8 - 1 + 2;

/// Three layers that use every kind of entry and every overlay rule.
pub(crate) fn layers() -> Vec<Vec<Item>> {
    vec![bottom(), middle(), top()]
}

fn bottom() -> Vec<Item> {
    let mut items = vec![
        owned(directory(""), 0o1755, 0, 0),
        directory("bin"),
        with_xattrs(
            owned(file("bin/ping", noise(1, 70_000)), 0o4755, 0, 0),
            &[("security.capability", CAPABILITY)],
        ),
        owned(file("bin/wall", b"#!/bin/sh\n".to_vec()), 0o2755, 0, 5),
        special("bin/sh", EntryKind::Symlink(b"ping".to_vec())),
        special("bin/ping6", EntryKind::HardLink(b"bin/ping".to_vec())),
        special("bin/long-link", EntryKind::Symlink(vec![b'x'; 4095])),
        directory("dev"),
        special("dev/null", EntryKind::CharDevice { major: 1, minor: 3 }),
        special("dev/big", EntryKind::BlockDevice { major: 259, minor: 70_000 }),
        special("dev/fifo", EntryKind::Fifo),
        special("dev/socket", EntryKind::Socket),
        directory("hidden"),
        file("hidden/a", noise(2, 5000)),
        directory("opaque"),
        file("opaque/old", noise(3, 10)),
        file("replaced", noise(4, 100)),
        file("removed", noise(5, 600_000)),
        file("implicit/parents/file", b"below directories without entries\n".to_vec()),
        file(b"not-utf8-\xff\xfe".to_vec(), b"x".to_vec()),
        file([b'n'; 255].to_vec(), b"the longest name".to_vec()),
        file("empty", Vec::new()),
        file("exactly-one-block", noise(6, 4096)),
        file("large", noise(7, 3_000_000)),
        file("zeros", vec![0; 1 << 20]),
        sparse("sparse", (8 << 20) + 77, &[1 << 20, 5 << 20], 1 << 20),
        sparse("sparse-odd", 100_000, &[5000, 50_001], 10),
        sparse("all-hole", 1 << 34, &[], 0),
        directory("many"),
    ];
    items.extend((0..400).map(|n| file(format!("many/file-number-{n:05}"), noise(n as u64, n % 50))));
    items
}

fn middle() -> Vec<Item> {
    let acls: &[(&str, &[u8])] = &[("system.posix_acl_access", ACL), ("user.note", b"shared by two")];
    vec![
        owned(directory("bin"), 0o700, 3, 4),
        whiteout(".wh.removed"),
        whiteout(".wh.hidden"),
        file("opaque/new", b"before the marker\n".to_vec()),
        whiteout("opaque/.wh..wh..opq"),
        directory("replaced"),
        file("replaced/by-a-directory", b"yes\n".to_vec()),
        with_xattrs(file("acl-1", b"1".to_vec()), acls),
        with_xattrs(file("acl-2", b"2".to_vec()), acls),
        with_xattrs(directory("acl-dir"), &[("system.posix_acl_default", ACL), ("trusted.t", b"only root")]),
        with_xattrs(file("big-xattr", Vec::new()), &[("user.big", &[b'v'; 5000])]),
        special("link-to-lower", EntryKind::HardLink(b"large".to_vec())),
        file("twice", b"first".to_vec()),
        file("twice", b"second and last".to_vec()),
    ]
}

fn top() -> Vec<Item> {
    vec![
        file("large", b"smaller now".to_vec()),
        file("hidden", b"a file now".to_vec()),
        whiteout("many/.wh.file-number-00007"),
        whiteout(".wh.never-was-there"),
        special("late-fifo", EntryKind::Fifo),
    ]
}

/// Builds an image of `layers` with packs below `dir`.
pub(crate) fn build(dir: &Path, layers: &[Vec<Item>], threads: usize) -> Converted {
    let mut builder = ImageBuilder::new(BuildOptions { threads, ..BuildOptions::new(dir) });
    for (number, items) in layers.iter().enumerate() {
        let mut layer = builder.begin_layer(&format!("layer-{number}")).unwrap();
        for (entry, data) in items {
            layer.entry(entry, &mut &data[..]).unwrap();
        }
        layer.finish().unwrap();
    }
    builder.finish(b"{}".to_vec()).unwrap()
}

/// The image's two devices, metadata and file data, decompressed from the packs.
pub(crate) fn devices(image: &Converted) -> (Vec<u8>, Vec<u8>) {
    let layout = Layout::new(&image.manifest);
    let mut meta = vec![0; usize::try_from(layout.metadata_len()).unwrap()];
    let mut data = vec![0; usize::try_from(layout.data_len()).unwrap()];
    for place in layout.blocks() {
        let segment = &image.manifest.segments[place.segment as usize];
        let pack = image.packs.iter().find(|pack| pack.digest == segment.pack).unwrap();
        let mut stored = vec![0; place.stored_len as usize];
        pack.file.read_exact_at(&mut stored, place.pack_offset).unwrap();
        let raw = decompress_block(place.codec, &stored, place.raw_len).unwrap();
        let device = if segment.kind == SegmentKind::Metadata { &mut meta } else { &mut data };
        let start = usize::try_from(place.device_offset).unwrap();
        device[start..start + raw.len()].copy_from_slice(&raw);
    }
    (meta, data)
}
