//! prometheus-adapter's rules for the metrics that our HPAs name on `prometheus-operator`. They are printed, never
//! applied: the adapter's ConfigMap is the administrator's.

use serde_json::{Value, json};

use crate::policy::chain::{MakerKind, Makers};
use crate::policy::configuration::{BackendKind, Configuration, Signal};
use crate::policy::engine::Version;
use crate::policy::settings::Settings;
use crate::policy::settings::profiles::{self, Resolved};
use crate::policy::view::ClusterView;
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

/// The rules of [`adapter_rules`] that the adapter's ConfigMap in view lacks: all of them when the configuration names no
/// ConfigMap, or when it is not in view; none when it cannot be read, since then nobody can tell.
pub fn lacking_adapter_rules(
    workload: &Workload,
    settings: &Settings,
    configuration: &Configuration,
    view: &ClusterView,
) -> Vec<Value> {
    let mut rules = adapter_rules(workload, settings, configuration);
    if let Some((_, makers)) = live(configuration, view) {
        rules.retain(|rule| {
            !makers.is_some_and(|makers| serves(makers, rule["name"]["as"].as_str().unwrap_or_default()))
        });
    }
    rules
}

/// Why prometheus-adapter does not serve the HPA that a workload's settings render, and the rules to add: when the ConfigMap
/// that `backend.adapterConfigMap` names is in view and lacks them. `None` when it has them, cannot be read, or is not in view.
pub fn missing_adapter_rule(
    workload: &Workload,
    settings: &Settings,
    configuration: &Configuration,
    view: &ClusterView,
) -> Option<String> {
    let (name, _) = live(configuration, view)?;
    let lacking = lacking_adapter_rules(workload, settings, configuration, view);
    let names: Vec<&str> = lacking.iter().filter_map(|rule| rule["name"]["as"].as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let rules: Vec<String> = lacking.iter().map(|rule| format!("- {rule}")).collect();
    let them = if names.len() == 1 { "it" } else { "them" };
    Some(format!(
        "ConfigMap {name} has no rule that makes {}, so prometheus-adapter does not serve {them}; add under `rules:` and restart \
         the adapter: {}",
        names.join(" and "),
        rules.join(" ")
    ))
}

/// The name and the makers of the ConfigMap that the configuration names, when it is in view.
fn live<'a>(configuration: &'a Configuration, view: &'a ClusterView) -> Option<(&'a str, Option<&'a Makers>)> {
    let full = configuration.backend.adapter_config_map.as_deref()?;
    let (namespace, name) = full.split_once('/')?;
    view.config_map(Some(namespace), name)?;
    let is_this = |key: &crate::policy::objects::Key| {
        key.group.is_empty()
            && key.kind == "ConfigMap"
            && key.name == name
            && key.namespace.as_deref().is_none_or(|own| own == namespace)
    };
    Some((full, view.makers().find(|(key, _)| is_this(key)).map(|(_, makers)| makers)))
}

/// Whether rules serve a name of the custom metrics API, or may.
fn serves(makers: &Makers, name: &str) -> bool {
    makers.unreadable.is_some()
        || makers.made.iter().any(|made| made.by == MakerKind::AdapterRule && made.name == name)
        || makers.patterns.iter().any(|pattern| pattern.by == MakerKind::AdapterRule && pattern.may_make(name))
}
