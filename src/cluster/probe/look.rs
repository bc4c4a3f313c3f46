//! The bounded look of an admission.

use std::sync::mpsc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::ask::Manner;
use super::{Look, Prober, Shared, lock};
use crate::policy::presence::{Strategy, Wanted};
use crate::policy::view::{MetricKey, MetricObservation};

/// What the waiting thread grants the runtime beyond the deadline, to hand over what it has.
const GRACE: Duration = Duration::from_millis(20);
/// Metrics that one look asks about at most; an autoscaler has a handful.
const MOST: usize = 8;

impl Look for Prober {
    fn look(&self, wanted: &[Wanted], until: std::time::Instant) -> Vec<(MetricKey, MetricObservation)> {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let wanted: Vec<Wanted> =
            wanted.iter().filter(|wanted| wanted.strategy() != Strategy::Nothing).take(MOST).cloned().collect();
        if left.is_zero() || wanted.is_empty() || self.breaker_open() {
            return Vec::new();
        }
        // No place at once: unknown. A queue here would be a queue of admissions.
        let Ok(permit) = Arc::clone(&self.looks).try_acquire_owned() else { return Vec::new() };
        let configuration = self.shared.state.configuration();
        let requests = wanted.iter().map(requests).sum();
        let now = Instant::now();
        if !lock(&self.shared.looking).take(requests, configuration.probes.per_minute, now) {
            return Vec::new();
        }
        let manner = Manner {
            control: configuration.probes.control.clone(),
            deadline: now + left,
            list_age: Duration::from_secs(configuration.probes.interval_seconds),
            at_once: true,
        };
        let (answers, answered) = mpsc::sync_channel(1);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let found = look(&shared, wanted, &manner).await;
            drop(permit);
            // Nobody waits any more when the thread gave up.
            let _ = answers.send(found);
        });
        // A runtime that is gone and a task that panicked both drop the sender.
        answered.recv_timeout(left + GRACE).unwrap_or_default()
    }
}

/// Requests that asking costs at most.
fn requests(wanted: &Wanted) -> u32 {
    match wanted.strategy() {
        Strategy::List => 3,
        Strategy::Control => 2,
        Strategy::Positive => 1,
        Strategy::Nothing => 0,
    }
}

async fn look(shared: &Shared, wanted: Vec<Wanted>, manner: &Manner) -> Vec<(MetricKey, MetricObservation)> {
    let asking = |wanted: Wanted| async move {
        let found = shared.asker.ask(&wanted, manner).await;
        (wanted, found)
    };
    let mut asked: FuturesUnordered<_> = wanted.into_iter().map(asking).collect();
    let mut observed = Vec::new();
    let mut suspect = None;
    while let Ok(Some((wanted, found))) = timeout_at(manner.deadline + GRACE / 2, asked.next()).await {
        observed.push(shared.note(&wanted, &found));
        if found.failed {
            suspect = Some(wanted);
        }
    }
    let mut breaker = lock(&shared.breaker);
    match suspect {
        Some(wanted) => {
            breaker.failed(Instant::now());
            *shared.suspect.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        }
        None => breaker.answered(),
    }
    observed
}
