//! Link rates.

use std::fmt;
use std::str::FromStr;

/// A link's rate in bits per second, of whole frames (as `tc` counts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// `bits` per second.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// `megabits` (10⁶) per second.
    pub const fn from_mbit(megabits: u64) -> Self {
        Self(megabits * 1_000_000)
    }

    /// Bits per second.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bytes per second, rounded down.
    pub const fn bytes(self) -> u64 {
        self.0 / 8
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits % 1_000_000_000 == 0 => write!(f, "{}gbit", bits / 1_000_000_000),
            bits if bits % 1_000_000 == 0 => write!(f, "{}mbit", bits / 1_000_000),
            bits if bits % 1_000 == 0 => write!(f, "{}kbit", bits / 1_000),
            bits => write!(f, "{bits}bit"),
        }
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRateError { text: text.to_owned() };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_end_matches("/s").trim_end_matches("ps") {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(error()),
        };
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(factor).filter(|bits| *bits > 0).map(Self).ok_or_else(error)
    }
}

/// The text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a rate: write a whole number and bit, kbit, mbit or gbit, as in 200mbit")]
pub struct ParseRateError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        for text in ["200mbit", "1gbit", "64kbit", "7bit", "1500mbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("200mbit/s".parse(), Ok(Rate::from_mbit(200)));
        for text in ["", "mbit", "0mbit", "200", "200MB", "-1mbit", "99999999999999gbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
