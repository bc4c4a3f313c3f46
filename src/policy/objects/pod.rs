//! Pod templates: containers, resources and what steers scheduling.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::{ObjectMeta, Quantity};

/// A pod template. It is not a Pod: limits were not yet copied to requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// The pods' spec.
    #[serde(deserialize_with = "null_default")]
    pub spec: PodSpec,
}

/// The part of a pod's spec that rules read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Containers.
    #[serde(deserialize_with = "null_default")]
    pub containers: Vec<Container>,
    /// Init containers, restartable ones (sidecars) among them.
    #[serde(deserialize_with = "null_default")]
    pub init_containers: Vec<Container>,
    /// Required labels of the node.
    #[serde(deserialize_with = "null_default")]
    pub node_selector: BTreeMap<String, String>,
    /// Affinity; only required node affinity filters.
    #[serde(deserialize_with = "null_default")]
    pub affinity: Affinity,
    /// Tolerations.
    #[serde(deserialize_with = "null_default")]
    pub tolerations: Vec<Toleration>,
    /// Bypasses the scheduler.
    pub node_name: Option<String>,
    /// A RuntimeClass may add a node selector and tolerations.
    pub runtime_class_name: Option<String>,
    /// Another scheduler than the default one.
    pub scheduler_name: Option<String>,
    /// Gates that hold the pod back, such as Kueue's.
    #[serde(deserialize_with = "null_default")]
    pub scheduling_gates: Vec<serde_json::Value>,
    /// Dynamic resource allocation.
    #[serde(deserialize_with = "null_default")]
    pub resource_claims: Vec<serde_json::Value>,
    /// Seconds; 30 when unset.
    pub termination_grace_period_seconds: Option<i64>,
    /// Whether Service environment variables are injected; true when unset.
    pub enable_service_links: Option<bool>,
    /// Volumes, by name and kind.
    #[serde(deserialize_with = "null_default")]
    pub volumes: Vec<Volume>,
    /// Extra resources that the runtime class costs.
    #[serde(deserialize_with = "null_default")]
    pub overhead: BTreeMap<String, Quantity>,
}

/// A container or an init container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name within the pod.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Image reference.
    #[serde(deserialize_with = "null_default")]
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(deserialize_with = "null_default")]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(deserialize_with = "null_default")]
    pub args: Vec<String>,
    /// Variables, in the order in which `$(VAR)` sees them.
    #[serde(deserialize_with = "null_default")]
    pub env: Vec<EnvVar>,
    /// Variables from whole ConfigMaps and Secrets.
    #[serde(deserialize_with = "null_default")]
    pub env_from: Vec<EnvFrom>,
    /// Declared ports; many servers declare none.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ContainerPort>,
    /// Requests, limits and claims.
    #[serde(deserialize_with = "null_default")]
    pub resources: Resources,
    /// `Always` on an init container makes it a sidecar that keeps its resources.
    pub restart_policy: Option<String>,
    /// Readiness probe.
    pub readiness_probe: Option<Probe>,
    /// Liveness probe.
    pub liveness_probe: Option<Probe>,
    /// Startup probe.
    pub startup_probe: Option<Probe>,
    /// Hooks, read only for how long preStop sleeps.
    pub lifecycle: Option<serde_json::Value>,
    /// Where volumes are mounted.
    #[serde(deserialize_with = "null_default")]
    pub volume_mounts: Vec<VolumeMount>,
}

/// Where a volume appears in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// Volume name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Path in the container.
    #[serde(deserialize_with = "null_default")]
    pub mount_path: String,
    /// One entry of the volume instead of all.
    pub sub_path: Option<String>,
}

/// A probe, as far as it names a port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// HTTP probe.
    pub http_get: Option<ProbePort>,
    /// TCP probe.
    pub tcp_socket: Option<ProbePort>,
}

/// The port of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbePort {
    /// Number, or the name of a declared port.
    pub port: Option<IntOrString>,
}

/// A variable. Its value may be a secret: never print it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Literal value, in which `$(VAR)` is expanded.
    pub value: Option<String>,
    /// Value from elsewhere.
    pub value_from: Option<EnvSource>,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a variable's value comes from. Only a ConfigMap key can be read by us.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvSource {
    /// A key of a ConfigMap in the pod's namespace.
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a named object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRef {
    /// Object.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Key.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
}

/// All keys of a ConfigMap (or of a Secret, which we do not read) as variables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    /// Put before each name.
    #[serde(deserialize_with = "null_default")]
    pub prefix: String,
    /// The ConfigMap.
    pub config_map_ref: Option<NameRef>,
    /// The Secret; its content is never read, its presence makes a variable unknown instead of absent.
    pub secret_ref: Option<NameRef>,
}

/// A reference by name in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameRef {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}

/// A declared port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub container_port: Option<i64>,
    /// `TCP` when unset.
    pub protocol: Option<String>,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Requests.
    #[serde(deserialize_with = "null_default")]
    pub requests: BTreeMap<String, Quantity>,
    /// Limits; in a template they stand for requests that are not written.
    #[serde(deserialize_with = "null_default")]
    pub limits: BTreeMap<String, Quantity>,
    /// DRA claims used by this container.
    #[serde(deserialize_with = "null_default")]
    pub claims: Vec<serde_json::Value>,
}

/// Affinity of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// Node affinity.
    #[serde(deserialize_with = "null_default")]
    pub node_affinity: NodeAffinity,
}

/// Node affinity; preferred terms never filter and are not read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// The filter.
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Terms of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// Without any term nothing matches.
    #[serde(deserialize_with = "null_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that all hold. A term without any requirement matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// On labels.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<NodeRequirement>,
    /// On fields; only `metadata.name` exists.
    #[serde(deserialize_with = "null_default")]
    pub match_fields: Vec<NodeRequirement>,
}

/// One requirement of node affinity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeRequirement {
    /// Label key or field path.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    #[serde(deserialize_with = "null_default")]
    pub operator: String,
    /// Values.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<String>,
}

/// A toleration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Empty, with `Exists`, tolerates every taint.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    /// Empty means `Equal`.
    #[serde(deserialize_with = "null_default")]
    pub operator: String,
    /// Compared by `Equal`.
    #[serde(deserialize_with = "null_default")]
    pub value: String,
    /// Empty tolerates every effect.
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
}

/// A volume, as far as rules look at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// A ConfigMap that may hold a start script or a server configuration.
    pub config_map: Option<NameRef>,
    /// A claim.
    pub persistent_volume_claim: Option<ClaimRef>,
}

/// A volume claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimRef {
    /// Name of the PersistentVolumeClaim.
    #[serde(deserialize_with = "null_default")]
    pub claim_name: String,
}

/// A number, or a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// Number.
    Int(i64),
    /// Name.
    String(String),
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::String(name) => write!(f, "{name}"),
        }
    }
}
