//! What makes metric names: of one object, and for one name.

use super::super::finding::ObjectRef;
use super::super::objects::{Key, Object, OperatorMonitor, TypeMeta};
use super::super::view::{ClusterView, may_be_same};
use super::spelling::{self, Form};
use super::{Made, MakerKind, Makers, Pattern, adapter_rule, autoscaling_metric, recording_rule, relabelling};

/// What an object makes.
pub fn makers_of(of: &TypeMeta, object: &Object) -> Makers {
    let mut makers = Makers::default();
    let reference = ObjectRef::new(of, object.metadata());
    match object {
        Object::RecordingRules(rules) => recording_rule::read(rules, &reference, &mut makers),
        Object::PodMonitoring(monitoring) => {
            for endpoint in &monitoring.spec.endpoints {
                relabelling::read(&endpoint.metric_relabeling, &reference, &mut makers);
            }
        }
        Object::OperatorMonitor(monitor) => {
            for endpoint in monitor.spec.pod_metrics_endpoints.iter().chain(&monitor.spec.endpoints) {
                relabelling::read(&endpoint.metric_relabelings, &reference, &mut makers);
            }
        }
        Object::AutoscalingMetric(metric) => autoscaling_metric::read(metric, &reference, &mut makers),
        Object::ConfigMap(config_map) => adapter_rule::read(config_map, &reference, &mut makers),
        _ => {}
    }
    makers
}

/// What makes a name, or may make it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found<'a> {
    /// What makes it for certain.
    pub made: Vec<&'a Made>,
    /// Patterns that it matches.
    pub patterns: Vec<&'a Pattern>,
    /// Objects that may make anything, and why they could not be read.
    pub unreadable: Vec<(&'a Key, &'a str)>,
}

impl Found<'_> {
    /// Something makes it for certain.
    pub fn any(&self) -> bool {
        !self.made.is_empty()
    }

    /// Something makes it or may make it.
    pub fn may(&self) -> bool {
        self.any() || !self.patterns.is_empty() || !self.unreadable.is_empty()
    }

    /// As [`Found::may`], but what only hands on series under their own names does not count: it serves a misspelt name as
    /// little as the server exports it.
    pub fn may_coin(&self) -> bool {
        self.any() || self.patterns.iter().any(|pattern| !pattern.passes_through) || !self.unreadable.is_empty()
    }
}

/// What in view makes a name, or may make it, for pods of a namespace (`None` may be any).
///
/// `name` is as the HPA writes it, or without decoration: of `prometheus.googleapis.com|NAME|SUFFIX` it is NAME that is
/// made. An AutoscalingMetric makes `autoscaling.gke.io|OBJECT|METRIC` as a whole and nothing else.
pub fn makers_for<'a>(view: &'a ClusterView, name: &str, namespace: Option<&str>) -> Found<'a> {
    let spelling = spelling::read(name);
    let managed = matches!(spelling.form, Form::GkeManaged { .. });
    let name = match spelling.form {
        Form::Gmp | Form::GmpWithoutSuffix | Form::GoogleApis => spelling.name,
        _ => name,
    };
    let mut found = Found::default();
    for (key, makers) in view.makers().filter(|(key, _)| reaches(view, key, namespace)) {
        found.made.extend(
            makers.made.iter().filter(|made| made.name == name && (made.by == MakerKind::AutoscalingMetric) == managed),
        );
        if managed {
            continue;
        }
        found.patterns.extend(makers.patterns.iter().filter(|pattern| pattern.may_make(name)));
        if let Some(reason) = &makers.unreadable {
            found.unreadable.push((key, reason));
        }
    }
    found
}

/// Whether an object makes series of pods in a namespace.
fn reaches(view: &ClusterView, key: &Key, namespace: Option<&str>) -> bool {
    match (key.group.as_str(), key.kind.as_str()) {
        // GMP adds the namespace to every selector and result of a namespaced Rules; a PodMonitoring scrapes its own.
        ("monitoring.googleapis.com" | "autoscaling.gke.io", _) => may_be_same(key.namespace.as_deref(), namespace),
        ("monitoring.coreos.com", "PodMonitor" | "ServiceMonitor") => match view.get(key).map(|entry| &entry.object) {
            Some(Object::OperatorMonitor(monitor)) => scrapes(monitor, key.namespace.as_deref(), namespace),
            _ => true,
        },
        // Prometheus evaluates a PrometheusRule, and prometheus-adapter its rules, over all namespaces.
        _ => true,
    }
}

/// Whether a monitor looks at a namespace.
fn scrapes(monitor: &OperatorMonitor, own: Option<&str>, namespace: Option<&str>) -> bool {
    let selector = &monitor.spec.namespace_selector;
    if selector.any {
        return true;
    }
    if selector.match_names.is_empty() {
        return may_be_same(own, namespace);
    }
    namespace.is_none_or(|namespace| selector.match_names.iter().any(|name| name == namespace))
}

#[cfg(test)]
mod tests;
