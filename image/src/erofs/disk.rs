//! The on-disk structures of EROFS that our profile uses (`docs/formats.md`, "EROFS profile"; the kernel's
//! `fs/erofs/erofs_fs.h`). All integers are little-endian.

/// Bytes of a file system block, and of a directory block.
pub(crate) const BLOCK: u32 = 4096;
/// [`BLOCK`] as a power of two.
pub(crate) const BLOCK_BITS: u8 = 12;
/// Inodes lie at multiples of this many bytes; an inode's number is its offset divided by it.
pub(crate) const SLOT: u32 = 32;
/// Bytes of an extended inode.
pub(crate) const INODE_BYTES: u32 = 64;
/// Bytes of a directory entry without its name.
pub(crate) const DIRENT_BYTES: usize = 12;
/// Bytes of one chunk index.
pub(crate) const CHUNK_INDEX_BYTES: usize = 8;
/// Bytes of the header in front of an inode's xattrs.
pub(crate) const XATTR_HEADER_BYTES: usize = 12;
/// The largest chunk that a file is divided into, as a power of two: 2 GiB.
pub(crate) const MAX_CHUNK_BITS: u8 = 31;
/// The chunk index of a hole.
pub(crate) const NULL_BLOCK: u32 = u32::MAX;
/// The number of the extra device that holds the file data.
pub(crate) const DATA_DEVICE: u16 = 1;

/// In an inode's chunk format: the file has an array of chunk indices.
const CHUNK_FORMAT_INDEXES: u16 = 0x20;

/// How an inode's data is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// In whole blocks of the metadata, from this one on.
    Plain { block: u32 },
    /// The last, incomplete block follows the inode and its xattrs; whole blocks before it lie from `block`
    /// on.
    Inline { block: u32 },
    /// In chunks of `2^bits` bytes, whose indices follow the inode and its xattrs.
    Chunks { bits: u8 },
    /// None: a device with this number.
    Device { number: u32 },
}

const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_INLINE: u16 = 2;
const LAYOUT_CHUNKS: u16 = 4;

/// The file type bits of a mode.
pub(crate) const TYPE_MASK: u16 = 0o170_000;

/// An extended inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskInode {
    pub(crate) layout: DataLayout,
    /// Bytes of the xattrs that follow: 0, or [`XATTR_HEADER_BYTES`] and a multiple of 4.
    pub(crate) xattr_bytes: u32,
    /// Type and permission bits.
    pub(crate) mode: u16,
    pub(crate) size: u64,
    /// Only for programs that want 32-bit inode numbers.
    pub(crate) serial: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_secs: i64,
    pub(crate) mtime_nanos: u32,
    pub(crate) links: u32,
}

impl DiskInode {
    pub(crate) fn encode(&self) -> [u8; INODE_BYTES as usize] {
        let (layout, union) = match self.layout {
            DataLayout::Plain { block } => (LAYOUT_PLAIN, block),
            DataLayout::Device { number } => (LAYOUT_PLAIN, number),
            DataLayout::Inline { block } => (LAYOUT_INLINE, block),
            DataLayout::Chunks { bits } => {
                (LAYOUT_CHUNKS, u32::from(CHUNK_FORMAT_INDEXES | u16::from(bits - BLOCK_BITS)))
            }
        };
        let mut bytes = [0; INODE_BYTES as usize];
        let mut put = Fields { bytes: &mut bytes, at: 0 };
        put.u16(layout << 1 | 1); // the lowest bit: an extended inode
        put.u16(xattr_count(self.xattr_bytes));
        put.u16(self.mode);
        put.u16(0);
        put.u64(self.size);
        put.u32(union);
        put.u32(self.serial);
        put.u32(self.uid);
        put.u32(self.gid);
        put.u64(self.mtime_secs.cast_unsigned());
        put.u32(self.mtime_nanos);
        put.u32(self.links);
        bytes
    }

    /// `None`: not an inode of our profile.
    pub(crate) fn decode(bytes: &[u8; INODE_BYTES as usize]) -> Option<Self> {
        let mut get = Cursor { bytes, at: 0 };
        let format = get.u16();
        let count = get.u16();
        let mode = get.u16();
        let zero = get.u16();
        let size = get.u64();
        let union = get.u32();
        let device = matches!(mode & TYPE_MASK, 0o020_000 | 0o060_000);
        let layout = match (format, device) {
            (0x1, true) => DataLayout::Device { number: union },
            (0x1, false) => DataLayout::Plain { block: union },
            (0x5, false) => DataLayout::Inline { block: union },
            (0x9, false) => DataLayout::Chunks { bits: chunk_bits(union)? },
            _ => return None,
        };
        let inode = Self {
            layout,
            xattr_bytes: if count == 0 { 0 } else { 8 + 4 * u32::from(count) },
            mode,
            size,
            serial: get.u32(),
            uid: get.u32(),
            gid: get.u32(),
            mtime_secs: get.u64().cast_signed(),
            mtime_nanos: get.u32(),
            links: get.u32(),
        };
        (zero == 0 && inode.mtime_nanos < 1_000_000_000).then_some(inode)
    }
}

/// The xattr field of an inode: 0, or one more than the words behind the header. The limits on xattrs keep
/// it far below 16 bits.
fn xattr_count(bytes: u32) -> u16 {
    u16::try_from(bytes.saturating_sub(8) / 4).unwrap_or(u16::MAX)
}

fn chunk_bits(format: u32) -> Option<u8> {
    let extra = u8::try_from(format & 0x1f).ok()?;
    let indexed = format & !0x1f == u32::from(CHUNK_FORMAT_INDEXES);
    (indexed && BLOCK_BITS + extra <= MAX_CHUNK_BITS).then_some(BLOCK_BITS + extra)
}

/// A device number as EROFS stores it: 12 bits of major and 20 of minor, folded.
pub(crate) const fn encode_device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Major and minor of a stored device number.
pub(crate) const fn decode_device(number: u32) -> (u32, u32) {
    ((number & 0xf_ff00) >> 8, number & 0xff | number >> 12 & 0xf_ff00)
}

/// A chunk index: where one chunk lies on the data device, or [`NULL_BLOCK`] for a hole.
pub(crate) fn encode_chunk_index(block: u32) -> [u8; CHUNK_INDEX_BYTES] {
    let mut bytes = [0; CHUNK_INDEX_BYTES];
    let device = if block == NULL_BLOCK { 0 } else { DATA_DEVICE };
    let mut put = Fields { bytes: &mut bytes, at: 2 };
    put.u16(device);
    put.u32(block);
    bytes
}

/// The block of a chunk index; `None` if it names another device than the data device.
pub(crate) fn decode_chunk_index(bytes: &[u8; CHUNK_INDEX_BYTES]) -> Option<u32> {
    let mut get = Cursor { bytes, at: 0 };
    let (high, device, block) = (get.u16(), get.u16(), get.u32());
    (high == 0 && (block == NULL_BLOCK || device == DATA_DEVICE)).then_some(block)
}

/// The type of a directory entry that fits a mode: `DT_REG` and so on in EROFS's numbering.
pub(crate) const fn dirent_type(mode: u16) -> u8 {
    match mode & TYPE_MASK {
        0o100_000 => 1,
        0o040_000 => 2,
        0o020_000 => 3,
        0o060_000 => 4,
        0o010_000 => 5,
        0o140_000 => 6,
        0o120_000 => 7,
        _ => 0,
    }
}

/// Writes fields one after the other; every caller's buffer is large enough.
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) at: usize,
}

impl Fields<'_> {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
}

/// Reads fields one after the other off a structure of fixed size, which every caller has checked.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        array
    }

    pub(super) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(0, 0), (8, 1), (259, 300), (4095, (1 << 20) - 1)] {
            assert_eq!(decode_device(encode_device(major, minor)), (major, minor));
        }
    }
}
