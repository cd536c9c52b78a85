//! One 512-byte tar header: ustar, star, GNU and the old V7 form.
//!
//! Fields and offsets: POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use crate::error::EntryProblem;

/// Tar archives are made of blocks of this many bytes.
pub(super) const BLOCK: usize = 512;

/// One header block.
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// Which program's idea of a header it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    /// Like ustar, with a shorter prefix before two time fields.
    Star,
    /// No prefix; sparse files.
    Gnu,
}

impl Header {
    /// Whether this is the end-of-archive block.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether the checksum holds: the sum of all bytes with the checksum's own taken as spaces. Some old
    /// programs added them up as signed.
    pub(super) fn checksum_is_right(&self) -> bool {
        const FIELD: std::ops::Range<usize> = 148..156;
        let Ok(stored) = number(&self.0[FIELD], "checksum") else { return false };
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if FIELD.contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stored == unsigned || stored == signed
    }

    fn format(&self) -> Format {
        match (&self.0[257..263], &self.0[508..512]) {
            (b"ustar\0", b"tar\0") => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", _) => Format::Gnu,
            _ => Format::V7,
        }
    }

    /// What kind of member it is: the type flag.
    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The member's name, prefix included.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The link's target.
    pub(super) fn link(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    /// Permission, set-id and sticky bits.
    pub(super) fn mode(&self) -> Result<u16, EntryProblem> {
        let bits = number(&self.0[100..108], "mode")? & 0o7777;
        u16::try_from(bits).map_err(|_| invalid("mode"))
    }

    pub(super) fn uid(&self) -> Result<u32, EntryProblem> {
        u32::try_from(number(&self.0[108..116], "uid")?).map_err(|_| invalid("uid"))
    }

    pub(super) fn gid(&self) -> Result<u32, EntryProblem> {
        u32::try_from(number(&self.0[116..124], "gid")?).map_err(|_| invalid("gid"))
    }

    /// Bytes of data that follow.
    pub(super) fn size(&self) -> Result<u64, EntryProblem> {
        length(&self.0[124..136], "size")
    }

    /// Modification time in seconds.
    pub(super) fn mtime(&self) -> Result<i64, EntryProblem> {
        number(&self.0[136..148], "mtime")
    }

    /// Major and minor device number.
    pub(super) fn device(&self) -> Result<(u32, u32), EntryProblem> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        let part = |field, what| u32::try_from(number(field, what)?).map_err(|_| invalid(what));
        Ok((part(&self.0[329..337], "device major")?, part(&self.0[337..345], "device minor")?))
    }

    /// For an old GNU sparse file: its real length, the first map entries, and whether more follow in a
    /// block of their own.
    pub(super) fn old_sparse(&self) -> Result<(u64, MapPart), EntryProblem> {
        if self.format() != Format::Gnu {
            return Err(EntryProblem::Header(
                "it is a GNU sparse file in an archive that is not GNU's".into(),
            ));
        }
        let real_size = length(&self.0[483..495], "real size")?;
        Ok((real_size, map_part(&self.0[386..482], self.0[482])?))
    }

    /// The same for a continuation block.
    pub(super) fn sparse_continuation(&self) -> Result<MapPart, EntryProblem> {
        map_part(&self.0[..504], self.0[504])
    }
}

/// Some (offset, length) pairs of a sparse map, and whether more follow.
pub(super) type MapPart = (Vec<(u64, u64)>, bool);

fn map_part(fields: &[u8], more: u8) -> Result<MapPart, EntryProblem> {
    let mut map = Vec::new();
    for field in fields.chunks_exact(24) {
        // The first empty pair ends the list.
        if field[0] == 0 || field[12] == 0 {
            break;
        }
        map.push((length(&field[..12], "sparse map")?, length(&field[12..], "sparse map")?));
    }
    Ok((map, more != 0))
}

/// A text field: up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number that counts bytes.
fn length(field: &[u8], what: &str) -> Result<u64, EntryProblem> {
    u64::try_from(number(field, what)?).map_err(|_| invalid(what))
}

/// A numeric field: octal digits, blanks around them, or, marked by its top bit, base 256 in two's
/// complement. An empty one is 0.
fn number(field: &[u8], what: &str) -> Result<i64, EntryProblem> {
    match field.first() {
        Some(0x80..) => base256(field),
        _ => octal(field),
    }
    .ok_or_else(|| invalid(what))
}

fn base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // Bit 7 is the mark, bit 6 the sign.
    let negative = first & 0x40 != 0;
    let mut value = if negative { i64::from(*first) - 0x100 } else { i64::from(first & 0x3f) };
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let digits = field.split(|byte| *byte == 0).next()?.trim_ascii();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn invalid(what: &str) -> EntryProblem {
    EntryProblem::Header(format!("its header's {what} is not a possible number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let read = |field: &[u8]| number(field, "x").ok();
        assert_eq!(read(b"0000644\0"), Some(0o644));
        assert_eq!(read(b"   644 \0"), Some(0o644));
        assert_eq!(read(b"644 \0\0\0\0"), Some(0o644));
        assert_eq!(read(b"77777777777\0"), Some(0o77_777_777_777));
        assert_eq!(read(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(read(b"        "), Some(0));
        assert_eq!(read(b"\x80\0\0\0\0\0\x12\x34"), Some(0x1234));
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(read(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        assert_eq!(read(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(read(b"0000008\0"), None);
        assert_eq!(read(b"-1\0"), None);
        assert_eq!(read(b"7 7\0"), None);
    }
}
