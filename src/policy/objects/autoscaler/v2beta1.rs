//! `autoscaling/v2beta1`: metric names and targets stand flat in each source.

use serde::Deserialize;

use super::super::de::null_default;
use super::super::object::{Source, typed};
use super::super::{LabelSelector, ObjectMeta, Quantity, ReadError};
use super::{
    CrossReference, Hpa, HpaSpec, HpaStatus, MetricIdentifier, MetricSpec, MetricTarget, NamedSource, ObjectSource,
    PodsSource, ResourceSource,
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Beta {
    #[serde(deserialize_with = "null_default")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    spec: BetaSpec,
    #[serde(deserialize_with = "null_default")]
    status: HpaStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BetaSpec {
    #[serde(deserialize_with = "null_default")]
    scale_target_ref: CrossReference,
    min_replicas: Option<i64>,
    max_replicas: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    metrics: Vec<BetaMetric>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BetaMetric {
    #[serde(rename = "type")]
    kind: String,
    pods: Option<BetaSource>,
    object: Option<BetaSource>,
    external: Option<BetaSource>,
    resource: Option<BetaSource>,
    container_resource: Option<BetaSource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BetaSource {
    metric_name: String,
    name: String,
    container: Option<String>,
    target: CrossReference,
    selector: Option<LabelSelector>,
    metric_selector: Option<LabelSelector>,
    target_average_value: Option<Quantity>,
    target_value: Option<Quantity>,
    average_value: Option<Quantity>,
    target_average_utilization: Option<i64>,
}

/// Reads a v2beta1 HPA.
pub(super) fn read<'de, S: Source<'de>>(from: S) -> Result<Hpa, ReadError> {
    let Beta { metadata, spec, status } = typed(from)?;
    Ok(Hpa {
        api_version: String::new(),
        metadata,
        spec: HpaSpec {
            scale_target_ref: spec.scale_target_ref,
            min_replicas: spec.min_replicas,
            max_replicas: spec.max_replicas,
            metrics: spec.metrics.into_iter().map(MetricSpec::from).collect(),
            behavior: super::Behavior::default(),
        },
        status,
    })
}

/// The metrics that a v1 HPA keeps in an annotation; `None` when the text is not of that form.
pub(super) fn metrics_from_json(text: &str) -> Option<Vec<MetricSpec>> {
    let metrics: Vec<BetaMetric> = serde_json::from_str(text).ok()?;
    Some(metrics.into_iter().map(MetricSpec::from).collect())
}

// === impl MetricSpec ===

impl From<BetaMetric> for MetricSpec {
    fn from(metric: BetaMetric) -> Self {
        Self {
            kind: metric.kind,
            pods: metric.pods.map(|source| PodsSource { metric: source.identifier(), target: source.target() }),
            object: metric.object.map(|source| ObjectSource {
                metric: source.identifier(),
                target: source.target(),
                described_object: source.target,
            }),
            external: metric
                .external
                .map(|source| NamedSource { metric: source.identifier(), target: source.target() }),
            resource: metric.resource.map(BetaSource::into_resource),
            container_resource: metric.container_resource.map(BetaSource::into_resource),
        }
    }
}

// === impl BetaSource ===

impl BetaSource {
    fn identifier(&self) -> MetricIdentifier {
        let selector = self.selector.clone().or_else(|| self.metric_selector.clone());
        MetricIdentifier { name: self.metric_name.clone(), selector }
    }

    fn target(&self) -> MetricTarget {
        let average = self.target_average_value.clone().or_else(|| self.average_value.clone());
        let kind = if self.target_average_utilization.is_some() {
            "Utilization"
        } else if average.is_some() {
            "AverageValue"
        } else {
            "Value"
        };
        MetricTarget {
            kind: kind.to_owned(),
            average_value: average,
            value: self.target_value.clone(),
            average_utilization: self.target_average_utilization,
        }
    }

    fn into_resource(self) -> ResourceSource {
        ResourceSource { target: self.target(), name: self.name, container: self.container }
    }
}
