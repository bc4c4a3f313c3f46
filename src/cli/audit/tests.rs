use serde_json::{Value, json};

use super::*;
use crate::cluster::snapshot::apply;
use crate::policy::reconcile::plan;

/// A labelled server as the API server has it.
fn server(label: &str, annotations: &Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "llm", "namespace": "ml", "uid": "u-1", "annotations": annotations,
            "labels": { "scalegate.dev/autoscale": label } },
        "spec": { "selector": { "matchLabels": { "app": "llm" } }, "template": {
            "metadata": { "labels": { "app": "llm" } },
            "spec": { "containers": [{ "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                "args": ["--model=google/gemma-3-1b-it", "--port=8000"],
                "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } } } })
}

fn view(objects: &[Value]) -> ClusterView {
    let mut view = ClusterView::default();
    for object in objects {
        apply(&mut view, object).unwrap();
    }
    reread(&view).unwrap()
}

/// What the controller would have written, as the API server completes it.
fn generated(server: &Value) -> Vec<Value> {
    let view = view(std::slice::from_ref(server));
    let workload = view.workloads().next().unwrap();
    let written = plan(workload, &view, &Configuration::default()).write.into_iter().map(|write| write.object);
    let complete = |mut object: Value| {
        object["metadata"]["uid"] = json!(format!("of-{}", object["kind"]));
        object["metadata"]["labels"]["example.com/theirs"] = json!("kept");
        object["metadata"]["managedFields"] = json!([{ "manager": "scalegate", "operation": "Apply" }]);
        object
    };
    written.map(complete).collect()
}

fn differences(objects: &[Value]) -> (String, String) {
    let compared = diff::compare(&view(objects), &Configuration::default());
    (compared.differences.concat(), compared.notes.join("\n"))
}

#[test]
fn what_was_generated_does_not_differ_from_what_would_be_whatever_the_api_server_fills_in() {
    for label in ["server-metrics", "throughput", "latency"] {
        let server = server(label, &json!({}));
        let mut all = vec![server.clone()];
        all.extend(generated(&server));
        let behavior = &mut all[2]["spec"]["behavior"];
        if behavior["scaleUp"].is_null() {
            behavior["scaleUp"] = json!({ "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                { "type": "Pods", "value": 4, "periodSeconds": 15 }, { "type": "Percent", "value": 100, "periodSeconds": 15 } ] });
        }
        assert_eq!(differences(&all).0, "", "{label}");
    }
}

#[test]
fn an_object_that_is_changed_missing_or_left_over_differs() {
    let server = server("server-metrics", &json!({}));
    let [monitoring, hpa] = <[Value; 2]>::try_from(generated(&server)).unwrap();
    let mut edited = hpa.clone();
    edited["spec"]["maxReplicas"] = json!(9);
    let (text, _) = differences(&[server.clone(), monitoring.clone(), edited]);
    assert!(text.starts_with("--- cluster: HorizontalPodAutoscaler ml/llm\n+++ generated: "), "{text}");
    assert!(text.contains("\n-  maxReplicas: 9\n") && text.contains("\n+  maxReplicas: 5\n"), "{text}");
    assert_eq!(differences(&[server.clone(), hpa.clone()]).0, "missing: PodMonitoring ml/llm\n");
    let mut renamed = hpa.clone();
    renamed["metadata"]["name"] = json!("former");
    let (text, _) = differences(&[server.clone(), monitoring, hpa, renamed]);
    assert!(text.starts_with("only in the cluster: HorizontalPodAutoscaler ml/former ("), "{text}");
}

#[test]
fn what_is_withheld_is_not_missing_and_the_reason_is_said() {
    let server = server("server-metrics", &json!({}));
    let [monitoring, mut hpa] = <[Value; 2]>::try_from(generated(&server)).unwrap();
    hpa["metadata"] = json!({ "name": "theirs", "namespace": "ml", "uid": "theirs" });
    let (text, notes) = differences(&[server, monitoring, hpa]);
    assert_eq!(text, "");
    assert!(notes.contains("no HorizontalPodAutoscaler is written") && notes.contains("theirs"), "{notes}");
}

#[test]
fn what_is_left_when_the_label_is_gone_is_only_in_the_cluster() {
    let labelled = server("server-metrics", &json!({}));
    let mut all = generated(&labelled);
    all.push(server("disabled", &json!({})));
    let (text, _) = differences(&all);
    assert_eq!(text.lines().count(), 2, "{text}");
    // Somebody else's is no business of ours.
    all[1]["metadata"]["ownerReferences"] = json!([]);
    let (text, _) = differences(&all);
    assert!(text.lines().count() == 1 && text.starts_with("only in the cluster: PodMonitoring ml/llm ("), "{text}");
}

#[test]
fn while_nothing_is_generated_nothing_is_compared() {
    let (text, notes) = differences(&[server("server-metrics", &json!({ "scalegate.dev/paused": "true" }))]);
    assert!(text.is_empty() && notes.contains("scalegate.dev/paused"), "{notes}");
}

#[test]
fn every_object_in_scope_is_judged_and_the_others_are_counted() {
    let hpa = |name: &str, target: &str, metric: &Value| {
        json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": name, "namespace": "ml" },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": target },
                "maxReplicas": 3, "metrics": [metric] } })
    };
    let cpu = json!({ "type": "Resource", "resource": { "name": "cpu",
        "target": { "type": "Utilization", "averageUtilization": 60 } } });
    let pods = json!({ "type": "Pods", "pods": { "metric": {
        "name": "prometheus.googleapis.com|vllm:num_request_running|gauge" },
        "target": { "type": "AverageValue", "averageValue": "4" } } });
    let objects = [
        server("server-metrics", &json!({ "scalegate.dev/max-replicas": "0" })),
        hpa("wrong", "other", &pods),
        hpa("theirs", "web", &cpu),
    ];
    let (findings, tally) = judge_all(&view(&objects), &Configuration::default());
    assert_eq!((tally.judged, tally.unjudged), (2, 1));
    let denied: Vec<(&str, &str)> = findings
        .iter()
        .filter(|found| found.finding.severity == crate::policy::finding::Severity::Deny)
        .map(|found| (found.finding.object.kind.as_str(), found.finding.rule.as_str()))
        .collect();
    assert_eq!(denied, [("Deployment", "invalid-setting"), ("HorizontalPodAutoscaler", "metric-exists")]);
    let mut text = Vec::new();
    Output::Text.print(&mut text, &findings, &tally, false).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("--> HorizontalPodAutoscaler ml/wrong: spec.metrics[0]"), "{text}");
    assert!(text.contains("1 autoscaler has no tie to inference"), "{text}");
}

#[test]
fn an_adapter_configuration_of_the_cluster_is_judged_too() {
    let rules = "rules:\n- seriesQuery: 'vllm:num_requests_running{namespace!=\"\"}'\n   name: {as: made}\n";
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "adapter", "namespace": "monitoring" },
        "data": { "config.yaml": rules } });
    let (findings, tally) = judge_all(&view(&[map]), &Configuration::default());
    let rules: Vec<&str> = findings.iter().map(|found| found.finding.rule.as_str()).collect();
    assert_eq!((rules.as_slice(), tally.judged), (&["adapter-rules"][..], 1));
}
