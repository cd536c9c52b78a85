//! The `Range` header, as far as it is honoured: one range of bytes.

use std::ops::Range;

/// What a request wants of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: there is no `Range`, or one that RFC 9110 lets a server ignore (another unit, several
    /// ranges, not understood).
    Whole,
    /// A part of it, which is not empty.
    Part(Range<u64>),
    /// A part that is not in it: 416.
    Outside,
}

impl Wanted {
    /// Reads the header of a request for an object of `size` bytes.
    pub(super) fn parse(header: Option<&str>, size: u64) -> Self {
        let Some((first, last)) = header.and_then(single_range) else { return Self::Whole };
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first > last => Self::Whole,
            (Ok(first), Ok(last)) => Self::part(first..last.saturating_add(1).min(size)),
            (Ok(first), Err(_)) if last.is_empty() => Self::part(first..size),
            (Err(_), Ok(count)) if first.is_empty() => Self::part(size.saturating_sub(count)..size),
            _ => Self::Whole,
        }
    }

    fn part(range: Range<u64>) -> Self {
        if range.is_empty() { Self::Outside } else { Self::Part(range) }
    }
}

fn single_range(header: &str) -> Option<(&str, &str)> {
    let (unit, ranges) = header.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    (unit.trim().eq_ignore_ascii_case("bytes") && digits(first) && digits(last)).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_honoured_in_its_three_forms() {
        for (header, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("Bytes=90-", 90..100),
            ("bytes=-5", 95..100),
            ("bytes=-500", 0..100),
            ("bytes=99-1000", 99..100),
            ("bytes=0-18446744073709551615", 0..100),
        ] {
            assert_eq!(Wanted::parse(Some(header), 100), Wanted::Part(part), "{header}");
        }
    }

    #[test]
    fn what_is_not_in_the_object_is_outside() {
        for (header, size) in
            [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-0", 0)]
        {
            assert_eq!(Wanted::parse(Some(header), size), Wanted::Outside, "{header} of {size}");
        }
    }

    #[test]
    fn anything_else_is_ignored() {
        for header in
            ["", "bytes", "lines=1-2", "bytes=1-2,4-5", "bytes=2-1", "bytes=-", "bytes=+1-2", "bytes=a-b"]
        {
            assert_eq!(Wanted::parse(Some(header), 100), Wanted::Whole, "{header}");
        }
        assert_eq!(Wanted::parse(None, 100), Wanted::Whole);
        assert_eq!(Wanted::parse(Some("bytes=99999999999999999999-"), 100), Wanted::Whole);
    }
}
