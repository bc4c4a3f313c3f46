//! What the labels would bring, beside what is there.

use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::policy::configuration::Configuration;
use crate::policy::objects::{Key, Object};
use crate::policy::reconcile::{self, Write};
use crate::policy::render::normal;
use crate::policy::settings::{self, Wish};
use crate::policy::view::ClusterView;

/// What was compared.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Each object that differs: a line, or a unified diff.
    pub(super) differences: Vec<String>,
    /// Why something is not generated or not compared.
    pub(super) notes: Vec<String>,
}

/// Compares for every workload what the controller would write and remove with what is there.
pub(super) fn compare(view: &ClusterView, configuration: &Configuration) -> Compared {
    let mut compared = Compared::default();
    for workload in view.workloads() {
        let title = title(workload.kind.name(), workload.metadata.namespace.as_deref(), &workload.metadata.name);
        if let Ok(Wish::Enabled(settings)) = settings::read(&workload.metadata, configuration).wish
            && (settings.paused || !settings.generate)
        {
            let because = "nothing is generated while scalegate.dev/paused or scalegate.dev/generate says so";
            compared.notes.push(format!("{title}: {because}, so nothing is compared"));
            continue;
        }
        let plan = reconcile::plan(workload, view, configuration);
        compared.notes.extend(plan.says.iter().map(|say| format!("{title}: {}", say.note)));
        compared.differences.extend(plan.write.iter().filter_map(|write| differs(write, view)));
        compared.differences.extend(
            plan.prune.iter().map(|prune| format!("only in the cluster: {} ({})\n", named(&prune.key), prune.why)),
        );
    }
    compared
}

/// An object that would be written, where it is not there or is otherwise.
fn differs(write: &Write, view: &ClusterView) -> Option<String> {
    let name = named(&write.key);
    let Some(entry) = view.get(&write.key) else { return Some(format!("missing: {name}\n")) };
    let (of, wanted) = Object::from_value(&write.object).ok()?;
    let labels: Vec<&String> = wanted.metadata().labels.keys().collect();
    let (there, generated) = (form(&of.kind, &entry.object, &labels), form(&of.kind, &wanted, &labels));
    // A view that does not hold the whole of what is there leaves it to us to look.
    (there != generated).then(|| unified(&name, &there, &generated))
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

fn named(key: &Key) -> String {
    title(&key.kind, key.namespace.as_deref(), &key.name)
}

fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
