//! What an answer of a metrics API proves. Sources: the adapters' code, as the table in the tests names them.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::view::{MetricApi, MetricPresence};
use super::path::is_segment;
use super::{Strategy, Wanted};

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// An HTTP answer.
    Status {
        /// Status code.
        status: u16,
        /// Body.
        body: &'a [u8],
    },
    /// None.
    None(Failure),
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not in time.
    TimedOut,
    /// No connection, a TLS error, a broken answer.
    Unreachable,
    /// More bytes than are read.
    TooLong,
}

/// Everything that an answer is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What was asked.
    pub wanted: &'a Wanted,
    /// The answer about the metric itself; `None` when it was not asked.
    pub live: Option<Answer<'a>>,
    /// The answer about a metric that is known to exist, on the same path: the configured one, or of an adapter that lists
    /// what it serves one of those ([`Listing::sample`]). `None` when there is none, or it was not asked.
    pub control: Option<Answer<'a>>,
    /// What the adapter lists, when that could be read.
    pub list: Option<&'a Listing>,
}

/// Why a presence is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was served with values.
    Values,
    /// It is known, without values at present.
    WithoutValues,
    /// The adapter does not know it, and knows the control metric on the same path.
    ControlAnswers,
    /// The adapter neither serves nor lists it.
    NotListed,
    /// The adapter lists it and does not serve it here.
    ListedOnly,
    /// The adapter does not know it, and no control metric is configured.
    NoControl,
    /// The adapter does not know the control metric either.
    ControlFails,
    /// The adapter neither serves nor lists it, and does not serve either what it lists: the list may be an old one.
    ListFails,
    /// The adapter's list could not be read, or is empty.
    NoList,
    /// The target has no Ready pods, so that there is nothing to serve.
    NoPods,
    /// Nothing is known about what this adapter means.
    UnknownAdapter,
    /// No APIService registers the API.
    NotRegistered,
    /// The API server does not reach the adapter; with its reason.
    Unavailable(String),
    /// The answer was another status.
    Status(u16),
    /// No answer that can be read.
    Unreadable,
    /// No answer.
    Failed(Failure),
}

/// The metrics that an API lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    names: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Values {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    resources: Option<Vec<Resource>>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    name: String,
}

/// What one answer says by itself.
enum Said {
    Values,
    Empty,
    NotFound,
    Other(Reason),
}

/// What the evidence proves.
pub fn read(evidence: &Evidence<'_>) -> (MetricPresence, Reason) {
    use MetricPresence::{Absent, Present, Unknown};
    let wanted = evidence.wanted;
    let Some(served) = &wanted.served else { return (Unknown, Reason::NotRegistered) };
    if let Some(reason) = &served.unavailable {
        return (Unknown, Reason::Unavailable(reason.clone()));
    }
    let strategy = wanted.strategy();
    let listed = evidence.list.map(|list| list.has(&wanted.key.name));
    match evidence.live.map_or(Said::Other(Reason::UnknownAdapter), said) {
        Said::Values => (Present, Reason::Values),
        // The Stackdriver adapter answers so as soon as the descriptor exists.
        Said::Empty if strategy == Strategy::Control => (Present, Reason::WithoutValues),
        Said::Empty if listed == Some(true) => (Present, Reason::WithoutValues),
        Said::Empty => (Unknown, Reason::WithoutValues),
        Said::NotFound => match strategy {
            Strategy::Control => match evidence.control.map(said) {
                None => (Unknown, Reason::NoControl),
                Some(Said::Values | Said::Empty) => (Absent, Reason::ControlAnswers),
                Some(_) => (Unknown, Reason::ControlFails),
            },
            Strategy::List => {
                let pods = wanted.key.api == MetricApi::External || wanted.pods;
                match (evidence.list, pods) {
                    (None, _) => (Unknown, Reason::NoList),
                    (Some(list), _) if list.is_empty() => (Unknown, Reason::NoList),
                    // prometheus-adapter answers 404 too when no pod matches: then the list alone tells what it serves.
                    (Some(list), false) if list.has(&wanted.key.name) => (Present, Reason::WithoutValues),
                    (_, false) => (Unknown, Reason::NoPods),
                    (Some(list), true) if list.has(&wanted.key.name) => (Unknown, Reason::ListedOnly),
                    // The list outlives the Prometheus behind the adapter, and what is not on it is refused unasked.
                    (Some(_), true) => match evidence.control.map(said) {
                        Some(Said::Values | Said::Empty) => (Absent, Reason::NotListed),
                        _ => (Unknown, Reason::ListFails),
                    },
                }
            }
            Strategy::Positive | Strategy::Nothing => (Unknown, Reason::UnknownAdapter),
        },
        Said::Other(reason) => (Unknown, reason),
    }
}

fn said(answer: Answer<'_>) -> Said {
    match answer {
        Answer::None(failure) => Said::Other(Reason::Failed(failure)),
        Answer::Status { status: 200, body } => match serde_json::from_slice::<Values>(body) {
            Ok(values) if !values.kind.ends_with("MetricValueList") => Said::Other(Reason::Unreadable),
            // Go writes an empty list as null.
            Ok(Values { items, .. }) if items.as_ref().is_none_or(Vec::is_empty) => Said::Empty,
            Ok(_) => Said::Values,
            Err(_) => Said::Other(Reason::Unreadable),
        },
        // A path that the API server does not know is a 404 too, in plain text; only an adapter's own counts.
        Answer::Status { status: 404, body } => match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { kind, reason }) if kind == "Status" && reason.as_deref() == Some("NotFound") => Said::NotFound,
            _ => Said::Other(Reason::Status(404)),
        },
        Answer::Status { status, .. } => Said::Other(Reason::Status(status)),
    }
}

// === impl Answer ===

impl Answer<'_> {
    /// Whether the adapter or the way to it is broken: no answer, or an answer that says so. A refusal is an honest answer.
    pub fn is_failure(&self) -> bool {
        match self {
            Answer::None(Failure::TooLong) => false,
            Answer::None(_) => true,
            Answer::Status { status, .. } => *status == 429 || *status >= 500,
        }
    }
}

// === impl Listing ===

impl Listing {
    /// Reads the list of an API (`APIResourceList`). Of `custom.metrics.k8s.io` what is said of pods counts. `None` when it
    /// is no such list.
    pub fn parse(api: MetricApi, body: &[u8]) -> Option<Self> {
        let resources: Resources = serde_json::from_slice(body).ok()?;
        if resources.kind != "APIResourceList" {
            return None;
        }
        let names = resources.resources.unwrap_or_default().into_iter().filter_map(|resource| match api {
            MetricApi::Custom => resource.name.strip_prefix("pods/").map(str::to_owned),
            MetricApi::External => Some(resource.name.to_ascii_lowercase()),
        });
        Some(Self { names: names.filter(|name| !name.is_empty()).collect() })
    }

    /// Whether a metric is on it.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// A metric on it, by which to see whether the adapter serves what it lists: `preferred`, when that is on it. `None` when
    /// none can be asked about.
    pub fn sample(&self, preferred: Option<&str>) -> Option<&str> {
        let preferred = preferred.and_then(|name| self.names.get(name));
        preferred.or_else(|| self.names.iter().find(|name| is_segment(name))).map(String::as_str)
    }

    /// Whether nothing is on it: the adapter has not filled it yet, or finds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values => f.write_str("served"),
            Self::WithoutValues => f.write_str("known, without values at present"),
            Self::ControlAnswers => f.write_str("not known to the adapter, which knows the control metric"),
            Self::NotListed => f.write_str("neither served nor listed"),
            Self::ListedOnly => f.write_str("listed, but not served in this namespace"),
            Self::NoControl => {
                f.write_str("not known to the adapter, and probes.control names no metric to compare with")
            }
            Self::ControlFails => f.write_str("not known to the adapter, nor is the metric of probes.control"),
            Self::ListFails => f.write_str("neither served nor listed, and nor is served what is listed"),
            Self::NoList => f.write_str("not served, and the adapter's list is empty or cannot be read"),
            Self::NoPods => f.write_str("not served, and no pod is Ready"),
            Self::UnknownAdapter => f.write_str("not served by an adapter whose refusals are not understood"),
            Self::NotRegistered => f.write_str("no APIService registers the API"),
            Self::Unavailable(reason) => write!(f, "the APIService is not available ({reason})"),
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::Unreadable => f.write_str("the answer cannot be read"),
            Self::Failed(Failure::TimedOut) => f.write_str("no answer in time"),
            Self::Failed(Failure::Unreachable) => f.write_str("no connection"),
            Self::Failed(Failure::TooLong) => f.write_str("the answer is too long"),
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
