//! Asks the metrics APIs about what autoscalers in scope name: in the background over and over, and at an admission once,
//! for a bounded time.
//!
//! ```text
//! background   the round: who is wanted, who is due, ask, remember
//! look         the bounded look of an admission
//! ask          one metric: requests, and the answer read by policy::presence
//! breaker      stops looks while the API is slow or broken
//! budget       requests per minute
//! ```

mod ask;
mod background;
mod breaker;
mod budget;
mod look;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ask::{Asker, Found};
use self::breaker::Breaker;
use self::budget::Budget;
use super::State;
use crate::policy::presence::Wanted;
use crate::policy::view::{MetricApi, MetricKey, MetricObservation, MetricPresence};

/// Looks at a time.
const LOOKS: usize = 4;

/// What an admission asks a metrics API by.
pub trait Look: Send + Sync {
    /// Asks about these metrics, and returns the answers that came before `until`; none for what is not known by then. It
    /// blocks: call it on a thread that may, and hold no lock.
    fn look(&self, wanted: &[Wanted], until: std::time::Instant) -> Vec<(MetricKey, MetricObservation)>;
}

/// Asks the metrics APIs.
pub struct Prober {
    runtime: Handle,
    looks: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// What the background and the looks share.
struct Shared {
    asker: Asker,
    state: Arc<State>,
    breaker: Mutex<Breaker>,
    /// The metric whose look failed last; a trial asks it again.
    suspect: Mutex<Option<Wanted>>,
    /// Requests of the background, and of looks: neither starves the other.
    background: Mutex<Budget>,
    looking: Mutex<Budget>,
    asked: Mutex<BTreeMap<MetricKey, Instant>>,
    results: Mutex<BTreeMap<(MetricApi, MetricPresence), u64>>,
}

/// Starts to ask in the background, until `cancel`. Must be called inside a tokio runtime. `client` should not retry by
/// itself (`kube::Config::default_retry`): whatever it does counts into the time that a question has.
pub fn start(client: kube::Client, state: Arc<State>, cancel: CancellationToken) -> Arc<Prober> {
    let prober = Prober::new(client, state, Handle::current());
    tokio::spawn(background::run(Arc::clone(&prober.shared), cancel));
    Arc::new(prober)
}

/// Asks once about every metric that an autoscaler in view names, by `until`: for a picture of the cluster. Returns how many
/// could not be asked in that time; `probes.perMinute` holds here too.
pub async fn once(client: kube::Client, state: Arc<State>, until: Instant) -> usize {
    let prober = Prober::new(client, state, Handle::current());
    let shared = &prober.shared;
    let rounds = async {
        loop {
            let wait = background::round(shared).await;
            if background::unasked(shared).await == 0 {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    };
    if tokio::time::timeout_at(until, rounds).await.is_ok() { 0 } else { background::unasked(shared).await }
}

// === impl Prober ===

impl Prober {
    fn new(client: kube::Client, state: Arc<State>, runtime: Handle) -> Self {
        let now = Instant::now();
        let shared = Shared {
            asker: Asker::new(client),
            state,
            breaker: Mutex::default(),
            suspect: Mutex::default(),
            background: Mutex::new(Budget::new(now)),
            looking: Mutex::new(Budget::new(now)),
            asked: Mutex::default(),
            results: Mutex::default(),
        };
        Self { runtime, looks: Arc::new(Semaphore::new(LOOKS)), shared: Arc::new(shared) }
    }

    /// How often each answer was given, by API, since the start: for `scalegate_probe_results_total`.
    pub fn results(&self) -> Vec<(MetricApi, MetricPresence, u64)> {
        lock(&self.shared.results).iter().map(|((api, presence), count)| (*api, *presence, *count)).collect()
    }

    /// Whether looks are stopped because the metrics API is slow or broken.
    pub fn breaker_open(&self) -> bool {
        lock(&self.shared.breaker).is_open()
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("breaker_open", &self.breaker_open()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// Counts an answer, and makes an observation of it.
    fn note(&self, wanted: &Wanted, found: &Found) -> (MetricKey, MetricObservation) {
        let key = wanted.key.clone();
        tracing::debug!(
            namespace = key.namespace.as_str(),
            metric = key.name.as_str(),
            presence = ?found.presence,
            reason = %found.reason,
            "probed"
        );
        *lock(&self.results).entry((key.api, found.presence)).or_default() += 1;
        lock(&self.asked).insert(key.clone(), Instant::now());
        // Several targets may share the metric: since when each is Ready, it says itself.
        let observed = MetricObservation { presence: found.presence, observed_at: self.now(), ready_since: None };
        (key, observed)
    }

    /// Seconds since the epoch: the view's clock, by which ages are told; before it is set, the system's.
    fn now(&self) -> i64 {
        let now = self.state.read(|view, _| view.now);
        if now > 0 { now } else { super::now() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
