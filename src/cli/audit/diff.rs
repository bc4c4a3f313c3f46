//! What the labels would bring, beside what is there.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::cli::render::{Brought, bring_to};
use crate::policy::configuration::Configuration;
use crate::policy::objects::{Key, Object};
use crate::policy::render::{PROFILE_LABEL, is_written, normal};
use crate::policy::settings;
use crate::policy::view::ClusterView;

/// What was compared.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Each object that differs: a line, or a unified diff.
    pub(super) differences: Vec<String>,
    /// Why something is not generated or not compared.
    pub(super) notes: Vec<String>,
}

/// Compares for every workload what its label would bring with what is there of ours. What a workload without a label still
/// has of ours is there alone.
pub(super) fn compare(view: &ClusterView, configuration: &Configuration) -> Compared {
    let mut compared = Compared::default();
    let ours = ours(view);
    for workload in view.workloads() {
        let wish = settings::read(&workload.metadata, configuration).wish;
        let title = title(workload.kind.name(), workload.metadata.namespace.as_deref(), &workload.metadata.name);
        let uid = workload.metadata.uid.as_deref();
        let owned = uid.and_then(|uid| ours.get(uid)).map_or(&[][..], Vec::as_slice);
        match bring_to(workload, &wish, view, configuration) {
            Brought::Not(reason) => compared.notes.push(format!("{title}: {reason}")),
            Brought::Objects { applied: false, .. } => {
                let because = "nothing is generated while scalegate.dev/paused or scalegate.dev/generate says so";
                compared.notes.push(format!("{title}: {because}, so nothing is compared"));
            }
            Brought::Objects { rendered, .. } => {
                compared.notes.extend(rendered.notes.iter().map(|note| format!("{title}: {note}")));
                one(&rendered.objects, owned, view, &mut compared);
            }
            Brought::Nothing => one(&[], owned, view, &mut compared),
        }
    }
    compared
}

fn one(rendered: &[Value], owned: &[&Key], view: &ClusterView, compared: &mut Compared) {
    let mut wanted = Vec::new();
    for value in rendered {
        let Ok((of, object)) = Object::from_value(value) else { continue };
        let key = object.key(&of);
        let labels: Vec<&String> = object.metadata().labels.keys().collect();
        let generated = form(&of.kind, &object, &labels);
        let name = title(&key.kind, key.namespace.as_deref(), &key.name);
        match view.get(&key).map(|entry| form(&of.kind, &entry.object, &labels)) {
            None => compared.differences.push(format!("missing: {name}\n")),
            Some(there) if there != generated => compared.differences.push(unified(&name, &there, &generated)),
            Some(_) => {}
        }
        wanted.push(key);
    }
    let left = owned.iter().filter(|key| !wanted.contains(key));
    let lines = left.map(|key| {
        let name = title(&key.kind, key.namespace.as_deref(), &key.name);
        format!("only in the cluster: {name}\n")
    });
    compared.differences.extend(lines);
}

/// What is in view of what was generated, by the UID of the workload that owns it. A snapshot tells it by the owner and our
/// label.
fn ours(view: &ClusterView) -> BTreeMap<&str, Vec<&Key>> {
    let mut ours: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for (key, entry) in view.entries() {
        let metadata = entry.object.metadata();
        if is_written(&entry.of)
            && metadata.labels.contains_key(PROFILE_LABEL)
            && metadata.deletion_timestamp.is_none()
            && let Some(owner) = metadata.controller()
        {
            ours.entry(&owner.uid).or_default().push(key);
        }
    }
    ours
}

/// The part of an object on which equality is defined, as YAML: its name, those labels and its spec, with the defaults of the
/// API server filled in.
fn form(kind: &str, object: &Object, labels: &[&String]) -> String {
    let metadata = object.metadata();
    let ours: Map<String, Value> =
        labels.iter().filter_map(|key| metadata.labels.get(*key).map(|value| ((*key).clone(), json!(value)))).collect();
    let spec = match object {
        Object::Hpa(object) => serde_json::to_value(&object.spec),
        Object::PodMonitoring(object) => serde_json::to_value(&object.spec),
        Object::OperatorMonitor(object) => serde_json::to_value(&object.spec),
        _ => Ok(Value::Null),
    };
    let mut spec = spec.unwrap_or_default();
    drop_empty(&mut spec);
    let mut value = json!({
        "kind": kind,
        "metadata": { "name": metadata.name, "namespace": metadata.namespace, "labels": ours },
        "spec": normal(kind, &spec),
    });
    drop_empty(&mut value);
    // The order of keys is nobody's.
    value.sort_all_objects();
    serde_saphyr::to_string(&value).unwrap_or_default()
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_empty);
            map.retain(|_, value| match value {
                Value::Null => false,
                Value::Object(map) => !map.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

fn unified(name: &str, there: &str, generated: &str) -> String {
    let diff = TextDiff::from_lines(there, generated);
    diff.unified_diff().header(&format!("cluster: {name}"), &format!("generated: {name}")).to_string()
}

fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
