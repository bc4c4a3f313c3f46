//! Stops looks while a metrics API is slow or broken, so that no admission waits for it in vain.

use std::time::Duration;

use tokio::time::Instant;

/// Looks in a row that must fail before it opens.
const FAILURES: u32 = 3;
/// How long it stays open at first, and at most; it doubles with each trial that fails.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);

/// A circuit breaker. Whoever asks tells it how that went; a trial while it is open is the background's business.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    lasts: Duration,
}

// === impl Breaker ===

impl Breaker {
    /// Whether looks are stopped. It stays so after its time until a trial succeeds.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When a trial is due; `None` while it is closed.
    pub(super) fn trial_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// An honest answer came in time, whatever it said.
    pub(super) fn answered(&mut self) {
        if self.open.is_none() {
            self.failures = 0;
        }
    }

    /// No answer came in time, or one that says that the adapter is broken.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.open.is_some() {
            return;
        }
        self.failures += 1;
        if self.failures >= FAILURES {
            self.open = Some(Open { until: now + FIRST, lasts: FIRST });
        }
    }

    /// Makes the trial due.
    #[cfg(test)]
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.until = now;
        }
    }

    /// What a trial found.
    pub(super) fn tried(&mut self, success: bool, now: Instant) {
        let Some(open) = &mut self.open else { return };
        if success {
            *self = Self::default();
        } else {
            open.lasts = (open.lasts * 2).min(LONGEST);
            open.until = now + open.lasts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_three_failures_in_a_row_and_not_by_honest_answers() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.answered();
        }
        assert!(!breaker.is_open());
        for _ in 0..3 {
            breaker.failed(now);
        }
        assert!(breaker.is_open());
        assert_eq!(breaker.trial_at(), Some(now + FIRST));
    }

    #[test]
    fn it_stays_open_until_a_trial_succeeds_and_waits_longer_after_each_that_fails() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(now);
        }
        for minutes in [60, 120, 240, 300, 300] {
            now += LONGEST;
            assert!(breaker.is_open());
            breaker.tried(false, now);
            assert_eq!(breaker.trial_at(), Some(now + Duration::from_secs(minutes)));
        }
        breaker.answered();
        assert!(breaker.is_open(), "a look that began before it opened proves nothing");
        breaker.tried(true, now);
        assert!(!breaker.is_open());
        breaker.failed(now);
        assert!(!breaker.is_open(), "it starts anew");
    }
}
