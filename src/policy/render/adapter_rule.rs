//! prometheus-adapter's rules for the metrics that our HPAs name on `prometheus-operator`. They are printed, never
//! applied: the adapter's ConfigMap is the administrator's.

use serde_json::{Value, json};

use crate::policy::configuration::{BackendKind, Configuration, Signal};
use crate::policy::engine::Version;
use crate::policy::settings::Settings;
use crate::policy::settings::profiles::{self, Resolved};
use crate::policy::workload::Workload;

use super::metric::{series_for, series_name, spelled};
use super::serving::serving;

/// The rule that makes a signal's metric, as an entry of `rules:` in the adapter's configuration.
pub fn adapter_rule(signal: Signal, version: Option<Version>) -> Value {
    rule(signal, series_name(signal, version))
}

/// Counts of several engine ranks add up; shares are averaged; the GPU series is already one number a pod, so its
/// duplicates (two Prometheus servers behind one query) count once.
fn rule(signal: Signal, series: &str) -> Value {
    let aggregation = match signal {
        Signal::RequestsRunning | Signal::RequestsWaiting => "sum",
        Signal::KvCacheUsage => "avg",
        Signal::GpuUtilization => "max",
    };
    json!({
        "seriesQuery": format!("{series}{{namespace!=\"\",pod!=\"\"}}"),
        "resources": { "overrides": { "namespace": { "resource": "namespace" }, "pod": { "resource": "pod" } } },
        "name": { "matches": format!("^{series}$"), "as": spelled(series, BackendKind::PrometheusOperator) },
        "metricsQuery": format!("{aggregation}(<<.Series>>{{<<.LabelMatchers>>}}) by (<<.GroupBy>>)"),
    })
}

/// The rules for what a workload's settings render, in the order of the HPA's metrics; empty on other backends, and when
/// nothing can be rendered.
pub fn adapter_rules(workload: &Workload, settings: &Settings, configuration: &Configuration) -> Vec<Value> {
    if configuration.backend.kind != BackendKind::PrometheusOperator {
        return Vec::new();
    }
    let Ok(serving) = serving(workload, settings) else { return Vec::new() };
    let rendered = |signal, target| {
        let explicit = settings.explicit_targets.contains(&signal);
        let resolved = profiles::resolve(signal, target, explicit, serving.ceiling, &settings.behavior);
        matches!(resolved, Resolved::Target(_))
    };
    settings
        .metrics
        .iter()
        .filter(|(signal, target)| rendered(*signal, target))
        .map(|(signal, _)| rule(*signal, series_for(*signal, &serving)))
        .collect()
}
