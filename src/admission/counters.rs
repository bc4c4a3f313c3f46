//! What the webhook counts. Plain atomics: whoever exports metrics reads them through a shared [`Arc`](std::sync::Arc).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wire::{GroupVersionKind, Operation};

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

/// How a request ended. A closed set: it becomes the label `decision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200, allowed without a change.
    Allowed,
    /// 200, allowed with a patch.
    Patched,
    /// 200, denied.
    Denied,
    /// 400.
    Malformed,
    /// 404, 405 or 415.
    Misdirected,
    /// 413.
    TooLarge,
    /// 408.
    SlowBody,
    /// 429.
    Shed,
    /// 504.
    Late,
    /// 500.
    Failed,
}

impl Outcome {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Allowed,
        Self::Patched,
        Self::Denied,
        Self::Malformed,
        Self::Misdirected,
        Self::TooLarge,
        Self::SlowBody,
        Self::Shed,
        Self::Late,
        Self::Failed,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Patched => "patched",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
            Self::Misdirected => "misdirected",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::Shed => "shed",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }

    /// Whether it is a decision: the request was read and answered with 200.
    pub fn is_decision(self) -> bool {
        matches!(self, Self::Allowed | Self::Patched | Self::Denied)
    }
}

/// The kinds that we register for, then what any other kind is called, then what stands for a request that was not read.
/// The label `kind` has no other values, whatever a caller sends.
pub const KINDS: [&str; 7] =
    ["Deployment", "StatefulSet", "LeaderWorkerSet", "HorizontalPodAutoscaler", "ScaledObject", "other", UNREAD];
/// The operations that we register for, and the same two more.
pub const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "other", UNREAD];
/// The kind and operation of a request that was refused before it was read.
pub const UNREAD: &str = "unread";

/// What a request is about, as far as it is counted: places in [`KINDS`] and [`OPERATIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    kind: usize,
    operation: usize,
}

impl Subject {
    /// A request that was not read.
    pub const UNREAD: Self = Self { kind: KINDS.len() - 1, operation: OPERATIONS.len() - 1 };

    /// The subject of a request that was read.
    pub fn of(kind: &GroupVersionKind<'_>, operation: Operation) -> Self {
        let ours = match &*kind.group {
            "apps" => matches!(&*kind.kind, "Deployment" | "StatefulSet"),
            "leaderworkerset.x-k8s.io" => kind.kind == "LeaderWorkerSet",
            "autoscaling" => kind.kind == "HorizontalPodAutoscaler",
            "keda.sh" => kind.kind == "ScaledObject",
            _ => false,
        };
        let other = KINDS.len() - 2;
        let kind = KINDS.iter().position(|name| ours && *name == kind.kind).unwrap_or(other);
        let other = OPERATIONS.len() - 2;
        let operation = OPERATIONS.iter().position(|name| *name == operation.as_str()).unwrap_or(other);
        Self { kind, operation }
    }
}

/// Requests by kind, operation and outcome.
#[derive(Debug, Default)]
pub struct Requests([[[Counter; Outcome::ALL.len()]; OPERATIONS.len()]; KINDS.len()]);

impl Requests {
    /// Adds one.
    pub fn increment(&self, subject: Subject, outcome: Outcome) {
        let row = self.0.get(subject.kind).and_then(|operations| operations.get(subject.operation));
        if let Some(counter) = row.and_then(|outcomes| outcomes.get(outcome as usize)) {
            counter.increment();
        }
    }

    /// Kind, operation, outcome and count: all that can be expected, from zero on, and of the others those that happened.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, Outcome, u64)> {
        let kinds = KINDS.into_iter().zip(&self.0);
        let pairs = kinds.flat_map(|(kind, row)| OPERATIONS.into_iter().zip(row).map(move |(op, row)| (kind, op, row)));
        let all = pairs.flat_map(|(kind, operation, row)| {
            Outcome::ALL.into_iter().zip(row).map(move |(outcome, counter)| (kind, operation, outcome, counter.get()))
        });
        // From zero, because a rate over a series that appears with its first event misses that event.
        all.filter(|(kind, operation, outcome, count)| {
            let registered = matches!(*operation, "CREATE" | "UPDATE") && !matches!(*kind, "other" | UNREAD);
            let refused = *kind == UNREAD && *operation == UNREAD && !outcome.is_decision();
            *count > 0 || refused || (registered && outcome.is_decision())
        })
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
    /// Every request once, by what it was about and how it ended.
    pub requests: Requests,
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

    fn kind(group: &'static str, kind: &'static str) -> GroupVersionKind<'static> {
        GroupVersionKind { group: group.into(), version: "v1".into(), kind: kind.into() }
    }

    #[test]
    fn no_caller_can_make_a_new_value_of_a_label() {
        let requests = Requests::default();
        let before = requests.rows().count();
        for of in [kind("", "Pod"), kind("evil.example", "Deployment"), kind("apps", "x\"}"), kind("", "other")] {
            requests.increment(Subject::of(&of, Operation::Connect), Outcome::Denied);
        }
        requests.increment(Subject::of(&kind("", UNREAD), Operation::Create), Outcome::Allowed);
        let rows: Vec<_> = requests.rows().filter(|row| row.3 > 0).collect();
        assert_eq!(rows, [("other", "CREATE", Outcome::Allowed, 1), ("other", "other", Outcome::Denied, 4)]);
        assert_eq!(requests.rows().count(), before + 2);
    }

    #[test]
    fn what_can_be_expected_is_there_from_zero() {
        let requests = Requests::default();
        assert!(requests.rows().any(|row| row == ("HorizontalPodAutoscaler", "CREATE", Outcome::Denied, 0)));
        assert!(requests.rows().any(|row| row == (UNREAD, UNREAD, Outcome::Shed, 0)));
        requests.increment(Subject::UNREAD, Outcome::Shed);
        let of = Subject::of(&kind("leaderworkerset.x-k8s.io", "LeaderWorkerSet"), Operation::Update);
        requests.increment(of, Outcome::Late);
        assert!(requests.rows().any(|row| row == (UNREAD, UNREAD, Outcome::Shed, 1)));
        assert!(requests.rows().any(|row| row == ("LeaderWorkerSet", "UPDATE", Outcome::Late, 1)));
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
        }
    }

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
