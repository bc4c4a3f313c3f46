//! How far each kind is known, and what follows for the view: which kinds are closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::kinds::{CONFIG_MAP, KINDS, Kind};
use crate::cluster::State;
use crate::policy::objects::Key;
use crate::policy::view::ClusterView;

/// What is known of each kind of the cluster.
pub struct Caches {
    state: Arc<State>,
    inner: Mutex<Inner>,
    /// Held while what follows from `inner` is worked out and written, so that the latest is written last.
    publishing: Mutex<()>,
    /// Asks for a discovery before its time.
    pub(super) rediscover: Notify,
    started: Instant,
}

/// One kind, for metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheRow {
    /// Kind, as in `Deployment`.
    pub kind: String,
    /// Objects in the view.
    pub objects: u64,
    /// Seconds since the API server was last heard of for that kind; since the start when it never was.
    pub age_seconds: f64,
    /// Whether all objects have been listed.
    pub synced: bool,
    /// Whether the watch stands: what is in the view is so now, give or take a moment.
    pub current: bool,
    /// Objects that do not read as their kind, and are therefore not in the view.
    pub unreadable: u64,
}

#[derive(Default)]
struct Inner {
    discovered: bool,
    discovery_problem: Option<String>,
    was_ready: bool,
    kinds: BTreeMap<&'static str, Cache>,
}

#[derive(Default)]
struct Cache {
    phase: Phase,
    contact: Option<Instant>,
    listed: bool,
    /// Whether the watch stands and has brought what was missed before it began.
    current: bool,
    forbidden: bool,
    problem: Option<String>,
    unreadable: BTreeSet<Key>,
}

/// What the discovery says of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing yet.
    #[default]
    Undiscovered,
    /// The API server does not serve it, so there is none.
    Absent,
    /// It is watched.
    Watched,
}

// === impl Caches ===

impl Caches {
    pub(super) fn new(state: Arc<State>) -> Arc<Self> {
        let caches = Arc::new(Self {
            state,
            inner: Mutex::default(),
            publishing: Mutex::default(),
            rediscover: Notify::new(),
            started: Instant::now(),
        });
        caches.publish();
        caches
    }

    /// Whether every kind that the API server serves has been listed once, and each core kind is watched. It stays so: a webhook that has known the
    /// cluster goes on answering from what it knows.
    ///
    /// An optional kind that the account may not read does not count; one of the core kinds (HPAs, workloads, namespaces)
    /// does.
    pub fn ready(&self) -> bool {
        let mut inner = self.lock();
        if !inner.was_ready && inner.discovered {
            inner.was_ready = !inner.kinds.iter().any(|(kind, cache)| cache.is_awaited(kind));
        }
        inner.was_ready
    }

    /// What [`Caches::ready`] waits for, a line each.
    pub fn not_ready(&self) -> Vec<String> {
        if self.ready() {
            return Vec::new();
        }
        let inner = self.lock();
        if !inner.discovered {
            let problem = inner.discovery_problem.as_deref().unwrap_or("no answer yet");
            return vec![format!("the API server has not said which kinds it serves: {problem}")];
        }
        let awaited = inner.kinds.iter().filter(|(kind, cache)| cache.is_awaited(kind));
        awaited
            .map(|(kind, cache)| {
                let problem = cache.problem.as_deref().unwrap_or("the list is being read, or the watch begins");
                format!("{kind} is not known: {problem}")
            })
            .collect()
    }

    /// The kinds of which objects may be missing from the view, and why, a line each.
    pub fn incomplete(&self) -> Vec<String> {
        let inner = self.lock();
        let open = inner.kinds.iter().filter(|(_, cache)| !self.is_closed(cache));
        let open = open.filter(|(kind, cache)| **kind != CONFIG_MAP.kind || !cache.listed);
        open.map(|(kind, cache)| {
            let unreadable = cache.unreadable.iter().next();
            let why = match (&cache.problem, unreadable) {
                (Some(problem), _) => problem.clone(),
                (None, Some(key)) => format!("{key} does not read as its kind"),
                (None, None) => "the API server has not told of all of them".to_owned(),
            };
            format!("{kind}: {why}")
        })
        .collect()
    }

    /// Each kind that is watched, in order.
    pub fn rows(&self) -> Vec<CacheRow> {
        let mut rows: Vec<CacheRow> = {
            let inner = self.lock();
            let watched = inner.kinds.iter().filter(|(_, cache)| cache.phase == Phase::Watched);
            watched
                .map(|(kind, cache)| CacheRow {
                    kind: (*kind).to_owned(),
                    objects: 0,
                    age_seconds: cache.contact.unwrap_or(self.started).elapsed().as_secs_f64(),
                    synced: cache.listed,
                    current: cache.current,
                    unreadable: u64::try_from(cache.unreadable.len()).unwrap_or(u64::MAX),
                })
                .collect()
        };
        self.state.read(|view, _| {
            for row in &mut rows {
                let group = known(&row.kind).map_or("", |kind| kind.group);
                row.objects = u64::try_from(view.count_of(group, &row.kind)).unwrap_or(u64::MAX);
            }
        });
        rows
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The discovery could not be run.
    pub(super) fn discovery_failed(&self, problem: String) {
        self.lock().discovery_problem = Some(problem);
    }

    /// The discovery has told of every kind.
    pub(super) fn discovered(&self) {
        {
            let mut inner = self.lock();
            inner.discovered = true;
            inner.discovery_problem = None;
        }
        self.publish();
        self.ready();
    }

    /// A kind is served, and its watch begins; it is not known until it has been listed.
    pub(super) fn begins(&self, kind: &'static Kind) {
        {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            *cache = Cache { phase: Phase::Watched, contact: cache.contact, ..Cache::default() };
        }
        self.publish();
    }

    /// A kind is not served; its objects are no longer in the view.
    pub(super) fn absent(&self, kind: &'static Kind) {
        let changed = {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            let changed = cache.phase != Phase::Absent || !self.is_fresh(cache);
            *cache = Cache { phase: Phase::Absent, contact: Some(Instant::now()), ..Cache::default() };
            changed
        };
        if changed {
            self.publish();
        }
    }

    /// Whether a kind is known not to be served.
    pub(super) fn is_absent(&self, kind: &Kind) -> bool {
        self.lock().kinds.get(kind.kind).is_some_and(|cache| cache.phase == Phase::Absent)
    }

    /// Nothing more is asked about a kind.
    pub(super) fn forgotten(&self, kind: &'static Kind) {
        self.lock().kinds.remove(kind.kind);
        self.publish();
    }

    /// The API server answered for a kind.
    pub(super) fn contact(&self, kind: &'static Kind) {
        let changed = {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            let changed = cache.listed && !self.is_fresh(cache);
            cache.contact = Some(Instant::now());
            cache.problem = None;
            cache.forbidden = false;
            changed
        };
        if changed {
            self.publish();
        }
    }

    /// All objects of a kind are in the view.
    pub(super) fn listed(&self, kind: &'static Kind) {
        let first = {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            cache.contact = Some(Instant::now());
            !std::mem::replace(&mut cache.listed, true)
        };
        if first {
            info!(kind = kind.kind, "listed");
        }
        self.publish();
        self.ready();
    }

    /// Changes of a kind were missed: it is not known until it has been listed again.
    pub(super) fn missed(&self, kind: &'static Kind) {
        {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            (cache.listed, cache.current) = (false, false);
        }
        self.publish();
    }

    /// Whether a kind's watch stands, so that its objects are in the view as they are now, give or take a moment.
    pub(super) fn current(&self, kind: &'static Kind, current: bool) {
        let changed = {
            let mut inner = self.lock();
            let cache = inner.kinds.entry(kind.kind).or_default();
            std::mem::replace(&mut cache.current, current) != current
        };
        if changed {
            self.publish();
            self.ready();
        }
    }

    /// The account may not read a kind. Warned about once.
    pub(super) fn forbidden(&self, kind: &'static Kind, message: &str) {
        let mut inner = self.lock();
        let cache = inner.kinds.entry(kind.kind).or_default();
        cache.problem = Some(format!("the account may not read it: {message}"));
        if !std::mem::replace(&mut cache.forbidden, true) {
            warn!(kind = kind.kind, reason = message, "may not be read; grant get, list and watch");
        }
    }

    /// The API server did not answer for a kind. Warned about once until it does.
    pub(super) fn failed(&self, kind: &'static Kind, problem: &str) {
        self.current(kind, false);
        let mut inner = self.lock();
        let cache = inner.kinds.entry(kind.kind).or_default();
        if cache.problem.replace(problem.to_owned()).is_none() {
            warn!(kind = kind.kind, problem, "cannot be watched at present");
        }
    }

    /// An object does not read as its kind. Warned about once, and as long as there is one the kind is not closed.
    pub(super) fn unreadable(&self, kind: &'static Kind, key: &Key, problem: &str) {
        let new = self.lock().kinds.entry(kind.kind).or_default().unreadable.insert(key.clone());
        if new {
            warn!(object = %key, problem, "does not read as its kind and is left out");
            self.publish();
        }
    }

    /// Whether some objects of a kind do not read as such.
    pub(super) fn has_unreadable(&self, kind: &'static Kind) -> bool {
        self.lock().kinds.get(kind.kind).is_some_and(|cache| !cache.unreadable.is_empty())
    }

    /// These objects read as their kind, or are gone.
    pub(super) fn readable(&self, kind: &'static Kind, keys: &BTreeSet<Key>) {
        if keys.is_empty() {
            return;
        }
        if let Some(cache) = self.lock().kinds.get_mut(kind.kind) {
            cache.unreadable.retain(|key| !keys.contains(key));
        }
        self.publish();
    }

    /// Only these objects of a kind are still there.
    pub(super) fn readable_only(&self, kind: &'static Kind, seen: &BTreeSet<Key>) {
        if let Some(cache) = self.lock().kinds.get_mut(kind.kind) {
            cache.unreadable.retain(|key| seen.contains(key));
        }
    }

    /// Tells the view which kinds are closed, which should be but are not, and of which news may be missing. Wakes nobody when that has not changed.
    pub(super) fn publish(&self) {
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let [closed, open, behind, absent]: [BTreeSet<&'static str>; 4] = {
            let inner = self.lock();
            let is_closed = |kind: &&'static str| inner.kinds.get(kind).is_some_and(|cache| self.is_closed(cache));
            let (closed, mut open): (BTreeSet<_>, BTreeSet<_>) =
                KINDS.iter().map(|kind| kind.kind).partition(is_closed);
            // One ConfigMap is never all of them, but it may be missing.
            if inner.kinds.get(CONFIG_MAP.kind).is_some_and(|cache| !self.is_closed(cache)) {
                open.insert(CONFIG_MAP.kind);
            }
            let lags = |cache: &Cache| cache.phase == Phase::Watched && !cache.current && !cache.forbidden;
            let behind = inner.kinds.iter().filter(|(_, cache)| lags(cache)).map(|(kind, _)| *kind).collect();
            let absent = inner.kinds.iter().filter(|(_, cache)| cache.phase == Phase::Absent).map(|(kind, _)| *kind);
            [closed, open, behind, absent.collect()]
        };
        // The view of a watched cluster is filled by nobody else.
        let same =
            |now: &BTreeSet<String>, new: &BTreeSet<&str>| now.iter().map(String::as_str).eq(new.iter().copied());
        let known = |view: &ClusterView| {
            same(&view.closed, &closed)
                && same(&view.partial, &open)
                && same(&view.behind, &behind)
                && same(&view.absent, &absent)
        };
        if !self.state.read(|view, _| known(view)) {
            self.state.update(|view| {
                view.behind = behind.into_iter().map(str::to_owned).collect();
                view.closed = closed.into_iter().map(str::to_owned).collect();
                view.partial = open.into_iter().map(str::to_owned).collect();
                view.absent = absent.into_iter().map(str::to_owned).collect();
            });
        }
    }

    fn is_closed(&self, cache: &Cache) -> bool {
        let complete = match cache.phase {
            Phase::Undiscovered => false,
            Phase::Absent => true,
            Phase::Watched => cache.listed && cache.unreadable.is_empty(),
        };
        complete && self.is_fresh(cache)
    }

    fn is_fresh(&self, cache: &Cache) -> bool {
        cache.contact.is_some_and(|contact| contact.elapsed() <= self.stale_after())
    }

    /// After how long without a word from the API server absence proves nothing any more.
    pub(super) fn stale_after(&self) -> Duration {
        Duration::from_secs(self.state.configuration().probes.stale_after_seconds)
    }
}

// === impl Cache ===

impl Cache {
    /// Whether readiness waits for it.
    fn is_awaited(&self, kind: &str) -> bool {
        let core = known(kind).is_some_and(|kind| kind.core);
        // Of a core kind the list is not enough: what changed while all the lists were read comes with the watch.
        let known = self.listed && (self.current || !core);
        self.phase == Phase::Watched && !known && (core || !self.forbidden)
    }
}

fn known(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().chain([&CONFIG_MAP]).find(|known| known.kind == kind)
}
