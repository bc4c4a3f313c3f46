//! GKE's AutoscalingMetric: each of its metrics is served as `autoscaling.gke.io|<object>|<metric>`.

use serde_json::Value;

use super::super::engine::MetricKind;
use super::super::finding::ObjectRef;
use super::super::objects::AutoscalingMetric;
use super::{Made, MakerKind, Makers, promql};

/// What an AutoscalingMetric makes.
pub(super) fn read(metric: &AutoscalingMetric, object: &ObjectRef, makers: &mut Makers) {
    for entry in list(&metric.spec, "metrics") {
        for gauge in entry
            .get("pod")
            .into_iter()
            .flat_map(|pod| list(pod, "containers"))
            .flat_map(|container| list(container, "metrics"))
            .filter_map(|metric| metric.get("gauge"))
        {
            if let Some(name) = text(gauge, "name") {
                let from = text(gauge, "prometheusMetricName").unwrap_or(name).to_owned();
                makers.add(made(object, name, vec![from], Some(MetricKind::Gauge)));
            }
        }
        if let Some(query) = entry.get("promql")
            && let Some(name) = text(query, "name")
        {
            let read = text(query, "query").and_then(|query| promql::parse(query).ok());
            let from = read.as_ref().map(promql::Query::names).unwrap_or_default();
            makers.add(made(object, name, from, read.and_then(|query| query.kind)));
        }
    }
}

fn made(object: &ObjectRef, name: &str, from: Vec<String>, kind: Option<MetricKind>) -> Made {
    Made {
        name: format!("autoscaling.gke.io|{}|{name}", object.name),
        by: MakerKind::AutoscalingMetric,
        object: object.clone(),
        from,
        kind,
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}
