//! GMP's PodMonitoring.

use serde_json::{Value, json};

use crate::policy::settings::Settings;
use crate::policy::workload::Workload;

use super::serving::Serving;
use super::{metadata, object, selector};

/// The PodMonitoring of a workload. The port is a number, because a named port that the container does not declare
/// silently drops every target; `targetLabels` stays unset, because its default keeps `pod`, which the adapter needs.
pub(super) fn object_of(name: &str, workload: &Workload, settings: &Settings, serving: &Serving, port: u16) -> Value {
    let spec = json!({
        "selector": selector(workload),
        "endpoints": [{
            "port": port,
            "path": serving.path,
            "interval": format!("{}s", settings.scrape_interval_seconds),
        }],
    });
    object("monitoring.googleapis.com/v1", "PodMonitoring", metadata(name, workload, settings), spec)
}
