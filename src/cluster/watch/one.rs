//! The list and the watch of one kind.
//!
//! ```text
//! list, page by page -> watch from there -> (ended: watch on | 410: list again | 404: end | else: pause, go on)
//! ```
//!
//! kube's own `watcher` is not used because it hides bookmarks, which are the sign of life of a kind in which nothing
//! changes, keeps each page as typed objects beside its text, and ends at an object that does not read as its kind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use kube::Client;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::caches::Caches;
use super::feed::{Change, Feed};
use super::kinds::Kind;
use super::wire::{self, Event, LARGEST, Trouble};
use crate::cluster::backoff::{Backoff, jitter};

/// Objects of a page, as client-go has it.
const PAGE: u32 = 500;
/// How long a watch lasts at most, as client-go has it (5 to 10 minutes there); the API server ends it, and the next begins.
const LONGEST_WATCH: Duration = Duration::from_secs(290);
/// How much longer than it should last a watch may be silent before its connection counts as dead.
const MARGIN: Duration = Duration::from_secs(5);
/// After how long an account that may not read a kind is tried again.
const FORBIDDEN: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(30) };
/// The pause after each of the first refusals: an API server that has just started refuses what it allows once it has
/// read its roles.
const REFUSED: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(2) };
/// How many refusals may come of that.
const REFUSED_FIRST: u32 = 5;
/// How long a watch that has begun may be silent before it counts as caught up.
const CATCH_UP: Duration = Duration::from_secs(1);
/// What lasted so long has worked: the pauses after it are short again.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
/// A watch that the API server ends sooner than this was no watch, and is not begun again at once.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Kind.
    pub kind: &'static Kind,
    /// Version.
    pub version: String,
    /// Path of the list.
    pub path: String,
    /// The one name that is wanted; all when unset.
    pub name: Option<String>,
}

/// Keeps the view's objects of one kind as the API server has them.
pub(super) struct Watch {
    client: Client,
    caches: Arc<Caches>,
    /// Bounds how many pages are in memory at once.
    pages: Arc<Semaphore>,
    target: Target,
    feed: Feed,
}

// === impl Watch ===

impl Watch {
    pub fn new(client: Client, caches: Arc<Caches>, pages: Arc<Semaphore>, target: Target, feed: Feed) -> Self {
        Self { client, caches, pages, target, feed }
    }

    /// Runs until it is cancelled, or until the API server no longer serves the kind.
    pub async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let kind = self.target.kind;
        let mut backoff = Backoff::default();
        let mut from: Option<String> = None;
        let mut refused = 0_u32;
        loop {
            let began = Instant::now();
            let outcome = match from.clone() {
                None => self.list().await.map(|version| from = Some(version)),
                Some(_) => self.watch(&mut from).await,
            };
            if began.elapsed() >= LONG_ENOUGH {
                backoff.reset();
            }
            refused = match &outcome {
                Err(Trouble::Forbidden(_)) => refused.saturating_add(1),
                _ => 0,
            };
            let Err(trouble) = outcome else { continue };
            let pause = match &trouble {
                Trouble::NotServed => {
                    debug!(kind = kind.kind, "no longer served");
                    // First open, then empty: in between nothing is proven.
                    self.caches.begins(kind);
                    self.feed.keep_only(&BTreeSet::new());
                    self.caches.rediscover.notify_one();
                    return;
                }
                Trouble::Expired => {
                    from = None;
                    self.caches.missed(kind);
                    backoff.next()
                }
                Trouble::Forbidden(message) => {
                    self.caches.forbidden(kind, message);
                    jitter(if refused > REFUSED_FIRST { FORBIDDEN } else { REFUSED })
                }
                Trouble::Busy(wait) => {
                    self.caches.failed(kind, &trouble.to_string());
                    wait.saturating_add(backoff.next())
                }
                Trouble::TooLarge | Trouble::Other(_) => {
                    self.caches.failed(kind, &trouble.to_string());
                    backoff.next()
                }
            };
            sleep(pause).await;
        }
    }

    /// Lists everything into the view and takes out what is gone. Returns where a watch goes on from.
    async fn list(&self) -> Result<String, Trouble> {
        let mut seen = BTreeSet::new();
        let mut next: Option<String> = None;
        let mut limit = PAGE;
        loop {
            let query = wire::page_query(limit, next.as_deref(), self.target.name.as_deref());
            let path = format!("{}?{query}", self.target.path);
            // Closed only when the program ends.
            let Ok(_room) = self.pages.acquire().await else { std::future::pending().await };
            let body = match wire::get(&self.client, &path, wire::accept(self.target.kind, true)).await {
                Err(Trouble::TooLarge) if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                answer => answer?,
            };
            self.caches.contact(self.target.kind);
            let feed = self.feed.clone();
            // A page takes up to some hundred milliseconds to read: too long for a thread that serves requests.
            let read = tokio::task::spawn_blocking(move || {
                let meta = feed.page(&body, &mut seen);
                (meta, seen)
            });
            let (meta, so_far) = read.await.map_err(|error| Trouble::Other(error.to_string()))?;
            let meta = meta?;
            seen = so_far;
            next = meta.next.filter(|next| !next.is_empty());
            if next.is_none() {
                let version = meta.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or_else(|| Trouble::Other("the list has no resourceVersion".to_owned()))?;
                self.feed.keep_only(&seen);
                self.caches.listed(self.target.kind);
                return Ok(version);
            }
        }
    }

    /// Watches once, from `from`, which it moves on. Ends well when the API server ends the watch.
    async fn watch(&self, from: &mut Option<String>) -> Result<(), Trouble> {
        let began = Instant::now();
        // At least two watches begin in the time after which silence counts, so that a kind in which nothing changes is
        // heard of in time.
        let lasting = (self.caches.stale_after() / 2).clamp(Duration::from_secs(5), LONGEST_WATCH);
        let lasting = Duration::from_secs(jitter(lasting.mul_f64(2.0 / 3.0)).as_secs().max(1));
        let start = from.clone().unwrap_or_default();
        let query = wire::watch_query(&start, lasting, self.target.name.as_deref());
        let path = format!("{}?{query}", self.target.path);
        let accept = wire::accept(self.target.kind, false);
        let mut sending = std::pin::pin!(wire::send(&self.client, &path, accept));
        let response = if let Ok(response) = timeout(CATCH_UP, &mut sending).await {
            response?
        } else {
            // The API server takes its time, and things may change meanwhile.
            self.caches.current(self.target.kind, false);
            sending.await?
        };
        let mut body = response.into_body();
        let mut lines = Lines::default();
        // What was missed since `from` comes first. Only then is the kind known as it is now.
        let mut first = match timeout(CATCH_UP, body.frame()).await {
            Err(_) => {
                self.caches.contact(self.target.kind);
                self.caches.current(self.target.kind, true);
                None
            }
            first => Some(first),
        };
        loop {
            let frame = match first.take() {
                Some(frame) => frame,
                None => timeout(lasting + MARGIN, body.frame()).await,
            };
            let Ok(frame) = frame else {
                return Err(Trouble::Other("the watch fell silent".to_owned()));
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(Trouble::Other(format!("the watch broke: {error}"))),
                None if began.elapsed() < TOO_SHORT => {
                    return Err(Trouble::Other("the watch ended at once".to_owned()));
                }
                None => return Ok(()),
            };
            let Ok(data) = frame.into_data() else { continue };
            lines.push(&data)?;
            self.events(&mut lines, from)?;
        }
    }

    /// Puts the events that have arrived whole into the view.
    fn events(&self, lines: &mut Lines, from: &mut Option<String>) -> Result<(), Trouble> {
        let mut changes = Vec::new();
        let mut reached = None;
        let mut trouble = Ok(());
        while let Some(line) = lines.next() {
            match self.event(line) {
                Ok((change, version)) => {
                    changes.extend(change);
                    reached = version.or(reached);
                }
                Err(found) => {
                    trouble = Err(found);
                    break;
                }
            }
        }
        lines.compact();
        self.feed.apply(changes);
        if reached.is_some() {
            self.caches.contact(self.target.kind);
            if trouble.is_ok() {
                self.caches.current(self.target.kind, true);
            }
            *from = reached;
        }
        trouble
    }

    fn event(&self, line: &[u8]) -> Result<(Option<Change>, Option<String>), Trouble> {
        if line.trim_ascii().is_empty() {
            return Ok((None, None));
        }
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|error| Trouble::Other(format!("an event of the watch cannot be read: {error}")))?;
        let object: &RawValue = event.object;
        Ok(match event.kind {
            "ADDED" | "MODIFIED" => {
                self.feed.read(object).map_or((None, None), |(change, _, version)| (Some(change), version))
            }
            "DELETED" => {
                self.feed.read_deleted(object).map_or((None, None), |(change, version)| (Some(change), version))
            }
            "BOOKMARK" => (None, wire::resource_version(object)),
            "ERROR" => return Err(Trouble::of_event(object)),
            other => return Err(Trouble::Other(format!("the watch sent an event of type {other}"))),
        })
    }
}

/// Bytes that come in pieces, line by line.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Up to here lines were taken.
    taken: usize,
    /// Up to here there is no end of a line.
    searched: usize,
}

// === impl Lines ===

impl Lines {
    fn push(&mut self, data: &[u8]) -> Result<(), Trouble> {
        if self.bytes.len().saturating_add(data.len()) > LARGEST {
            return Err(Trouble::TooLarge);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The next whole line, without its end.
    fn next(&mut self) -> Option<&[u8]> {
        let from = self.searched.max(self.taken);
        let Some(end) = self.bytes.get(from..)?.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.taken..from + end;
        self.taken = from + end + 1;
        self.searched = self.taken;
        self.bytes.get(line)
    }

    /// Lets go of the lines that were taken.
    fn compact(&mut self) {
        self.bytes.drain(..self.taken.min(self.bytes.len()));
        self.searched = self.searched.saturating_sub(self.taken);
        self.taken = 0;
        // One large object does not hold its size for ever.
        if self.bytes.capacity() > 1024 * 1024 && self.bytes.len() < 64 * 1024 {
            self.bytes.shrink_to(64 * 1024);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let text = b"{\"a\":1}\n{\"bb\":2}\n\n{\"ccc\":3}\n{\"un";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found: Vec<Vec<u8>> = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece).unwrap();
                while let Some(line) = lines.next() {
                    found.push(line.to_vec());
                }
                lines.compact();
            }
            let expected: [&[u8]; 4] = [b"{\"a\":1}", b"{\"bb\":2}", b"", b"{\"ccc\":3}"];
            assert_eq!(found, expected, "in pieces of {size}");
            assert_eq!(lines.bytes, b"{\"un");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LARGEST / 4];
        let results: Vec<_> = (0..5).map(|_| lines.push(&piece)).collect();
        assert_eq!(results.last(), Some(&Err(Trouble::TooLarge)));
    }
}
