//! Nonces: each decision's own random number, by which its row is known again after an ambiguous commit.

use std::hash::{BuildHasher, RandomState};

/// A stream of numbers that no other worker draws.
pub(super) struct Nonces(u64);

impl Nonces {
    /// Seeded from the operating system's randomness, by way of the standard library's hash keys.
    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }

    /// The next one (splitmix64).
    pub(super) fn next(&mut self) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_nonce_is_drawn_twice() {
        let (mut one, mut other) = (Nonces::new(), Nonces::new());
        let drawn: HashSet<i64> = (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(drawn.len(), 2000);
    }
}
