//! While the API server takes nothing, one trial at a time, and later and later.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::backoff::pause;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How much may be under way.
#[derive(Debug, Default)]
pub(super) struct Gate {
    failures: u32,
    /// When it closed, and until when nothing is tried.
    closed: Option<(Instant, Instant)>,
}

// === impl Gate ===

impl Gate {
    /// How many may be under way at `now`, of `most`.
    pub(super) fn lets(&self, most: usize, now: Instant) -> usize {
        match self.closed {
            None => most,
            Some((_, until)) if now < until => 0,
            Some(_) => 1,
        }
    }

    /// When the next trial may be, while it is closed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.closed.map(|(_, until)| until)
    }

    /// What began at `began` was not taken, and is to wait for so long.
    pub(super) fn failed(&mut self, began: Instant, wait: Option<Duration>, now: Instant) {
        // Several that were under way fail together, which is one failure.
        if self.closed.is_some_and(|(closed, _)| began <= closed) {
            return;
        }
        let pause = pause(self.failures, FIRST, LONGEST).max(wait.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.closed = Some((now, now + pause));
    }

    /// What began at `began` was answered, in whatever way.
    pub(super) fn answered(&mut self, began: Instant) {
        if self.closed.is_some_and(|(closed, _)| began > closed) {
            (self.failures, self.closed) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wave_of_failures_closes_it_once_and_one_trial_opens_it() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.lets(8, now), 8);
        for _ in 0..8 {
            gate.failed(now, None, now + FIRST);
        }
        assert_eq!(gate.failures, 1);
        assert_eq!(gate.lets(8, now + FIRST), 0);
        let trial = gate.until().unwrap();
        assert_eq!(gate.lets(8, trial), 1);
        gate.answered(now);
        assert_eq!(gate.lets(8, trial), 1, "an answer to what began before says nothing");
        gate.failed(trial, Some(LONGEST * 2), trial);
        assert_eq!(gate.until(), Some(trial + LONGEST * 2), "as the server asks");
        gate.answered(trial + LONGEST * 2);
        assert_eq!((gate.lets(8, trial), gate.until()), (8, None));
    }
}
