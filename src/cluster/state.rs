//! What the webhook decides by, shared between those who fill it and those who read it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;

use super::Touched;

/// The view and the configuration. Whoever watches the cluster writes the view; whoever watches the file swaps the
/// configuration.
#[derive(Debug)]
pub struct State {
    view: RwLock<ClusterView>,
    configuration: ArcSwap<Configuration>,
    changes: watch::Sender<u64>,
    /// What changed since it was asked last; nothing is kept while nobody asks.
    touched: Mutex<Option<Touched>>,
}

impl State {
    /// Starts from a view and a configuration.
    pub fn new(view: ClusterView, configuration: Configuration) -> Arc<Self> {
        Arc::new(Self {
            view: RwLock::new(view),
            configuration: ArcSwap::from_pointee(configuration),
            changes: watch::Sender::new(0),
            touched: Mutex::new(None),
        })
    }

    /// Changes the view, and wakes whoever follows [`State::changes`]. `change` runs under the lock: keep it short.
    pub fn update(&self, change: impl FnOnce(&mut ClusterView)) {
        // A panic while the lock was held leaves a view that is still a view.
        self.update_touching(|view, touched| {
            *touched = Touched::everything();
            change(view);
        });
    }

    /// As [`State::update`], for a change that can tell which workloads it touches.
    pub fn update_touching(&self, change: impl FnOnce(&mut ClusterView, &mut Touched)) {
        {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            // Noted before the view can be read again, so that whoever takes it sees the change.
            match &mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(touched) => {
                    let mut new = Touched::default();
                    change(&mut view, &mut new);
                    touched.add(new);
                }
                None => change(&mut view, &mut Touched::default()),
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Which workloads may need another look since this was asked last; all of them the first time.
    pub fn take_touched(&self) -> Touched {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.replace(Touched::default()).unwrap_or_else(Touched::everything)
    }

    /// Changes the view without waking anybody: for what followers need not act upon, such as the age of an answer.
    pub fn update_quietly(&self, change: impl FnOnce(&mut ClusterView)) {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells the view the time, which wakes nobody.
    pub fn set_now(&self, now: i64) {
        self.view.write().unwrap_or_else(PoisonError::into_inner).now = now;
    }

    /// Replaces the configuration for the requests that come after.
    pub fn configure(&self, configuration: Configuration) {
        self.configuration.store(Arc::new(configuration));
        if let Some(touched) = &mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner) {
            touched.all = true;
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// The present configuration.
    pub fn configuration(&self) -> Arc<Configuration> {
        self.configuration.load_full()
    }

    /// Looks at view and configuration together. `look` runs under the lock: it must not wait for anything.
    pub fn read<T>(&self, look: impl FnOnce(&ClusterView, &Configuration) -> T) -> T {
        let configuration = self.configuration.load();
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        look(&view, &configuration)
    }

    /// How often view or configuration changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The system's clock in seconds since the epoch, as a view is told it.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
