//! Prometheus Operator's PodMonitor.

use std::collections::BTreeMap;

use serde_json::{Value, json};

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
    let spec = json!({
        "selector": selector(workload),
        "podMetricsEndpoints": [{
            "portNumber": port,
            "path": serving.path,
            "interval": format!("{}s", settings.scrape_interval_seconds),
        }],
    });
    object("monitoring.coreos.com/v1", "PodMonitor", metadata, spec)
}
