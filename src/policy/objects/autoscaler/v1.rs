//! `autoscaling/v1`: CPU in the spec, everything else as JSON in annotations.

use serde::Deserialize;

use super::super::de::null_default;
use super::super::object::{Source, typed};
use super::super::{ObjectMeta, ReadError};
use super::{Behavior, CrossReference, Hpa, HpaSpec, HpaStatus, MetricSpec, MetricTarget, ResourceSource};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct V1 {
    #[serde(deserialize_with = "null_default")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    spec: V1Spec,
    #[serde(deserialize_with = "null_default")]
    status: HpaStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct V1Spec {
    #[serde(deserialize_with = "null_default")]
    scale_target_ref: CrossReference,
    min_replicas: Option<i64>,
    max_replicas: Option<i64>,
    #[serde(rename = "targetCPUUtilizationPercentage")]
    target_cpu: Option<i64>,
}

/// Reads a v1 HPA. Annotations that do not parse are left out, as the API server leaves them out.
pub(super) fn read<'de, S: Source<'de>>(from: S) -> Result<Hpa, ReadError> {
    let V1 { metadata, spec, status } = typed(from)?;
    // v1 writes its annotations in the form of v2beta1 (k8s.io/kubernetes pkg/apis/autoscaling/v1/conversion.go).
    let mut metrics: Vec<MetricSpec> =
        metadata.annotations.get(METRICS).and_then(|text| super::v2beta1::metrics_from_json(text)).unwrap_or_default();
    let behavior: Behavior =
        metadata.annotations.get(BEHAVIOR).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if let Some(percent) = spec.target_cpu {
        metrics.push(MetricSpec {
            kind: "Resource".to_owned(),
            resource: Some(ResourceSource {
                name: "cpu".to_owned(),
                container: None,
                target: MetricTarget {
                    kind: "Utilization".to_owned(),
                    average_utilization: Some(percent),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        });
    }
    Ok(Hpa {
        api_version: String::new(),
        metadata,
        spec: HpaSpec {
            scale_target_ref: spec.scale_target_ref,
            min_replicas: spec.min_replicas,
            max_replicas: spec.max_replicas,
            metrics,
            behavior,
        },
        status,
    })
}
