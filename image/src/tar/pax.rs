//! PAX extended headers: `LENGTH KEY=VALUE\n` records, whose values may hold any byte.
//!
//! POSIX.1-2017 `pax`, "pax Extended Header"; the `GNU.sparse.*`, `SCHILY.xattr.*`, `SCHILY.acl.*` and `LIBARCHIVE.xattr.*`
//! keys are documented by GNU tar, star and libarchive.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::EntryProblem;

/// Most bytes of extended attributes that global headers may set.
const MAX_GLOBAL: usize = 4 << 10;
/// What a global attribute counts besides its bytes: copying it for every member costs about as much.
const GLOBAL_OVERHEAD: usize = 64;

/// What extended headers say about a member, and the header itself does not.
#[derive(Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Access control lists in text: for access, and the default of a directory.
    pub(super) access_acl: Option<Vec<u8>>,
    pub(super) default_acl: Option<Vec<u8>>,
    pub(super) sparse: PaxSparse,
}

/// The `GNU.sparse.*` records.
#[derive(Clone, Default)]
pub(super) struct PaxSparse {
    /// Format: `(1, 0)`, or nothing in the older ones.
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn, for the formats 0.0 and 0.1.
    pub(super) map: Option<Vec<u64>>,
}

impl Pax {
    /// Adds the records of one member's extended header.
    pub(super) fn apply(&mut self, records: &[u8]) -> Result<(), EntryProblem> {
        for record in Records(records) {
            let (key, value) = record?;
            self.set(key, value)?;
        }
        Ok(())
    }

    /// Adds the records of a global header, which hold for all members after it. What cannot be the same
    /// for all of them is refused: readers disagree about it, so it is a way to smuggle.
    pub(super) fn apply_global(&mut self, records: &[u8]) -> Result<(), EntryProblem> {
        for record in Records(records) {
            let (key, value) = record?;
            if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
                let key = String::from_utf8_lossy(key);
                return Err(EntryProblem::Header(format!("a global header sets {key} for every entry")));
            }
            self.set(key, value)?;
        }
        // Kept, and copied for every member: a few words about all of them, no more.
        let kept =
            self.xattrs.iter().map(|(name, value)| name.len() + value.len() + GLOBAL_OVERHEAD).sum::<usize>()
                + [&self.access_acl, &self.default_acl].into_iter().flatten().map(Vec::len).sum::<usize>();
        if kept > MAX_GLOBAL {
            let limit = MAX_GLOBAL as u64;
            return Err(EntryProblem::Limit { what: "set of global attributes", limit });
        }
        Ok(())
    }

    /// Takes one record. An empty value removes what an earlier one said.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), EntryProblem> {
        let said = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = said.map(<[u8]>::to_vec),
            b"linkpath" => self.link = said.map(<[u8]>::to_vec),
            b"size" => self.size = said.map(|value| decimal(key, value)).transpose()?,
            b"uid" => self.uid = said.map(|value| id(key, value)).transpose()?,
            b"gid" => self.gid = said.map(|value| id(key, value)).transpose()?,
            b"SCHILY.acl.access" => self.access_acl = said.map(<[u8]>::to_vec),
            b"SCHILY.acl.default" => self.default_acl = said.map(<[u8]>::to_vec),
            b"mtime" => self.mtime = said.map(|value| time(key, value)).transpose()?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(unescape(name, true), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let value = base64(value).ok_or_else(|| invalid(key))?;
                    // libarchive writes each attribute in both forms; they say the same.
                    self.xattrs.insert(unescape(name, false), value);
                } else if let Some(sparse_key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(sparse_key, value)?;
                }
            }
        }
        Ok(())
    }
}

impl PaxSparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), EntryProblem> {
        match key {
            b"major" => self.major = Some(decimal(key, value)?),
            b"minor" => self.minor = Some(decimal(key, value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(decimal(key, value)?),
            b"numblocks" => {
                self.map.get_or_insert_default();
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                self.map = Some(numbers.map(|number| decimal(key, number)).collect::<Result<_, _>>()?);
            }
            b"offset" | b"numbytes" => {
                let map = self.map.get_or_insert_default();
                // Offsets and lengths must come in turn.
                if map.len() % 2 != usize::from(key == b"numbytes") {
                    return Err(invalid(key));
                }
                map.push(decimal(key, value)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the member is a sparse file.
    pub(super) fn is_used(&self) -> bool {
        self.major.is_some() || self.map.is_some()
    }
}

/// The records of an extended header.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), EntryProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some writers pad with NULs.
        if self.0.iter().all(|byte| *byte == 0) {
            return None;
        }
        let record = split_record(&mut self.0);
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or_else(|| EntryProblem::Header("its extended (PAX) header is damaged".into())))
    }
}

/// Splits the first record off: its key and value.
fn split_record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
    let len = parse_decimal(&rest[..space])?;
    let (record, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    *rest = after;
    (!key.is_empty()).then_some((key, value))
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    // `from_ascii` and friends take a sign; a count has none.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub(super) fn decimal(key: &[u8], value: &[u8]) -> Result<u64, EntryProblem> {
    parse_decimal(value).filter(|number| i64::try_from(*number).is_ok()).ok_or_else(|| invalid(key))
}

fn id(key: &[u8], value: &[u8]) -> Result<u32, EntryProblem> {
    u32::try_from(decimal(key, value)?).map_err(|_| invalid(key))
}

/// Seconds since 1970 with an optional sign and fraction, as (seconds, nanoseconds ≥ 0).
fn time(key: &[u8], value: &[u8]) -> Result<(i64, u32), EntryProblem> {
    let parse = || {
        let (negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let mut halves = digits.splitn(2, |byte| *byte == b'.');
        let secs = i64::try_from(parse_decimal(halves.next()?)?).ok()?;
        let nanos = match halves.next() {
            Some(fraction) => fraction_to_nanos(fraction)?,
            None => 0,
        };
        match (negative, nanos) {
            (false, _) => Some((secs, nanos)),
            (true, 0) => Some((-secs, 0)),
            (true, _) => Some((-secs - 1, 1_000_000_000 - nanos)),
        }
    };
    parse().ok_or_else(|| invalid(key))
}

/// The digits after the point, in nanoseconds; finer ones are dropped.
fn fraction_to_nanos(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nine = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(nine.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0')))
}

/// Undoes `%XX`. GNU tar writes just `=` and `%` that way in names, libarchive many more.
fn unescape(name: &[u8], gnu: bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped.filter(|byte| !gnu || matches!(byte, b'=' | b'%')) {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Base 64, padded or not, as libarchive's versions write it.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ENGINE.decode(text.trim_ascii_end()).ok()
}

fn invalid(key: &[u8]) -> EntryProblem {
    let key = String::from_utf8_lossy(key);
    EntryProblem::Header(format!("its extended header's {key} has an impossible value"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;

    #[test]
    fn times() {
        let read = |text: &str| time(b"mtime", text.as_bytes()).ok();
        assert_eq!(read("12"), Some((12, 0)));
        assert_eq!(read("12.5"), Some((12, 500_000_000)));
        assert_eq!(read("12.000000001999"), Some((12, 1)));
        assert_eq!(read("-1"), Some((-1, 0)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("-0.000000001"), Some((-1, 999_999_999)));
        assert_eq!(read("12."), Some((12, 0)));
        for bad in ["", "-", ".5", "1.x", "+1", "--1", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_with_newlines_and_any_bytes() {
        let mut pax = Pax::default();
        pax.apply(&record(b"SCHILY.xattr.user.a", b"\n\n=\x00\xff\n")).unwrap();
        assert_eq!(pax.xattrs[&b"user.a"[..]], b"\n\n=\x00\xff\n");
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"6 abc\n",
            b" a=b\n",
            b"x a=b\n",
            b"6 =ab\n",
            b"-6 a=b\n",
            b"6 a=bc",
        ] {
            assert!(Pax::default().apply(bad).is_err(), "{bad:?}");
        }
        assert!(Pax::default().apply(b"6 a=b\n\0\0\0").is_ok());
    }

    #[test]
    fn later_records_win_and_empty_ones_erase() {
        let mut pax = Pax::default();
        pax.apply(b"9 path=a\n9 path=b\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        pax.apply(b"8 path=\n").unwrap();
        assert_eq!(pax.path, None);
    }

    #[test]
    fn global_headers_cannot_rename_or_resize() {
        assert!(Pax::default().apply_global(b"9 path=a\n").is_err());
        assert!(Pax::default().apply_global(b"9 size=1\n").is_err());
        assert!(Pax::default().apply_global(b"8 uid=1\n").is_ok());
    }

    #[test]
    fn attribute_names_and_base64() {
        assert_eq!(unescape(b"user.a%3Db%25c%41", true), b"user.a=b%c%41");
        assert_eq!(unescape(b"user.%41%zz%4", false), b"user.A%zz%4");
        assert_eq!(base64(b"AQIDBA==").as_deref(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(base64(b"AQIDBA").as_deref(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(base64(b"").as_deref(), Some(&[][..]));
        assert_eq!(base64(b"A*"), None);
    }
}
