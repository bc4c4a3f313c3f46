//! The Kubernetes objects that rules read, only the fields they read.
//!
//! The same types are filled by files, by snapshots and by the raw object of an admission review. Unknown fields are
//! skipped while reading, so a large object costs what the rules need of it; nothing here is ever written back.

mod autoscaler;
mod condition;
mod de;
mod meta;
mod misc;
mod monitoring;
mod node;
mod object;
mod pod;
mod quantity;
mod targets;
mod workload;

pub use autoscaler::{
    Behavior, CrossReference, Hpa, HpaStatus, MetricIdentifier, MetricSpec, MetricTarget, MultidimPodAutoscaler,
    NamedSource, ObjectSource, PodsSource, Refusal, ResourceSource, ScaledObject, ScalingPolicy, ScalingRules,
    Standing, Trigger,
};
pub use condition::{Condition, seconds};
pub use meta::{LabelSelector, ObjectMeta, OwnerReference, SelectorRequirement, Written};
pub use misc::{ApiService, ConfigMap, Namespace, ResourceQuota, Service, ServicePort};
pub use monitoring::{
    AutoscalingMetric, Endpoint, NamespaceSelector, OperatorMonitor, PodMonitoring, RecordingRules, RelabelRule, Rule,
    RuleGroup,
};
pub use node::{ComputeClass, ComputePriority, KarpenterNodePool, KarpenterRequirement, Node, Taint};
pub use object::{Key, Object, ReadError, Source, TypeMeta};
pub use pod::{
    Affinity, Container, ContainerPort, EnvFrom, EnvVar, IntOrString, NodeRequirement, NodeSelectorTerm, PodSpec,
    PodTemplate, Probe, Resources, Toleration, Volume,
};
pub use quantity::{Quantity, QuantityError};
pub use targets::{PodMonitoringStatus, Targets};
pub use workload::{LwsTemplate, WorkloadKind, WorkloadObject, WorkloadStatus};
