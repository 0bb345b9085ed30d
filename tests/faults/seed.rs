//! Randomness that can be repeated: one seed for a whole test, printed, taken again from `FAULTS_SEED`.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that repeats a test with the seed that it printed.
const VARIABLE: &str = "FAULTS_SEED";

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// With the seed of [`VARIABLE`], else with a new one; says which.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match env::var(VARIABLE) {
            Ok(text) => text.parse().expect("FAULTS_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        };
        eprintln!("{test}: repeat with {VARIABLE}={seed}");
        Self(seed)
    }

    /// A number from 0 to `below` - 1.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A setting of a test, from a variable when it is given: for longer runs by hand.
pub(crate) fn setting(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}
