//! What scrapes pods and what computes series: the kinds of GMP and of the Prometheus Operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::{IntOrString, LabelSelector, ObjectMeta, PodMonitoringStatus};

/// GMP's PodMonitoring, or ClusterPodMonitoring when `cluster` is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitoring {
    /// Whether it is the cluster-scoped kind.
    #[serde(skip)]
    pub cluster: bool,
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What it scrapes.
    #[serde(deserialize_with = "null_default")]
    pub spec: PodMonitoringSpec,
    /// What its collectors found.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "PodMonitoringStatus::is_silent")]
    pub status: PodMonitoringStatus,
}

/// `spec` of a PodMonitoring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitoringSpec {
    /// Pods.
    #[serde(deserialize_with = "null_default")]
    pub selector: LabelSelector,
    /// Endpoints of each pod.
    #[serde(deserialize_with = "null_default")]
    pub endpoints: Vec<Endpoint>,
    /// Labels put on every series.
    #[serde(deserialize_with = "null_default")]
    pub target_labels: TargetLabels,
}

/// Labels that GMP puts on every series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetLabels {
    /// Subset of container, node, pod and the top-level controller; all but node when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Vec<String>>,
}

/// A port that is scraped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Number or name of a declared container port (GMP, Operator).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
    /// Prometheus Operator's older form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// Prometheus Operator's form for a port that is not declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_number: Option<i64>,
    /// `/metrics` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Prometheus Operator's rules on targets, before they are scraped.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub relabelings: Vec<RelabelRule>,
    /// GMP's rules on series.
    #[serde(deserialize_with = "null_default")]
    pub metric_relabeling: Vec<RelabelRule>,
    /// Prometheus Operator's rules on series.
    #[serde(deserialize_with = "null_default")]
    pub metric_relabelings: Vec<RelabelRule>,
}

/// A relabelling rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelabelRule {
    /// Labels whose values are joined and matched.
    #[serde(deserialize_with = "null_default")]
    pub source_labels: Vec<String>,
    /// `;` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Anchored expression, `(.*)` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Label that is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_label: Option<String>,
    /// `$1` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
    /// `replace` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// Prometheus Operator's PodMonitor or ServiceMonitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperatorMonitor {
    /// Whether it is a ServiceMonitor, which selects Services.
    #[serde(skip)]
    pub service: bool,
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What it scrapes.
    #[serde(deserialize_with = "null_default")]
    pub spec: OperatorMonitorSpec,
}

/// `spec` of a PodMonitor or ServiceMonitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperatorMonitorSpec {
    /// Pods, or Services.
    #[serde(deserialize_with = "null_default")]
    pub selector: LabelSelector,
    /// Where; its own namespace when unset.
    #[serde(deserialize_with = "null_default")]
    pub namespace_selector: NamespaceSelector,
    /// Endpoints of a PodMonitor.
    #[serde(deserialize_with = "null_default")]
    pub pod_metrics_endpoints: Vec<Endpoint>,
    /// Endpoints of a ServiceMonitor.
    #[serde(deserialize_with = "null_default")]
    pub endpoints: Vec<Endpoint>,
}

/// Namespaces that a monitor looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// All of them.
    #[serde(deserialize_with = "null_default")]
    pub any: bool,
    /// These.
    #[serde(deserialize_with = "null_default")]
    pub match_names: Vec<String>,
}

impl NamespaceSelector {
    /// Whether it names more than the object's own namespace.
    pub fn reaches_others(&self) -> bool {
        self.any || !self.match_names.is_empty()
    }
}

/// Rules, ClusterRules, GlobalRules (GMP) or PrometheusRule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordingRules {
    /// Kind.
    #[serde(skip)]
    pub kind: String,
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Groups.
    #[serde(deserialize_with = "null_default")]
    pub spec: RulesSpec,
}

/// `spec` of the rule kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RulesSpec {
    /// Groups.
    #[serde(deserialize_with = "null_default")]
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleGroup {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Rules.
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<Rule>,
}

/// A recording rule (or an alert, then `record` is unset).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The name it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// PromQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expr: Option<IntOrString>,
    /// Labels put on the result.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
}

/// GKE's AutoscalingMetric: metrics that the managed adapter serves under this object's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalingMetric {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Read only for the names it makes.
    #[serde(deserialize_with = "null_default")]
    pub spec: serde_json::Value,
}
