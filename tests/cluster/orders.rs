//! Whichever part comes first: nothing that works is refused because of what was there a moment ago, or is not there yet.

mod races;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::process::{self, until};
use crate::harness::{repository, values};
use crate::reference;
use crate::standing::{PATIENCE, roll_out, send, standing};

/// The published files of each strategy, in the order of its text.
const SERVER_METRICS: [&str; 5] = [
    "stack-driver-adapter.yaml",
    "vllm-deployment.yaml",
    "vllm-service.yaml",
    "pod-monitoring.yaml",
    "horizontal-pod-autoscaler.yaml",
];
const GPU_METRICS: [&str; 6] = [
    "stack-driver-adapter.yaml",
    "vllm-deployment.yaml",
    "vllm-service.yaml",
    "gpu-pod-monitoring.yaml",
    "gpu-rules.yaml",
    "gpu-horizontal-pod-autoscaler.yaml",
];

/// The word that a denial has and a warning has not.
const DENIED: &str = "denied the request";

/// Applies a file as it was published, and asserts that nobody refuses it.
#[track_caller]
fn apply(cluster: &ControlPlane, path: &Path) {
    let ran = cluster.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    assert!(ran.code == 0 && !ran.stderr.contains(DENIED), "{}: {}", path.display(), ran.stderr);
}

#[test]
fn each_published_strategy_is_admitted_in_every_order_and_each_file_alone() {
    let Some(folder) = reference::path("manifests/ai-on-gke") else { return };
    if !assets::have(&[Binary::Helm]) {
        return;
    }
    // Of its own: the published adapter registers an APIService that nobody serves here, and all kubectls notice.
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    let definitions = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
    let definitions = definitions.to_str().unwrap();
    cluster.kubectl(&["apply", "--server-side", "-f", definitions]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", definitions]).ok();
    let installation = Installation::start(&cluster, &json!({"admission": {"failurePolicy": "Fail"}}), 1);
    let view_has_target = |autoscaler: &str| {
        let mut probe = values(&fs::read_to_string(folder.join(autoscaler)).unwrap()).remove(0);
        probe["metadata"]["name"] = json!("probe");
        until("the Deployment is in view", PATIENCE, || {
            let mut probe = probe.clone();
            probe["spec"]["metrics"][0]["pods"]["target"]["averageValue"] = json!("100000");
            probe["spec"]["metrics"][0]["pods"]["metric"]["name"] =
                json!("prometheus.googleapis.com|vllm:num_requests_running|gauge");
            let ran = send(&cluster, "default", &["create", "--dry-run=server"], &probe);
            ran.stderr.contains("[target-unreachable]").then_some(())
        });
    };
    let (mut applied, mut autoscalers) = (0, 0);
    for files in [&SERVER_METRICS[..], &GPU_METRICS[..]] {
        let reversed: Vec<&str> = files.iter().rev().copied().collect();
        let autoscaler = reversed[0];
        for order in [files, &reversed] {
            for file in order {
                apply(&cluster, &folder.join(file));
                applied += 1;
                // What comes after is judged knowing this, not by luck before it is known.
                if *file == "vllm-deployment.yaml" {
                    view_has_target(autoscaler);
                    roll_out(&cluster, "default", "vllm-gemma-deployment");
                }
            }
            // Once more as a whole, with everything there.
            let copied = process::folder("half");
            for file in order {
                fs::copy(folder.join(file), copied.join(file)).unwrap();
            }
            apply(&cluster, &copied);
            autoscalers += cluster.kubectl(&["get", "hpa", "-o", "name"]).ok().lines().count();
            // But for the adapter's Namespace, which no controller would take away here.
            for file in order.iter().filter(|file| !file.starts_with("stack-driver")) {
                cluster.kubectl(&["delete", "-f", folder.join(file).to_str().unwrap()]).ok();
            }
        }
        for file in files.iter().filter(|file| !file.starts_with("stack-driver")) {
            apply(&cluster, &folder.join(file));
            cluster.kubectl(&["delete", "-f", folder.join(file).to_str().unwrap()]).ok();
        }
    }
    assert_eq!((applied, autoscalers), (22, 4));
    // That something is judged at all: both autoscalers at once are one too many.
    apply(&cluster, &folder.join("vllm-deployment.yaml"));
    apply(&cluster, &folder.join("horizontal-pod-autoscaler.yaml"));
    let second = folder.join("gpu-horizontal-pod-autoscaler.yaml");
    until("the second autoscaler is refused", PATIENCE, || {
        let ran = cluster.kubectl(&["create", "--dry-run=server", "-f", second.to_str().unwrap()]);
        ran.stderr.contains("[autoscaler-conflict]").then_some(())
    });
    drop(installation);
}

/// A server of that release and an autoscaler on its cache under that name, as files of a folder in that order.
fn folder_of(image: &str, metric: &str, reversed: bool) -> std::path::PathBuf {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llm"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {"metadata": {"labels": {"app": "llm"}}, "spec": {"containers": [{
                "name": "vllm", "image": format!("vllm/vllm-openai:{image}"),
                "args": ["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64"],
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }]}},
        },
    });
    let metric = format!("prometheus.googleapis.com|vllm:{metric}|gauge");
    let autoscaler = crate::standing::hpa("llm", "llm", &metric, "800m");
    let folder = process::folder("bump");
    let names = if reversed { ["b.json", "a.json"] } else { ["a.json", "b.json"] };
    for (name, object) in names.iter().zip([deployment, autoscaler]) {
        fs::write(folder.join(name), object.to_string()).unwrap();
    }
    folder
}

/// A release with the old name of the gauge alone, and one with the new name alone.
const BEFORE: (&str, &str) = ("v0.9.0", "gpu_cache_usage_perc");
const AFTER: (&str, &str) = ("v0.12.0", "kv_cache_usage_perc");

#[test]
fn an_image_and_its_autoscaler_move_together_and_back_in_one_apply() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for reversed in [false, true] {
        let namespace = cluster.namespace("bump");
        for (step, (image, metric)) in [BEFORE, AFTER, BEFORE, AFTER].into_iter().enumerate() {
            let folder = folder_of(image, metric, reversed);
            let ran = cluster.kubectl(&["apply", "-n", &namespace, "-f", folder.to_str().unwrap()]);
            assert!(ran.code == 0 && !ran.stderr.contains(DENIED), "step {step}, {reversed}: {}", ran.stderr);
            let stored = |target: &str| cluster.kubectl(&["get", target, "-n", &namespace, "-o", "json"]).ok();
            assert!(stored("deployment/llm").contains(&format!("vllm-openai:{image}")), "step {step}");
            assert!(stored("hpa/llm").contains(&format!("vllm:{metric}|")), "step {step}");
            // The rollout completes, and the webhook knows it, before the next change.
            roll_out(cluster, &namespace, "llm");
            let other = if metric == BEFORE.1 { AFTER.1 } else { BEFORE.1 };
            let metric = format!("prometheus.googleapis.com|vllm:{other}|gauge");
            // Of another name, and so a conflict too; what is said about the metric shows which release the view has.
            let probe = crate::standing::hpa("probe", "llm", &metric, "800m");
            until(&format!("step {step}: {other} is not exported"), PATIENCE, || {
                let ran = send(cluster, &namespace, &["create", "--dry-run=server"], &probe);
                ran.stderr.contains("[metric-removed]").then_some(())
            });
        }
    }
}

/// `kubectl delete -f` and `kubectl apply -f`, at once.
#[test]
fn a_folder_that_is_deleted_and_applied_with_another_release_is_admitted() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for reversed in [false, true] {
        let namespace = cluster.namespace("again");
        for (image, metric) in [BEFORE, AFTER, BEFORE, AFTER, BEFORE] {
            let folder = folder_of(image, metric, reversed);
            let folder = folder.to_str().unwrap();
            let ran = cluster.kubectl(&["apply", "-n", &namespace, "-f", folder]);
            assert!(ran.code == 0 && !ran.stderr.contains(DENIED), "{image}, {reversed}: {}", ran.stderr);
            roll_out(cluster, &namespace, "llm");
            standing.wait_for_view(&namespace, "llm");
            cluster.kubectl(&["delete", "-n", &namespace, "-f", folder]).ok();
        }
    }
}

/// `kubectl rollout undo` of the Deployment and a revert of the autoscaler, each by itself.
#[test]
fn a_rollback_of_each_by_itself_is_admitted_in_both_orders() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for reversed in [false, true] {
        let namespace = cluster.namespace("rollback");
        let mut files = ["a.json", "b.json"];
        if reversed {
            files.reverse();
        }
        for (image, metric) in [AFTER, BEFORE, AFTER] {
            let folder = folder_of(image, metric, false);
            for file in files {
                let ran = cluster.kubectl(&["apply", "-n", &namespace, "-f", folder.join(file).to_str().unwrap()]);
                assert!(ran.code == 0 && !ran.stderr.contains(DENIED), "{image} {file}: {}", ran.stderr);
                if file == "a.json" {
                    roll_out(cluster, &namespace, "llm");
                    standing.wait_for_view(&namespace, "llm");
                }
            }
        }
    }
}

/// Objects as a kube client takes them.
fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
