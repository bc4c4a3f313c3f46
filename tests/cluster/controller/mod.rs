//! The controller on a real control plane: what a label brings, what keeps it so, and what it never touches.
//!
//! Each test ends in a state: what `scalegate render` prints for the live workload, or what was there before.

mod bare;
mod faults;
mod foreign;
mod labels;
mod names;
mod settings;

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::{Ran, until};
use crate::harness::repository;
use crate::harness::scalegate::{Launch, Scalegate};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub const HPA: &str = "horizontalpodautoscalers.autoscaling";
pub const POD_MONITORING: &str = "podmonitorings.monitoring.googleapis.com";

/// A control plane with the garbage collector and one controller of ours, which every test of this folder that breaks nothing
/// shares; each works in a namespace of its own.
pub fn ground() -> Option<&'static Ground> {
    static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
    if !assets::have(&[Binary::ControllerManager]) {
        return None;
    }
    GROUND.get_or_init(|| Ground::start(Options::default())).as_ref()
}

/// A control plane and a controller on it.
pub struct Ground {
    pub cluster: &'static ControlPlane,
    pub controller: std::sync::Mutex<Scalegate>,
}

impl Ground {
    /// One of its own, for a test that breaks something.
    pub fn start(options: Options) -> Option<Self> {
        let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(options)?));
        for group in ["leaderworkerset.x-k8s.io", "monitoring.googleapis.com", "keda.sh"] {
            define(cluster, group);
        }
        cluster.controller_manager();
        cluster.kubectl(&["create", "namespace", "scalegate-system"]).ok();
        let controller = std::sync::Mutex::new(launch(cluster).start());
        Some(Self { cluster, controller })
    }

    /// Stores a document, as `kubectl apply` does.
    pub fn apply(&self, document: &Value) {
        self.cluster.kubectl_stdin(&["apply", "-f", "-"], &document.to_string()).ok();
    }

    /// Patches an object (`deployment/llm`) by a merge patch.
    pub fn patch(&self, namespace: &str, object: &str, patch: &Value) {
        self.cluster.kubectl(&["-n", namespace, "patch", object, "--type=merge", "-p", &patch.to_string()]).ok();
    }

    /// An object, when it is there.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let ran = self.cluster.kubectl(&["-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json"]);
        let text = ran.ok();
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    /// Every HPA and PodMonitoring of a namespace, by kind and name.
    pub fn objects(&self, namespace: &str) -> Vec<Value> {
        let kinds = format!("{POD_MONITORING},{HPA}");
        let list = self.cluster.kubectl(&["-n", namespace, "get", &kinds, "-o", "json"]).json();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// What `scalegate render` prints for a live workload (`deployment/llm`).
    pub fn rendered(&self, namespace: &str, workload: &str) -> Vec<Value> {
        let live = self.cluster.kubectl(&["-n", namespace, "get", workload, "-o", "yaml"]).ok();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("workload.yaml");
        std::fs::write(&file, live).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scalegate"));
        command.arg("render").arg(&file);
        // What all GPU metrics of a cluster share is the chart's.
        let printed = crate::harness::values(&Ran::of(command, "").ok());
        printed.into_iter().filter(|object| !object["metadata"]["namespace"].is_null()).collect()
    }

    /// Waits until what is generated for a workload equals `render`: spec and our labels, and nothing else that is ours.
    pub fn until_rendered(&self, namespace: &str, workload: &str) {
        let wanted = self.rendered(namespace, workload);
        assert!(!wanted.is_empty(), "something is rendered for {workload}");
        self.until_are(namespace, workload, &wanted);
    }

    /// Waits until what a workload owns is as in these documents: spec and our labels, and nothing else.
    pub fn until_are(&self, namespace: &str, workload: &str, wanted: &[Value]) {
        let uid = self.uid(namespace, workload);
        until(&format!("{workload} has what is rendered"), PATIENCE, || {
            let ours: Vec<Value> =
                self.objects(namespace).into_iter().filter(|object| owned_by(object, &uid)).collect();
            let each = wanted.iter().all(|wanted| ours.iter().any(|live| is_as(live, wanted)));
            (each && ours.len() == wanted.len()).then_some(())
        });
    }

    /// Waits until nothing in a namespace is ours.
    pub fn until_nothing(&self, namespace: &str) {
        until(&format!("nothing of ours is in {namespace}"), PATIENCE, || {
            let ours = self
                .objects(namespace)
                .into_iter()
                .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "scalegate");
            (ours.count() == 0).then_some(())
        });
    }

    /// Waits for an Event with that reason on an object of that name, and gives its note.
    pub fn until_event(&self, namespace: &str, name: &str, reason: &str) -> String {
        let selector = format!("involvedObject.name={name},reason={reason}");
        until(&format!("an Event {reason} on {name}"), PATIENCE, || {
            let list =
                self.cluster.kubectl(&["-n", namespace, "get", "events", "--field-selector", &selector, "-o", "json"]);
            let list = list.json();
            list["items"].as_array()?.last()?["message"].as_str().map(str::to_owned)
        })
    }

    /// Waits until the controller has seen everything that was done so far: it generates for a workload that comes after it,
    /// and it goes away again.
    pub fn until_seen(&self, namespace: &str) {
        let mut canary = deployment(namespace, "canary");
        canary["spec"]["selector"] = json!({"matchLabels": {"app": "canary"}});
        canary["spec"]["template"]["metadata"]["labels"] = json!({"app": "canary"});
        self.apply(&canary);
        self.until_rendered(namespace, "deployment/canary");
        self.cluster.kubectl(&["-n", namespace, "delete", "deployment", "canary"]).ok();
        until("the canary is gone", PATIENCE, || {
            let left = self.objects(namespace).into_iter().filter(|object| object["metadata"]["name"] == "canary");
            (left.count() == 0).then_some(())
        });
    }

    pub fn uid(&self, namespace: &str, object: &str) -> String {
        self.cluster.kubectl(&["-n", namespace, "get", object, "-o", "jsonpath={.metadata.uid}"]).ok()
    }
}

/// How a controller of a control plane is started: it may do everything here, and rotates no certificates.
pub fn launch(cluster: &ControlPlane) -> Launch {
    Launch::new("controller")
        .args(["--namespace=scalegate-system", "--no-certificates"])
        .kubeconfig(&cluster.kubeconfig_path())
        .with_admin()
}

/// Installs the definitions of a group, ours unless the genuine ones are there.
pub fn define(cluster: &ControlPlane, group: &str) {
    let genuine = repository("../shared/crds/gmp.yaml");
    let file = match group {
        "monitoring.googleapis.com" if genuine.is_file() => genuine,
        _ => repository("tests/cluster/crds").join(format!("{group}.yaml")),
    };
    let file = file.to_str().expect("a UTF-8 path");
    cluster.kubectl(&["apply", "--server-side", "-f", file]).ok();
    // All that Google Managed Prometheus admits by, beside its definitions.
    let policies = repository("../shared/crds/gmp-admission-policies.yaml");
    if group == "monitoring.googleapis.com" && policies.is_file() {
        cluster.kubectl(&["apply", "-f", policies.to_str().expect("a UTF-8 path")]).ok();
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file]).ok();
}

/// A labelled vLLM server.
pub fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "vllm", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
}

/// Somebody's HPA on a Deployment.
pub fn foreign_hpa(namespace: &str, name: &str, target: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1, "maxReplicas": 9,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "prometheus.googleapis.com|vllm:num_requests_waiting|gauge"},
                "target": {"type": "AverageValue", "averageValue": "7"},
            }}],
        },
    })
}

/// Whether the owner of that UID manages an object.
pub fn owned_by(object: &Value, uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["controller"] == true && owner["uid"] == uid)
}

/// Whether a live object is as `render` prints it: its spec but for what the API server fills in, and our labels.
pub fn is_as(live: &Value, wanted: &Value) -> bool {
    let kind = wanted["kind"].as_str().expect("a kind");
    let of = |value: &Value| scalegate::policy::render::fingerprint(kind, &value["spec"]);
    let labels = wanted["metadata"]["labels"].as_object().expect("labels");
    live["kind"] == wanted["kind"]
        && live["metadata"]["name"] == wanted["metadata"]["name"]
        && labels.iter().all(|(key, value)| live["metadata"]["labels"][key] == *value)
        && of(live) == of(wanted)
}
