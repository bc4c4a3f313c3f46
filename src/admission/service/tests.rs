use super::*;
use crate::admission::Review;
use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;
use serde_json::{Value, json};

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";

fn hpa(metrics: &[&str]) -> Value {
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|name| {
            json!({ "type": "Pods", "pods": {
                "metric": { "name": name }, "target": { "type": "AverageValue", "averageValue": "4" } } })
        })
        .collect();
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "vllm", "namespace": "ml" },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm" },
                  "maxReplicas": 3, "metrics": metrics },
    })
}

fn workload(kind: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": "vllm", "namespace": "ml", "labels": { "scalegate.dev/autoscale": "server-metrics" } },
        "spec": { "selector": { "matchLabels": { "app": "vllm" } }, "template": {
            "metadata": { "labels": { "app": "vllm" } },
            "spec": { "containers": [{ "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                "args": ["--model=x"], "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } } },
    })
}

/// A request about a change from `old` to `object`.
fn body(operation: &str, old: &Value, object: &Value) -> String {
    let of = if object.is_null() { old } else { object };
    let (group, version) = of["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "kind": { "group": group, "version": version, "kind": of["kind"] },
            "name": of["metadata"]["name"], "namespace": "ml", "operation": operation,
            "object": object, "oldObject": old,
        },
    })
    .to_string()
}

fn service(objects: &[Value]) -> Service {
    let mut view = ClusterView::default();
    for object in objects {
        let (of, object) = Object::from_value(object).unwrap();
        view.apply(&of, object);
    }
    Service::new(State::new(view, Configuration::default()))
}

fn validate(service: &Service, body: &str) -> Verdict {
    service.validate(&Review::parse(body.as_bytes()).unwrap())
}

fn denied(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Deny { .. })
}

fn warnings(verdict: &Verdict) -> &[String] {
    match verdict {
        Verdict::Allow { warnings, .. } | Verdict::Deny { warnings, .. } => warnings,
    }
}

fn patch(service: &Service, object: &Value) -> Vec<Value> {
    let body = body("CREATE", &Value::Null, object);
    match service.mutate(&Review::parse(body.as_bytes()).unwrap()) {
        Verdict::Allow { patch: Some(patch), .. } => serde_json::from_slice(&patch).unwrap(),
        _ => Vec::new(),
    }
}

#[test]
fn only_what_a_change_makes_worse_is_denied() {
    let service = service(&[]);
    let (good, bad) = (hpa(&[RUNNING]), hpa(&[MISSPELT]));
    assert!(denied(&validate(&service, &body("CREATE", &Value::Null, &bad))));
    assert!(denied(&validate(&service, &body("UPDATE", &good, &bad))));
    let reordered = hpa(&[RUNNING, MISSPELT]);
    let update = validate(&service, &body("UPDATE", &hpa(&[MISSPELT, RUNNING]), &reordered));
    assert!(!denied(&update) && !warnings(&update).is_empty(), "{update:?}");
    assert_eq!(validate(&service, &body("UPDATE", &bad, &bad)), Verdict::silent());
}

#[test]
fn a_change_of_an_object_that_cannot_be_read_is_warned_of_and_not_denied() {
    let service = service(&[]);
    let mut old = hpa(&[MISSPELT]);
    old["metadata"]["annotations"] = json!({ "a": 1 });
    for old in [old, Value::Null] {
        let verdict = validate(&service, &body("UPDATE", &old, &hpa(&[MISSPELT])));
        assert!(!denied(&verdict) && !warnings(&verdict).is_empty(), "{verdict:?}");
    }
}

#[test]
fn deletions_subresources_and_objects_being_deleted_pass_in_silence() {
    let service = service(&[]);
    let bad = hpa(&[MISSPELT]);
    let mut leaving = bad.clone();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for body in [
        body("DELETE", &bad, &Value::Null),
        body("CREATE", &Value::Null, &leaving),
        body("CREATE", &Value::Null, &bad).replace("\"operation\"", "\"subResource\":\"status\",\"operation\""),
    ] {
        assert_eq!(validate(&service, &body), Verdict::silent(), "{body}");
    }
}

#[test]
fn an_object_of_thousands_of_metrics_is_judged_as_far_as_it_can_be_and_says_so() {
    let many: Vec<String> = (0..5000).map(|index| format!("vllm:num_request_runing{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let verdict = validate(&service(&[]), &body("CREATE", &Value::Null, &hpa(&many)));
    let told = |warning: &String| warning == "scalegate judged the first 64 of 5000 metrics only";
    assert!(warnings(&verdict).iter().any(told), "{:?}", warnings(&verdict).last());
}

#[test]
fn thousands_of_keys_of_ours_give_a_page_of_findings() {
    let mut object = workload("Deployment");
    let annotations = (0..5000).map(|index| (format!("scalegate.dev/min-replica{index}"), json!("1")));
    object["metadata"]["annotations"] = Value::Object(annotations.collect());
    let Verdict::Deny { message, .. } = validate(&service(&[]), &body("CREATE", &Value::Null, &object)) else {
        panic!("misspelt keys are denied");
    };
    assert!(message.lines().count() <= 20, "{}", message.lines().count());
}

#[test]
fn a_patch_applied_leaves_nothing_to_patch() {
    let service = service(&[]);
    for kind in ["Deployment", "StatefulSet"] {
        for annotations in [None, Some(Value::Null), Some(json!({})), Some(json!({ "a/b": "c" }))] {
            let mut object = workload(kind);
            if let Some(annotations) = annotations {
                object["metadata"]["annotations"] = annotations;
            }
            let operations = patch(&service, &object);
            assert!(!operations.is_empty());
            json_patch::patch(&mut object, &serde_json::from_value::<json_patch::Patch>(json!(operations)).unwrap())
                .unwrap();
            assert!(patch(&service, &object).is_empty(), "{object}");
            // Without the label our annotations go, and no others.
            object["metadata"]["labels"] = json!({});
            let operations = patch(&service, &object);
            json_patch::patch(&mut object, &serde_json::from_value::<json_patch::Patch>(json!(operations)).unwrap())
                .unwrap();
            let left = object["metadata"]["annotations"].as_object().unwrap();
            assert!(left.keys().all(|key| key == "a/b"), "{left:?}");
        }
    }
}

#[test]
fn of_two_workloads_of_one_name_the_second_is_told_the_name_that_is_generated() {
    let named = |service: &Service| {
        let operations = patch(service, &workload("StatefulSet"));
        serde_json::to_string(&operations).unwrap().contains("vllm-statefulset")
    };
    assert!(!named(&service(&[])));
    assert!(named(&service(&[workload("Deployment")])));
}

#[test]
fn of_thousands_of_bytes_of_queries_the_first_are_judged() {
    let trigger = |name: &str, padding: usize| {
        let query = format!("{name}{{a=\"{}\"}}", "x".repeat(padding));
        json!({ "type": "prometheus", "metadata": { "query": query, "threshold": "1" } })
    };
    let scaled = |triggers: Vec<Value>| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": { "name": "vllm", "namespace": "ml" },
            "spec": { "scaleTargetRef": { "name": "vllm" }, "triggers": triggers },
        })
    };
    let said = |triggers: Vec<Value>| {
        let verdict = validate(&service(&[]), &body("CREATE", &Value::Null, &scaled(triggers)));
        warnings(&verdict).len()
    };
    let misspelt = "vllm:num_request_running";
    assert!(said(vec![trigger(misspelt, 10)]) > 0);
    assert_eq!(said(vec![trigger("vllm:num_requests_running", 10), trigger(misspelt, 20_000)]), 0);
}
