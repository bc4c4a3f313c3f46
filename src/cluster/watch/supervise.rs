//! One watch for each kind that is served: begun when it appears, ended when it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::caches::Caches;
use super::discovery::{Served, discover};
use super::feed::Feed;
use super::kinds::{CONFIG_MAP, Kind};
use super::one::{Target, Watch};
use super::wire::encoded;
use crate::cluster::backoff::{Backoff, jitter};

/// How often the discovery is repeated.
const EVERY: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(30) };
/// A watch that ended asks for a discovery before its time, but no sooner than after this.
const SOON: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(2) };
/// So many rounds are waited for API groups that do not answer; after that only those of the core kinds are.
const PATIENCE: u32 = 5;
/// Pages of lists that are in memory at once.
const PAGES: usize = 2;

struct Running {
    target: Target,
    feed: Feed,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

struct Supervisor {
    client: Client,
    caches: Arc<Caches>,
    pages: Arc<Semaphore>,
    cancel: CancellationToken,
    running: BTreeMap<&'static str, Running>,
}

/// Keeps one watch for each kind that is served, and one for the adapter's ConfigMap, until it is cancelled.
pub(super) async fn run(client: Client, caches: Arc<Caches>, cancel: CancellationToken) {
    let new = || Supervisor {
        client: client.clone(),
        caches: Arc::clone(&caches),
        pages: Arc::new(Semaphore::new(PAGES)),
        cancel: cancel.clone(),
        running: BTreeMap::new(),
    };
    let (kinds, adapter) = (new(), new());
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = kinds.follow_discovery() => {}
        () = adapter.follow_configuration() => {}
    }
}

// === impl Supervisor ===

impl Supervisor {
    async fn follow_discovery(mut self) {
        let mut backoff = Backoff::default();
        let mut incomplete = 0_u32;
        loop {
            let pause = match discover(&self.client, &|kind| self.caches.is_absent(kind)).await {
                Ok(found) => {
                    backoff.reset();
                    let mut complete = true;
                    let mut core = true;
                    for (kind, served) in found {
                        match served {
                            Served::In(version) => {
                                let path = kind.path(&version);
                                self.watch(Target { kind, version, path, name: None });
                            }
                            Served::No => {
                                self.end(kind);
                                self.caches.absent(kind);
                            }
                            Served::Unknown => {
                                complete = false;
                                core = core && !kind.core;
                            }
                        }
                    }
                    incomplete = if complete { 0 } else { incomplete.saturating_add(1) };
                    if complete || (core && incomplete > PATIENCE) {
                        self.caches.discovered();
                        jitter(EVERY)
                    } else {
                        self.caches.discovery_failed("some of its API groups do not answer".to_owned());
                        jitter(SOON)
                    }
                }
                Err(trouble) => {
                    warn!(%trouble, "the API server does not say which kinds it serves");
                    self.caches.discovery_failed(trouble.to_string());
                    backoff.next()
                }
            };
            let rediscover = async {
                self.caches.rediscover.notified().await;
                sleep(jitter(SOON)).await;
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = rediscover => {}
            }
        }
    }

    /// Watches the ConfigMap that the configuration names, whichever it names at present.
    async fn follow_configuration(mut self) {
        let mut changes = self.caches.state().changes();
        loop {
            let named = self.caches.state().configuration().backend.adapter_config_map.clone();
            match named.as_deref().and_then(|named| named.split_once('/')) {
                Some((namespace, name)) => self.watch(Target {
                    kind: &CONFIG_MAP,
                    version: "v1".to_owned(),
                    path: format!("/api/v1/namespaces/{}/configmaps", encoded(namespace)),
                    name: Some(name.to_owned()),
                }),
                None => {
                    if self.running.contains_key(CONFIG_MAP.kind) {
                        self.end(&CONFIG_MAP);
                        self.caches.forgotten(&CONFIG_MAP);
                    }
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Watches a target, instead of another one of its kind.
    fn watch(&mut self, target: Target) {
        let kind = target.kind;
        if let Some(running) = self.running.get(kind.kind)
            && running.target == target
            && !running.task.is_finished()
        {
            return;
        }
        info!(kind = kind.kind, path = target.path, "watching");
        // First open, then empty: in between nothing is proven.
        self.caches.begins(kind);
        if let Some(running) = self.running.remove(kind.kind) {
            running.stop();
            running.feed.close();
        }
        let feed = Feed::new(Arc::clone(&self.caches), kind, &target.version);
        let cancel = self.cancel.child_token();
        let watch = Watch::new(
            self.client.clone(),
            Arc::clone(&self.caches),
            Arc::clone(&self.pages),
            target.clone(),
            feed.clone(),
        );
        let task = tokio::spawn(watch.run(cancel.clone()));
        self.running.insert(kind.kind, Running { target, feed, cancel, task });
    }

    /// Ends the watch of a kind and takes its objects out of the view.
    fn end(&mut self, kind: &'static Kind) {
        if let Some(running) = self.running.remove(kind.kind) {
            info!(kind = kind.kind, "no longer watched");
            running.stop();
            running.feed.close();
        }
    }
}

// === impl Running ===

impl Running {
    fn stop(&self) {
        self.cancel.cancel();
        self.task.abort();
    }
}
