//! What the metrics APIs answered.

use serde::{Deserialize, Serialize};

/// Which metrics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricApi {
    /// `custom.metrics.k8s.io`: metrics of Pods and other objects.
    Custom,
    /// `external.metrics.k8s.io`.
    External,
}

/// One metric as an API serves it in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MetricKey {
    /// API.
    pub api: MetricApi,
    /// Name, in the adapter's spelling.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// Three values; only `Absent` may deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricPresence {
    /// It was served.
    Present,
    /// It is not there, and a control probe answered on the same path.
    Absent,
    /// It cannot be told.
    Unknown,
}

/// An answer and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricObservation {
    /// The answer.
    pub presence: MetricPresence,
    /// Seconds since the epoch.
    pub observed_at: i64,
    /// Since when the target's pods are Ready, in seconds since the epoch, where a snapshot holds it and not the target.
    /// Several targets may share a metric, so what the target itself says goes before it.
    #[serde(default)]
    pub ready_since: Option<i64>,
}
