//! Pod template -> [`Workload`]: which server runs in it, of which release, on which port, with which ceiling; and what
//! its pods ask of a node. Or why that cannot be told.

mod command;
mod environment;
mod evidence;
mod flags;
mod image;
mod port;
mod readiness;
mod resources;
mod shell;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::engine::{Engine, Version};
use super::objects::{
    ConfigMap, LabelSelector, NodeSelectorTerm, ObjectMeta, PodTemplate, Quantity, Toleration, WorkloadKind,
    WorkloadObject, WorkloadStatus,
};

/// What rules know about a workload. Derived from the object once; a snapshot holds it instead of the pod template, so it
/// carries no environment value and no argument.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Kind.
    pub kind: WorkloadKind,
    /// Name, namespace, UID, labels, annotations, owners.
    pub metadata: ObjectMeta,
    /// Desired replicas; `None` when the manifest leaves them out.
    pub replicas: Option<i64>,
    /// Status.
    #[serde(default)]
    pub status: WorkloadStatus,
    /// The whole selector of its serving pods: the workload's own, or for a LeaderWorkerSet its name label and worker index 0.
    pub selector: LabelSelector,
    /// Labels of the serving pods.
    pub pod_labels: BTreeMap<String, String>,
    /// Keys of the pod template's labels and annotations that stand under our prefix.
    #[serde(default)]
    pub misplaced_keys: Vec<String>,
    /// The path of the serving pods' template, as kubectl writes it (`spec.template`).
    pub template_path: String,
    /// Which server runs in it.
    pub server: Reading,
    /// What one replica's pods ask of nodes; several for a LeaderWorkerSet.
    pub pods: Vec<PodNeeds>,
    /// ConfigMaps of its namespace that the reading depends on.
    #[serde(default)]
    pub config_maps: BTreeSet<String>,
    /// Seconds that its pods have to end in; 30 when the template does not say.
    pub grace_seconds: i64,
    /// Since when its rollout is complete and its pods are Ready, in seconds since the epoch. From the status of a Deployment
    /// or LeaderWorkerSet; for a StatefulSet, when a watch first saw it so. `None` when they are not, or nobody knows since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<i64>,
}

/// Whether the workload runs a server whose metrics are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant)]
pub enum Reading {
    /// A server that exports catalogued metrics.
    Server(Server),
    /// Recognised, but not catalogued: rules are silent about its metrics.
    Recognised {
        /// What it is, as in `NVIDIA NIM`.
        product: String,
        /// What told so.
        evidence: String,
    },
    /// The server's demo entrypoint, or another form that exports no catalogued metric.
    WithoutMetrics {
        /// Why, as a clause: `runs vllm.entrypoints.api_server, the demo server, which exports no vllm: metric`.
        reason: String,
    },
    /// No evidence of an inference server.
    None {
        /// Why, as a clause.
        reason: String,
    },
}

/// An inference server, as read from one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Engine.
    pub engine: Engine,
    /// Release, when the image tag tells it.
    pub version: Option<Version>,
    /// What told the engine and the release, as in `image vllm/vllm-openai:v0.11.0`.
    pub evidence: String,
    /// The container's name.
    pub container: String,
    /// The container's path, as kubectl writes it (`spec.template.spec.containers[0]`).
    pub path: String,
    /// The port that serves the API and the metrics.
    pub port: Port,
    /// `/metrics` unless the engine has another.
    pub metrics_path: String,
    /// Ports that the container declares.
    #[serde(default)]
    pub declared_ports: Vec<DeclaredPort>,
    /// Whether the arguments could be read to their end: no script that hides them, no unresolved variable among them.
    pub arguments_complete: bool,
    /// `--max-num-seqs`, when given and readable.
    pub max_num_seqs: Option<u64>,
    /// Data-parallel ranks in one pod; 1 when the flag is absent.
    pub data_parallel: u64,
    /// GPUs that the server's parallelism uses in one pod (tensor x pipeline x data parallel), when readable.
    pub devices_used: Option<u64>,
    /// The value of the `model_name` label, when readable.
    pub served_model: Option<String>,
    /// `--show-hidden-metrics-for-version`, as written.
    pub hidden_metrics_for: Option<String>,
    /// `--disable-log-stats` is given: the server may export nothing.
    pub log_stats_disabled: bool,
    /// Which engine generation the environment selects (`VLLM_USE_V1`), when it does.
    pub use_v1: Option<bool>,
    /// No accelerator is expected: a CPU image or `--device cpu`.
    pub cpu: bool,
    /// `--shutdown-timeout` in seconds.
    pub shutdown_timeout: Option<u64>,
    /// Seconds that the container's preStop hook sleeps, when readable.
    pub pre_stop_seconds: Option<u64>,
    /// Another container of the pod runs a server of this engine too, so that a pod has the series of both.
    #[serde(default)]
    pub several: bool,
}

/// A port, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Port {
    /// Given by a flag, an environment variable or a file.
    Explicit {
        /// Number.
        number: u16,
        /// Where it was found, as in `--port in args[3]`.
        source: String,
    },
    /// The engine's default, because nothing says otherwise.
    Default {
        /// Number.
        number: u16,
    },
    /// It cannot be told; the reason is a clause.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredPort {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub number: u16,
    /// Its path, as kubectl writes it (`spec.template.spec.containers[0].ports[0]`).
    pub path: String,
}

/// What one pod asks of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodNeeds {
    /// Pods of this form in one replica: 1, or the workers of a LeaderWorkerSet group.
    pub count: i64,
    /// The template's path, as kubectl writes it.
    pub path: String,
    /// Effective requests by resource: limits stand for requests that are not written; init containers and overhead count
    /// as the scheduler counts them.
    pub requests: BTreeMap<String, Quantity>,
    /// Node selector.
    pub node_selector: BTreeMap<String, String>,
    /// Terms of required node affinity, of which one must match; `None` without required affinity.
    pub affinity: Option<Vec<NodeSelectorTerm>>,
    /// Tolerations of the template.
    pub tolerations: Vec<Toleration>,
    /// `nodeName`, which bypasses the scheduler.
    pub node_name: Option<String>,
    /// RuntimeClass.
    pub runtime_class: Option<String>,
    /// Another scheduler than the default.
    pub scheduler: Option<String>,
    /// Scheduling gates are set.
    pub gated: bool,
    /// Resource claims (DRA) are used.
    pub claims: bool,
    /// Whether resources of a kind that counts as an accelerator are asked for is decided with the configuration, by
    /// [`super::placement`]; these are the volume claims.
    pub volume_claims: Vec<String>,
    /// False when Service environment variables are not injected.
    pub service_links: bool,
}

// === impl Port ===

impl Port {
    /// The number, when known.
    pub fn number(&self) -> Option<u16> {
        match self {
            Self::Explicit { number, .. } | Self::Default { number } => Some(*number),
            Self::Unknown { .. } => None,
        }
    }
}

// === impl Server ===

impl Server {
    /// The most requests that can run in one pod at a time (`max-num-seqs` x data-parallel ranks); `None` when the flag is
    /// not given, for then it depends on the device.
    pub fn ceiling(&self) -> Option<u64> {
        self.max_num_seqs.and_then(|sequences| sequences.checked_mul(self.data_parallel.max(1)))
    }
}

// === impl Workload ===

impl Workload {
    /// The server, when one with catalogued metrics was recognised.
    pub fn server(&self) -> Option<&Server> {
        match &self.server {
            Reading::Server(server) => Some(server),
            _ => None,
        }
    }

    /// The workload as an object whose template is not known.
    pub fn without_template(&self) -> WorkloadObject {
        WorkloadObject {
            kind: self.kind,
            metadata: self.metadata.clone(),
            replicas: self.replicas,
            selector: (self.kind != WorkloadKind::LeaderWorkerSet).then(|| self.selector.clone()),
            template: PodTemplate::default(),
            lws: None,
            status: self.status.clone(),
        }
    }

    /// Whether the rollout is complete, so that the pods that serve are of this template.
    pub fn settled(&self) -> bool {
        let seen = match (self.metadata.generation, self.status.observed_generation) {
            (Some(generation), Some(observed)) => observed >= generation,
            _ => true,
        };
        seen && self.status.replicas > 0 && self.status.updated_replicas >= self.status.replicas
    }

    /// Whether the rollout is complete and pods of it are Ready.
    pub fn serves(&self) -> bool {
        self.settled() && self.status.ready_replicas > 0
    }

    /// Takes over what is known about its readiness from the state before, at the time `now`; 0 when nobody has a clock. A
    /// status does not tell everything: that of a StatefulSet has no times, and a Deployment that was scaled to zero counts
    /// as available.
    pub(super) fn follow(&mut self, before: Option<&Self>, now: i64) {
        readiness::follow(self, before, now);
    }
}

/// Keys under this prefix belong on the workload, not on its pods. `status.scalegate.dev/` is another prefix.
const PREFIX: &str = "scalegate.dev/";

/// Labels that the LeaderWorkerSet controller puts on the pods of a group (`leaderworkerset.sigs.k8s.io/api/leaderworkerset/v1`).
const LWS_NAME: &str = "leaderworkerset.sigs.k8s.io/name";
const LWS_INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";

/// Seconds that Kubernetes gives a pod to end in when its spec does not say.
const DEFAULT_GRACE: i64 = 30;

/// Reads a workload. `config_map` finds a ConfigMap of the workload's namespace by name.
pub fn read<'a>(object: &WorkloadObject, config_map: &dyn Fn(&str) -> Option<&'a ConfigMap>) -> Workload {
    let template_path = object.template_path();
    let group = object.lws.as_ref().map_or(1, |lws| lws.size.max(1));
    let pod = evidence::Pod { spec: &object.template.spec, path: template_path, group, config_map };
    let mut config_maps = BTreeSet::new();
    let server = evidence::read(&pod, &object.metadata.annotations, &mut config_maps);
    let (selector, pod_labels) = serving_pods(object);
    Workload {
        kind: object.kind,
        metadata: object.metadata.clone(),
        replicas: object.replicas,
        status: object.status.clone(),
        selector,
        pod_labels,
        misplaced_keys: misplaced_keys(object),
        template_path: template_path.to_owned(),
        server,
        pods: pods(object, template_path, group),
        config_maps,
        grace_seconds: object.template.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE),
        ready_since: readiness::told_by(object),
    }
}

/// Selector and labels of the pods that serve. Of a LeaderWorkerSet these are the leaders.
fn serving_pods(object: &WorkloadObject) -> (LabelSelector, BTreeMap<String, String>) {
    let mut labels = object.template.metadata.labels.clone();
    if object.kind != WorkloadKind::LeaderWorkerSet {
        return (object.selector.clone().unwrap_or_default(), labels);
    }
    let own =
        BTreeMap::from([(LWS_NAME.to_owned(), object.metadata.name.clone()), (LWS_INDEX.to_owned(), "0".to_owned())]);
    labels.extend(own.clone());
    (LabelSelector { match_labels: own, ..LabelSelector::default() }, labels)
}

/// Pods of one replica by their form: one, or the leader and the workers of a group.
fn pods(object: &WorkloadObject, template_path: &str, group: i64) -> Vec<PodNeeds> {
    match &object.lws {
        Some(lws) if lws.has_leader_template => {
            let mut pods = vec![resources::needs(&object.template, template_path, 1)];
            if group > 1 {
                pods.push(resources::needs(&lws.worker, "spec.leaderWorkerTemplate.workerTemplate", group - 1));
            }
            pods
        }
        _ => vec![resources::needs(&object.template, template_path, group)],
    }
}

fn misplaced_keys(object: &WorkloadObject) -> Vec<String> {
    let worker = object.lws.as_ref().map(|lws| &lws.worker);
    let templates = std::iter::once(&object.template).chain(worker);
    let keys =
        templates.flat_map(|template| template.metadata.labels.keys().chain(template.metadata.annotations.keys()));
    let keys: BTreeSet<&String> = keys.filter(|key| key.starts_with(PREFIX)).collect();
    keys.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
