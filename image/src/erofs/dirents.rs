//! Directories as EROFS stores them: blocks of entries sorted by name, each block's names behind its entries.

use super::disk::{BLOCK, DIRENT_BYTES};

/// One entry of a directory that is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry<N> {
    pub(super) name: N,
    /// The inode's number on disk.
    pub(super) node: u64,
    pub(super) kind: u8,
}

/// Calls `each` for every block's share of `names` (sorted), with the bytes that it uses.
fn for_each_block<T>(
    names: impl Iterator<Item = T>,
    len: impl Fn(&T) -> usize,
    mut each: impl FnMut(&[T], usize),
) {
    let mut share = Vec::new();
    let mut used = 0;
    for name in names {
        let bytes = DIRENT_BYTES + len(&name);
        if used + bytes > BLOCK as usize {
            each(&share, used);
            share.clear();
            used = 0;
        }
        used += bytes;
        share.push(name);
    }
    if !share.is_empty() {
        each(&share, used);
    }
}

/// Bytes of a directory with these names (sorted): all blocks but the last are whole.
pub(super) fn size<N: AsRef<[u8]>>(names: impl Iterator<Item = N>) -> u64 {
    let mut blocks = 0;
    let mut last = 0;
    for_each_block(
        names,
        |name| name.as_ref().len(),
        |_, used| {
            blocks += 1;
            last = used;
        },
    );
    if blocks == 0 { 0 } else { (blocks - 1) * u64::from(BLOCK) + last as u64 }
}

/// The bytes of a directory with these entries (sorted); as many as [`size`] says.
pub(super) fn encode<N: AsRef<[u8]>>(entries: impl Iterator<Item = NewEntry<N>>) -> Vec<u8> {
    let mut out = Vec::new();
    for_each_block(
        entries,
        |entry| entry.name.as_ref().len(),
        |share, _| {
            out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
            let mut name_offset = share.len() * DIRENT_BYTES;
            for entry in share {
                out.extend_from_slice(&entry.node.to_le_bytes());
                // Within a block, so it fits.
                out.extend_from_slice(&u16::try_from(name_offset).unwrap_or(u16::MAX).to_le_bytes());
                out.extend_from_slice(&[entry.kind, 0]);
                name_offset += entry.name.as_ref().len();
            }
            for entry in share {
                out.extend_from_slice(entry.name.as_ref());
            }
        },
    );
    out
}

/// `children` (sorted by name) with `.` and `..` at their places in the order.
pub(super) fn with_dots<'a, T: Copy>(
    children: impl Iterator<Item = (&'a [u8], T)>,
    this: T,
    parent: T,
) -> impl Iterator<Item = (&'a [u8], T)> {
    let mut children = children.peekable();
    let mut dots = [(&b"."[..], this), (&b".."[..], parent)].into_iter().peekable();
    std::iter::from_fn(move || match (children.peek(), dots.peek()) {
        (Some((name, _)), Some((dot, _))) if name < dot => children.next(),
        (_, Some(_)) => dots.next(),
        (_, None) => children.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_sorted_in() {
        let children = [(&b"!"[..], 1), (b".a", 2), (b"..a", 3), (b"a", 4)];
        let mut sorted = children;
        sorted.sort_unstable();
        let names: Vec<_> = with_dots(sorted.into_iter(), 8, 9).map(|(name, _)| name).collect();
        assert_eq!(names, [&b"!"[..], b".", b"..", b"..a", b".a", b"a"]);
        assert!(names.is_sorted());
    }

    #[test]
    fn the_size_is_that_of_the_bytes() {
        for count in [0, 1, 2, 17, 300, 3000] {
            let names: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:0>8}").into_bytes()).collect();
            let entries = names.iter().map(|name| NewEntry { name, node: 1, kind: 1 });
            assert_eq!(size(names.iter()), encode(entries).len() as u64);
        }
    }
}
