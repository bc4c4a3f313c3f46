//! How what we write stands in the API server: whether its spec is as rendered, told without keeping it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::MANAGER;
use crate::policy::objects::{Object, TypeMeta, Written};

/// What makes every pod's series belong to its pod: the adapter filters on it.
const POD: &str = "pod";

/// What is to be remembered of a live object of a kind that we write, from its whole text; `None` for one that no owner
/// manages, and for other kinds.
pub fn written(of: &TypeMeta, object: &Object, text: &str) -> Option<Written> {
    #[derive(Deserialize)]
    struct Whole {
        metadata: Metadata,
        #[serde(default)]
        spec: Value,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        managed_fields: Vec<ManagedFields>,
    }
    #[derive(Deserialize)]
    struct ManagedFields {
        #[serde(default)]
        manager: String,
    }
    if !is_written(of) || object.metadata().controller().is_none() {
        return None;
    }
    let whole: Whole = serde_json::from_str(text).ok()?;
    let by_us = whole.metadata.managed_fields.iter().any(|fields| fields.manager == MANAGER);
    Some(Written { fingerprint: fingerprint(&of.kind, &whole.spec), by_us })
}

/// Whether we write objects of that type.
pub fn is_written(of: &TypeMeta) -> bool {
    matches!(
        (of.group(), of.kind.as_str()),
        ("autoscaling", "HorizontalPodAutoscaler")
            | ("monitoring.googleapis.com", "PodMonitoring")
            | ("monitoring.coreos.com", "PodMonitor")
    )
}

/// A number for the spec of an object of that kind (FNV-1a over 64 bits): equal for what we render and for what the API
/// server makes of it, whatever the order of keys.
pub fn fingerprint(kind: &str, spec: &Value) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    feed(&mut hash, &normal(kind, spec));
    hash
}

/// A spec with what the API server fills in, or without what says nothing.
pub fn normal(kind: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    match kind {
        "HorizontalPodAutoscaler" => {
            if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) {
                // `pkg/apis/autoscaling/v2/defaults.go`: where there is a behavior, both directions are filled in.
                fill(
                    behavior,
                    "scaleUp",
                    &json!({ "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                        { "type": "Pods", "value": 4, "periodSeconds": 15 },
                        { "type": "Percent", "value": 100, "periodSeconds": 15 },
                    ] }),
                );
                fill(
                    behavior,
                    "scaleDown",
                    &json!({ "selectPolicy": "Max", "policies": [
                        { "type": "Percent", "value": 100, "periodSeconds": 15 },
                    ] }),
                );
            }
        }
        "PodMonitoring" => {
            // The CRD fills in every label of the pod but its node, a list that has grown between its releases.
            if let Some(labels) = spec.get_mut("targetLabels").and_then(Value::as_object_mut) {
                let names = labels.get("metadata").and_then(Value::as_array);
                if names.is_some_and(|names| names.iter().any(|name| name == POD)) {
                    labels.shift_remove("metadata");
                }
                if labels.is_empty()
                    && let Some(spec) = spec.as_object_mut()
                {
                    spec.shift_remove("targetLabels");
                }
            }
        }
        _ => {}
    }
    spec
}

fn fill(behavior: &mut Map<String, Value>, direction: &str, defaults: &Value) {
    let rules = behavior.entry(direction).or_insert_with(|| json!({}));
    if let (Some(rules), Some(defaults)) = (rules.as_object_mut(), defaults.as_object()) {
        for (key, value) in defaults {
            rules.entry(key.as_str()).or_insert_with(|| value.clone());
        }
    }
}

fn feed(hash: &mut u64, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            bytes(hash, b"{");
            for (key, value) in sorted {
                text(hash, key);
                feed(hash, value);
            }
            bytes(hash, b"}");
        }
        Value::Array(items) => {
            bytes(hash, b"[");
            for item in items {
                feed(hash, item);
            }
            bytes(hash, b"]");
        }
        Value::String(string) => text(hash, string),
        other => {
            bytes(hash, b"=");
            bytes(hash, other.to_string().as_bytes());
        }
    }
}

/// With its length, so that no two neighbours look like others.
fn text(hash: &mut u64, text: &str) {
    bytes(hash, b"\"");
    bytes(hash, text.len().to_string().as_bytes());
    bytes(hash, b"\"");
    bytes(hash, text.as_bytes());
}

fn bytes(hash: &mut u64, bytes: &[u8]) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HPA: &str = "HorizontalPodAutoscaler";

    #[test]
    fn what_the_api_server_fills_in_is_no_difference() {
        let rendered = json!({ "maxReplicas": 5, "behavior": { "scaleDown": { "stabilizationWindowSeconds": 30,
            "policies": [{ "type": "Percent", "value": 100, "periodSeconds": 15 }] } } });
        let stored = json!({ "behavior": {
            "scaleUp": { "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                { "value": 4, "type": "Pods", "periodSeconds": 15 },
                { "type": "Percent", "value": 100, "periodSeconds": 15 }] },
            "scaleDown": { "selectPolicy": "Max", "stabilizationWindowSeconds": 30,
                "policies": [{ "type": "Percent", "value": 100, "periodSeconds": 15 }] } }, "maxReplicas": 5 });
        assert_eq!(fingerprint(HPA, &rendered), fingerprint(HPA, &stored));
        let labels = json!({ "selector": {}, "targetLabels": { "metadata": ["container", "pod"] } });
        assert_eq!(fingerprint("PodMonitoring", &labels), fingerprint("PodMonitoring", &json!({ "selector": {} })));
    }

    #[test]
    fn any_other_change_is_a_difference() {
        let rendered = json!({ "maxReplicas": 5, "metrics": [{ "type": "Pods" }] });
        for changed in [
            json!({ "maxReplicas": 6, "metrics": [{ "type": "Pods" }] }),
            json!({ "maxReplicas": 5, "metrics": [] }),
            json!({ "maxReplicas": 5, "metrics": [{ "type": "Pods" }], "behavior": {} }),
            json!({ "maxReplicas": "5", "metrics": [{ "type": "Pods" }] }),
        ] {
            assert_ne!(fingerprint(HPA, &rendered), fingerprint(HPA, &changed), "{changed}");
        }
        let without_pod = json!({ "selector": {}, "targetLabels": { "metadata": [] } });
        assert_ne!(
            fingerprint("PodMonitoring", &without_pod),
            fingerprint("PodMonitoring", &json!({ "selector": {} }))
        );
    }

    #[test]
    fn an_object_is_by_us_when_our_field_manager_wrote_of_it() {
        let read = |manager: &str, owners: Value| {
            let value = json!({ "apiVersion": "autoscaling/v2", "kind": HPA,
                "metadata": { "name": "a", "ownerReferences": owners,
                    "managedFields": [{ "manager": "kubectl" }, { "manager": manager }] },
                "spec": { "maxReplicas": 5 } });
            let (of, object) = Object::from_value(&value).unwrap();
            written(&of, &object, &value.to_string())
        };
        let owner = json!([{ "kind": "Deployment", "name": "a", "uid": "1", "controller": true }]);
        assert_eq!(read("scalegate", owner.clone()).map(|written| written.by_us), Some(true));
        assert_eq!(read("scalegate-lease", owner).map(|written| written.by_us), Some(false));
        assert_eq!(read("scalegate", json!([])), None);
    }
}
