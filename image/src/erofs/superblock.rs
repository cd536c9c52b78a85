//! The superblock and the device slot: the first block of the metadata.

use super::crc32c::crc32c;
use super::disk::{BLOCK, BLOCK_BITS, Cursor, Fields};

const SUPERBLOCK_OFFSET: usize = 1024;
const SUPERBLOCK_BYTES: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
const DEVICE_SLOT_BYTES: usize = 128;
/// The first place after the superblock, counted in device slots.
const DEVICE_SLOT: u16 = 9;
const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKED_FILE: u32 = 4;
const INCOMPAT_DEVICE_TABLE: u32 = 8;
const _: () = assert!(DEVICE_SLOT as usize * DEVICE_SLOT_BYTES == SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES);

/// What the first block of the metadata says about the whole image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Number of the root directory; at most 65,535.
    pub(crate) root: u64,
    /// Inodes in all.
    pub(crate) inodes: u64,
    /// Blocks of the metadata.
    pub(crate) metadata_blocks: u32,
    /// The block at which shared xattrs start.
    pub(crate) xattr_block: u32,
    /// Blocks of the data device; 0 if there is none.
    pub(crate) data_blocks: u32,
    /// Identifies the file system.
    pub(crate) uuid: [u8; 16],
}

/// Why a first block is not a superblock of our profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// The magic number is missing.
    #[error("it has no EROFS superblock")]
    Magic,
    /// The checksum does not fit the contents.
    #[error("the superblock's checksum is wrong")]
    Checksum,
    /// A valid image, but not one that this version writes.
    #[error("the superblock's {field} has the value {value}, which this version does not read")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Superblock {
    /// The first block of the metadata, checksum included.
    pub(crate) fn encode(&self) -> [u8; BLOCK as usize] {
        let mut block = [0; BLOCK as usize];
        let mut put = Fields { bytes: &mut block[SUPERBLOCK_OFFSET..], at: 0 };
        let devices = u16::from(self.data_blocks > 0);
        let device_table = if devices > 0 { INCOMPAT_DEVICE_TABLE } else { 0 };
        put.u32(MAGIC);
        put.u32(0); // checksum, below
        put.u32(COMPAT_CHECKSUM | COMPAT_MTIME);
        put.bytes(&[BLOCK_BITS, 0]); // no superblock extension
        put.u16(u16::try_from(self.root).unwrap_or(u16::MAX));
        put.u64(self.inodes);
        put.u64(0); // build time, seconds
        put.u32(0); // build time, nanoseconds
        put.u32(self.metadata_blocks);
        put.u32(0); // inode numbers count from the metadata's first byte
        put.u32(self.xattr_block);
        put.bytes(&self.uuid);
        put.bytes(&[0; 16]); // volume name
        put.u32(INCOMPAT_CHUNKED_FILE | device_table);
        put.u16(0); // no compression
        put.u16(devices);
        put.u16(if devices > 0 { DEVICE_SLOT } else { 0 });
        // The rest of the superblock is zero. The device slot: a tag of 64 bytes, then its size.
        if devices > 0 {
            put.at = SUPERBLOCK_BYTES + 64;
            put.u32(self.data_blocks);
        }
        let checksum = crc32c(&block[SUPERBLOCK_OFFSET..]);
        block[SUPERBLOCK_OFFSET + 4..SUPERBLOCK_OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads the first block of the metadata.
    pub(crate) fn decode(block: &[u8; BLOCK as usize]) -> Result<Self, SuperblockError> {
        let mut get = Cursor { bytes: &block[SUPERBLOCK_OFFSET..], at: 0 };
        if get.u32() != MAGIC {
            return Err(SuperblockError::Magic);
        }
        let checksum = get.u32();
        let mut cleared = *block;
        cleared[SUPERBLOCK_OFFSET + 4..SUPERBLOCK_OFFSET + 8].fill(0);
        if crc32c(&cleared[SUPERBLOCK_OFFSET..]) != checksum {
            return Err(SuperblockError::Checksum);
        }
        let expect = |field, value: u64, expected: u64| {
            if value == expected { Ok(()) } else { Err(SuperblockError::Unsupported { field, value }) }
        };
        expect("compatible features", get.u32().into(), (COMPAT_CHECKSUM | COMPAT_MTIME).into())?;
        expect("block size", get.u8().into(), BLOCK_BITS.into())?;
        expect("extension", get.u8().into(), 0)?;
        let root = get.u16().into();
        let inodes = get.u64();
        get.at += 12; // build time
        let metadata_blocks = get.u32();
        expect("metadata start", get.u32().into(), 0)?;
        let xattr_block = get.u32();
        let uuid = get.array();
        get.at += 16; // volume name
        let features = get.u32();
        expect("compression", get.u16().into(), 0)?;
        let devices = get.u16();
        expect("number of devices", u64::from(devices.min(2)), u64::from(devices.min(1)))?;
        let device_table = if devices > 0 { INCOMPAT_DEVICE_TABLE } else { 0 };
        expect("incompatible features", features.into(), (INCOMPAT_CHUNKED_FILE | device_table).into())?;
        let mut data_blocks = 0;
        if devices > 0 {
            expect("device table", get.u16().into(), DEVICE_SLOT.into())?;
            get.at = SUPERBLOCK_BYTES + 64;
            data_blocks = get.u32();
        }
        Ok(Self { root, inodes, metadata_blocks, xattr_block, data_blocks, uuid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_survive_and_any_changed_bit_is_noticed() {
        let superblock = Superblock {
            root: 128,
            inodes: 7,
            metadata_blocks: 9,
            xattr_block: 8,
            data_blocks: 1 << 20,
            uuid: *b"0123456789abcdef",
        };
        let block = superblock.encode();
        assert_eq!(Superblock::decode(&block), Ok(superblock));
        for at in 1024..4096 {
            let mut changed = block;
            changed[at] ^= 1;
            assert!(Superblock::decode(&changed).is_err(), "byte {at}");
        }
    }
}
