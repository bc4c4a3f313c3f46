//! What the webhook counts. Plain atomics: whoever exports metrics reads them through a shared [`Arc`](std::sync::Arc).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of [`Durations`]. From 5 ms on those of the API server's own webhook histogram
/// (kubernetes/apiserver `pkg/admission/metrics`), and finer ones below, where a healthy webhook is.
pub const DURATION_BOUNDS: [Duration; 10] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(10),
];

/// How long requests took, from head to answer, in buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Counter; DURATION_BOUNDS.len()],
    count: Counter,
    microseconds: AtomicU64,
}

impl Durations {
    /// Adds one request.
    pub fn observe(&self, took: Duration) {
        if let Some((_, bucket)) = DURATION_BOUNDS.iter().zip(&self.buckets).find(|(bound, _)| took <= **bound) {
            bucket.increment();
        }
        self.count.increment();
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For each bound, how many requests took at most that long: cumulative, as Prometheus wants it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        DURATION_BOUNDS.into_iter().zip(&self.buckets).map(move |(bound, bucket)| {
            sum += bucket.get();
            (bound, sum)
        })
    }

    /// How many there were, and how long they took together.
    pub fn total(&self) -> (u64, Duration) {
        (self.count.get(), Duration::from_micros(self.microseconds.load(Ordering::Relaxed)))
    }
}

/// Everything that is counted from the first byte of a review's body to its answer.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answers that allow.
    pub allowed: Counter,
    /// Answers that deny.
    pub denied: Counter,
    /// Allowing answers that carry a patch.
    pub patched: Counter,
    /// Patches that were not sent because they would not have applied, or had no place in the answer.
    pub patches_withheld: Counter,
    /// Warnings that were cut or left out to keep within the API server's limits.
    pub warnings_shortened: Counter,
    /// Audit annotations left out because the API server would not take their key.
    pub audit_annotations_dropped: Counter,
    /// How long the requests that got a decision took.
    pub durations: Durations,
    /// 400: no review that we can read, or a body that ended early.
    pub malformed: Counter,
    /// 404, 405 and 415: wrong path, method, content type or encoding.
    pub misdirected: Counter,
    /// 413: a body beyond the limit.
    pub too_large: Counter,
    /// 408: the body did not arrive in time.
    pub slow_bodies: Counter,
    /// 429: too many requests or bytes in flight.
    pub shed: Counter,
    /// 504: no decision before the API server stops waiting.
    pub late: Counter,
    /// 500: the decision panicked. Each costs its own request only.
    pub panics: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_cumulative_and_the_longest_are_in_the_total_alone() {
        let durations = Durations::default();
        for milliseconds in [0, 1, 2, 4, 5, 600, 60_000] {
            durations.observe(Duration::from_millis(milliseconds));
        }
        let counts: Vec<u64> = durations.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 3, 5, 5, 5, 5, 6, 6, 6]);
        assert_eq!(durations.total(), (7, Duration::from_millis(60_612)));
    }
}
