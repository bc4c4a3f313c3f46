//! The view from watches: what the API server has, into [`ClusterView`](crate::policy::view::ClusterView).
//!
//! ```text
//! discovery (every 30 s) -> a watch for each kind that is served -> slim objects -> State
//!                           Caches: how far each is known -> readiness, metrics, closed kinds
//! ```
//!
//! Only what a rule reads is kept. A kind is closed, so that absence proves something, while all of it has been listed
//! and the API server was heard of within `probes.staleAfter`; a kind that the API server does not serve is closed and
//! empty. When the API server goes away the view stays, only open.

mod caches;
mod discovery;
mod feed;
mod kinds;
mod one;
mod supervise;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use caches::{CacheRow, Caches};

use super::State;
use crate::policy::objects::Key;

/// How often the view is told the time, and which kinds have grown stale.
const TICK: Duration = Duration::from_secs(5);

/// Fills the view from the API server until it is cancelled. Returns at once; [`Caches::ready`] says when the view is
/// filled. To be called within a tokio runtime.
pub fn start(client: Client, state: Arc<State>, cancel: CancellationToken) -> Arc<Caches> {
    let caches = Caches::new(state);
    tell_time(&caches);
    tokio::spawn(tick(Arc::clone(&caches), cancel.clone()));
    tokio::spawn(supervise::run(client, Arc::clone(&caches), cancel));
    caches
}

/// The path of all objects of a kind that is watched in the namespace of one of them, in the version that is preferred.
pub fn collection(key: &Key) -> Option<String> {
    let kind = kinds::KINDS.iter().find(|kind| kind.group == key.group && kind.kind == key.kind)?;
    let root = kind.root(kind.versions.first()?);
    Some(match &key.namespace {
        Some(namespace) => format!("{root}/namespaces/{}/{}", wire::encoded(namespace), kind.plural),
        None => format!("{root}/{}", kind.plural),
    })
}

async fn tick(caches: Arc<Caches>, cancel: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tell_time(&caches);
        caches.publish();
    }
}

fn tell_time(caches: &Caches) {
    caches.state().set_now(crate::cluster::now());
}

#[cfg(test)]
mod tests;
