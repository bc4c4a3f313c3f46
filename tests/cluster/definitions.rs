//! What is generated passes the genuine definitions of the Prometheus Operator on a real API server: the schema alone would
//! leave out what the server drops.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::{Ran, until};
use crate::harness::values;
use crate::reference;

const PATIENCE: Duration = Duration::from_secs(60);

const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";

const CONFIGURATION: &str = "\
apiVersion: scalegate.dev/v1alpha1
kind: Configuration
backend: {type: prometheus-operator, monitorLabels: {release: prometheus}}
";

/// A labelled Deployment; `ports` are those that its container declares.
fn deployment(name: &str, profile: &str, ports: &[u16]) -> Value {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"containerPort": port})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"scalegate.dev/autoscale": profile}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{
                "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--port=8081", "--max-num-seqs=64"],
                "ports": ports, "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }]},
        }},
    })
}

#[test]
fn what_is_generated_for_the_prometheus_operator_is_stored_as_it_was_rendered() {
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    for plural in ["podmonitors", "servicemonitors", "prometheusrules"] {
        let file = format!("example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml");
        let Some(definitions) = reference::of_go_module(OPERATOR, &file) else { return };
        for definition in definitions {
            // Larger than what client-side apply may keep.
            cluster.kubectl_stdin(&["apply", "--server-side", "-f", "-"], &definition.to_string()).ok();
        }
        let established = format!("crd/{plural}.monitoring.coreos.com");
        cluster.kubectl(&["wait", "--for=condition=Established", &established, "--timeout=60s"]).ok();
    }
    let namespace = cluster.namespace("definitions");
    let workloads = [
        deployment("declared", "throughput", &[8081]),
        deployment("undeclared", "latency", &[]),
        deployment("gpu", "gpu-metrics", &[8081]),
    ];
    let text: Vec<String> = workloads.iter().map(Value::to_string).collect();
    let configuration = cluster.folder().join("configuration.yaml");
    fs::write(&configuration, CONFIGURATION).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.args(["render", "-n", &namespace, "--config", configuration.to_str().unwrap(), "-"]);
    let rendered = values(&Ran::of(command, &text.join("\n---\n")).ok());
    let mut kinds: Vec<&str> = rendered.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["HorizontalPodAutoscaler", "PodMonitor", "PrometheusRule", "ServiceMonitor"]);
    for object in &rendered {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let of = object["metadata"]["namespace"].as_str().unwrap_or(&namespace);
        if of != namespace {
            let made = cluster.kubectl(&["create", "namespace", of]);
            assert!(made.stderr.is_empty() || made.stderr.contains("AlreadyExists"), "{}", made.stderr);
        }
        // A definition is served a moment after it is established.
        until(&format!("{kind} {name} is applied"), PATIENCE, || {
            let apply = ["apply", "--server-side", "--validate=strict", "-n", of, "-f", "-"];
            let ran = cluster.kubectl_stdin(&apply, &object.to_string());
            assert!(ran.stderr.is_empty() || ran.stderr.contains("no matches for kind"), "{kind}: {}", ran.stderr);
            ran.stdout.contains("applied").then_some(())
        });
        let stored = cluster.kubectl(&["get", kind, name, "-n", of, "-o", "json"]).json();
        if kind != "HorizontalPodAutoscaler" {
            assert_eq!(stored["spec"], object["spec"], "nothing is dropped and nothing filled in");
        }
        for metric in object["spec"]["metrics"].as_array().into_iter().flatten() {
            let name = metric["pods"]["metric"]["name"].as_str().unwrap();
            assert!(!name.contains(':'), "{name}");
            let stored = stored["spec"]["metrics"].as_array().unwrap();
            assert!(stored.iter().any(|other| other["pods"]["metric"]["name"] == name), "{stored:?}");
        }
    }
}
