//! Pauses that grow and differ between replicas.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest one. client-go's reflector takes 30 s, for which thousands of nodes are a reason; we are a few replicas,
/// whose view should be whole soon after the API server is back.
const LONGEST: Duration = Duration::from_secs(10);

/// How long to wait before the next try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// The next pause: twice the one before, give or take a half.
    pub fn next(&mut self) -> Duration {
        let pause = pause(self.failures, FIRST, LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Starts anew, after something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause after so many failures before this one: `first`, then twice the one before up to `longest`, give or take a half.
pub(crate) fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    jitter(first.saturating_mul(1 << failures.min(16)).min(longest))
}

/// A duration between a half of this one and one and a half, so that replicas that started together do not ask together.
pub(crate) fn jitter(around: Duration) -> Duration {
    // A new RandomState has keys of its own, which is all the randomness that this needs.
    let random = RandomState::new().hash_one(0_u8);
    let per_mille = u32::try_from(random % 1001).unwrap_or(500);
    around / 2 + around / 1000 * per_mille
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_anew() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!((FIRST / 2..=FIRST + FIRST / 2).contains(&first), "{first:?}");
        for _ in 0..100 {
            assert!(backoff.next() <= LONGEST + LONGEST / 2);
        }
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST + FIRST / 2);
    }

    #[test]
    fn no_two_replicas_wait_alike() {
        let waits: std::collections::BTreeSet<Duration> = (0..20).map(|_| jitter(LONGEST)).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
