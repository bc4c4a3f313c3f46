//! The objects that all GPU-metric HPAs of a cluster share: what scrapes NVIDIA's DCGM exporter, and the recording rule
//! that turns its series, one a GPU, into one number a pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::policy::configuration::BackendKind;

use super::metric::GPU_SERIES;
use super::{MANAGED_BY, MANAGER, PROFILE_LABEL, object};

/// The counter of the exporter, a gauge from 0 to 100.
const COUNTER: &str = "DCGM_FI_DEV_GPU_UTIL";
/// Name of the shared objects.
const NAME: &str = "scalegate-gpu-utilization";
/// What names a device within a pod: the index on its node, the GPU, and the MIG instance. Not `Hostname`, `job` or
/// `instance`: two exporters on one node differ in them.
const DEVICE: &str = "gpu, UUID, GPU_I_ID";
/// `app.kubernetes.io/name` of the exporter's Service: NVIDIA's chart, GKE's managed exporter, the Kubernetes examples.
const SERVICES: [&str; 3] = ["dcgm-exporter", "gke-managed-dcgm-exporter", "gpu-dcgm-exporter"];

/// The shared objects of a backend: ClusterPodMonitoring and ClusterRules on `gmp`, ServiceMonitor and PrometheusRule on
/// `prometheus-operator`, none elsewhere. No namespace is set: the last two go where they are applied.
pub fn shared_gpu_objects(backend: BackendKind) -> Vec<Value> {
    shared_gpu_objects_labelled(backend, &BTreeMap::new())
}

/// As [`shared_gpu_objects`], with the labels by which the Prometheus object selects monitors and rules.
pub fn shared_gpu_objects_labelled(backend: BackendKind, labels: &BTreeMap<String, String>) -> Vec<Value> {
    match backend {
        BackendKind::Gmp => vec![cluster_pod_monitoring(), cluster_rules()],
        BackendKind::PrometheusOperator => vec![service_monitor(labels), prometheus_rule(labels)],
        BackendKind::Keda | BackendKind::GkeManaged => Vec::new(),
    }
}

fn metadata(labels: &BTreeMap<String, String>) -> Value {
    let mut all = Map::new();
    all.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    all.insert(PROFILE_LABEL.to_owned(), json!("gpu-metrics"));
    for (key, value) in labels {
        all.entry(key.as_str()).or_insert_with(|| json!(value));
    }
    json!({ "name": NAME, "labels": all })
}

/// One number a pod: the mean over its devices of the maximum over duplicate series (two scrapers of one exporter, two
/// exporters on one node). `keep` are the labels that tell pods apart. Series of idle GPUs have no pod, and series whose
/// `pod` is the exporter's own carry the real one in `exported_pod`: neither is counted.
pub(super) fn expression(keep: &str) -> String {
    format!("avg by ({keep}) (max by ({keep}, {DEVICE}) ({COUNTER}{{namespace!=\"\", pod!=\"\", exported_pod=\"\"}}))")
}

/// Labels that the Stackdriver adapter filters on.
const GMP_LABELS: &str = "project_id, location, cluster, namespace, pod";
/// Labels that prometheus-adapter maps to objects.
const PROMETHEUS_LABELS: &str = "namespace, pod";

fn groups(keep: &str) -> Value {
    json!([{
        "name": "scalegate.dcgm",
        "interval": "15s",
        "rules": [{ "record": GPU_SERIES, "expr": expression(keep) }],
    }])
}

/// Without `targetLabels.metadata: []` GMP would overwrite the exporter's `pod` and `namespace` labels, which name the
/// workload's pods, with those of the exporter itself.
fn cluster_pod_monitoring() -> Value {
    let spec = json!({
        "selector": { "matchLabels": { "app.kubernetes.io/name": "gke-managed-dcgm-exporter" } },
        "endpoints": [{
            "port": "metrics",
            "interval": "15s",
            // Relabelling anchors the expression at both ends.
            "metricRelabeling": [{ "sourceLabels": ["__name__"], "regex": COUNTER, "action": "keep" }],
        }],
        "targetLabels": { "metadata": [] },
    });
    object("monitoring.googleapis.com/v1", "ClusterPodMonitoring", metadata(&BTreeMap::new()), spec)
}

/// ClusterRules and not Rules: the latter see only series of their own namespace.
fn cluster_rules() -> Value {
    let spec = json!({ "groups": groups(GMP_LABELS) });
    object("monitoring.googleapis.com/v1", "ClusterRules", metadata(&BTreeMap::new()), spec)
}

/// `honorLabels` keeps the exporter's `pod` and `namespace` labels, which name the workload's pods.
fn service_monitor(labels: &BTreeMap<String, String>) -> Value {
    let spec = json!({
        "selector": {
            "matchExpressions": [{ "key": "app.kubernetes.io/name", "operator": "In", "values": SERVICES }],
        },
        "namespaceSelector": { "any": true },
        "endpoints": [{
            "port": "metrics",
            "interval": "15s",
            "honorLabels": true,
            "metricRelabelings": [{ "sourceLabels": ["__name__"], "regex": COUNTER, "action": "keep" }],
        }],
    });
    object("monitoring.coreos.com/v1", "ServiceMonitor", metadata(labels), spec)
}

fn prometheus_rule(labels: &BTreeMap<String, String>) -> Value {
    let spec = json!({ "groups": groups(PROMETHEUS_LABELS) });
    object("monitoring.coreos.com/v1", "PrometheusRule", metadata(labels), spec)
}

#[cfg(test)]
mod tests;
