//! A histogram of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds, from a loopback round trip to the delay of a stalled peer.
const BOUNDS: [u64; 10] = [100, 250, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 2_000_000];

/// A live histogram without locks.
#[derive(Default)]
pub(crate) struct LiveHistogram {
    /// The last bucket is for values beyond all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    max: AtomicU64,
}

impl LiveHistogram {
    pub fn record(&self, took: Duration) {
        let micros = took.as_micros();
        let bucket = BOUNDS.iter().position(|bound| micros <= u128::from(*bound)).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Histogram {
        let mut count = 0;
        let counts = self.buckets.each_ref().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        Histogram {
            buckets: BOUNDS.iter().map(|bound| Duration::from_micros(*bound)).zip(counts).collect(),
            count,
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            max: Duration::from_nanos(self.max.load(Ordering::Relaxed)),
        }
    }
}

/// A snapshot of a histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds, each with the number of durations up to that bound.
    pub buckets: Vec<(Duration, u64)>,
    /// Number of durations.
    pub count: u64,
    /// Sum of all durations.
    pub sum: Duration,
    /// Longest duration.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_up_to_all() {
        let live = LiveHistogram::default();
        [50, 100, 101, 10_000_000].iter().for_each(|micros| live.record(Duration::from_micros(*micros)));
        let histogram = live.snapshot();
        assert_eq!(histogram.buckets[..2], [(Duration::from_micros(100), 2), (Duration::from_micros(250), 3)]);
        assert_eq!(histogram.buckets.last().unwrap().1, 3, "one is beyond all bounds");
        assert_eq!((histogram.count, histogram.max), (4, Duration::from_secs(10)));
        assert_eq!(histogram.sum, Duration::from_micros(10_000_251));
    }
}
