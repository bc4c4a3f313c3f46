//! What the webhook counts. Plain atomics: whoever exports metrics reads them through a shared [`Arc`](std::sync::Arc).

use std::sync::atomic::{AtomicU64, Ordering};

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
