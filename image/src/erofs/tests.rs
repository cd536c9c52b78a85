use std::io;

use super::*;
use crate::builder::inode::{Attributes, Body, Extents as Stored, FileData, Inode as NewInode};
use crate::builder::tree::Tree;
use crate::builder::xattrs::XattrTable;

/// A data device of which only the length is there.
struct Length(u64);

impl ReadAt for Length {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn file(size: u64, layer: u16, first_block: u32) -> NewInode {
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime_secs: -1, mtime_nanos: 1, xattrs: 0 };
    let chunk_bits = ChunkPlan::new(size, &[crate::entry::Segment { offset: 0, len: size }]).bits;
    NewInode {
        attributes,
        body: Body::File(FileData { size, layer, chunk_bits, extents: Stored::Whole(first_block) }),
    }
}

/// Files of more than one chunk of 2 GiB would take long to make of real data.
#[test]
fn files_beyond_2_gib_and_later_segments_are_placed() {
    let mut tree = Tree::new(10);
    tree.put(b"small", 1, file(10, 1, 3)).unwrap();
    tree.put(b"large", 3, file((5 << 30) + 1, 3, 7)).unwrap();
    // The second layer has no data; the first one's segment does not end on a block of 512 KiB.
    let image = Image::plan(&tree, &XattrTable::new(), &[20_480, 0, 6 << 30]).unwrap();
    let mut metadata = Vec::new();
    image.write(&mut metadata).unwrap();
    let reader = Reader::open(&metadata[..], Length((512 << 10) + (6 << 30))).unwrap();
    let extents = |path: &str| -> Vec<Extent> {
        let inode = reader.resolve(path.as_bytes()).unwrap().unwrap();
        reader.extents(&inode).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(extents("small"), [Extent { offset: 0, len: 10, device_offset: Some(3 * 4096) }]);
    let start = (512 << 10) + 7 * 4096;
    assert_eq!(extents("large"), [Extent { offset: 0, len: (5 << 30) + 1, device_offset: Some(start) }]);
    assert_eq!(reader.resolve(b"small").unwrap().unwrap().mtime(), (-1, 1));
}

#[test]
fn data_beyond_the_block_numbers_is_refused() {
    let error = Image::plan(&Tree::new(1), &XattrTable::new(), &[16 << 40]).unwrap_err().to_string();
    assert!(error.contains("file data would have"), "{error}");
}
