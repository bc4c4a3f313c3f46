//! Whatever JSON is sent: nothing panics, the API server takes every answer, and a patch touches annotations alone.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use scalegate::admission::Phase;
use scalegate::policy::configuration::Configuration;
use scalegate::policy::facts::{Context, Stage};
use scalegate::policy::judge::judge;
use scalegate::policy::objects::Object;
use scalegate::policy::settings::{self, Wish};
use scalegate::policy::view::ClusterView;
use scalegate::policy::{inject, render, workload};
use serde_json::{Map, Value, json};

use crate::support::{Case, Webhook, value, values, view_of};

/// Types that are read, with one that is not.
const TYPES: [(&str, &str); 16] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("autoscaling/v2beta1", "HorizontalPodAutoscaler"),
    ("autoscaling/v1", "HorizontalPodAutoscaler"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("autoscaling.gke.io/v1beta1", "MultidimPodAutoscaler"),
    ("monitoring.googleapis.com/v1", "PodMonitoring"),
    ("monitoring.googleapis.com/v1", "ClusterRules"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("v1", "ConfigMap"),
    ("v1", "Node"),
    ("v1", "Service"),
    ("karpenter.sh/v1", "NodePool"),
    ("example.com/v1", "Anything"),
];

/// Every document of the cases: what arbitrary changes start from, so that they reach deep code.
static CORPUS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let texts = Case::all().into_iter().filter(|case| case.topic != "invalid-document");
    let documents = texts.flat_map(|case| values(&std::fs::read_to_string(case.input()).unwrap()));
    documents.filter(|document| document["kind"].is_string()).collect()
});

/// The keys and the texts that the corpus uses.
static WORDS: LazyLock<(Vec<String>, Vec<String>)> = LazyLock::new(|| {
    fn collect(value: &Value, keys: &mut BTreeSet<String>, texts: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                keys.insert(key.clone());
                collect(value, keys, texts);
            }),
            Value::Array(items) => items.iter().for_each(|item| collect(item, keys, texts)),
            Value::String(text) => drop(texts.insert(text.clone())),
            _ => {}
        }
    }
    let (mut keys, mut texts) = (BTreeSet::new(), BTreeSet::new());
    CORPUS.iter().for_each(|document| collect(document, &mut keys, &mut texts));
    (keys.into_iter().collect(), texts.into_iter().collect())
});

fn any_json() -> impl Strategy<Value = Value> {
    let (keys, texts) = &*WORDS;
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
        3 => prop::sample::select(texts.as_slice()).prop_map(Value::from),
    ];
    let key = prop_oneof![5 => prop::sample::select(keys.as_slice()), 1 => ".{0,8}"];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Puts a value somewhere into a document; `turns` choose the way.
fn put(document: &mut Value, turns: &[usize], value: Value) {
    let Some((turn, turns)) = turns.split_first() else {
        *document = value;
        return;
    };
    match document {
        Value::Object(map) if !map.is_empty() => {
            let at = turn % map.len();
            if let Some((_, inner)) = map.iter_mut().nth(at) {
                put(inner, turns, value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = turn % items.len();
            put(&mut items[at], turns, value);
        }
        _ => *document = value,
    }
}

/// An object of a known type: arbitrary, or a real one with arbitrary changes.
fn any_object() -> impl Strategy<Value = Value> {
    let typed = |mut object: Value, (api_version, kind): (&str, &str)| {
        if !object.is_object() {
            object = json!({"spec": object});
        }
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object
    };
    let arbitrary =
        (any_json(), prop::sample::select(TYPES.as_slice())).prop_map(move |(object, of)| typed(object, of));
    let changes = vec((vec(any::<usize>(), 1..9), any_json()), 0..4);
    let changed = (prop::sample::select(CORPUS.as_slice()), changes).prop_map(move |(mut object, changes)| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        for (turns, value) in changes {
            put(&mut object, &turns, value);
        }
        typed(object, (api_version.as_str(), kind.as_str()))
    });
    prop_oneof![1 => arbitrary, 3 => changed]
}

/// A labelled workload of the corpus with fields that no type knows and numbers that no float holds.
fn any_workload() -> impl Strategy<Value = Value> {
    let workloads: Vec<Value> =
        CORPUS.iter().filter(|document| document["spec"]["template"].is_object()).cloned().collect();
    let label = prop::sample::select(vec!["throughput", "latency", "server-metrics", "gpu-metrics", "disabled", "x"]);
    let forged = prop::option::of("[a-z0-9/]{0,10}");
    let extra = vec(("[a-zA-Z~/. ]{1,10}", any_json()), 0..4);
    (prop::sample::select(workloads), label, forged, extra, any::<u64>()).prop_map(
        |(mut workload, label, forged, extra, number)| {
            let Some(metadata) = workload["metadata"].as_object_mut() else { return workload };
            metadata.entry("labels").or_insert_with(|| json!({}))["scalegate.dev/autoscale"] = json!(label);
            if let Some(forged) = forged {
                let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
                annotations["status.scalegate.dev/engine"] = json!(forged);
            }
            let mut odd = Map::new();
            for (key, value) in extra {
                odd.insert(key, value);
            }
            odd.insert("beyondAFloat".to_owned(), json!(number | 1 << 60));
            // First, so that the order of keys is not the usual one.
            let mut object = Map::from_iter([("zzz".to_owned(), Value::Object(odd))]);
            object.extend(workload.as_object().cloned().unwrap_or_default());
            Value::Object(object)
        },
    )
}

/// An object without its annotations, as text: keys in their order, numbers as they are written.
fn rest(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("annotations");
    }
    object.to_string()
}

fn world() -> ClusterView {
    let mut view = ClusterView::default();
    for document in CORPUS.iter().step_by(7) {
        if let Ok((of, object)) = Object::from_value(document) {
            view.apply(&of, object);
        }
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_any_object(objects in vec(any_object(), 1..4)) {
        let configuration = Configuration::default();
        let mut view = ClusterView::default();
        let read: Vec<_> = objects.iter().filter_map(|object| Object::from_value(object).ok()).collect();
        for (of, object) in &read {
            view.apply(of, object.clone());
        }
        for (of, object) in &read {
            for stage in [Stage::Admission, Stage::Review] {
                let context = Context { view: &view, configuration: &configuration, stage, update: false };
                let decision = judge(of, object, None, None, &context);
                for finding in &decision.findings {
                    prop_assert!(!finding.rule.is_empty() && !finding.message.is_empty(), "{finding:?}");
                }
                judge(of, object, read.first().map(|(_, old)| old), Some(0), &context);
            }
            let Object::Workload(object) = object else { continue };
            let read = workload::read(object, &|name| view.config_map(None, name));
            if let Ok(wish) = settings::read(&object.metadata, &configuration).wish {
                inject::inject(&object.metadata, true, &read, &wish, &configuration);
                if let Wish::Enabled(settings) = wish {
                    let _ = render::render(&read, &settings, &configuration, &|_| false);
                }
            }
        }
        for (of, object) in &read {
            view.delete(&object.key(of));
        }
        prop_assert_eq!(view.workloads().count() + view.hpas().count() + view.makers().count(), 0);
    }

    #[test]
    fn the_api_server_takes_the_answer_about_any_object(new in any_object(), old in prop::option::of(any_object())) {
        let webhook = Webhook::over(world(), Configuration::default());
        let old = old.map(|mut old| {
            old["apiVersion"] = new["apiVersion"].clone();
            old["kind"] = new["kind"].clone();
            old
        });
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        for phase in [Phase::Mutating, Phase::Validating] {
            match webhook.ask(phase, operation, &new, &old.clone().unwrap_or(Value::Null)) {
                Ok(accepted) => prop_assert!(accepted.losses.is_empty(), "{:?}", accepted.losses),
                Err(rejected) => prop_assert!(false, "{phase:?}: {rejected}\n{new}"),
            }
        }
    }

    #[test]
    fn a_patch_touches_annotations_alone_and_a_second_mutation_changes_nothing(workload in any_workload()) {
        let webhook = Webhook::over(ClusterView::default(), Configuration::default());
        let accepted = webhook.ask(Phase::Mutating, "CREATE", &workload, &Value::Null).unwrap();
        if let Some(patched) = accepted.patched {
            prop_assert_eq!(rest(&patched), rest(&workload));
            let foreign = |object: &Value| {
                let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
                annotations.into_iter().filter(|(key, _)| !key.starts_with("status.scalegate.dev/")).collect::<Vec<_>>()
            };
            prop_assert_eq!(foreign(&patched), foreign(&workload));
            let again = webhook.ask(Phase::Mutating, "CREATE", &patched, &Value::Null).unwrap();
            prop_assert!(again.patch.is_none(), "{:?}", again.patch);
        }
    }

    #[test]
    fn the_order_of_metrics_changes_no_finding(
        hpa in prop::sample::select(several_metrics()),
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let view = world();
        let configuration = Configuration::default();
        let said = |hpa: &Value| {
            let context = Context { view: &view, configuration: &configuration, stage: Stage::Review, update: false };
            let (of, object) = Object::from_value(hpa).unwrap();
            let findings = judge(&of, &object, None, None, &context).findings;
            findings.into_iter().map(|finding| (finding.rule, finding.value)).collect::<BTreeSet<_>>()
        };
        let metrics = hpa["spec"]["metrics"].as_array().unwrap().clone();
        let mut shuffled = hpa.clone();
        shuffled["spec"]["metrics"] =
            order.iter().filter_map(|index| metrics.get(*index).cloned()).collect::<Vec<_>>().into();
        prop_assert_eq!(said(&hpa), said(&shuffled));
    }
}

/// HPAs of the corpus with the metrics of their neighbours added, three each.
fn several_metrics() -> Vec<Value> {
    let of_v2: Vec<&Value> = CORPUS
        .iter()
        .filter(|document| document["apiVersion"] == "autoscaling/v2" && document["spec"]["metrics"].is_array())
        .collect();
    let merged = of_v2.windows(3).map(|three| {
        let mut hpa = three[0].clone();
        let metrics = three.iter().flat_map(|hpa| hpa["spec"]["metrics"].as_array().cloned().unwrap_or_default());
        hpa["spec"]["metrics"] = metrics.take(6).collect::<Vec<_>>().into();
        hpa
    });
    merged.collect()
}

#[test]
fn numbers_unknown_fields_and_the_order_of_keys_survive_a_mutation() {
    let mut workload = value(
        "{zzz: 9007199254740993, kind: Deployment, apiVersion: apps/v1, spec: {selector: {matchLabels: {app: llm}}, \
         futureField: {b: 1, a: [18446744073709551615, -9223372036854775808]}, template: {metadata: {labels: {app: llm}}, \
         spec: {containers: [{name: server, image: 'vllm/vllm-openai:v0.12.0', args: [--model=m], newField: null}]}}}, \
         metadata: {name: llm, namespace: ml, labels: {scalegate.dev/autoscale: throughput}, annotations: {b: '2', a: '1'}}}",
    );
    let webhook = Webhook::over(view_of(""), Configuration::default());
    let before = rest(&workload);
    let patched = webhook.ask(Phase::Mutating, "CREATE", &workload, &Value::Null).unwrap().patched.expect("a patch");
    assert_eq!(rest(&patched), before);
    assert!(before.contains("9007199254740993") && before.contains("18446744073709551615"), "{before}");
    assert_eq!(patched["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm");
    // The label goes, and with it everything that was written.
    workload["metadata"]["annotations"] = patched["metadata"]["annotations"].clone();
    workload["metadata"].as_object_mut().unwrap().shift_remove("labels");
    let cleaned = webhook.ask(Phase::Mutating, "UPDATE", &workload, &patched).unwrap().patched.expect("a patch");
    assert_eq!(cleaned["metadata"]["annotations"], json!({"b": "2", "a": "1"}));
}
