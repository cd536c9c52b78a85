//! Sparse files in archives: GNU tar's old form and its PAX forms 0.0, 0.1 and 1.0.
//!
//! GNU tar manual, "Storing Sparse Files".

use std::io::Read;

use super::header::BLOCK;
use super::pax::decimal;
use crate::entry::Segment;
use crate::error::EntryProblem;

/// Most segments of one file: 16 MiB of memory.
const MAX_SEGMENTS: usize = 1 << 20;

/// Checks the (offset, length) pairs of a map against the file's length and the bytes stored for it, and
/// gives the segments that hold data.
pub(super) fn segments(
    map: impl IntoIterator<Item = (u64, u64)>,
    real_size: u64,
    stored: u64,
) -> Result<Vec<Segment>, EntryProblem> {
    let mut segments = Vec::new();
    let (mut end, mut sum) = (0, 0);
    for (offset, len) in map {
        if offset < end {
            return Err(bad_map("its parts overlap or are out of order"));
        }
        end = offset
            .checked_add(len)
            .filter(|end| *end <= real_size)
            .ok_or(bad_map("it goes beyond the end"))?;
        sum += len;
        if len > 0 {
            segments.push(Segment { offset, len });
        }
        check_count(segments.len())?;
    }
    if sum != stored {
        return Err(bad_map("it does not account for the bytes that are stored"));
    }
    Ok(segments)
}

/// The pairs of a flat list of offsets and lengths.
pub(super) fn pairs(numbers: &[u64]) -> Result<impl Iterator<Item = (u64, u64)>, EntryProblem> {
    if !numbers.len().is_multiple_of(2) {
        return Err(bad_map("an offset has no length"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

/// Refuses a map of more than [`MAX_SEGMENTS`] parts.
pub(super) fn check_count(count: usize) -> Result<(), EntryProblem> {
    if count > MAX_SEGMENTS {
        return Err(EntryProblem::Limit { what: "sparse map", limit: MAX_SEGMENTS as u64 });
    }
    Ok(())
}

/// Reads the map of form 1.0, which stands before the data in whole blocks: a count, then offsets and
/// lengths, each in decimal on a line of its own. `data` is the member's data; what is left of it
/// afterwards is the file's.
pub(super) fn read_map(data: &mut dyn Read) -> Result<Vec<(u64, u64)>, EntryProblem> {
    let mut lines = Lines { data, block: [0; BLOCK], at: BLOCK };
    let count = usize::try_from(lines.number()?).unwrap_or(usize::MAX);
    check_count(count)?;
    // Not `with_capacity(count)`: the count is a claim.
    let mut map = Vec::new();
    for _ in 0..count {
        map.push((lines.number()?, lines.number()?));
    }
    Ok(map)
}

struct Lines<'a> {
    data: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
}

impl Lines<'_> {
    fn number(&mut self) -> Result<u64, EntryProblem> {
        // 2^63 has 19 digits.
        let mut digits = [0; 20];
        for len in 0..digits.len() {
            match self.byte()? {
                b'\n' => return decimal(b"sparse map", &digits[..len]),
                digit => digits[len] = digit,
            }
        }
        Err(bad_map("a number is too long"))
    }

    fn byte(&mut self) -> Result<u8, EntryProblem> {
        if self.at == BLOCK {
            self.data.read_exact(&mut self.block).map_err(|_| bad_map("it is cut short"))?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

fn bad_map(reason: &str) -> EntryProblem {
    EntryProblem::Header(format!("its map of holes is wrong: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let check = |map: &[(u64, u64)], size, stored| segments(map.iter().copied(), size, stored).ok();
        let part = |offset, len| Segment { offset, len };
        assert_eq!(check(&[(0, 5), (10, 5), (20, 0)], 20, 10), Some(vec![part(0, 5), part(10, 5)]));
        assert_eq!(check(&[], 1 << 40, 0), Some(vec![]));
        assert_eq!(check(&[(0, 5), (4, 5)], 20, 10), None, "overlap");
        assert_eq!(check(&[(10, 5), (0, 5)], 20, 10), None, "out of order");
        assert_eq!(check(&[(10, 11)], 20, 11), None, "beyond the end");
        assert_eq!(check(&[(u64::MAX, 2)], u64::MAX, 2), None, "overflow");
        assert_eq!(check(&[(0, 5)], 20, 6), None, "more stored");
        assert_eq!(check(&[(0, 6)], 20, 5), None, "less stored");
    }

    #[test]
    fn form_1_0_is_read_by_blocks() {
        let mut block = b"2\n0\n512\n1024\n7\n".to_vec();
        block.resize(BLOCK, 0);
        block.extend_from_slice(b"rest");
        let mut data = &block[..];
        assert_eq!(read_map(&mut data).unwrap(), [(0, 512), (1024, 7)]);
        assert_eq!(data, b"rest");
        for bad in ["", "x\n", "-1\n", "99999999999999999999999\n", "9000000\n", "2\n0\n"] {
            let mut block = bad.as_bytes().to_vec();
            block.resize(BLOCK, b' ');
            assert!(read_map(&mut &block[..]).is_err(), "{bad:?}");
        }
    }
}
