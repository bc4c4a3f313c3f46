//! UPDATE: what was wrong already does not stop a change, and what the change makes worse does.

use scalegate::admission::Phase;
use scalegate::admission::oracle::Accepted;
use scalegate::policy::configuration::Configuration;
use serde_json::{Value, json};

use crate::support::{Webhook, value, view_of};

const SERVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm, namespace: ml}
spec:
  selector: {matchLabels: {app: llm}}
  template:
    metadata: {labels: {app: llm}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai:v0.12.0
        args: [--model=google/gemma-3-1b-it]
        resources: {limits: {nvidia.com/gpu: 1}}
";

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";
const OTHER_MISSPELT: &str = "prometheus.googleapis.com|vllm:num_requests_wating|gauge";
/// Gone since vLLM 0.12.
const REMOVED: &str = "prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge";

fn hpa(metrics: &[&str]) -> Value {
    let mut hpa = value(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: llm, namespace: ml}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: llm}
  maxReplicas: 5
",
    );
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|name| {
            json!({"type": "Pods", "pods": {"metric": {"name": name},
                   "target": {"type": "AverageValue", "averageValue": "800m"}}})
        })
        .collect();
    hpa["spec"]["metrics"] = metrics.into();
    hpa
}

fn asked(operation: &str, object: &Value, old: &Value) -> Accepted {
    let webhook = Webhook::over(view_of(SERVER), Configuration::default());
    webhook.ask(Phase::Validating, operation, object, old).unwrap()
}

/// The message of the denial, empty when there is none, and the warnings.
fn said(operation: &str, object: &Value, old: &Value) -> (String, Vec<String>) {
    let accepted = asked(operation, object, old);
    (accepted.denial.map(|denial| denial.message("w")).unwrap_or_default(), accepted.warnings)
}

#[test]
fn a_create_with_the_fault_is_refused() {
    let (denied, warnings) = said("CREATE", &hpa(&[MISSPELT]), &Value::Null);
    assert!(denied.contains("[metric-exists]") && denied.contains(RUNNING), "{denied}");
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn an_update_that_keeps_the_fault_is_admitted_with_a_warning() {
    let mut new = hpa(&[MISSPELT]);
    new["spec"]["maxReplicas"] = json!(6);
    let (denied, warnings) = said("UPDATE", &new, &hpa(&[MISSPELT]));
    assert_eq!(denied, "");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("[metric-exists] spec.metrics[0].pods.metric.name"), "{warnings:?}");
}

#[test]
fn a_reordering_is_no_change_of_the_fault() {
    let (denied, warnings) = said("UPDATE", &hpa(&[RUNNING, MISSPELT]), &hpa(&[MISSPELT, RUNNING]));
    assert_eq!(denied, "");
    assert!(warnings[0].starts_with("[metric-exists] spec.metrics[1]"), "{warnings:?}");
}

#[test]
fn an_update_that_adds_a_fault_is_refused_and_says_the_old_one_as_a_warning() {
    let (denied, warnings) = said("UPDATE", &hpa(&[MISSPELT, OTHER_MISSPELT]), &hpa(&[MISSPELT]));
    assert!(denied.contains("wating") && !denied.contains("num_request_running"), "{denied}");
    assert!(warnings.len() == 1 && warnings[0].contains("num_request_running"), "{warnings:?}");
}

#[test]
fn an_update_that_brings_the_fault_is_refused() {
    let (denied, _) = said("UPDATE", &hpa(&[MISSPELT]), &hpa(&[RUNNING]));
    assert!(denied.contains("[metric-exists]"), "{denied}");
}

#[test]
fn an_update_that_mends_the_fault_is_admitted_silently() {
    assert_eq!(said("UPDATE", &hpa(&[RUNNING]), &hpa(&[MISSPELT])), (String::new(), Vec::new()));
}

#[test]
fn an_unchanged_spec_passes_silently() {
    let mut new = hpa(&[MISSPELT]);
    new["metadata"]["labels"] = json!({"team": "a"});
    new["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    new["status"] = json!({"currentReplicas": 3, "desiredReplicas": 4});
    assert_eq!(said("UPDATE", &new, &hpa(&[MISSPELT])), (String::new(), Vec::new()));
}

#[test]
fn an_object_that_is_being_deleted_passes_silently() {
    let mut new = hpa(&[MISSPELT]);
    new["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(said("UPDATE", &new, &hpa(&[RUNNING])), (String::new(), Vec::new()));
}

#[test]
fn a_delete_passes_silently() {
    assert_eq!(said("DELETE", &Value::Null, &hpa(&[MISSPELT])), (String::new(), Vec::new()));
}

#[test]
fn metric_removed_refuses_a_create_and_warns_at_an_update() {
    let (denied, _) = said("CREATE", &hpa(&[REMOVED]), &Value::Null);
    assert!(denied.contains("[metric-removed]") && denied.contains("vllm:kv_cache_usage_perc"), "{denied}");
    // Also where the update brings it: the image may be on its way back.
    for old in [REMOVED, RUNNING] {
        let mut new = hpa(&[REMOVED]);
        new["spec"]["maxReplicas"] = json!(6);
        let (denied, warnings) = said("UPDATE", &new, &hpa(&[old]));
        assert_eq!(denied, "", "from {old}");
        assert!(warnings.iter().any(|warning| warning.starts_with("[metric-removed]")), "{warnings:?}");
    }
}

#[test]
fn invalid_settings_ratchet_as_autoscalers_do() {
    let workload = |replicas: &str, image: &str| {
        let mut workload = value(SERVER);
        workload["metadata"]["labels"] = json!({"scalegate.dev/autoscale": "throughput"});
        workload["metadata"]["annotations"] = json!({"scalegate.dev/max-replicas": replicas});
        workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        workload
    };
    let good = workload("3", "vllm/vllm-openai:v0.12.0");
    let bad = workload("abc", "vllm/vllm-openai:v0.12.0");
    let accepted = asked("CREATE", &bad, &Value::Null);
    let denial = accepted.denial.unwrap();
    assert_eq!((denial.code, denial.reason.as_str()), (422, "Invalid"));
    assert!(said("UPDATE", &bad, &good).0.contains("[invalid-setting]"));
    let (denied, warnings) = said("UPDATE", &workload("abc", "vllm/vllm-openai:v0.13.0"), &bad);
    assert_eq!(denied, "");
    assert!(warnings.iter().any(|warning| warning.contains("[invalid-setting]")), "{warnings:?}");
}
