//! Exactly one named Secret, by watch. The watch carries the name, so an account needs `list` and `watch` with
//! `resourceNames` of that Secret and can see no other.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

/// The keys of a Secret of the type `kubernetes.io/tls`.
pub const CHAIN_KEY: &str = "tls.crt";
/// See [`CHAIN_KEY`].
pub const PRIVATE_KEY: &str = "tls.key";

/// The pauses of a watch of one object that fails, doubling. One small object asked for every few seconds is no load, and a
/// rotation waits for the slowest replica.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// Chain and key as they stand in a Secret, PEM. Shows nothing of itself in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsSecret {
    /// `tls.crt`; empty when the Secret has none.
    pub chain: Vec<u8>,
    /// `tls.key`; empty when the Secret has none.
    pub key: Vec<u8>,
}

impl fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSecret(..)")
    }
}

impl TlsSecret {
    /// Takes both out of a Secret.
    pub fn from_secret(secret: Secret) -> Self {
        let mut data = secret.data.unwrap_or_default();
        let mut take = |key| data.remove(key).map(|bytes| bytes.0).unwrap_or_default();
        Self { chain: take(CHAIN_KEY), key: take(PRIVATE_KEY) }
    }

    /// Whether nothing has been written into it yet.
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty() && self.key.is_empty()
    }
}

/// [`PAUSE_FIRST`] doubling up to [`PAUSE_MOST`], and up to a quarter more, so that replicas do not march in step.
#[derive(Default)]
pub(super) struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.0.min(10)).min(PAUSE_MOST);
        self.0 = self.0.saturating_add(1);
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        Some(pause + pause / 4 * (nanos % 1_000) / 1_000)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Calls `seen` with each state of the Secret `name`, the present one first; a deleted one is not reported, because a
/// certificate goes on being good without its Secret. Never ends: while the API server is away it tries again, later and
/// later, and says so once.
pub async fn watch(client: Client, namespace: &str, name: &str, mut seen: impl FnMut(&TlsSecret)) {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses::default()));
    let mut failing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => seen(&TlsSecret::from_secret(secret)),
            // The list ended, so the API server answers again.
            Ok(Event::InitDone) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(secret = name, namespace, "the Secret is watched again");
                }
            }
            Ok(_) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(secret = name, namespace, %error, "cannot watch the Secret; trying again");
                }
                failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_watch_is_tried_later_and_later_but_within_seconds() {
        let mut pauses = Pauses::default();
        let first = pauses.next().unwrap();
        let later: Vec<Duration> = pauses.by_ref().take(40).collect();
        assert!(first >= PAUSE_FIRST && first <= PAUSE_FIRST * 5 / 4);
        assert!(later.iter().all(|pause| *pause >= PAUSE_FIRST * 2 && *pause <= PAUSE_MOST * 5 / 4));
        assert!(later.last().is_some_and(|pause| *pause >= PAUSE_MOST));
        pauses.reset();
        assert!(pauses.next().unwrap() <= PAUSE_FIRST * 5 / 4);
    }

    #[test]
    fn a_secret_without_data_is_empty_and_nothing_of_one_shows_in_logs() {
        assert!(TlsSecret::from_secret(Secret::default()).is_empty());
        let data = [(PRIVATE_KEY, "top secret"), (CHAIN_KEY, "chain"), ("other", "x")];
        let data = data.map(|(key, text)| (key.to_owned(), k8s_openapi::ByteString(text.into())));
        let read = TlsSecret::from_secret(Secret { data: Some(data.into()), ..Secret::default() });
        assert_eq!((read.chain.as_slice(), read.key.as_slice()), (&b"chain"[..], &b"top secret"[..]));
        assert_eq!(format!("{read:?}"), "TlsSecret(..)");
    }
}
