//! How much one webhook process takes on at once, and for how long.

use std::time::Duration;

/// The bounds of one router. Each has a default that suits the shipped Deployment.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest body, bytes. 7 MiB: the API server takes objects up to 3 MiB, and an UPDATE carries two of them.
    pub max_body_bytes: usize,
    /// All bodies held at once, bytes. 24 MiB: three of the largest, or thousands of the usual ones.
    pub max_bytes_in_flight: usize,
    /// Requests between head and answer. The API server's clients have no rate limit of their own.
    pub max_requests_in_flight: usize,
    /// Decisions that run at once, each on a thread of its own. More than there are cores, since a decision may wait
    /// for a bounded look at a metrics API.
    pub max_decisions: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long the API server waits when it does not say (its own default is 10 s), and the most that is believed.
    pub default_timeout: Duration,
}

/// 1-30 s is what a webhook configuration may say (kubernetes/api admissionregistration/v1).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is kept back for writing the answer and for the way home. `timeout` is rounded up to whole seconds by the API
/// server, so the true rest may be shorter than it says.
const LEAST_MARGIN: Duration = Duration::from_millis(250);

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 7 << 20,
            max_bytes_in_flight: 24 << 20,
            max_requests_in_flight: 256,
            max_decisions: 16,
            body_timeout: Duration::from_secs(10),
            default_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// How long the whole request may take here, from its query string: the told (or default) timeout less a margin of
    /// a tenth, at least a quarter second. An unreadable timeout counts as none.
    pub fn time_for(&self, query: Option<&str>) -> Duration {
        let told = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .find_map(|pair| pair.strip_prefix("timeout="))
            .and_then(parse_duration)
            .filter(|told| !told.is_zero());
        let timeout = told.unwrap_or(self.default_timeout).min(LONGEST_TIMEOUT);
        timeout.saturating_sub(LEAST_MARGIN.max(timeout / 10)).max(timeout / 2)
    }
}

/// Reads a duration as Go prints it: `5s`, `1m30s`, `1.5s`, `200ms`. Nothing for anything else.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: f64 = number.parse().ok()?;
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_len)?;
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_told_timeout_is_read_as_go_writes_it() {
        for (text, milliseconds) in
            [("5s", 5_000), ("1m30s", 90_000), ("1.5s", 1_500), ("200ms", 200), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["5", "s", "-5s", "5x", "1..2s", "5s ", "9e9s", "99999999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn work_ends_before_the_api_server_stops_waiting() {
        let limits = Limits::default();
        for (query, told) in [
            (Some("timeout=5s"), 5_000),
            (Some("a=b&timeout=1s"), 1_000),
            (Some("timeout=100ms"), 100),
            (None, 10_000),
            (Some("timeout=soon"), 10_000),
            (Some("timeout=0s"), 10_000),
            (Some("timeout=10h"), 30_000),
        ] {
            let time = limits.time_for(query);
            assert!(time < Duration::from_millis(told), "{query:?}: {time:?}");
            assert!(time >= Duration::from_millis(told / 2), "{query:?}: {time:?}");
        }
    }
}
