//! Randomness from a seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").

/// A stream of random numbers that can be had again.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of `seed` for one purpose: streams for different purposes are independent, so that drawing
    /// more of one changes nothing in another.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = Self(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Self(rng.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// The same for small numbers.
    pub(crate) fn small(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.between(u64::from(low), u64::from(high))).unwrap_or(high)
    }

    /// True once in `n` times; never if `n` is 0.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.next().is_multiple_of(u64::from(n))
    }

    /// One of `of`; `None` if there is none.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let last = (of.len() as u64).checked_sub(1)?;
        of.get(usize::try_from(self.between(0, last)).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_can_be_had_again_and_differ_by_purpose() {
        let take = |purpose| {
            let mut rng = Rng::new(7, purpose);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }
}
