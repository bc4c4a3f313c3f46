//! Autoscalers: HorizontalPodAutoscaler, ScaledObject, MultidimPodAutoscaler.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::object::{Source, typed};
use super::{LabelSelector, ObjectMeta, Quantity, ReadError, TypeMeta};

mod standing;
mod v1;
mod v2beta1;

pub use standing::{Refusal, Standing};

/// A HorizontalPodAutoscaler, whatever version wrote it, read in the form of `autoscaling/v2`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hpa {
    /// The version it was written in.
    #[serde(deserialize_with = "null_default")]
    pub api_version: String,
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What it should do.
    #[serde(deserialize_with = "null_default")]
    pub spec: HpaSpec,
    /// What it found.
    #[serde(deserialize_with = "null_default")]
    pub status: HpaStatus,
}

/// `spec` of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaSpec {
    /// The scale target.
    #[serde(deserialize_with = "null_default")]
    pub scale_target_ref: CrossReference,
    /// 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i64>,
    /// Required by the API; `None` only in a file that lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i64>,
    /// Metrics; the largest proposal wins.
    #[serde(deserialize_with = "null_default")]
    pub metrics: Vec<MetricSpec>,
    /// How fast it may move.
    #[serde(deserialize_with = "null_default")]
    pub behavior: Behavior,
}

/// `status` of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaStatus {
    /// Replicas when it last looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i64>,
    /// Whether it scales, as its conditions say.
    #[serde(rename = "conditions", skip_serializing_if = "Standing::is_unknown")]
    pub standing: Standing,
}

/// A reference to an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrossReference {
    /// Group and version; empty means the core group.
    #[serde(deserialize_with = "null_default")]
    pub api_version: String,
    /// Kind.
    #[serde(deserialize_with = "null_default")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

/// One metric of an HPA. `kind` names the source that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSpec {
    /// `Pods`, `Object`, `External`, `Resource` or `ContainerResource`.
    #[serde(deserialize_with = "null_default", rename = "type")]
    pub kind: String,
    /// An average over the target's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsSource>,
    /// A metric of one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectSource>,
    /// A metric from outside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<NamedSource>,
    /// CPU or memory of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceSource>,
    /// CPU or memory of one container of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_resource: Option<ResourceSource>,
}

/// Source of type `Pods`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodsSource {
    /// The metric.
    #[serde(deserialize_with = "null_default")]
    pub metric: MetricIdentifier,
    /// The target.
    #[serde(deserialize_with = "null_default")]
    pub target: MetricTarget,
}

/// Source of type `Object`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectSource {
    /// The object that the metric describes.
    #[serde(deserialize_with = "null_default")]
    pub described_object: CrossReference,
    /// The metric.
    #[serde(deserialize_with = "null_default")]
    pub metric: MetricIdentifier,
    /// The target.
    #[serde(deserialize_with = "null_default")]
    pub target: MetricTarget,
}

/// Source of type `External`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedSource {
    /// The metric.
    #[serde(deserialize_with = "null_default")]
    pub metric: MetricIdentifier,
    /// The target.
    #[serde(deserialize_with = "null_default")]
    pub target: MetricTarget,
}

/// Source of type `Resource` or `ContainerResource`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSource {
    /// `cpu` or `memory`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Container, for `ContainerResource`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The target.
    #[serde(deserialize_with = "null_default")]
    pub target: MetricTarget,
}

/// A metric's name and the labels that narrow it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricIdentifier {
    /// Name, in the adapter's spelling.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Labels of the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A target value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricTarget {
    /// `AverageValue`, `Value` or `Utilization`.
    #[serde(deserialize_with = "null_default", rename = "type")]
    pub kind: String,
    /// Average per pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// Value of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
    /// Per cent of the pods' requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<i64>,
}

/// How fast an HPA may move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// Upwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// Downwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// Limits in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingRules {
    /// Seconds, 0 to 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilization_window_seconds: Option<i64>,
    /// `Max`, `Min` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<String>,
    /// Policies.
    #[serde(deserialize_with = "null_default")]
    pub policies: Vec<ScalingPolicy>,
    /// A ratio; the cluster's default is 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
}

/// At most so much in so long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingPolicy {
    /// `Pods` or `Percent`.
    #[serde(deserialize_with = "null_default", rename = "type")]
    pub kind: String,
    /// Pods, or per cent of the present replicas.
    #[serde(deserialize_with = "null_default")]
    pub value: i64,
    /// Seconds, 1 to 1800.
    #[serde(deserialize_with = "null_default")]
    pub period_seconds: i64,
}

/// KEDA's ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObject {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What it should do.
    #[serde(deserialize_with = "null_default")]
    pub spec: ScaledObjectSpec,
}

/// `spec` of a ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObjectSpec {
    /// The scale target; KEDA takes `apps/v1` Deployment when kind and version are unset.
    #[serde(deserialize_with = "null_default")]
    pub scale_target_ref: CrossReference,
    /// 0 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i64>,
    /// 100 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i64>,
    /// Triggers.
    #[serde(deserialize_with = "null_default")]
    pub triggers: Vec<Trigger>,
    /// Other settings, such as the HPA's name.
    #[serde(deserialize_with = "null_default")]
    pub advanced: serde_json::Value,
}

/// One trigger of a ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trigger {
    /// Scaler, such as `prometheus`.
    #[serde(deserialize_with = "null_default", rename = "type")]
    pub kind: String,
    /// `AverageValue` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
    /// The scaler's settings; `query` and `threshold` for Prometheus.
    #[serde(deserialize_with = "null_default")]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// GKE's MultidimPodAutoscaler, known only as a second autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MultidimPodAutoscaler {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What it should do.
    #[serde(deserialize_with = "null_default")]
    pub spec: MultidimSpec,
}

/// `spec` of a MultidimPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MultidimSpec {
    /// The scale target.
    #[serde(deserialize_with = "null_default")]
    pub scale_target_ref: CrossReference,
}
/// Reads an HPA of any version that was ever served, in the form of `autoscaling/v2`.
///
/// # Errors
/// When a field has another type than its version gives it.
pub(super) fn read_hpa<'de, S: Source<'de>>(of: &TypeMeta, from: S) -> Result<Hpa, ReadError> {
    let mut hpa = match of.version() {
        "v1" => v1::read(from)?,
        "v2beta1" => v2beta1::read(from)?,
        _ => typed::<Hpa, _>(from)?,
    };
    hpa.api_version.clone_from(&of.api_version);
    Ok(hpa)
}
