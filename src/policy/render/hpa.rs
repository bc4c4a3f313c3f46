//! The HorizontalPodAutoscaler.

use serde_json::{Map, Value, json};

use crate::policy::objects::{Behavior, ScalingRules};
use crate::policy::settings::Settings;
use crate::policy::workload::Workload;

use super::{Metric, metadata, object};

/// The HPA of a workload. It never says anything about `replicas`.
pub(super) fn object_of(name: &str, workload: &Workload, settings: &Settings, metrics: &[Metric]) -> Value {
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|metric| {
            json!({
                "type": "Pods",
                "pods": {
                    "metric": { "name": metric.name },
                    "target": { "type": "AverageValue", "averageValue": metric.average.text() },
                },
            })
        })
        .collect();
    let mut spec = Map::new();
    spec.insert(
        "scaleTargetRef".to_owned(),
        json!({
            "apiVersion": workload.kind.api_version(),
            "kind": workload.kind.name(),
            "name": workload.metadata.name,
        }),
    );
    spec.insert("minReplicas".to_owned(), json!(settings.min_replicas));
    spec.insert("maxReplicas".to_owned(), json!(settings.max_replicas));
    spec.insert("metrics".to_owned(), Value::Array(metrics));
    if let Some(behavior) = behavior(&settings.behavior) {
        spec.insert("behavior".to_owned(), behavior);
    }
    object("autoscaling/v2", "HorizontalPodAutoscaler", metadata(name, workload, settings), Value::Object(spec))
}

/// Only what is decided: an absent direction keeps the cluster's defaults.
fn behavior(behavior: &Behavior) -> Option<Value> {
    let mut both = Map::new();
    for (name, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
        if let Some(rules) = rules {
            both.insert(name.to_owned(), direction(rules));
        }
    }
    (!both.is_empty()).then_some(Value::Object(both))
}

fn direction(rules: &ScalingRules) -> Value {
    let mut direction = Map::new();
    if let Some(window) = rules.stabilization_window_seconds {
        direction.insert("stabilizationWindowSeconds".to_owned(), json!(window));
    }
    if let Some(policy) = &rules.select_policy {
        direction.insert("selectPolicy".to_owned(), json!(policy));
    }
    if !rules.policies.is_empty() {
        let policies: Vec<Value> = rules
            .policies
            .iter()
            .map(|policy| json!({ "type": policy.kind, "value": policy.value, "periodSeconds": policy.period_seconds }))
            .collect();
        direction.insert("policies".to_owned(), Value::Array(policies));
    }
    if let Some(tolerance) = &rules.tolerance {
        direction.insert("tolerance".to_owned(), json!(super::quantity::canonical(tolerance).text()));
    }
    Value::Object(direction)
}
