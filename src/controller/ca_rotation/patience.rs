//! Against a writer that undoes ours each time: write back at once, then later and later, never in a hot loop.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a repeated write, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// What was left alone for so long is not being fought over.
const PEACE: Duration = Duration::from_secs(600);

/// What was written last, and how often the same was written again.
#[derive(Debug)]
pub struct Patience<T> {
    last: Option<(T, Instant)>,
    again: u32,
}

impl<T> Default for Patience<T> {
    fn default() -> Self {
        Self { last: None, again: 0 }
    }
}

impl<T: PartialEq> Patience<T> {
    /// How long to wait before `value` may be written at `now`; nothing when it may be.
    pub fn wait(&self, value: &T, now: Instant) -> Option<Duration> {
        let (_, at) = self.last.as_ref().filter(|(last, _)| last == value)?;
        let pause = self.pause();
        pause.checked_sub(now.saturating_duration_since(*at)).filter(|left| !left.is_zero())
    }

    /// Notes that `value` was written at `now`.
    pub fn wrote(&mut self, value: T, now: Instant) {
        let fought =
            self.last.as_ref().is_some_and(|(last, at)| *last == value && now.saturating_duration_since(*at) < PEACE);
        self.again = if fought { self.again.saturating_add(1) } else { 0 };
        self.last = Some((value, now));
    }

    /// Whether somebody undoes what is written.
    pub fn is_fighting(&self) -> bool {
        self.again > 2
    }

    fn pause(&self) -> Duration {
        match self.again.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST.saturating_mul(1 << doublings.min(10)).min(MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rewrite_is_at_once_and_later_ones_wait_longer_up_to_a_minute() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = patience.wait(&"a", now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            patience.wrote("a", now);
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(patience.is_fighting());
        assert_eq!(patience.wait(&"another", now), None);
        // After peace, at once again.
        now += PEACE;
        assert_eq!(patience.wait(&"a", now), None);
        patience.wrote("a", now);
        assert!(!patience.is_fighting() && patience.wait(&"a", now).is_none());
    }
}
