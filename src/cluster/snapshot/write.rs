//! A view -> the snapshot that it is read back from. Only what rules read is in it: of a workload what was derived from its
//! template, of any object no field and no annotation beside those.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{SnapshotError, VERSION, fill};
use crate::policy::chain::adapter_rule::is_adapter_configuration;
use crate::policy::objects::{ConfigMap, KarpenterNodePool, Key, Object, ObjectMeta, ScaledObject, Trigger};
use crate::policy::placement::NodeShape;
use crate::policy::render::{self, MANAGER, PROFILE_LABEL};
use crate::policy::rules::reads_annotation;
use crate::policy::settings::{PREFIX, STATUS_PREFIX};
use crate::policy::view::{ClusterView, Entry, MetricKey, MetricObservation};
use crate::policy::workload::Workload;

/// What rules read of a Prometheus trigger. Other settings may hold addresses and credentials.
const TRIGGER_SETTINGS: [&str; 5] = ["query", "threshold", "activationThreshold", "ignoreNullValues", "metricName"];
/// Groups of which some kinds are read for their presence alone.
const PRESENCE_GROUPS: [&str; 2] = ["resource.k8s.io", "karpenter.sh"];

/// Writes a view as a ClusterSnapshot, in an order that depends on nothing but what is in view: objects by their age, then
/// by their place. `kubernetes_version` is the API server's, as in `v1.37.2`.
///
/// # Errors
/// When a part of the view has no form in JSON.
pub fn write(view: &ClusterView, kubernetes_version: Option<&str>) -> Result<Value, serde_json::Error> {
    let mut snapshot = Map::new();
    let mut put = |key: &str, value: Value| snapshot.insert(key.to_owned(), value);
    put("apiVersion", json!("scalegate.dev/v1alpha1"));
    put("kind", json!("ClusterSnapshot"));
    put("version", json!(VERSION));
    if view.now > 0 {
        put("takenAt", json!(view.now));
    }
    if let Some(version) = kubernetes_version {
        put("kubernetesVersion", json!(version));
    }
    put("complete", json!(view.closed));
    if !view.partial.is_empty() {
        put("partial", json!(view.partial));
    }
    if !view.absent.is_empty() {
        put("notServed", json!(view.absent));
    }
    put("nodeShapes", plain(&shapes(view)?)?);
    put("objects", Value::Array(objects(view)?));
    put("workloads", Value::Array(view.workloads().map(workload).collect::<Result<_, _>>()?));
    put("metrics", Value::Array(view.metrics.iter().map(|(key, observed)| metric(key, observed)).collect()));
    Ok(Value::Object(snapshot))
}

/// The view that the snapshot of a view reads back as: what a verdict on the snapshot rests on.
///
/// # Errors
/// As [`write()`], and when what was written does not read.
pub fn reread(view: &ClusterView) -> Result<ClusterView, SnapshotError> {
    let whole = |error: serde_json::Error| SnapshotError { field: String::new(), message: error.to_string() };
    let mut again = ClusterView::default();
    fill(&mut again, &write(view, None).map_err(whole)?)?;
    Ok(again)
}

/// Each shape once, with the count of all its nodes; the most frequent first, so that a newcomer sees what the cluster is.
fn shapes(view: &ClusterView) -> Result<Vec<NodeShape>, serde_json::Error> {
    let mut counts: BTreeMap<String, (u64, &NodeShape)> = BTreeMap::new();
    for shape in view.node_shapes() {
        let (count, _) =
            counts.entry(serde_json::to_string(&NodeShape { count: 0, ..shape.clone() })?).or_insert((0, shape));
        *count = count.saturating_add(shape.count);
    }
    // The order in which nodes were seen is nobody's.
    let mut shapes: Vec<NodeShape> =
        counts.into_values().map(|(count, shape)| NodeShape { count, ..shape.clone() }).collect();
    shapes.sort_by_key(|shape| std::cmp::Reverse(shape.count));
    Ok(shapes)
}

fn objects(view: &ClusterView) -> Result<Vec<Value>, serde_json::Error> {
    let mut entries: Vec<(&Key, &Entry)> =
        view.entries().filter(|(_, entry)| !matches!(entry.object, Object::Workload(_) | Object::Node(_))).collect();
    // An object that no API server gave a date stands where the documents have it.
    entries.sort_by_cached_key(|(key, entry)| {
        let created = entry.object.metadata().creation_timestamp.clone();
        let order = if created.is_some() { 0 } else { entry.order };
        (created, order, *key)
    });
    let mut written = Vec::with_capacity(entries.len());
    for (key, entry) in entries {
        if let Some(value) = object(key, entry)? {
            written.push(value);
        }
    }
    Ok(written)
}

/// One object as it is read again; `None` when no rule would read it.
fn object(key: &Key, entry: &Entry) -> Result<Option<Value>, serde_json::Error> {
    let mut trimmed = entry.object.clone();
    *trimmed.metadata_mut() = metadata(trimmed.metadata());
    let body = match &mut trimmed {
        Object::Hpa(object) => plain(object)?,
        Object::ScaledObject(object) => {
            trim_scaled_object(object);
            plain(object)?
        }
        Object::MultidimPodAutoscaler(object) => plain(object)?,
        Object::PodMonitoring(object) => plain(object)?,
        Object::OperatorMonitor(object) => plain(object)?,
        Object::RecordingRules(object) => plain(object)?,
        Object::AutoscalingMetric(object) => plain(object)?,
        Object::Service(object) => plain(object)?,
        Object::ConfigMap(object) => {
            object.data.retain(|key, value| {
                let data = BTreeMap::from([(key.clone(), std::mem::take(value))]);
                let one = ConfigMap { data, ..ConfigMap::default() };
                let kept = is_adapter_configuration(&one);
                *value = one.data.into_values().next().unwrap_or_default();
                kept
            });
            if object.data.is_empty() {
                return Ok(None);
            }
            plain(object)?
        }
        Object::ApiService(object) => plain(object)?,
        Object::Namespace(object) => plain(object)?,
        Object::ResourceQuota(object) => plain(object)?,
        Object::KarpenterNodePool(object) => {
            trim_karpenter(object);
            plain(object)?
        }
        Object::ComputeClass(object) => plain(object)?,
        Object::Other(_, metadata) if PRESENCE_GROUPS.contains(&key.group.as_str()) => {
            let ObjectMeta { name, namespace, deletion_timestamp, .. } = std::mem::take(metadata);
            let metadata = ObjectMeta { name, namespace, deletion_timestamp, ..ObjectMeta::default() };
            json!({ "metadata": plain(&metadata)? })
        }
        // Workloads and nodes are written otherwise, and in another place.
        Object::Other(..) | Object::Workload(_) | Object::Node(_) => return Ok(None),
    };
    let mut value = Map::new();
    // Whatever version an HPA was written in, it was read in the form of this one.
    let api_version = if key.group == "autoscaling" { "autoscaling/v2" } else { entry.of.api_version.as_str() };
    value.insert("apiVersion".to_owned(), json!(api_version));
    value.insert("kind".to_owned(), json!(entry.of.kind));
    if let Value::Object(body) = body {
        value.extend(body.into_iter().filter(|(key, _)| key != "apiVersion"));
    }
    let mut value = Value::Object(value);
    let metadata = entry.object.metadata();
    let told = metadata.written.map(|written| written.by_us);
    // Of a view of files, what is read back takes it from our label.
    let may_be = render::is_written(&entry.of) && metadata.controller().is_some();
    let by_us = told.or_else(|| may_be.then(|| metadata.labels.contains_key(PROFILE_LABEL)));
    if let Some(by_us) = by_us {
        // Whether we wrote it is all that is asked of its field managers.
        value["metadata"]["managedFields"] = if by_us { json!([{ "manager": MANAGER }]) } else { json!([]) };
    }
    Ok(Some(value))
}

fn trim_scaled_object(object: &mut ScaledObject) {
    for trigger in &mut object.spec.triggers {
        let Trigger { kind, metadata, .. } = trigger;
        metadata.retain(|key, _| kind == "prometheus" && TRIGGER_SETTINGS.contains(&key.as_str()));
    }
    let name = object.spec.advanced.pointer("/horizontalPodAutoscalerConfig/name").cloned();
    object.spec.advanced =
        name.map_or(Value::Null, |name| json!({ "horizontalPodAutoscalerConfig": { "name": name } }));
}

fn trim_karpenter(object: &mut KarpenterNodePool) {
    let template = &mut object.spec.template.metadata;
    *template = ObjectMeta { labels: std::mem::take(&mut template.labels), ..ObjectMeta::default() };
}

/// Annotations may hold anything, the whole object once more among it: those that rules read stay.
fn metadata(metadata: &ObjectMeta) -> ObjectMeta {
    let mut metadata = metadata.clone();
    metadata
        .annotations
        .retain(|key, _| key.starts_with(PREFIX) || key.starts_with(STATUS_PREFIX) || reads_annotation(key));
    metadata
}

fn workload(workload: &Workload) -> Result<Value, serde_json::Error> {
    plain(&Workload { metadata: metadata(&workload.metadata), ..workload.clone() })
}

fn metric(key: &MetricKey, observed: &MetricObservation) -> Value {
    let MetricObservation { presence, observed_at, ready_since } = observed;
    let mut metric = json!({
        "api": key.api, "name": key.name, "namespace": key.namespace, "presence": presence, "observedAt": observed_at,
    });
    if let (Some(since), Some(metric)) = (ready_since, metric.as_object_mut()) {
        metric.insert("readySince".to_owned(), json!(since));
    }
    metric
}

/// As JSON, without the fields that are null: they read as absent.
fn plain<T: Serialize>(value: &T) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    drop_nulls(&mut value);
    Ok(value)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
