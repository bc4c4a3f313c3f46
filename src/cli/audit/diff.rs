//! What the labels would bring, beside what is there.

use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::cli::render::{Brought, bring_to};
use crate::policy::configuration::Configuration;
use crate::policy::objects::{Hpa, Key, Object, Quantity, ScalingPolicy, ScalingRules};
use crate::policy::render::PROFILE_LABEL;
use crate::policy::settings;
use crate::policy::view::ClusterView;
use crate::policy::workload::Workload;

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
    for workload in view.workloads() {
        let wish = settings::read(&workload.metadata, configuration).wish;
        let title = title(workload.kind.name(), workload.metadata.namespace.as_deref(), &workload.metadata.name);
        match bring_to(workload, &wish, view, configuration) {
            Brought::Not(reason) => compared.notes.push(format!("{title}: {reason}")),
            Brought::Objects { applied: false, .. } => {
                let because = "nothing is generated while scalegate.dev/paused or scalegate.dev/generate says so";
                compared.notes.push(format!("{title}: {because}, so nothing is compared"));
            }
            Brought::Objects { rendered, .. } => {
                compared.notes.extend(rendered.notes.iter().map(|note| format!("{title}: {note}")));
                one(workload, &rendered.objects, view, &mut compared);
            }
            Brought::Nothing => one(workload, &[], view, &mut compared),
        }
    }
    compared
}

fn one(workload: &Workload, rendered: &[Value], view: &ClusterView, compared: &mut Compared) {
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
    let left = ours(workload, view).filter(|key| !wanted.contains(key));
    let lines = left.map(|key| {
        let name = title(&key.kind, key.namespace.as_deref(), &key.name);
        format!("only in the cluster: {name}\n")
    });
    compared.differences.extend(lines);
}

/// What is in view of what was generated for a workload. A snapshot tells it by the owner and our label.
fn ours<'a>(workload: &'a Workload, view: &'a ClusterView) -> impl Iterator<Item = &'a Key> {
    let generated =
        |object: &Object| matches!(object, Object::Hpa(_) | Object::PodMonitoring(_) | Object::OperatorMonitor(_));
    let owned = move |object: &Object| {
        let metadata = object.metadata();
        metadata.labels.contains_key(PROFILE_LABEL)
            && metadata.namespace == workload.metadata.namespace
            && metadata.deletion_timestamp.is_none()
            && metadata
                .owner_references
                .iter()
                .any(|owner| owner.controller == Some(true) && workload.metadata.uid.as_ref() == Some(&owner.uid))
    };
    let entries = view.entries().filter(move |(_, entry)| generated(&entry.object) && owned(&entry.object));
    entries.map(|(key, _)| key)
}

/// The part of an object on which equality is defined, as YAML: its name, those labels and its spec, with the defaults of the
/// API server filled in.
fn form(kind: &str, object: &Object, labels: &[&String]) -> String {
    let metadata = object.metadata();
    let ours: Map<String, Value> =
        labels.iter().filter_map(|key| metadata.labels.get(*key).map(|value| ((*key).clone(), json!(value)))).collect();
    let spec = match object {
        Object::Hpa(hpa) => serde_json::to_value(&with_defaults(hpa).spec),
        Object::PodMonitoring(object) => serde_json::to_value(&object.spec),
        Object::OperatorMonitor(object) => serde_json::to_value(&object.spec),
        _ => Ok(Value::Null),
    };
    let mut value = json!({
        "kind": kind,
        "metadata": { "name": metadata.name, "namespace": metadata.namespace, "labels": ours },
        "spec": spec.unwrap_or_default(),
    });
    drop_empty(&mut value);
    // The order of labels is nobody's.
    value.sort_all_objects();
    serde_saphyr::to_string(&value).unwrap_or_default()
}

/// What the API server writes where an HPA leaves it out (`pkg/apis/autoscaling/v2/defaults.go`): a minimum of 1, and
/// once any behaviour is given, both directions of it.
fn with_defaults(hpa: &Hpa) -> Hpa {
    let mut hpa = hpa.clone();
    hpa.spec.min_replicas.get_or_insert(1);
    let behavior = &mut hpa.spec.behavior;
    if behavior.scale_up.is_some() || behavior.scale_down.is_some() {
        let policy = |kind: &str, value| ScalingPolicy { kind: kind.to_owned(), value, period_seconds: 15 };
        let complete = |rules: &mut ScalingRules, policies: Vec<ScalingPolicy>| {
            rules.select_policy.get_or_insert_with(|| "Max".to_owned());
            if rules.policies.is_empty() {
                rules.policies = policies;
            }
        };
        let up = behavior.scale_up.get_or_insert_default();
        up.stabilization_window_seconds.get_or_insert(0);
        complete(up, vec![policy("Pods", 4), policy("Percent", 100)]);
        complete(behavior.scale_down.get_or_insert_default(), vec![policy("Percent", 100)]);
    }
    for rules in [&mut behavior.scale_up, &mut behavior.scale_down].into_iter().flatten() {
        if let Some(tolerance) = &mut rules.tolerance {
            same_number(tolerance);
        }
    }
    for metric in &mut hpa.spec.metrics {
        let targets = [
            metric.pods.as_mut().map(|source| &mut source.target),
            metric.object.as_mut().map(|source| &mut source.target),
            metric.external.as_mut().map(|source| &mut source.target),
        ];
        for target in targets.into_iter().flatten() {
            for quantity in [&mut target.average_value, &mut target.value].into_iter().flatten() {
                same_number(quantity);
            }
        }
    }
    hpa
}

/// One spelling for one number: `1` and `1000m` are the same.
fn same_number(quantity: &mut Quantity) {
    if let Some(whole) = quantity.nanos().ok().filter(|nanos| nanos % 1_000_000_000 == 0) {
        *quantity = Quantity::new((whole / 1_000_000_000).to_string());
    } else if let Some(milli) = quantity.nanos().ok().filter(|nanos| nanos % 1_000_000 == 0) {
        *quantity = Quantity::new(format!("{}m", milli / 1_000_000));
    }
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
