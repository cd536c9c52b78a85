//! Access control lists in text, as star, libarchive and GNU tar store them (`SCHILY.acl.access` and
//! `SCHILY.acl.default`), into the extended attributes that Linux keeps them in.
//!
//! Text: POSIX.1e draft 17, section 23.3.1; star and libarchive add the number as a fourth field. Attribute:
//! `linux/posix_acl_xattr.h`.

use tracing::warn;

use crate::error::EntryProblem;

/// The version of the attribute's layout.
const VERSION: u32 = 2;
/// The number of entries that have none.
const NO_ID: u32 = u32::MAX;

/// The attribute's value for an access control list. `None` where there is nothing to store: the list says no
/// more than the permission bits, or it names users or groups of the machine that wrote it without their
/// numbers, which nobody can know here.
pub(super) fn to_xattr(text: &[u8], is_default: bool) -> Result<Option<Vec<u8>>, EntryProblem> {
    let bad = || EntryProblem::Header("its access control list is not one".into());
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let mut entries = Vec::new();
    for line in text.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let (tag, permissions, name) = parse(line).ok_or_else(bad)?;
        let Some(id) = name.id() else {
            warn!(entry = line, "an access control list is left out: it names somebody without a number");
            return Ok(None);
        };
        entries.push((tag, permissions, id));
    }
    if entries.is_empty() || (entries.len() <= 3 && !is_default) {
        return Ok(None);
    }
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Ok(Some(value))
}

/// The permission bits of a file whose access control list has this `value`: Linux makes them say the same as
/// the list, with the mask for the group. Archives often have other bits.
pub(super) fn mode(value: &[u8], mode: u16) -> u16 {
    let Some(entries) = value.get(4..) else { return mode };
    let find = |wanted: u16| {
        let mut entries = entries.chunks_exact(8);
        entries.find(|entry| entry[..2] == wanted.to_le_bytes()).map(|entry| u16::from(entry[2]) & 7)
    };
    match (find(0x01), find(0x10).or(find(0x04)), find(0x20)) {
        (Some(owner), Some(group), Some(other)) => mode & !0o777 | owner << 6 | group << 3 | other,
        _ => mode,
    }
}

/// Whom an entry is about.
struct Name<'a> {
    name: &'a str,
    number: Option<&'a str>,
}

impl Name<'_> {
    /// The number, which may stand in the name's place.
    fn id(&self) -> Option<u32> {
        if self.name.is_empty() {
            return Some(NO_ID);
        }
        self.number.and_then(|number| number.parse().ok()).or_else(|| self.name.parse().ok())
    }
}

/// An entry `user:NAME:rwx` or `user:NAME:rwx:NUMBER`, `group:…`, `mask::rwx`, `other::rwx`: tag, permissions
/// and name.
fn parse(line: &str) -> Option<(u16, u16, Name<'_>)> {
    let fields: Vec<&str> = line.split(':').collect();
    let (kind, name, permissions, number) = match fields[..] {
        [kind, name, permissions] => (kind, name, permissions, None),
        [kind, name, permissions, number] => (kind, name, permissions, Some(number)),
        _ => return None,
    };
    let tag = match (kind, name) {
        ("user", "") => 0x01,
        ("user", _) => 0x02,
        ("group", "") => 0x04,
        ("group", _) => 0x08,
        ("mask", "") => 0x10,
        ("other", "") => 0x20,
        _ => return None,
    };
    Some((tag, bits(permissions)?, Name { name, number }))
}

/// `rwx`, with `-` for what is not allowed.
fn bits(text: &str) -> Option<u16> {
    text.chars().try_fold(0, |bits, c| match c {
        'r' => Some(bits | 4),
        'w' => Some(bits | 2),
        'x' => Some(bits | 1),
        '-' => Some(bits),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str, is_default: bool) -> Option<Vec<(u16, u16, u32)>> {
        let value = to_xattr(text.as_bytes(), is_default).unwrap()?;
        assert_eq!(value[..4], [2, 0, 0, 0]);
        let two = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().unwrap());
        let entry = |e: &[u8]| (two(&e[..2]), two(&e[2..4]), u32::from_le_bytes(e[4..].try_into().unwrap()));
        Some(value[4..].chunks_exact(8).map(entry).collect())
    }

    #[test]
    fn numbers_from_either_place_in_the_kernels_order() {
        let text = "user::rw-,other::r--,group:2000:r--,group::r--,user:ann:--x:7,user:5:rwx\nmask::rwx";
        let expected = [
            (1, 6, NO_ID),
            (2, 7, 5),
            (2, 1, 7),
            (4, 4, NO_ID),
            (8, 4, 2000),
            (0x10, 7, NO_ID),
            (0x20, 4, NO_ID),
        ];
        assert_eq!(entries(text, false).unwrap(), expected);
    }

    #[test]
    fn what_need_not_or_cannot_be_stored() {
        assert_eq!(entries("user::rw-,group::r--,other::r--", false), None);
        assert_eq!(entries("user::rw-,group::r--,other::r--", true).map(|e| e.len()), Some(3));
        assert_eq!(entries("", true), None);
        assert_eq!(entries("user::rw-,user:ann:rwx,group::r--,mask::rwx,other::r--", false), None);
    }

    #[test]
    fn the_mode_follows_the_list() {
        let value =
            to_xattr(b"user::rw-,user:5:rwx,group::r--,mask::rwx,other::--x", false).unwrap().unwrap();
        assert_eq!(mode(&value, 0o4644), 0o4671);
        assert_eq!(mode(b"", 0o644), 0o644);
        assert_eq!(mode(&value[..12], 0o644), 0o644);
    }

    #[test]
    fn garbage_is_refused() {
        for text in ["user", "friend::rwx", "user::rwz", "user:1:rwx:2:3", "mask:x:rwx"] {
            assert!(to_xattr(text.as_bytes(), true).is_err(), "{text}");
        }
        assert!(to_xattr(b"\xff", true).is_err());
    }
}
