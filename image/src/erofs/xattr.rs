//! Extended attributes as EROFS stores them: the prefix of the name as a number, the rest as it is.

use super::disk::XATTR_HEADER_BYTES;

/// Name prefixes and their numbers. A name is stored with the longest that fits.
const PREFIXES: [(u8, &[u8]); 5] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
];

/// How many xattrs one inode may refer to in the shared area.
pub(super) const MAX_SHARED: usize = 255;

/// The number of a name's prefix and the rest of the name; `None` if EROFS cannot store the name.
pub(crate) fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    let (number, rest) = PREFIXES
        .iter()
        .find_map(|(number, prefix)| name.strip_prefix(*prefix).map(|rest| (*number, rest)))?;
    let whole_name = matches!(number, 2 | 3);
    (rest.is_empty() == whole_name && rest.len() <= 255 && !rest.contains(&0)).then_some((number, rest))
}

/// The full name of a stored one; `None` if the prefix's number is unknown.
pub(crate) fn join_name(number: u8, rest: &[u8]) -> Option<Vec<u8>> {
    let (_, prefix) = PREFIXES.iter().find(|(known, _)| *known == number)?;
    Some([*prefix, rest].concat())
}

/// Appends one stored xattr. One without a place is left out; the builder lets none through.
pub(super) fn put_entry(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let Some((number, rest)) = split_name(name) else { return };
    let (Ok(name_len), Ok(value_len)) = (u8::try_from(rest.len()), u16::try_from(value.len())) else {
        return;
    };
    out.extend_from_slice(&[name_len, number]);
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The header in front of an inode's xattrs, with its references into the shared area.
pub(super) fn put_header(out: &mut Vec<u8>, shared: &[u32]) {
    let mut header = [0; XATTR_HEADER_BYTES];
    header[4] = u8::try_from(shared.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&header);
    for id in shared {
        out.extend_from_slice(&id.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{join_name, split_name};

    #[test]
    fn names_survive() {
        for name in ["user.a", "security.capability", "system.posix_acl_default", "trusted.x.y"] {
            let (number, rest) = split_name(name.as_bytes()).unwrap();
            assert_eq!(join_name(number, rest).unwrap(), name.as_bytes());
        }
    }

    #[test]
    fn names_without_a_place_are_refused() {
        for name in ["user.", "com.apple.FinderInfo", "system.nfs4_acl", "system.posix_acl_access2", ""] {
            assert_eq!(split_name(name.as_bytes()), None, "{name}");
        }
    }
}
