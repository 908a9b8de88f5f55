//! Chance that can be had again: all of it comes from one number.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator of numbers (SplitMix64).
pub struct Chance(u64);

/// The number that all of a run comes from: the variable `MIGRATIONLINK_SEED`, else a new one.
pub fn seed() -> u64 {
    match std::env::var("MIGRATIONLINK_SEED") {
        Ok(seed) => seed.parse().expect("MIGRATIONLINK_SEED is a number"),
        Err(_) => RandomState::new().hash_one(()) % 1_000_000_000,
    }
}

impl Chance {
    /// One of many of the same seed: they do not depend on each other, whoever asks first.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut chance = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so many times out of a hundred.
    pub fn percent(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let length = u64::try_from(of.len()).expect("few");
        of[usize::try_from(self.below(length)).expect("few")]
    }

    /// A time below this one.
    pub fn within(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(longest.as_millis()).expect("short")))
    }
}
