//! Any object, read by its API group and kind.

use std::fmt;

use serde::Deserialize;

use super::workload::RawWorkload;
use super::{
    ApiService, AutoscalingMetric, ComputeClass, ConfigMap, Hpa, KarpenterNodePool, MultidimPodAutoscaler, Namespace,
    Node, ObjectMeta, OperatorMonitor, PodMonitoring, RecordingRules, ResourceQuota, ScaledObject, Service,
    WorkloadKind, WorkloadObject,
};

/// An object's place: what tells it from every other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for cluster-scoped kinds, and where a file leaves it open.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// `apiVersion` and `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypeMeta {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

/// An object that rules know, or only its metadata.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Object {
    /// Boxed: it is more than twice as large as any other, and a large cluster has most of the others.
    Workload(Box<WorkloadObject>),
    Hpa(Hpa),
    ScaledObject(ScaledObject),
    MultidimPodAutoscaler(MultidimPodAutoscaler),
    PodMonitoring(PodMonitoring),
    OperatorMonitor(OperatorMonitor),
    RecordingRules(RecordingRules),
    AutoscalingMetric(AutoscalingMetric),
    Service(Service),
    ConfigMap(ConfigMap),
    ApiService(ApiService),
    Namespace(Namespace),
    ResourceQuota(ResourceQuota),
    Node(Node),
    KarpenterNodePool(KarpenterNodePool),
    ComputeClass(ComputeClass),
    /// A kind that no rule reads.
    Other(TypeMeta, ObjectMeta),
}

/// Why a document cannot be the kind that it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// The field, as kubectl writes it; empty for the document itself.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

// === impl TypeMeta ===

impl TypeMeta {
    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The version without the group.
    pub fn version(&self) -> &str {
        self.api_version.rsplit_once('/').map_or(self.api_version.as_str(), |(_, version)| version)
    }
}

// === impl Key ===

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {}/{}", self.kind, namespace, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

// === impl Object ===

impl Object {
    /// Reads an object of that type, from JSON text or a `&serde_json::Value`.
    ///
    /// # Errors
    /// When a field that rules read has another type than the kind gives it; the field is named.
    pub fn read<'de, S: Source<'de>>(of: &TypeMeta, from: S) -> Result<Self, ReadError> {
        let group = of.group();
        if let Some(kind) = WorkloadKind::find(group, &of.kind) {
            let workload = WorkloadObject::from_raw(kind, typed::<RawWorkload, _>(from)?);
            return Ok(Self::Workload(Box::new(workload)));
        }
        Ok(match (group, of.kind.as_str()) {
            ("autoscaling", "HorizontalPodAutoscaler") => Self::Hpa(super::autoscaler::read_hpa(of, from)?),
            ("keda.sh", "ScaledObject") => Self::ScaledObject(typed(from)?),
            ("autoscaling.gke.io", "MultidimPodAutoscaler") => Self::MultidimPodAutoscaler(typed(from)?),
            ("autoscaling.gke.io", "AutoscalingMetric") => Self::AutoscalingMetric(typed(from)?),
            ("monitoring.googleapis.com", "PodMonitoring" | "ClusterPodMonitoring") => {
                let read: PodMonitoring = typed(from)?;
                Self::PodMonitoring(PodMonitoring { cluster: of.kind == "ClusterPodMonitoring", ..read })
            }
            ("monitoring.coreos.com", "PodMonitor" | "ServiceMonitor") => {
                let read: OperatorMonitor = typed(from)?;
                Self::OperatorMonitor(OperatorMonitor { service: of.kind == "ServiceMonitor", ..read })
            }
            ("monitoring.googleapis.com", "Rules" | "ClusterRules" | "GlobalRules")
            | ("monitoring.coreos.com", "PrometheusRule") => {
                let read: RecordingRules = typed(from)?;
                Self::RecordingRules(RecordingRules { kind: of.kind.clone(), ..read })
            }
            ("", "Service") => Self::Service(typed(from)?),
            ("", "ConfigMap") => Self::ConfigMap(typed(from)?),
            ("", "Namespace") => Self::Namespace(typed(from)?),
            ("", "ResourceQuota") => Self::ResourceQuota(typed(from)?),
            ("", "Node") => Self::Node(typed(from)?),
            ("apiregistration.k8s.io", "APIService") => Self::ApiService(typed(from)?),
            ("karpenter.sh", "NodePool") => Self::KarpenterNodePool(typed(from)?),
            ("cloud.google.com", "ComputeClass") => Self::ComputeClass(typed(from)?),
            _ => Self::Other(of.clone(), typed::<MetaOnly, _>(from)?.metadata),
        })
    }

    /// Reads a JSON text, `apiVersion` and `kind` included.
    ///
    /// # Errors
    /// As [`Object::read`]; also when the text is not JSON.
    pub fn from_json(text: &str) -> Result<(TypeMeta, Self), ReadError> {
        let of: TypeMeta = typed(text)?;
        let object = Self::read(&of, text)?;
        Ok((of, object))
    }

    /// Reads a JSON value, `apiVersion` and `kind` included.
    ///
    /// # Errors
    /// As [`Object::read`].
    pub fn from_value(value: &serde_json::Value) -> Result<(TypeMeta, Self), ReadError> {
        let of: TypeMeta = typed(value)?;
        let object = Self::read(&of, value)?;
        Ok((of, object))
    }

    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Workload(object) => &object.metadata,
            Self::Hpa(object) => &object.metadata,
            Self::ScaledObject(object) => &object.metadata,
            Self::MultidimPodAutoscaler(object) => &object.metadata,
            Self::PodMonitoring(object) => &object.metadata,
            Self::OperatorMonitor(object) => &object.metadata,
            Self::RecordingRules(object) => &object.metadata,
            Self::AutoscalingMetric(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::ApiService(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::ResourceQuota(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::KarpenterNodePool(object) => &object.metadata,
            Self::ComputeClass(object) => &object.metadata,
            Self::Other(_, metadata) => metadata,
        }
    }

    /// The object's metadata, to fill in what a file leaves open.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Workload(object) => &mut object.metadata,
            Self::Hpa(object) => &mut object.metadata,
            Self::ScaledObject(object) => &mut object.metadata,
            Self::MultidimPodAutoscaler(object) => &mut object.metadata,
            Self::PodMonitoring(object) => &mut object.metadata,
            Self::OperatorMonitor(object) => &mut object.metadata,
            Self::RecordingRules(object) => &mut object.metadata,
            Self::AutoscalingMetric(object) => &mut object.metadata,
            Self::Service(object) => &mut object.metadata,
            Self::ConfigMap(object) => &mut object.metadata,
            Self::ApiService(object) => &mut object.metadata,
            Self::Namespace(object) => &mut object.metadata,
            Self::ResourceQuota(object) => &mut object.metadata,
            Self::Node(object) => &mut object.metadata,
            Self::KarpenterNodePool(object) => &mut object.metadata,
            Self::ComputeClass(object) => &mut object.metadata,
            Self::Other(_, metadata) => metadata,
        }
    }

    /// Whether the kind lives in the cluster and not in a namespace. Only kinds that rules read are told apart; any
    /// other is taken as namespaced.
    pub fn cluster_scoped(of: &TypeMeta) -> bool {
        matches!(
            (of.group(), of.kind.as_str()),
            ("", "Namespace" | "Node" | "PersistentVolume")
                | ("apiregistration.k8s.io", "APIService")
                | ("karpenter.sh" | "admissionregistration.k8s.io", _)
                | ("cloud.google.com", "ComputeClass")
                | (
                    "monitoring.googleapis.com",
                    "ClusterPodMonitoring" | "ClusterNodeMonitoring" | "ClusterRules" | "GlobalRules"
                )
                | ("rbac.authorization.k8s.io", "ClusterRole" | "ClusterRoleBinding")
                | ("apiextensions.k8s.io", "CustomResourceDefinition")
                | ("storage.k8s.io", "StorageClass")
                | ("scheduling.k8s.io", "PriorityClass")
                | ("node.k8s.io", "RuntimeClass")
                | ("resource.k8s.io", "DeviceClass" | "ResourceSlice")
        )
    }

    /// The object's place.
    pub fn key(&self, of: &TypeMeta) -> Key {
        let metadata = self.metadata();
        Key {
            group: of.group().to_owned(),
            kind: of.kind.clone(),
            namespace: if Self::cluster_scoped(of) { None } else { metadata.namespace.clone() },
            name: metadata.name.clone(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaOnly {
    #[serde(deserialize_with = "super::de::null_default")]
    metadata: ObjectMeta,
}

/// What objects are read from. It can be read twice: once quickly, and again to find the field that does not fit.
pub trait Source<'de>: Copy {
    /// Reads a type.
    ///
    /// # Errors
    /// When it does not fit; nothing says where.
    fn quickly<T: Deserialize<'de>>(self) -> Result<T, serde_json::Error>;

    /// Reads a type and names the field that does not fit.
    ///
    /// # Errors
    /// When it does not fit.
    fn tracked<T: Deserialize<'de>>(self) -> Result<T, serde_path_to_error::Error<serde_json::Error>>;
}

impl<'de> Source<'de> for &'de serde_json::Value {
    fn quickly<T: Deserialize<'de>>(self) -> Result<T, serde_json::Error> {
        T::deserialize(self)
    }

    fn tracked<T: Deserialize<'de>>(self) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        serde_path_to_error::deserialize(self)
    }
}

/// JSON text that holds one value; what follows it is not looked at.
impl<'de> Source<'de> for &'de str {
    fn quickly<T: Deserialize<'de>>(self) -> Result<T, serde_json::Error> {
        T::deserialize(&mut serde_json::Deserializer::from_str(self))
    }

    fn tracked<T: Deserialize<'de>>(self) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(self))
    }
}

/// Reads a type and names the field that does not fit. Keeping track of the field costs more than the reading, so that is
/// done only where something does not fit.
pub(super) fn typed<'de, T: Deserialize<'de>, S: Source<'de>>(from: S) -> Result<T, ReadError> {
    from.quickly().or_else(|_| from.tracked()).map_err(|error| {
        let field = error.path().to_string();
        ReadError { field: if field == "." { String::new() } else { field }, message: error.into_inner().to_string() }
    })
}
