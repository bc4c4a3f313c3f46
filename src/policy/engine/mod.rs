//! What each inference server exports: metric, type, unit, and in which releases.

mod dcgm;
mod gke;
mod resolve;
mod vllm;
mod vllm_table;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use resolve::{AliasKind, Resolved, histogram_child, resolve};

/// An engine with a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// vLLM's OpenAI server.
    Vllm,
}

/// A release of an engine. A fourth number and a suffix (`.post1`, `rc1`) do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch.
    pub patch: u16,
}

/// What a series is, as Prometheus types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// Buckets, a sum and a count; no series of the bare name.
    Histogram,
    /// Always 1 (or a timestamp): its labels carry the information.
    Info,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Requests.
    Requests,
    /// A share from 0 to 1.
    Ratio,
    /// A share from 0 to 100.
    Percent,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Tokens.
    Tokens,
    /// Mebibytes.
    Mebibytes,
    /// Anything else.
    Other,
}

/// A metric of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name as the server exposes it (`vllm:num_requests_running`, counters with `_total`).
    pub name: &'static str,
    /// Who exports it.
    pub exporter: Exporter,
    /// Type.
    pub kind: MetricKind,
    /// Unit.
    pub unit: Unit,
    /// Only goes up, because the server allocates in advance: an autoscaler on it cannot scale down.
    pub up_only: bool,
    /// The names to use instead, once this one is gone.
    pub successors: &'static [&'static str],
}

/// Who exports a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// The inference server itself.
    Engine(Engine),
    /// NVIDIA's DCGM exporter.
    Dcgm,
    /// Google Kubernetes Engine (`kubernetes.io|container|accelerator|*`).
    GkeSystem,
}

/// Whether a release exports a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Exported,
    /// It does not. `last` is the last release that did.
    Gone {
        /// The last release that exported it.
        last: Version,
    },
    /// Not without `--show-hidden-metrics-for-version=SHOW`.
    Hidden {
        /// The option's value that restores it.
        show: String,
    },
    /// Not yet; `since` is the first release that does.
    NotYet {
        /// The first release that exports it.
        since: Version,
    },
    /// Between two samples, newer than the catalogue, or either engine generation may run.
    Unknown,
}

/// The metric of exactly that name: with the prefix `vllm:`, as `DCGM_FI_...`, or `kubernetes.io|container|accelerator|...`.
/// Series of a histogram are found by [`histogram_child`], other spellings by [`resolve`].
pub fn lookup(name: &str) -> Option<&'static Metric> {
    metrics().find(|metric| metric.name == name)
}

/// Every catalogued metric.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    vllm_table::TABLE.iter().map(|row| &row.metric).chain(&dcgm::FIELDS).chain(&gke::METRICS)
}

/// Whether a release exports a metric. `hidden_for` is the value of `--show-hidden-metrics-for-version`, as written;
/// `use_v1` is `VLLM_USE_V1`, where it is set. [`Presence::Unknown`] wherever the catalogue proves nothing, and for metrics
/// that the engine does not export.
pub fn presence(metric: &Metric, version: Version, hidden_for: Option<&str>, use_v1: Option<bool>) -> Presence {
    match metric.exporter {
        Exporter::Engine(Engine::Vllm) => vllm::presence(metric, version, hidden_for, use_v1),
        Exporter::Dcgm | Exporter::GkeSystem => Presence::Unknown,
    }
}

// === impl Version ===

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a release such as 0.11.0"))
    }
}

impl Version {
    /// A release.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `0.11.0`, `v0.11.0`, `0.6.6.post1` or `v0.10.2rc1`; a fourth part and a suffix are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let patch = parts.next()?;
        let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
        Some(Self { major, minor, patch: patch[..digits].parse().ok()? })
    }
}
