//! What the controller did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// How one write or removal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An object was made.
    Created,
    /// An object was changed.
    Applied,
    /// The API server had it so already.
    Unchanged,
    /// An object was removed.
    Pruned,
    /// Somebody else was faster; it is looked at again.
    Conflict,
    /// The API server does not take it: an account without the right, an invalid object, a kind or namespace that is gone.
    Refused,
    /// The API server could not be asked, or was too busy.
    Failed,
}

/// The kinds that are written, in the order of the counters.
const KINDS: [&str; 3] = ["HorizontalPodAutoscaler", "PodMonitoring", "PodMonitor"];

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Created, "created"),
    (Outcome::Applied, "applied"),
    (Outcome::Unchanged, "unchanged"),
    (Outcome::Pruned, "pruned"),
    (Outcome::Conflict, "conflict"),
    (Outcome::Refused, "refused"),
    (Outcome::Failed, "failed"),
];

/// What the controller did, in numbers that only rise, and how much it has yet to look at.
#[derive(Debug, Default)]
pub struct ReconcileCounters {
    applies: [[AtomicU64; OUTCOMES.len()]; KINDS.len()],
    /// Looks at workloads, whether or not something was to be done.
    pub plans: AtomicU64,
    /// Events that the API server did not take.
    pub events_failed: AtomicU64,
    /// Workloads that wait for a look, those that are tried again later included.
    pub queued: AtomicU64,
}

// === impl ReconcileCounters ===

impl ReconcileCounters {
    /// Counts how a write or a removal of an object of that kind ended.
    pub(super) fn count(&self, kind: &str, outcome: Outcome) {
        let kind = KINDS.iter().position(|name| *name == kind);
        let outcome = OUTCOMES.iter().position(|(of, _)| *of == outcome);
        if let (Some(kind), Some(outcome)) = (kind, outcome)
            && let Some(counter) = self.applies.get(kind).and_then(|counters| counters.get(outcome))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Kind, result and count of each: for `scalegate_apply_total`.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.applies.iter().zip(KINDS).flat_map(|(counters, kind)| {
            counters.iter().zip(OUTCOMES).map(move |(count, (_, name))| (kind, name, count.load(Ordering::Relaxed)))
        })
    }
}
