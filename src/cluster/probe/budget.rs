//! How many requests may be sent: a bucket that a minute fills.

use tokio::time::Instant;

/// The part of a minute's requests that may go at once.
const BURST: f64 = 0.25;

/// A token bucket. The rate is given at each taking, for the configuration may change it.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: Option<f64>,
    at: Instant,
}

// === impl Budget ===

impl Budget {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: None, at: now }
    }

    /// Takes that many requests, or none.
    pub(super) fn take(&mut self, requests: u32, per_minute: u32, now: Instant) -> bool {
        let rate = f64::from(per_minute);
        // However small the rate, one metric with its control can be asked once the bucket is full.
        let most = (rate * BURST).max(2.0);
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * rate / 60.0;
        let tokens = self.tokens.map_or(most, |tokens| (tokens + filled).min(most));
        let wanted = f64::from(requests).min(most);
        let enough = tokens >= wanted;
        self.tokens = Some(if enough { tokens - wanted } else { tokens });
        self.at = now;
        enough
    }

    /// Takes requests that were sent already; what the bucket lacks is owed.
    pub(super) fn spend(&mut self, requests: u32) {
        self.tokens = self.tokens.map(|tokens| tokens - f64::from(requests));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_is_sent_in_a_minute_than_is_allowed_however_often_it_is_tried() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        let mut sent = 0;
        for _ in 0..600 {
            sent += u32::from(budget.take(1, 60, now));
            now += Duration::from_millis(100);
        }
        assert!((60..=75).contains(&sent), "{sent}: the minute's, and what the bucket held");
        assert!(!budget.take(15, 60, now), "it is empty");
        now += Duration::from_secs(3600);
        assert!(budget.take(15, 60, now));
        assert!(!budget.take(1, 60, now), "an idle hour saves up no more than the burst");
    }

    #[test]
    fn a_small_rate_still_lets_a_metric_and_its_control_pass() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        assert!(budget.take(2, 1, now));
        assert!(!budget.take(1, 1, now));
        now += Duration::from_secs(61);
        assert!(budget.take(1, 1, now));
    }
}
