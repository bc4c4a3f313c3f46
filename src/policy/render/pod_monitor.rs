//! Prometheus Operator's PodMonitor.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::policy::settings::Settings;
use crate::policy::workload::Workload;

use super::serving::Serving;
use super::{metadata, object, selector};

/// The PodMonitor of a workload, with the labels by which the Prometheus object selects monitors. They cannot
/// replace ours.
pub(super) fn object_of(
    name: &str,
    workload: &Workload,
    settings: &Settings,
    serving: &Serving,
    port: u16,
    monitor_labels: &BTreeMap<String, String>,
) -> Value {
    let mut metadata = metadata(name, workload, settings);
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        for (key, value) in monitor_labels {
            labels.entry(key.as_str()).or_insert_with(|| json!(value));
        }
    }
    let mut endpoint = Map::new();
    match by_address(workload, serving, port) {
        Some(relabelings) => endpoint.insert("relabelings".to_owned(), relabelings),
        None => endpoint.insert("portNumber".to_owned(), json!(port)),
    };
    endpoint.insert("path".to_owned(), json!(serving.path));
    endpoint.insert("interval".to_owned(), json!(format!("{}s", settings.scrape_interval_seconds)));
    let spec = json!({ "selector": selector(workload), "podMetricsEndpoints": [endpoint] });
    object("monitoring.coreos.com/v1", "PodMonitor", metadata, spec)
}

/// Rules that lead to a port which the container does not declare. The operator makes `portNumber` a rule that keeps the
/// targets whose pods declare it (`generatePodMonitorConfig` of prometheus-operator v0.85.0), so that nothing would be
/// scraped. Without a port it keeps a target for each port of each container, and one for a container that declares none:
/// those of the server all become its address, which Prometheus counts once. `None` for a declared port, and where the
/// container is not known.
fn by_address(workload: &Workload, serving: &Serving, port: u16) -> Option<Value> {
    if serving.declared_ports.contains(&port) {
        return None;
    }
    let container = &workload.server()?.container;
    let address = |of: &str, written: &str| {
        json!({
            "action": "replace", "sourceLabels": ["__meta_kubernetes_pod_ip"], "regex": of,
            "targetLabel": "__address__", "replacement": format!("{written}:{port}"),
        })
    };
    Some(json!([
        { "action": "keep", "sourceLabels": ["__meta_kubernetes_pod_container_name"], "regex": container },
        address("([^:]+)", "$1"),
        address("(.+:.+)", "[$1]"),
    ]))
}

/// Whether the PodMonitor of a workload reaches its port: it is declared, or the container is known.
pub(super) fn reaches(workload: &Workload, serving: &Serving, port: u16) -> bool {
    serving.declared_ports.contains(&port) || by_address(workload, serving, port).is_some()
}
