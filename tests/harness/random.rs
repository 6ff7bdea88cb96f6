//! Random numbers that a seed repeats (SplitMix64, Steele et al. 2014).

use std::{env, time::SystemTime};

/// The seed of this run: `$GATEWAY_SEED`, else the clock. Whoever uses it prints it, so that a run can be repeated.
///
/// # Panics
/// `$GATEWAY_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    env::var("GATEWAY_SEED").map_or_else(
        |_| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64,
        |text| text.parse().expect("GATEWAY_SEED is a number"),
    )
}

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

// === impl Random ===

impl Random {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub const fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &'a [&T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A copy of one of them.
    pub fn one<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
