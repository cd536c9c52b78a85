//! From a member's headers to an [`Entry`].

use std::collections::{BTreeMap, btree_map};
use std::io::Read;

use super::header::{BLOCK, Header};
use super::pax::Pax;
use super::{Extensions, TarReader, acl, sparse};
use crate::entry::{Entry, EntryKind, MAX_NAME, Meta, Segment};
use crate::error::EntryProblem;
use crate::path;

/// Largest value of an extended attribute (Linux's `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 64 << 10;

/// Makes an entry of `header` and what extended headers add to it; `tar` stands right behind the header
/// and is left at the start of the data.
pub(super) fn read<R: Read>(
    tar: &mut TarReader<'_, R>,
    header: &Header,
    extensions: Extensions,
) -> Result<Entry, EntryProblem> {
    let Extensions { mut pax, long_name, long_link } = extensions;
    let sparse_name = pax.sparse.name.take();
    let name = sparse_name.or(long_name).or(pax.path.take()).unwrap_or_else(|| header.name());
    tar.at.clone_from(&name);
    let path = path::normalise(&name, "path")?;
    let link = long_link.or(pax.link.take()).unwrap_or_else(|| header.link().to_vec());

    let kind = match header.kind() {
        // Before ustar, a directory was a file with a slash at its end.
        b'\0' | b'0' | b'7' if name.ends_with(b"/") => EntryKind::Directory,
        b'\0' | b'0' | b'7' => file(tar, header, &mut pax)?,
        b'S' => old_sparse_file(tar, header, &pax)?,
        b'1' => EntryKind::HardLink(path::hard_link_target(&link)?),
        b'2' => EntryKind::Symlink(path::symlink_target(link)?),
        b'3' => header.device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
        b'4' => header.device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
        b'5' => EntryKind::Directory,
        // A directory of an incremental archive: the data is a list of its names.
        b'D' => {
            tar.begin_data(stored_size(header, &pax)?);
            EntryKind::Directory
        }
        b'6' => EntryKind::Fifo,
        other => {
            let flag = other.escape_ascii();
            return Err(EntryProblem::Header(format!("its type '{flag}' is not known")));
        }
    };
    if path.is_empty() && kind != EntryKind::Directory {
        return Err(EntryProblem::Path { what: "path", reason: "is empty" });
    }
    Ok(Entry { path, meta: meta(header, pax)?, kind })
}

/// A regular file, sparse in one of the PAX forms or not.
fn file<R: Read>(
    tar: &mut TarReader<'_, R>,
    header: &Header,
    pax: &mut Pax,
) -> Result<EntryKind, EntryProblem> {
    let stored = stored_size(header, pax)?;
    if !pax.sparse.is_used() {
        tar.begin_data(stored);
        return Ok(EntryKind::dense_file(stored));
    }
    let size = pax.sparse.real_size.unwrap_or(stored);
    tar.begin_data(stored);
    let segments = match (pax.sparse.major, pax.sparse.minor, pax.sparse.map.take()) {
        (Some(1), Some(0), _) => {
            let map = sparse::read_map(&mut tar.data())?;
            sparse::segments(map, size, tar.data_left)?
        }
        (None | Some(0), _, Some(numbers)) => sparse::segments(sparse::pairs(&numbers)?, size, stored)?,
        (major, minor, _) => {
            let number = |part: Option<u64>| part.map_or("?".to_owned(), |part| part.to_string());
            let reason = format!("its sparse form {}.{} is not known", number(major), number(minor));
            return Err(EntryProblem::Header(reason));
        }
    };
    Ok(EntryKind::File { size, segments })
}

/// A sparse file in GNU tar's old form: the map is in the header and in blocks after it.
fn old_sparse_file<R: Read>(
    tar: &mut TarReader<'_, R>,
    header: &Header,
    pax: &Pax,
) -> Result<EntryKind, EntryProblem> {
    let stored = stored_size(header, pax)?;
    let (size, (mut map, mut more)) = header.old_sparse()?;
    while more {
        tar.begin_data(BLOCK as u64);
        let mut block = [0; BLOCK];
        tar.data().read_exact(&mut block).map_err(|_| EntryProblem::Truncated)?;
        let (part, again) = Header(block).sparse_continuation()?;
        map.extend(part);
        sparse::check_count(map.len())?;
        more = again;
    }
    tar.begin_data(stored);
    let segments: Vec<Segment> = sparse::segments(map, size, stored)?;
    Ok(EntryKind::File { size, segments })
}

fn stored_size(header: &Header, pax: &Pax) -> Result<u64, EntryProblem> {
    pax.size.map_or_else(|| header.size(), Ok)
}

fn meta(header: &Header, pax: Pax) -> Result<Meta, EntryProblem> {
    let (mtime_secs, mtime_nanos) = match pax.mtime {
        Some(time) => time,
        None => (header.mtime()?, 0),
    };
    let uid = pax.uid.map_or_else(|| header.uid(), Ok)?;
    let gid = pax.gid.map_or_else(|| header.gid(), Ok)?;
    let xattrs = xattrs(pax)?;
    let mode = match xattrs.get(&b"system.posix_acl_access"[..]) {
        Some(list) => acl::mode(list, header.mode()?),
        None => header.mode()?,
    };
    Ok(Meta { mode, uid, gid, mtime_secs, mtime_nanos, xattrs: xattrs.into_iter().collect() })
}

/// The extended attributes, access control lists among them: as attributes where the archive has them so, else
/// made of their text.
fn xattrs(pax: Pax) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, EntryProblem> {
    let mut xattrs = pax.xattrs;
    let texts = [("system.posix_acl_access", pax.access_acl), ("system.posix_acl_default", pax.default_acl)];
    for (name, text) in texts {
        if let (btree_map::Entry::Vacant(slot), Some(text)) = (xattrs.entry(name.into()), text)
            && let Some(value) = acl::to_xattr(&text, name.ends_with("default"))?
        {
            slot.insert(value);
        }
    }
    for (name, value) in &xattrs {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
            return Err(EntryProblem::Header("an extended attribute has an impossible name".into()));
        }
        if value.len() > MAX_XATTR {
            return Err(EntryProblem::Limit { what: "extended attribute", limit: MAX_XATTR as u64 });
        }
    }
    Ok(xattrs)
}
