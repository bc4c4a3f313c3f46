//! While a rollout is under way, what depends on the pods stays as it is: those that serve are still the old ones, and a
//! rollout that never ends never reaches them.

use serde_json::Value;

use crate::policy::configuration::Signal;
use crate::policy::objects::{Object, PodMonitoring};
use crate::policy::render::PROFILE_LABEL;
use crate::policy::settings::Settings;
use crate::policy::view::Entry;
use crate::policy::workload::Workload;

/// Whether pods of an older template may still be there.
pub(super) fn is_under_way(workload: &Workload) -> bool {
    workload.metadata.generation.is_none_or(|generation| generation > 1)
        && workload.status.replicas > 0
        && !workload.settled()
}

/// Gives a rendered object the parts of the one that is there which depend on the pods: port and path, names of metrics, and
/// targets that follow from the server's ceiling. What an annotation says holds at once.
pub(super) fn follow(value: &mut Value, there: &Entry, settings: &Settings) {
    match &there.object {
        Object::PodMonitoring(PodMonitoring { spec, .. }) => {
            if let Some(endpoint) = spec.endpoints.first() {
                let port = endpoint.port.as_ref().and_then(|port| serde_json::to_value(port).ok());
                serve(&mut value["spec"]["endpoints"][0], "port", port, endpoint.path.as_deref(), settings);
            }
        }
        Object::OperatorMonitor(monitor) => {
            if let Some(endpoint) = monitor.spec.pod_metrics_endpoints.first() {
                let port = endpoint.port_number.map(Value::from);
                serve(
                    &mut value["spec"]["podMetricsEndpoints"][0],
                    "portNumber",
                    port,
                    endpoint.path.as_deref(),
                    settings,
                );
            }
        }
        Object::Hpa(hpa) => {
            let Ok(Value::Array(live)) = serde_json::to_value(&hpa.spec.metrics) else { return };
            let same_profile = hpa.metadata.labels.get(PROFILE_LABEL) == Some(&settings.profile);
            if let Value::Array(wanted) = &mut value["spec"]["metrics"] {
                for metric in wanted.iter_mut() {
                    keep(metric, &live, same_profile, settings);
                }
            }
        }
        _ => {}
    }
}

fn serve(endpoint: &mut Value, field: &str, port: Option<Value>, path: Option<&str>, settings: &Settings) {
    if let (Some(port), None) = (port, settings.metrics_port) {
        endpoint[field] = port;
    }
    if let (Some(path), None) = (path, &settings.metrics_path) {
        endpoint["path"] = path.into();
    }
}

fn keep(metric: &mut Value, live: &[Value], same_profile: bool, settings: &Settings) {
    let Some(signal) = name(metric).and_then(signal) else { return };
    let Some(before) = live.iter().find(|other| name(other).and_then(self::signal) == Some(signal)) else { return };
    metric["pods"]["metric"]["name"] = before["pods"]["metric"]["name"].clone();
    let target = &before["pods"]["target"];
    if same_profile && !settings.explicit_targets.contains(&signal) && target["averageValue"].is_string() {
        metric["pods"]["target"] = target.clone();
    }
}

fn name(metric: &Value) -> Option<&str> {
    metric["pods"]["metric"]["name"].as_str()
}

/// The signal of a metric that we write, whatever the backend's spelling and the release's name.
fn signal(name: &str) -> Option<Signal> {
    let names = [
        ("num_requests_running", Signal::RequestsRunning),
        ("num_requests_waiting", Signal::RequestsWaiting),
        ("cache_usage_perc", Signal::KvCacheUsage),
        ("dcgm_fi_dev_gpu_util", Signal::GpuUtilization),
    ];
    names.into_iter().find(|(part, _)| name.contains(part)).map(|(_, signal)| signal)
}
