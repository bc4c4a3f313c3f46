//! What people do to labelled workloads, and what becomes of them: everything as in a cluster without us, but for our
//! annotations, which always describe what is stored.
//!
//! Each step runs in two namespaces of one API server, of which it sends us one. The stored objects must be equal.

mod ownership;
mod reinvocation;
mod untouched;
mod warnings;
mod ways;

use std::fs;

use serde_json::{Value, json};

use crate::harness::assets::Binary;
use crate::harness::chart::helm_in;
use crate::harness::control_plane::command;
use crate::harness::process::{self, Ran};
use crate::harness::repository;
use crate::standing::{Pair, ours, send, standing};

/// A kind of workload and where its pod template stands.
#[derive(Clone, Copy)]
struct Kind {
    /// As kubectl takes it.
    name: &'static str,
    /// The name of the workload. Two workloads of one name would get generated objects of different names.
    workload: &'static str,
    /// JSON pointer.
    template: &'static str,
}

const DEPLOYMENT: Kind = Kind { name: "deployment", workload: "server", template: "/spec/template" };
const STATEFUL_SET: Kind = Kind { name: "statefulset", workload: "set", template: "/spec/template" };
const LEADER_WORKER_SET: Kind =
    Kind { name: "leaderworkerset", workload: "group", template: "/spec/leaderWorkerTemplate/workerTemplate" };

impl Kind {
    /// A vLLM server that asks for an autoscaler.
    fn labelled(self, image: &str, port: u16) -> Value {
        let labels = json!({"app": "server"});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container(image, port)]}});
        let (api_version, kind, spec) = match self.name {
            "deployment" => {
                ("apps/v1", "Deployment", json!({"selector": {"matchLabels": labels}, "template": template}))
            }
            "statefulset" => (
                "apps/v1",
                "StatefulSet",
                json!({"serviceName": "server", "selector": {"matchLabels": labels}, "template": template}),
            ),
            _ => (
                "leaderworkerset.x-k8s.io/v1",
                "LeaderWorkerSet",
                json!({"leaderWorkerTemplate": {"size": 2, "workerTemplate": template}}),
            ),
        };
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": self.workload, "labels": {"scalegate.dev/autoscale": "server-metrics"}},
            "spec": spec,
        })
    }
}

fn container(image: &str, port: u16) -> Value {
    json!({
        "name": "vllm", "image": format!("vllm/vllm-openai:{image}"),
        "args": ["--model=google/gemma-3-1b-it", format!("--port={port}"), "--max-num-seqs=64"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    })
}

/// Runs kubectl with that command in the place of an editor.
fn edit(pair: &Pair, namespace: &str, target: &str, editor: &str) -> Ran {
    let mut kubectl = command(Binary::Kubectl);
    kubectl.arg("--kubeconfig").arg(pair.cluster.kubeconfig_path()).args(["edit", target, "-n", namespace]);
    kubectl.env("HOME", pair.cluster.folder()).env_remove("KUBECONFIG").env("KUBE_EDITOR", editor);
    Ran::of(kubectl, "")
}

/// The stored object.
fn stored(pair: &Pair, kind: Kind) -> Value {
    crate::standing::stored(pair.cluster, &pair.with, &kind.labelled("", 0))
}

/// Asserts that both stored objects are equal, and that ours is described as that release on that port, or not at all.
#[track_caller]
fn assert_described(pair: &Pair, kind: Kind, way: &str, described: Option<(&str, &str)>) {
    let [with, without] = pair.plain(&kind.labelled("", 0));
    assert_eq!(with, without, "after {way} of a {}", kind.name);
    let object = stored(pair, kind);
    let ours = ours(&object);
    let Some((version, port)) = described else {
        assert!(ours.is_empty(), "after {way}: {object}");
        return;
    };
    let found = ["engine", "engine-version", "metrics-port"].map(|key| ours.get(key).map_or("", String::as_str));
    assert_eq!(found, ["vllm", version, port], "after {way}: {object}");
    let names = [ours.get("horizontal-pod-autoscaler"), ours.get("pod-monitoring")];
    assert!(names.iter().all(|name| name.is_some_and(|name| name == kind.workload)), "after {way}: {object}");
}

#[test]
fn the_labelled_walkthroughs_come_back_annotated_and_a_second_apply_changes_nothing() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    let expected = [
        (
            "server-metrics",
            "gemma-server",
            json!({
                "engine": "vllm", "engine-version": "0.11.0", "metrics-port": "8081", "metrics-path": "/metrics",
                "pod-monitoring": "gemma-server", "horizontal-pod-autoscaler": "gemma-server",
            }),
        ),
        (
            "gpu-metrics",
            "gemma-gpu",
            json!({
                "engine": "vllm", "engine-version": "0.11.0", "horizontal-pod-autoscaler": "gemma-gpu",
            }),
        ),
    ];
    for (folder, name, annotations) in expected {
        let files =
            ["deployment.yaml", "service.yaml"].map(|file| repository("deploy/walkthrough").join(folder).join(file));
        for flags in [&[][..], &["--server-side"]] {
            let namespace = cluster.namespace("walkthrough");
            let [deployment, service] = files.each_ref().map(|file| file.to_str().unwrap());
            let apply = [&["apply", "-n", &namespace, "-f", deployment, "-f", service], flags].concat();
            let ran = cluster.kubectl(&apply);
            assert!(!ran.stderr.contains("Warning"), "{}", ran.stderr);
            ran.ok();
            let get = ["get", "deployment", name, "-n", &namespace, "-o", "json"];
            let before = cluster.kubectl(&get).json();
            assert_eq!(json!(ours(&before)), annotations, "{folder}");
            let again = cluster.kubectl(&apply).ok();
            let done = if flags.is_empty() { " unchanged" } else { " serverside-applied" };
            assert!(again.lines().count() == 2 && again.lines().all(|line| line.ends_with(done)), "{again}");
            assert_eq!(cluster.kubectl(&get).json(), before);
        }
    }
}

#[test]
fn a_dry_run_comes_back_annotated_and_stores_nothing() {
    let Some(standing) = standing() else { return };
    let namespace = standing.cluster().namespace("dry-run");
    for kind in [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET] {
        for flags in [&[][..], &["--server-side"]] {
            let arguments = [&["apply", "--dry-run=server", "-o", "json"], flags].concat();
            let answer = send(standing.cluster(), &namespace, &arguments, &kind.labelled("v0.11.0", 8_001)).json();
            let ours = ours(&answer);
            assert_eq!(ours["metrics-port"], "8001", "{answer}");
            assert_eq!(ours["engine-version"], "0.11.0", "{answer}");
        }
        let stored = standing.cluster().kubectl(&["get", kind.name, "-n", &namespace, "-o", "name"]).ok();
        assert_eq!(stored, "");
    }
}

#[test]
fn a_write_over_an_older_state_is_refused_by_the_api_server_as_without_us() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("stale");
    for kind in [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET] {
        let texts = [&pair.with, &pair.without].map(|namespace| {
            send(pair.cluster, namespace, &["create"], &kind.labelled("v0.11.0", 8_001)).ok();
            let get = ["get", kind.name, kind.workload, "-n", namespace, "-o", "json"];
            let before = pair.cluster.kubectl(&get).json();
            pair.cluster.kubectl(&["label", kind.name, kind.workload, "-n", namespace, "team=a"]).ok();
            send(pair.cluster, namespace, &["replace"], &before).refused().replace(namespace, "NAMESPACE")
        });
        assert!(texts[0].contains("the object has been modified"), "{}", texts[0]);
        assert_eq!(texts[0], texts[1]);
    }
}

#[test]
fn helm_installs_upgrades_and_rolls_back_and_our_annotations_follow() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("helm");
    let chart = process::folder("chart");
    fs::create_dir(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: server\nversion: 1.0.0\n").unwrap();
    let kinds = [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET];
    for kind in kinds {
        let template = kind.labelled("IMAGE", 8_001).to_string().replace("IMAGE", "{{ .Values.image }}");
        let template = template.replace("--port=8001", "--port={{ .Values.port }}");
        fs::write(chart.join(format!("templates/{}.yaml", kind.name)), template).unwrap();
    }
    let chart = chart.to_str().unwrap();
    let steps: [(&[&str], &str, &str); 5] = [
        (&["install", "server", chart, "--set", "image=v0.11.0,port=8001"], "0.11.0", "8001"),
        (&["upgrade", "server", chart, "--set", "image=v0.10.2,port=8002"], "0.10.2", "8002"),
        (&["upgrade", "server", chart, "--set", "image=v0.10.2,port=8002"], "0.10.2", "8002"),
        (&["rollback", "server", "1"], "0.11.0", "8001"),
        (&["upgrade", "server", chart, "--set", "image=v0.11.0,port=8003"], "0.11.0", "8003"),
    ];
    for (step, version, port) in steps {
        for namespace in [&pair.with, &pair.without] {
            helm_in(pair.cluster, &[step, &["-n", namespace]].concat()).ok();
        }
        // The third has the same manifests as the second: nothing is written.
        for kind in kinds {
            assert_described(&pair, kind, &format!("helm {}", step[0]), Some((version, port)));
        }
    }
    for namespace in [&pair.with, &pair.without] {
        helm_in(pair.cluster, &["uninstall", "server", "-n", namespace]).ok();
    }
}
