//! Asks a metrics API about one metric, and reads the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::{Instant, timeout_at};

use crate::policy::presence::{self, Answer, Evidence, Failure, Listing, Reason, Strategy, Wanted};
use crate::policy::view::{MetricApi, MetricPresence};

/// Bytes that are read of an answer about one metric: some thousands of pods.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
/// Bytes that are read of a list.
const LONGEST_LIST: usize = 16 * 1024 * 1024;

/// The metrics APIs behind the API server.
pub(super) struct Asker {
    client: kube::Client,
    lists: Mutex<Lists>,
}

/// What each version of an API listed, and when.
type Lists = BTreeMap<(MetricApi, &'static str), (Instant, Arc<Listing>)>;

/// How a metric is asked.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// The metric that is known to exist, as the administrator configured it.
    pub(super) control: Option<String>,
    /// Everything must be there by then.
    pub(super) deadline: Instant,
    /// How old a list may be.
    pub(super) list_age: Duration,
    /// Ask everything at once instead of what is needed after the other: faster, and more requests.
    pub(super) at_once: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) presence: MetricPresence,
    pub(super) reason: Reason,
    /// The adapter or the way to it is broken.
    pub(super) failed: bool,
    /// Requests that it took.
    pub(super) requests: u32,
}

/// An answer with the bytes it holds.
enum Held {
    Status(u16, Vec<u8>),
    None(Failure),
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client, lists: Mutex::default() }
    }

    /// Asks about a metric.
    pub(super) async fn ask(&self, wanted: &Wanted, manner: &Manner) -> Found {
        let strategy = wanted.strategy();
        let Some(path) = wanted.path().filter(|_| strategy != Strategy::Nothing) else {
            return found(&Evidence { wanted, live: None, control: None, list: None });
        };
        let live = self.get(&path, manner.deadline, LONGEST_ANSWER);
        if manner.at_once {
            let (live, (control, list)) = futures::join!(live, self.beside(strategy, wanted, manner));
            return conclude(wanted, &live, control.as_ref(), list.as_deref());
        }
        let live = live.await;
        // Only a refusal, or an answer without values, needs anything beside it.
        let (control, list) = match &live {
            Held::Status(200 | 404, body) if body.len() <= LONGEST_ANSWER && needs_more(wanted, &live) => {
                self.beside(strategy, wanted, manner).await
            }
            _ => (None, None),
        };
        conclude(wanted, &live, control.as_ref(), list.as_deref())
    }

    /// What the answer has to be compared with.
    async fn beside(
        &self,
        strategy: Strategy,
        wanted: &Wanted,
        manner: &Manner,
    ) -> (Option<Held>, Option<Arc<Listing>>) {
        match strategy {
            // Never from a cache: it has to be true of the moment in which the metric was asked.
            Strategy::Control => {
                let Some(path) = manner.control.as_deref().and_then(|control| wanted.control_path(control)) else {
                    return (None, None);
                };
                (Some(self.get(&path, manner.deadline, LONGEST_ANSWER).await), None)
            }
            Strategy::List => {
                let Some(list) = self.list(wanted, manner).await else { return (None, None) };
                let sample = list.sample(manner.control.as_deref()).filter(|_| !list.has(&wanted.key.name));
                let control = match sample.and_then(|name| wanted.control_path(name)) {
                    Some(path) => Some(self.get(&path, manner.deadline, LONGEST_ANSWER).await),
                    None => None,
                };
                (control, Some(list))
            }
            Strategy::Positive | Strategy::Nothing => (None, None),
        }
    }

    async fn list(&self, wanted: &Wanted, manner: &Manner) -> Option<Arc<Listing>> {
        let key = (wanted.key.api, wanted.served.as_ref()?.version);
        {
            let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, list)) = lists.get(&key)
                && at.elapsed() < manner.list_age
            {
                return Some(Arc::clone(list));
            }
        }
        let Held::Status(200, body) = self.get(&wanted.listing_path()?, manner.deadline, LONGEST_LIST).await else {
            return None;
        };
        let list = Arc::new(Listing::parse(wanted.key.api, &body)?);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(key, (Instant::now(), Arc::clone(&list)));
        Some(list)
    }

    async fn get(&self, path: &str, deadline: Instant, most: usize) -> Held {
        // The client may try again by itself; the deadline covers that too.
        timeout_at(deadline, self.fetch(path, most)).await.unwrap_or(Held::None(Failure::TimedOut))
    }

    async fn fetch(&self, path: &str, most: usize) -> Held {
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json").body(Body::empty());
        let Ok(request) = request else { return Held::None(Failure::Unreachable) };
        let Ok(response) = self.client.send(request).await else { return Held::None(Failure::Unreachable) };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Held::None(Failure::Unreachable) };
            if let Ok(data) = frame.into_data() {
                if bytes.len().saturating_add(data.len()) > most {
                    return Held::None(Failure::TooLong);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Held::Status(status, bytes)
    }
}

/// Whether the answer alone leaves it open whether the metric is there.
fn needs_more(wanted: &Wanted, live: &Held) -> bool {
    let (presence, reason) = presence::read(&Evidence { wanted, live: Some(live.answer()), control: None, list: None });
    presence == MetricPresence::Unknown
        && matches!(reason, Reason::NoControl | Reason::NoList | Reason::WithoutValues | Reason::NoPods)
}

fn conclude(wanted: &Wanted, live: &Held, control: Option<&Held>, list: Option<&Listing>) -> Found {
    found(&Evidence { wanted, live: Some(live.answer()), control: control.map(Held::answer), list })
}

fn found(evidence: &Evidence<'_>) -> Found {
    let (presence, reason) = presence::read(evidence);
    let control = evidence.control.filter(|_| presence == MetricPresence::Unknown);
    let failed = evidence.live.into_iter().chain(control).any(|answer| answer.is_failure());
    let requests = u32::from(evidence.live.is_some()) + u32::from(evidence.control.is_some());
    Found { presence, reason, failed, requests }
}

// === impl Held ===

impl Held {
    fn answer(&self) -> Answer<'_> {
        match self {
            Self::Status(status, body) => Answer::Status { status: *status, body },
            Self::None(failure) => Answer::None(*failure),
        }
    }
}
