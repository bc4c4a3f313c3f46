//! The administrator's document (`kind: Configuration`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::objects::{Behavior, LabelSelector, Quantity, Taint};

mod defaults;
mod document;
mod keys;
mod read;
#[cfg(test)]
mod tests;

/// The document's version.
pub const API_VERSION: &str = "scalegate.dev/v1alpha1";
/// The document's kind.
pub const KIND: &str = "Configuration";

/// What the administrator decides, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The profile of `scalegate.dev/autoscale: enabled`.
    pub default_profile: String,
    /// Upper bound of replicas where neither profile nor annotation gives one.
    pub max_replicas: i64,
    /// How metrics reach the HPA.
    pub backend: Backend,
    /// Whether HPAs without any tie to inference are judged too.
    pub scope: Scope,
    /// How rules are enforced.
    pub enforcement: Enforcement,
    /// Rules that tenants may skip by annotation.
    pub allow_skip: Vec<String>,
    /// Rules and adapters are applied before HPAs, so a name that nothing in view makes is wrong.
    pub makers_first: bool,
    /// What is not judged.
    pub exempt: Vec<Exemption>,
    /// Node pools that the cluster itself cannot tell.
    pub pools: Pools,
    /// Extended resources that count as accelerators, beside those of the known device plugins.
    pub accelerator_resources: Vec<String>,
    /// Profiles beside the built-in ones.
    pub profiles: BTreeMap<String, Profile>,
    /// Whether `prometheus.io/*` annotations are written on pod templates.
    pub inject_pod_annotations: bool,
    /// How metrics APIs are asked.
    pub probes: Probes,
}

/// How metrics reach the HPA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Kind.
    pub kind: BackendKind,
    /// Labels put on a PodMonitor, so that the Prometheus object selects it.
    pub monitor_labels: BTreeMap<String, String>,
    /// `namespace/name` of prometheus-adapter's ConfigMap.
    pub adapter_config_map: Option<String>,
}

/// The known backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// Google Managed Service for Prometheus: PodMonitoring and the Stackdriver adapter.
    #[default]
    Gmp,
    /// Prometheus Operator: PodMonitor and prometheus-adapter.
    PrometheusOperator,
    /// KEDA: recognised, nothing is generated.
    Keda,
    /// GKE's managed metrics adapter (AutoscalingMetric): recognised, nothing is generated.
    GkeManaged,
}

/// Which HPAs are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those with a tie to inference.
    #[default]
    Inference,
    /// All.
    All,
}

/// How grave a rule's findings may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The rule is not asked.
    Off,
    /// Logs, metrics and reports only.
    Audit,
    /// At most a warning.
    Warn,
    /// May deny.
    Deny,
}

/// Enforcement, globally and by namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enforcement {
    /// A cap for all rules; `None` leaves each rule its default.
    pub mode: Option<Level>,
    /// Level by rule id.
    pub rules: BTreeMap<String, Level>,
    /// Overrides, the first match counts.
    pub namespaces: Vec<NamespaceEnforcement>,
}

/// Enforcement in the namespaces that a selector matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamespaceEnforcement {
    /// On the namespace's labels; `kubernetes.io/metadata.name` is always there.
    pub selector: LabelSelector,
    /// As [`Enforcement::mode`].
    pub mode: Option<Level>,
    /// As [`Enforcement::rules`].
    pub rules: BTreeMap<String, Level>,
}

/// Objects that are not judged. Every list that is not empty must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemption {
    /// Namespaces; `*` at the end matches any rest.
    pub namespaces: Vec<String>,
    /// Object names, with the same `*`.
    pub names: Vec<String>,
    /// Rules; empty means all.
    pub rules: Vec<String>,
}

/// What is declared about node pools.
#[derive(Clone, Debug, PartialEq)]
pub struct Pools {
    /// The declared and visible pools are all there are.
    pub complete: bool,
    /// Nodes with accelerators may appear unannounced (node auto-provisioning, Autopilot).
    pub provisioning: bool,
    /// Declared pools.
    pub items: Vec<DeclaredPool>,
    /// Labels whose value names a pool.
    pub identity_labels: Vec<String>,
}

/// A declared pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclaredPool {
    /// Name.
    pub name: String,
    /// Labels of its nodes.
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes.
    pub taints: Vec<Taint>,
    /// Allocatable resources of one node.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Fewest nodes.
    pub min_nodes: Option<i64>,
    /// Most nodes.
    pub max_nodes: Option<i64>,
}

/// A named set of metrics, targets and behaviour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Metrics with their targets per pod.
    pub metrics: Vec<ProfileMetric>,
    /// Fewest replicas.
    pub min_replicas: Option<i64>,
    /// Most replicas.
    pub max_replicas: Option<i64>,
    /// Behaviour.
    pub behavior: Behavior,
}

/// One metric of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileMetric {
    /// What is measured.
    pub signal: Signal,
    /// Average per pod.
    pub target: ProfileTarget,
}

/// What can be scaled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// Requests being run.
    RequestsRunning,
    /// Requests that wait.
    RequestsWaiting,
    /// Share of the KV cache in use, 0 to 1.
    KvCacheUsage,
    /// GPU utilisation, 0 to 100.
    GpuUtilization,
}

/// A target: fixed, or a share of the server's ceiling.
#[derive(Clone, Debug, PartialEq)]
pub enum ProfileTarget {
    /// This much per pod.
    Fixed(Quantity),
    /// The whole number below `share x ceiling`; `otherwise` when the ceiling is unknown, and no metric without it.
    OfCeiling {
        /// Share of the ceiling, in per cent.
        percent: u32,
        /// Target when the ceiling is unknown.
        otherwise: Option<Quantity>,
    },
}

/// How metrics APIs are asked. Durations in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Probes {
    /// Between two probes of a metric.
    pub interval_seconds: u64,
    /// How long a target's pods are Ready before a missing metric counts.
    pub settle_seconds: u64,
    /// When an answer is too old to prove absence.
    pub stale_after_seconds: u64,
    /// Probes per minute, all together.
    pub per_minute: u32,
    /// The bounded look at admission, in milliseconds.
    pub look_milliseconds: u64,
    /// A metric known to exist, asked on the same path.
    pub control: Option<String>,
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigurationProblem {
    /// The field, as kubectl writes it; empty for the document itself.
    pub field: String,
    /// What is wrong with it: a clause that follows the field.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Reads a document strictly; names of rules are not checked.
///
/// # Errors
/// Everything that is wrong with it; of values of a wrong type, the first.
pub fn read(document: &serde_json::Value) -> Result<Configuration, Vec<ConfigurationProblem>> {
    read::read(document, &[])
}

/// As [`read()`], with the ids of all rules, so that an unknown one is a problem too.
///
/// # Errors
/// As [`read()`].
pub fn read_with(document: &serde_json::Value, rule_ids: &[&str]) -> Result<Configuration, Vec<ConfigurationProblem>> {
    read::read(document, rule_ids)
}

/// The JSON Schema of the document. It is strict about keys and types; names and ranges that depend on other fields are
/// checked by [`read()`] alone.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(document::Document).to_value()
}
