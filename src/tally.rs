//! What the parts of a process count, for whoever asks: totals and distributions. Counting takes no lock and no memory.
//! Not what is counted, nor the metrics' names: see each part's counters, and `metrics`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}

/// From a flush of a fast disk to a wait of half an hour, in microseconds.
const MICROSECONDS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];

/// Up to the largest batch.
const SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How durations are distributed.
#[derive(Debug)]
pub struct Durations(Distribution<16>);

impl Default for Durations {
    fn default() -> Self {
        Self(Distribution::within(&MICROSECONDS))
    }
}

impl Durations {
    pub(crate) fn add(&self, duration: Duration) {
        self.0.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// In seconds.
    pub fn get(&self) -> Distributed {
        self.0.get(1e6)
    }
}

/// How sizes are distributed.
#[derive(Debug)]
pub struct Sizes(Distribution<9>);

impl Default for Sizes {
    fn default() -> Self {
        Self(Distribution::within(&SIZES))
    }
}

impl Sizes {
    pub(crate) fn add(&self, size: usize) {
        self.0.add(size as u64);
    }

    /// As they were counted.
    pub fn get(&self) -> Distributed {
        self.0.get(1.0)
    }
}

/// A distribution as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distributed {
    /// Bounds, each with how many values do not exceed it.
    pub within: Vec<(f64, u64)>,
    /// How many values there are.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// Values by the smallest bound that they do not exceed.
#[derive(Debug)]
struct Distribution<const N: usize> {
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Distribution<N> {
    fn within(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Bounds and sum divided by `unit`.
    fn get(&self, unit: f64) -> Distributed {
        let mut count = 0;
        let within = self.bounds.iter().zip(&self.counts).map(|(bound, values)| {
            count += values.load(Relaxed);
            (*bound as f64 / unit, count)
        });
        let within = within.collect();
        Distributed {
            within,
            count: count + self.beyond.load(Relaxed),
            sum: self.sum.load(Relaxed) as f64 / unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_only_grows() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(3);
        assert_eq!(counter.get(), 5);
    }

    #[test]
    fn a_value_counts_for_every_bound_that_it_does_not_exceed() {
        let sizes = Sizes::default();
        for size in [1, 3, 4, 5, 257] {
            sizes.add(size);
        }
        let got = sizes.get();
        assert_eq!(got.within[..4], [(1.0, 1), (2.0, 1), (4.0, 3), (8.0, 4)]);
        assert_eq!(got.within[8], (256.0, 4), "257 is beyond all bounds");
        assert_eq!((got.count, got.sum), (5, 270.0));
    }

    #[test]
    fn durations_are_in_seconds() {
        let durations = Durations::default();
        durations.add(Duration::from_micros(2_500));
        durations.add(Duration::from_secs(7_200));
        let got = durations.get();
        assert_eq!(got.within[..3], [(0.001, 0), (0.0025, 1), (0.005, 1)]);
        assert_eq!(got.within[15], (1800.0, 1));
        assert_eq!((got.count, got.sum), (2, 7200.0025));
    }
}
