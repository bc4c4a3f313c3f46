//! A saved picture of a cluster (`kind: ClusterSnapshot`, or what `kubectl get -o yaml` prints) -> view, and back.

mod write;

use serde::Deserialize;
use serde_json::Value;

use crate::policy::objects::{Object, ReadError, TypeMeta, Written};
use crate::policy::placement::NodeShape;
use crate::policy::render::{self, PROFILE_LABEL};
use crate::policy::view::{ClusterView, MetricApi, MetricKey, MetricObservation, MetricPresence};
use crate::policy::workload::Workload;

pub use write::{reread, write};

/// The version of the snapshot document that this program reads and writes.
pub const VERSION: u64 = 1;

/// Why a document is no snapshot that this program can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct SnapshotError {
    /// The field, as kubectl writes it; empty for the document.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Snapshot {
    #[serde(rename = "apiVersion", default)]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    taken_at: Option<i64>,
    #[serde(rename = "kubernetesVersion", default)]
    _kubernetes_version: Option<String>,
    #[serde(default)]
    complete: Vec<String>,
    #[serde(default)]
    partial: Vec<String>,
    #[serde(default)]
    not_served: Vec<String>,
    #[serde(default)]
    node_shapes: Vec<NodeShape>,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    workloads: Vec<Workload>,
    #[serde(default)]
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metric {
    api: MetricApi,
    name: String,
    namespace: String,
    presence: MetricPresence,
    observed_at: i64,
    #[serde(default)]
    ready_since: Option<i64>,
}

/// Whether a document is a snapshot rather than an object of the cluster.
pub fn is_snapshot(value: &Value) -> bool {
    value["kind"] == "ClusterSnapshot"
}

/// Adds a snapshot to a view. Its kinds listed as `complete` are closed, of those listed as `partial` some objects may be
/// missing, and its time becomes the view's when that has none.
///
/// # Errors
/// When a newer program wrote it, or a field has the wrong form; the field is named.
pub fn fill(view: &mut ClusterView, value: &Value) -> Result<(), SnapshotError> {
    match value.get("version") {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) if version.as_u64().is_some_and(|version| version > VERSION) => {
            return Err(SnapshotError {
                field: "version".to_owned(),
                message: format!(
                    "the snapshot has version {version}, this scalegate reads version {VERSION}; take it again with this \
                     version, or use the scalegate that wrote it"
                ),
            });
        }
        _ => {
            let message = format!("must be the number {VERSION}");
            return Err(SnapshotError { field: "version".to_owned(), message });
        }
    }
    let snapshot: Snapshot = serde_path_to_error::deserialize(value).map_err(|error| SnapshotError {
        field: error.path().to_string().trim_start_matches('.').to_owned(),
        message: error.into_inner().to_string(),
    })?;
    if view.now == 0 {
        view.now = snapshot.taken_at.unwrap_or_default();
    }
    view.closed.extend(snapshot.complete);
    view.partial.extend(snapshot.partial);
    view.absent.extend(snapshot.not_served);
    for shape in snapshot.node_shapes {
        view.apply_shape(shape);
    }
    for (index, object) in snapshot.objects.iter().enumerate() {
        apply(view, object).map_err(|error| SnapshotError {
            field: format!("objects[{index}].{}", error.field),
            message: error.message,
        })?;
    }
    for workload in snapshot.workloads {
        view.apply_derived(workload);
    }
    for metric in snapshot.metrics {
        let Metric { api, name, namespace, presence, observed_at, ready_since } = metric;
        let observation = MetricObservation { presence, observed_at, ready_since };
        view.metrics.insert(MetricKey { api, name, namespace }, observation);
    }
    Ok(())
}

/// Adds one object of the cluster to a view.
///
/// # Errors
/// When it cannot be read as its kind.
pub fn apply(view: &mut ClusterView, value: &Value) -> Result<(), ReadError> {
    let (of, mut object) = Object::from_value(value)?;
    object.metadata_mut().written = written(&of, &object, value);
    view.apply(&of, object);
    Ok(())
}

/// How an object of a kind that scalegate writes stands in the API server. Where its field managers were left out, as
/// kubectl does, our label tells who wrote it.
fn written(of: &TypeMeta, object: &Object, value: &Value) -> Option<Written> {
    if !render::is_written(of) || object.metadata().controller().is_none() {
        return None;
    }
    let written = render::written(of, object, &value.to_string())?;
    let told = value["metadata"].get("managedFields").is_some();
    Some(Written {
        by_us: if told { written.by_us } else { object.metadata().labels.contains_key(PROFILE_LABEL) },
        ..written
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_newer_snapshot_is_refused_with_both_versions() {
        let newer = json!({ "kind": "ClusterSnapshot", "version": 2 });
        let error = fill(&mut ClusterView::default(), &newer).unwrap_err();
        assert_eq!(error.field, "version");
        assert!(error.message.contains("version 2") && error.message.contains("reads version 1"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let typo = json!({ "kind": "ClusterSnapshot", "version": 1, "nodeShape": [] });
        let error = fill(&mut ClusterView::default(), &typo).unwrap_err();
        assert!(error.message.contains("nodeShape"), "{error}");
    }

    #[test]
    fn kinds_listed_as_complete_are_closed() {
        let mut view = ClusterView::default();
        let snapshot = json!({
            "kind": "ClusterSnapshot", "version": 1, "takenAt": 1_700_000_000, "complete": ["Node"],
            "nodeShapes": [{ "count": 3, "labels": { "cloud.google.com/gke-nodepool": "cpu" }, "allocatable": { "cpu": "4" } }],
            "objects": [{ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "namespace": "ml" } }],
            "metrics": [{ "api": "custom", "name": "m", "namespace": "ml", "presence": "absent", "observedAt": 1 }],
        });
        fill(&mut view, &snapshot).unwrap();
        assert!(view.is_closed("Node") && !view.is_closed("Service"));
        assert_eq!(view.services().count(), 1);
        assert_eq!(view.metrics.len(), 1);
        assert_eq!(view.now, 1_700_000_000);
    }
}
