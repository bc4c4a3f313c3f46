//! One label, and what it generates is there; without it, nothing of ours is left; and nothing is written twice.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::{folder, until};
use crate::harness::scalegate::{Launch, Scalegate};
use crate::harness::{repository, values};

/// A deadline that only a hang reaches.
const PATIENCE: Duration = Duration::from_secs(60);

const LABEL: &str = "scalegate.dev/autoscale";
const KINDS: [&str; 2] = ["horizontalpodautoscaler", "podmonitoring"];
const RESULTS: [&str; 3] = ["created", "applied", "pruned"];

/// A control plane that serves PodMonitorings, and a namespace.
fn cluster() -> Option<(ControlPlane, String)> {
    let cluster = ControlPlane::start(Options::default())?;
    let kinds = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", kinds.to_str().unwrap()]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    let namespace = cluster.namespace("reconcile");
    Some((cluster, namespace))
}

fn controller(cluster: &ControlPlane) -> Scalegate {
    Launch::new("controller")
        .args(["--namespace=default", "--no-certificates", "--log-level=debug,kube=info,hyper_util=info"])
        .kubeconfig(&cluster.kubeconfig_path())
        .with_admin()
        .start()
}

fn server(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: "server-metrics"}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model=google/gemma-3-1b-it", "--port=8081", "--max-num-seqs=64"],
                    "ports": [{"containerPort": 8081}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
}

/// What `render` prints for a document.
fn rendered(document: &Value) -> Vec<Value> {
    let file = folder("render").join("document.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_scalegate")).arg("render").arg(&file).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    values(&String::from_utf8(ran.stdout).unwrap())
}

/// The generated objects of a namespace, as stored.
fn stored(cluster: &ControlPlane, namespace: &str) -> Vec<Value> {
    let list = cluster.kubectl(&["get", &KINDS.join(","), "-n", namespace, "-o", "json"]).json();
    list["items"].as_array().unwrap().clone()
}

/// Whether `stored` has everything that `wanted` says.
fn has(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| stored.get(key).is_some_and(|stored| has(stored, value)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(stored, wanted)| has(stored, wanted))
        }
        _ => stored == wanted,
    }
}

fn written(controller: &Scalegate) -> f64 {
    RESULTS.iter().map(|result| controller.metrics().sum("scalegate_apply_total", &[("result", result)])).sum()
}

/// Kind, name and resource version of each.
fn versions(objects: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = objects.iter().map(|object| {
        let metadata = &object["metadata"];
        (text(&object["kind"]), text(&metadata["name"]), text(&metadata["resourceVersion"]))
    });
    versions.collect()
}

/// Waits until the controller has looked at a workload that was made after everything before, and has nothing left to do.
fn looked(cluster: &ControlPlane, namespace: &str, controller: &Scalegate, marker: &str) {
    cluster.kubectl_stdin(&["create", "-f", "-"], &server(namespace, marker).to_string()).ok();
    until(&format!("{marker} is served\n{}", controller.log()), PATIENCE, || {
        let there = stored(cluster, namespace).iter().filter(|object| object["metadata"]["name"] == marker).count();
        (there == 2 && controller.metrics().sum("scalegate_reconcile_queue", &[]) < 1.0).then_some(())
    });
}

#[test]
fn a_label_generates_what_render_prints_once_and_its_removal_removes_it() {
    let Some((cluster, namespace)) = cluster() else { return };
    let mut controller = controller(&cluster);
    let document = server(&namespace, "llm");
    cluster.kubectl_stdin(&["create", "-f", "-"], &document.to_string()).ok();
    let wanted = rendered(&document);
    assert_eq!(wanted.len(), 2, "{wanted:?}");
    until("both objects are there", PATIENCE, || (stored(&cluster, &namespace).len() == 2).then_some(()));
    let owner = cluster.kubectl(&["get", "deployment", "llm", "-n", &namespace, "-o", "json"]).json();
    for wanted in &wanted {
        let there = stored(&cluster, &namespace);
        let there = there.iter().find(|object| object["kind"] == wanted["kind"]).unwrap();
        assert!(has(&there["spec"], &wanted["spec"]), "{there:#}\n{wanted:#}");
        assert_eq!(there["metadata"]["labels"], wanted["metadata"]["labels"]);
        assert_eq!(there["metadata"]["name"], "llm");
        let of = &there["metadata"]["ownerReferences"][0];
        assert_eq!((&of["uid"], &of["controller"]), (&owner["metadata"]["uid"], &json!(true)), "{of}");
        assert_eq!(of["blockOwnerDeletion"], false);
    }
    let event = until("an Event says so", PATIENCE, || {
        let list = cluster.kubectl(&["get", "events", "-n", &namespace, "-o", "json"]).json();
        list["items"].as_array().unwrap().iter().find(|event| event["reason"] == "Generated").cloned()
    });
    assert_eq!(event["involvedObject"]["name"], "llm", "{event:#}");

    // Another look, at what happens to touch everything, and a new start, write nothing.
    let before = versions(&stored(&cluster, &namespace));
    assert!((written(&controller) - 2.0).abs() < 0.1, "{}", controller.metrics().text());
    looked(&cluster, &namespace, &controller, "second");
    assert!((written(&controller) - 4.0).abs() < 0.1, "{}", controller.log());
    controller.restart();
    until("it leads", PATIENCE, || (controller.metrics().sum("scalegate_leader", &[]) > 0.0).then_some(()));
    looked(&cluster, &namespace, &controller, "third");
    assert!((written(&controller) - 2.0).abs() < 0.1, "{}", controller.log());
    let now = versions(&stored(&cluster, &namespace));
    assert!(before.iter().all(|object| now.contains(object)), "{before:?} {now:?}");

    // What somebody changes is mended, and what is removed comes back.
    let patch = r#"{"spec": {"maxReplicas": 77, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 99}}}}"#;
    cluster.kubectl(&["patch", "hpa", "llm", "-n", &namespace, "--type=merge", "-p", patch]).ok();
    cluster.kubectl(&["delete", "podmonitoring", "llm", "-n", &namespace]).ok();
    let hpa = wanted.iter().find(|object| object["kind"] == "HorizontalPodAutoscaler").unwrap();
    until(&format!("both are as before\n{}", controller.log()), PATIENCE, || {
        let there = stored(&cluster, &namespace);
        let llm: Vec<&Value> = there.iter().filter(|object| object["metadata"]["name"] == "llm").collect();
        let mended = llm.iter().any(|object| {
            object["kind"] == "HorizontalPodAutoscaler"
                && has(&object["spec"], &hpa["spec"])
                && object["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"] != 99
        });
        (llm.len() == 2 && mended).then_some(())
    });

    cluster.kubectl(&["label", "deployment", "llm", "-n", &namespace, &format!("{LABEL}-")]).ok();
    until(&format!("nothing of it is left\n{}", controller.log()), PATIENCE, || {
        let there = stored(&cluster, &namespace);
        let left = there.iter().filter(|object| object["metadata"]["name"] == "llm").count();
        (left == 0 && there.len() == 4).then_some(())
    });
    assert!(controller.stop().success(), "{}", controller.log());
}
