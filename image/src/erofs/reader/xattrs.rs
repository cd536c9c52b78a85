//! Reading extended attributes.

use super::super::disk::{BLOCK, INODE_BYTES, XATTR_HEADER_BYTES};
use super::super::xattr::join_name;
use super::{Inode, ReadAt, ReadError, Reader};

/// Bytes of a stored xattr in front of its name.
const ENTRY_HEADER: usize = 4;

/// An extended attribute: its full name and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

impl<M: ReadAt, D: ReadAt> Reader<M, D> {
    /// An inode's xattrs, sorted by name, each name once.
    ///
    /// # Errors
    /// They are damaged.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, ReadError> {
        let mut body = vec![0; inode.disk.xattr_bytes as usize];
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let damaged = inode.damaged("its xattrs are cut off");
        self.read_metadata(&mut body, inode.offset() + u64::from(INODE_BYTES)).map_err(|_| damaged)?;
        // The inode's count says that there is at least the header.
        let references = usize::from(body[4]);
        let own = body[XATTR_HEADER_BYTES..].split_at_checked(references * 4);
        let (references, mut own) = own.ok_or(inode.damaged("its shared xattrs are cut off"))?;
        let mut xattrs = Vec::new();
        for reference in references.as_chunks::<4>().0 {
            xattrs.push(self.shared_xattr(inode, u32::from_le_bytes(*reference))?);
        }
        while !own.is_empty() {
            let (header, rest) =
                own.split_first_chunk::<ENTRY_HEADER>().ok_or(inode.damaged("an xattr of it is cut off"))?;
            let (name_len, value_len) = lengths(*header);
            let used = (name_len + value_len).next_multiple_of(4);
            if rest.len() < used {
                return Err(inode.damaged("an xattr of it is cut off"));
            }
            xattrs.push(parse(inode, header[1], &rest[..name_len + value_len], name_len)?);
            own = &rest[used..];
        }
        xattrs.sort_unstable();
        if xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(inode.damaged("an xattr of it occurs twice"));
        }
        Ok(xattrs)
    }

    fn shared_xattr(&self, inode: &Inode, place: u32) -> Result<Xattr, ReadError> {
        let start = u64::from(self.superblock.xattr_block) * u64::from(BLOCK) + u64::from(place) * 4;
        let outside = || inode.damaged("a shared xattr of it is outside the metadata");
        let mut header = [0; ENTRY_HEADER];
        self.read_metadata(&mut header, start).map_err(|_| outside())?;
        let (name_len, value_len) = lengths(header);
        let mut bytes = vec![0; name_len + value_len];
        self.read_metadata(&mut bytes, start + ENTRY_HEADER as u64).map_err(|_| outside())?;
        parse(inode, header[1], &bytes, name_len)
    }
}

/// Of the name and of the value.
fn lengths(header: [u8; ENTRY_HEADER]) -> (usize, usize) {
    (usize::from(header[0]), usize::from(u16::from_le_bytes([header[2], header[3]])))
}

fn parse(inode: &Inode, prefix: u8, bytes: &[u8], name_len: usize) -> Result<Xattr, ReadError> {
    let (name, value) = bytes.split_at(name_len);
    let name = join_name(prefix, name).filter(|name| !name.contains(&0));
    Ok((name.ok_or(inode.damaged("an xattr of it has an impossible name"))?, value.to_vec()))
}
