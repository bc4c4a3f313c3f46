//! What is asked over and over.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ask::Manner;
use super::{Shared, lock};
use crate::cluster::State;
use crate::policy::configuration::Probes;
use crate::policy::facts::{Context, HpaFacts, Stage};
use crate::policy::objects::{Key, Object};
use crate::policy::presence::{self, Wanted};
use crate::policy::view::{MetricApi, MetricKey, MetricObservation};

/// How long the view must be left alone before it is looked through again, and the least time between two rounds.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// The least time before the next round when an adapter did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// The time that one question has.
const DEADLINE: Duration = Duration::from_secs(5);
/// Questions at a time.
const AT_ONCE: usize = 4;
/// Metrics that are asked about at most. At the default budget a round over so many takes over an hour.
const MOST_WANTED: usize = 5_000;
/// Autoscalers that are looked at under one lock.
const CHUNK: usize = 64;

/// Asks until it is cancelled.
pub(super) async fn run(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut changes = shared.state.changes();
    loop {
        changes.mark_unchanged();
        let wait = tokio::select! {
            () = cancel.cancelled() => return,
            wait = round(&shared) => wait,
        };
        let trial = lock(&shared.breaker).trial_at();
        let until = trial.map_or(Instant::now() + wait, |trial| trial.min(Instant::now() + wait));
        let pause = async {
            sleep(DEBOUNCE).await;
            tokio::select! {
                () = sleep_until(until) => {}
                changed = changes.changed() => if changed.is_err() { sleep_until(until).await },
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = pause => {}
        }
    }
}

/// Asks what is due, and tells when something will be due again.
pub(super) async fn round(shared: &Arc<Shared>) -> Duration {
    try_again(shared).await;
    let state = Arc::clone(&shared.state);
    // Looking through thousands of autoscalers takes longer than a thread of the runtime may be held.
    let Ok(wanted) = tokio::task::spawn_blocking(move || gather(&state)).await else { return AFTER_FAILURE };
    let configuration = shared.state.configuration();
    let probes = &configuration.probes;
    forget(shared, &wanted, probes);
    let interval = Duration::from_secs(probes.interval_seconds);
    let due = due(shared, wanted, interval);
    let broken: BTreeMap<MetricApi, AtomicBool> =
        [MetricApi::Custom, MetricApi::External].into_iter().map(|api| (api, AtomicBool::new(false))).collect();
    let broken = &broken;
    let exhausted = AtomicBool::new(false);
    let exhausted = &exhausted;
    let ask = |wanted: Wanted| async move {
        let broken = broken.get(&wanted.key.api)?;
        if broken.load(Ordering::Relaxed) || exhausted.load(Ordering::Relaxed) {
            return None;
        }
        if !lock(&shared.background).take(1, probes.per_minute, Instant::now()) {
            exhausted.store(true, Ordering::Relaxed);
            return None;
        }
        let manner = Manner {
            control: probes.control.clone(),
            deadline: Instant::now() + DEADLINE,
            list_age: interval,
            at_once: false,
        };
        let found = shared.asker.ask(&wanted, &manner).await;
        lock(&shared.background).spend(found.requests.saturating_sub(1));
        if found.failed {
            broken.store(true, Ordering::Relaxed);
        }
        Some(shared.note(&wanted, &found))
    };
    let observed: Vec<Option<(MetricKey, MetricObservation)>> =
        futures::stream::iter(due).map(ask).buffer_unordered(AT_ONCE).collect().await;
    remember(&shared.state, observed.into_iter().flatten().collect(), probes);
    if broken.values().any(|broken| broken.load(Ordering::Relaxed)) {
        jittered(AFTER_FAILURE)
    } else if exhausted.load(Ordering::Relaxed) {
        jittered(Duration::from_secs(60 / u64::from(probes.per_minute).clamp(1, 60)))
    } else {
        jittered(interval.min(Duration::from_secs(60)) / 4)
    }
}

/// How many of the metrics that are wanted have never been asked.
pub(super) async fn unasked(shared: &Arc<Shared>) -> usize {
    let state = Arc::clone(&shared.state);
    let wanted = tokio::task::spawn_blocking(move || gather(&state)).await.unwrap_or_default();
    let asked = lock(&shared.asked);
    wanted.keys().filter(|key| !asked.contains_key(key)).count()
}

/// While looks are stopped and the time for it has come, asks once whether they would get an answer again.
async fn try_again(shared: &Shared) {
    let trial = lock(&shared.breaker).trial_at();
    if trial.is_none_or(|trial| trial > Instant::now()) {
        return;
    }
    let suspect = lock(&shared.suspect).clone();
    let configuration = shared.state.configuration();
    let success = match suspect {
        Some(wanted) => {
            let manner = Manner {
                control: configuration.probes.control.clone(),
                deadline: Instant::now() + Duration::from_millis(configuration.probes.look_milliseconds),
                list_age: Duration::ZERO,
                at_once: true,
            };
            let found = shared.asker.ask(&wanted, &manner).await;
            shared.note(&wanted, &found);
            !found.failed
        }
        None => true,
    };
    lock(&shared.breaker).tried(success, Instant::now());
}

/// What the autoscalers in view want. The lock is let go between chunks of them.
fn gather(state: &State) -> BTreeMap<MetricKey, Wanted> {
    let keys: Vec<Key> = state.read(|view, _| view.hpas().map(|(entry, _)| entry.object.key(&entry.of)).collect());
    let mut all = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        state.read(|view, configuration| {
            let context = Context { view, configuration, stage: Stage::Admission, update: false };
            for entry in chunk.iter().filter_map(|key| view.get(key)) {
                if let Object::Hpa(hpa) = &entry.object
                    && hpa.metadata.deletion_timestamp.is_none()
                {
                    let facts = HpaFacts::new(&entry.of, hpa, Some(entry.order), &context);
                    all.extend(presence::wanted(&facts, &context));
                }
            }
        });
        if all.len() > MOST_WANTED {
            all.truncate(MOST_WANTED);
            break;
        }
    }
    presence::joined(all)
}

/// What has not been asked for the interval, a tenth more or less; what was never asked first, then the longest ago.
fn due(shared: &Shared, wanted: BTreeMap<MetricKey, Wanted>, interval: Duration) -> Vec<Wanted> {
    let asked = lock(&shared.asked);
    let mut due: Vec<(Option<Instant>, Wanted)> = wanted
        .into_values()
        .map(|wanted| (asked.get(&wanted.key).copied(), wanted))
        .filter(|(asked, _)| asked.is_none_or(|asked| asked.elapsed() >= jittered(interval)))
        .collect();
    due.sort_by_key(|(asked, _)| *asked);
    due.into_iter().map(|(_, wanted)| wanted).collect()
}

/// Drops what no autoscaler asks for any more. A look's answer about a refused autoscaler stays until it is stale.
fn forget(shared: &Shared, wanted: &BTreeMap<MetricKey, Wanted>, probes: &Probes) {
    let now = shared.now();
    let limit = i64::try_from(probes.stale_after_seconds).unwrap_or(i64::MAX);
    let gone = |key: &MetricKey, observed: &MetricObservation| {
        !wanted.contains_key(key) && now.saturating_sub(observed.observed_at) > limit
    };
    if shared.state.read(|view, _| view.metrics.iter().any(|(key, observed)| gone(key, observed))) {
        shared.state.update(|view| view.metrics.retain(|key, observed| !gone(key, observed)));
    }
    let stale = Duration::from_secs(probes.stale_after_seconds.max(probes.interval_seconds));
    lock(&shared.asked).retain(|key, asked| wanted.contains_key(key) || asked.elapsed() <= stale);
}

/// Writes answers into the view. Those who follow it are woken only when a presence changed, not for an age.
fn remember(state: &State, observed: Vec<(MetricKey, MetricObservation)>, probes: &Probes) {
    if observed.is_empty() {
        return;
    }
    let mut changed = false;
    state.update_quietly(|view| {
        for (key, observed) in observed {
            changed |= presence::remember(view, key, observed, probes);
        }
    });
    if changed {
        state.update(|_| {});
    }
}

/// A duration, a tenth more or less, so that replicas do not ask in step.
fn jittered(duration: Duration) -> Duration {
    // The keys of a RandomState are random; nothing here needs more.
    let random = u32::try_from(RandomState::new().hash_one(0_u8) % 201).unwrap_or_default();
    duration * (900 + random) / 1000
}
