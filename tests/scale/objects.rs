//! What is in the cluster: nodes, labelled Deployments, what others wrote, and what is generated.

use std::collections::BTreeMap;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

use crate::FAST;
use crate::api::{Api, Ask};
use crate::harness::control_plane::ControlPlane;
use crate::harness::process::Ran;
use crate::harness::{repository, values};
use crate::report::Report;

/// Objects that the controller writes for a workload.
pub const PER_WORKLOAD: u32 = 2;
/// Names in the documents that are filled in.
const NAME: &str = "name-to-fill-in";
const NAMESPACE: &str = "namespace-to-fill-in";
/// The label that asks for autoscaling.
const LABEL: &str = "scalegate.dev/autoscale";

/// How much there is.
#[derive(Clone, Copy)]
pub struct Size {
    pub workloads: u32,
    pub nodes: u32,
    pub namespaces: u32,
}

impl Size {
    /// `SCALEGATE_SCALE` Deployments (10,000 by default), half as many nodes, and a hundredth as many namespaces.
    ///
    /// # Errors
    /// When the variable is no number from 1 to 100,000.
    pub fn from_environment() -> Result<Self, String> {
        let text = std::env::var("SCALEGATE_SCALE").unwrap_or_default();
        let workloads = match text.as_str() {
            "" => Some(10_000),
            text => text.parse().ok().filter(|number| (1..=100_000).contains(number)),
        };
        let workloads = workloads.ok_or("SCALEGATE_SCALE is the number of Deployments, from 1 to 100000")?;
        Ok(Self { workloads, nodes: workloads / 2, namespaces: (workloads / 100).max(2) })
    }

    /// Objects that are to be written.
    pub fn written(self) -> u32 {
        self.workloads * PER_WORKLOAD
    }

    /// After this something hangs: 20 workloads a second, on a loaded machine.
    pub fn patience(self) -> Duration {
        Duration::from_secs(180 + u64::from(self.workloads) / 20)
    }
}

/// A kind and where its objects are.
#[derive(Clone, Copy)]
pub struct Of {
    kind: &'static str,
    group: &'static str,
    pub resource: &'static str,
}

pub const DEPLOYMENTS: Of = Of { kind: "Deployment", group: "apis/apps/v1", resource: "deployments" };
pub const WRITTEN: [Of; 2] = [
    Of { kind: "HorizontalPodAutoscaler", group: "apis/autoscaling/v2", resource: "horizontalpodautoscalers" },
    Of { kind: "PodMonitoring", group: "apis/monitoring.googleapis.com/v1", resource: "podmonitorings" },
];

impl Of {
    fn in_namespace(self, namespace: &str) -> String {
        format!("/{}/namespaces/{namespace}/{}", self.group, self.resource)
    }
}

/// Kind, namespace and name, and the version that is stored.
pub type Stored = BTreeMap<(String, String, String), String>;

/// What is there and is not ours.
#[derive(Default)]
pub struct There {
    deployments: Stored,
    foreign: Stored,
}

impl There {
    /// Takes note of Deployments that were changed here.
    pub fn changed(&mut self, deployments: Stored) {
        self.deployments.extend(deployments);
    }

    pub fn must_be(&self, live: &Stored, what: &str, report: &mut Report) {
        same(&self.deployments, live, what, report);
    }

    pub fn foreign_must_be(&self, live: &Stored, what: &str, report: &mut Report) {
        same(&self.foreign, live, what, report);
    }
}

fn same(wanted: &Stored, live: &Stored, what: &str, report: &mut Report) {
    report.must(wanted == live, what);
    let differs = |(key, _): &(&(String, String, String), &String)| wanted.get(*key) != live.get(*key);
    for ((kind, namespace, name), _) in wanted.iter().chain(live).filter(differs).take(5) {
        report.line(&format!("differs: {kind} {namespace}/{name}"));
    }
}

/// Defines what is written, and makes the controller's namespace.
pub fn define(cluster: &ControlPlane) {
    let genuine = repository("../shared/crds/gmp.yaml");
    let ours = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
    let file = if genuine.is_file() { genuine } else { ours };
    let file = file.to_str().expect("a UTF-8 path");
    cluster.kubectl(&["apply", "--server-side", "-f", file]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file]).ok();
    cluster.kubectl(&["create", "namespace", "scalegate-system"]).ok();
}

/// Everything of a kind.
pub fn list(api: &Api, of: Of) -> Stored {
    let all = api.metadata(&format!("/{}/{}", of.group, of.resource));
    all.iter().map(|metadata| place(of.kind, metadata)).collect()
}

/// Generated objects that a Deployment of their namespace and name owns.
pub fn count_ours(api: &Api) -> u32 {
    let owned = |metadata: &Value| {
        let owners = metadata["ownerReferences"].as_array();
        owners.into_iter().flatten().any(|owner| owner["kind"] == DEPLOYMENTS.kind && owner["name"] == metadata["name"])
    };
    let count = |of: Of| {
        let all = api.metadata(&format!("/{}/{}", of.group, of.resource));
        u32::try_from(all.iter().filter(|metadata| owned(metadata)).count()).expect("few")
    };
    WRITTEN.into_iter().map(count).sum()
}

/// The documents, with names to fill in.
pub struct Objects {
    pub size: Size,
    deployment: String,
    /// One for each of [`WRITTEN`].
    rendered: Vec<(Of, String)>,
}

impl Objects {
    pub fn new(size: Size) -> Self {
        let deployment = deployment();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
        command.args(["render", "-"]);
        let printed = values(&Ran::of(command, &deployment.to_string()).ok());
        let rendered = WRITTEN.map(|of| {
            let object = printed.iter().find(|object| object["kind"] == of.kind);
            let object = object.unwrap_or_else(|| panic!("no {} is rendered", of.kind));
            (of, object.to_string())
        });
        Self { size, deployment: deployment.to_string(), rendered: rendered.into() }
    }

    /// Fills the cluster with everything but what is generated.
    pub fn fill(&self, api: &Api, report: &mut Report) -> There {
        let mut there = There::default();
        let names = self.namespaces().flat_map(|index| [namespace(index), bare(index)]);
        let namespaces = names.map(|name| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            Ask::post("/api/v1/namespaces".to_owned(), &object)
        });
        api.all("namespaces", FAST, self.size.namespaces * 2, namespaces, report, |_| {});
        let nodes = (0..self.size.nodes).map(|index| Ask::post("/api/v1/nodes".to_owned(), &node(index)));
        api.all("nodes", FAST, self.size.nodes, nodes, report, |_| {});

        let foreign = self.namespaces().flat_map(|index| self.foreign(&namespace(index)));
        let total = self.size.namespaces * (PER_WORKLOAD + 1);
        api.all("objects of others", FAST, total, foreign, report, |answer| {
            let (key, version) = stored(answer);
            let of = if key.0 == DEPLOYMENTS.kind { &mut there.deployments } else { &mut there.foreign };
            of.insert(key, version);
        });
        let deployments = self.workloads().map(|(namespace, name)| Ask {
            method: Method::POST,
            path: DEPLOYMENTS.in_namespace(&namespace),
            content: "application/json",
            body: filled(&self.deployment, &namespace, &name),
        });
        api.all("labelled Deployments", FAST, self.size.workloads, deployments, report, |answer| {
            there.deployments.extend([stored(answer)]);
        });
        there
    }

    /// A Deployment without the label, and an HPA and a PodMonitoring for it that somebody else wrote.
    fn foreign(&self, namespace: &str) -> Vec<Ask> {
        let without_label = |text: &str| {
            let mut object: Value = serde_json::from_str(&filled(text, namespace, "foreign")).expect("JSON");
            object["metadata"]["labels"] = json!({"app": "foreign"});
            object
        };
        let texts =
            [(DEPLOYMENTS, &self.deployment)].into_iter().chain(self.rendered.iter().map(|(of, text)| (*of, text)));
        texts.map(|(of, text)| Ask::post(of.in_namespace(namespace), &without_label(text))).collect()
    }

    /// Applies what would be generated for each workload, in other namespaces.
    pub fn apply_bare(&self, api: &Api, at_once: usize, report: &mut Report) {
        let asks = self.workloads().flat_map(|(namespace, name)| {
            let namespace = bare_of(&namespace);
            self.rendered.iter().map(move |(of, text)| Ask {
                method: Method::PATCH,
                path: format!("{}/{name}?fieldManager=scale&force=true", of.in_namespace(&namespace)),
                content: "application/apply-patch+yaml",
                body: filled(text, &namespace, &name),
            })
        });
        api.all("applies", at_once, self.size.written(), asks, report, |_| {});
    }

    /// Removes what [`Self::apply_bare`] made.
    pub fn remove_bare(&self, api: &Api, report: &mut Report) {
        let asks = self.namespaces().flat_map(|index| {
            WRITTEN.map(|of| Ask {
                method: Method::DELETE,
                path: of.in_namespace(&bare(index)),
                content: "application/json",
                body: String::new(),
            })
        });
        api.all("collections removed", FAST, self.size.namespaces * PER_WORKLOAD, asks, report, |_| {});
    }

    /// Takes the label from every workload, and gives the Deployments as they are then.
    pub fn unlabel(&self, api: &Api, report: &mut Report) -> Stored {
        let body = json!({"metadata": {"labels": {LABEL: null}}}).to_string();
        let asks = self.workloads().map(|(namespace, name)| Ask {
            method: Method::PATCH,
            path: format!("{}/{name}", DEPLOYMENTS.in_namespace(&namespace)),
            content: "application/merge-patch+json",
            body: body.clone(),
        });
        let mut changed = Stored::new();
        api.all("labels", FAST, self.size.workloads, asks, report, |answer| changed.extend([stored(answer)]));
        changed
    }

    fn namespaces(&self) -> impl Iterator<Item = u32> + 'static {
        0..self.size.namespaces
    }

    /// Namespace and name of each workload. Neighbours are in different namespaces.
    fn workloads(&self) -> impl Iterator<Item = (String, String)> + 'static {
        let namespaces = self.size.namespaces;
        (0..self.size.workloads).map(move |index| (namespace(index % namespaces), format!("llm-{index:05}")))
    }
}

fn namespace(index: u32) -> String {
    format!("team-{index:03}")
}

fn bare(index: u32) -> String {
    bare_of(&namespace(index))
}

fn bare_of(namespace: &str) -> String {
    format!("bare-{namespace}")
}

fn filled(text: &str, namespace: &str, name: &str) -> String {
    text.replace(NAMESPACE, namespace).replace(NAME, name)
}

/// Where an answer's object is, and its version.
fn stored(answer: &str) -> ((String, String, String), String) {
    let object: Value = serde_json::from_str(answer).expect("an object");
    place(object["kind"].as_str().expect("a kind"), &object["metadata"])
}

fn place(kind: &str, metadata: &Value) -> ((String, String, String), String) {
    let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    ((kind.to_owned(), text("namespace"), text("name")), text("resourceVersion"))
}

/// A vLLM server with what manifests usually have besides.
fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"app": NAME, "team": NAMESPACE, LABEL: "server-metrics"},
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME, "team": NAMESPACE}},
                "spec": {
                    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                    "containers": [{
                        "name": "vllm", "image": "vllm/vllm-openai:v0.11.0",
                        "args": ["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64"],
                        "ports": [{"name": "http", "containerPort": 8000}],
                        "env": [{"name": "HF_HOME", "value": "/models"}, {"name": "LOG_LEVEL", "value": "info"}],
                        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
                        "resources": {
                            "requests": {"cpu": "4", "memory": "16Gi"},
                            "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
                        },
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    }],
                    "volumes": [{"name": "models", "emptyDir": {}}],
                },
            },
        },
    })
}

/// One of four shapes of node, in pools of some hundred; the kubelet's labels and conditions as on GKE.
fn node(index: u32) -> Value {
    let name = format!("node-{index:05}");
    let (pool, accelerator, gpus) = match index % 4 {
        0 => (index / 1_000, Some("nvidia-l4"), 2),
        1 => (index / 1_000, Some("nvidia-l4"), 8),
        2 => (index / 1_000, Some("nvidia-h100-80gb"), 8),
        _ => (index / 1_000, None, 0),
    };
    let mut labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "g2-standard-24", "topology.kubernetes.io/region": "europe-west4",
        "topology.kubernetes.io/zone": format!("europe-west4-{}", ["a", "b", "c"][index as usize % 3]),
        "cloud.google.com/gke-nodepool": format!("pool-{}-{}-{pool}", accelerator.unwrap_or("cpu"), gpus),
    });
    let mut resources = json!({"cpu": "24", "memory": "96Gi", "ephemeral-storage": "200Gi", "pods": "110"});
    let mut taints = json!([]);
    if let Some(accelerator) = accelerator {
        labels["cloud.google.com/gke-accelerator"] = accelerator.into();
        labels["cloud.google.com/gke-accelerator-count"] = gpus.to_string().into();
        labels["cloud.google.com/gke-gpu-driver-version"] = "latest".into();
        resources["nvidia.com/gpu"] = gpus.to_string().into();
        taints = json!([{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "providerID": format!("gce://project/europe-west4-a/{name}")},
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}],
        },
    })
}
