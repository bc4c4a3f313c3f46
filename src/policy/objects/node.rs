//! Nodes and what creates them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::{ObjectMeta, Quantity};

/// A node, read for its shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Taints.
    #[serde(deserialize_with = "null_default")]
    pub spec: NodeSpec,
    /// Resources.
    #[serde(deserialize_with = "null_default")]
    pub status: NodeStatus,
}

/// `spec` of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Taints.
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<Taint>,
    /// Cordoned.
    #[serde(deserialize_with = "null_default")]
    pub unschedulable: bool,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// What the machine has.
    #[serde(deserialize_with = "null_default")]
    pub capacity: BTreeMap<String, Quantity>,
    /// What pods may use; what the scheduler looks at.
    #[serde(deserialize_with = "null_default")]
    pub allocatable: BTreeMap<String, Quantity>,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    /// Value.
    #[serde(deserialize_with = "null_default")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
}

/// Karpenter's NodePool: what nodes it may create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KarpenterNodePool {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// The definition.
    #[serde(deserialize_with = "null_default")]
    pub spec: KarpenterSpec,
}

/// `spec` of a Karpenter NodePool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KarpenterSpec {
    /// The nodes.
    #[serde(deserialize_with = "null_default")]
    pub template: KarpenterTemplate,
    /// What all of its nodes may sum up to.
    #[serde(deserialize_with = "null_default")]
    pub limits: BTreeMap<String, Quantity>,
}

/// The nodes of a Karpenter NodePool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KarpenterTemplate {
    /// Labels of the nodes.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// Taints and requirements.
    #[serde(deserialize_with = "null_default")]
    pub spec: KarpenterNodeSpec,
}

/// Taints and requirements of a Karpenter NodePool's nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KarpenterNodeSpec {
    /// Taints.
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<Taint>,
    /// Taints that go away while a node starts.
    #[serde(deserialize_with = "null_default")]
    pub startup_taints: Vec<Taint>,
    /// What its instance types must satisfy.
    #[serde(deserialize_with = "null_default")]
    pub requirements: Vec<KarpenterRequirement>,
}

/// A requirement on a node label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KarpenterRequirement {
    /// Label.
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`, `Gte` or `Lte`.
    #[serde(deserialize_with = "null_default")]
    pub operator: String,
    /// Values.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<String>,
}

/// GKE's ComputeClass: what nodes may be created for pods that select it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputeClass {
    /// Metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// The definition.
    #[serde(deserialize_with = "null_default")]
    pub spec: ComputeClassSpec,
}

/// `spec` of a ComputeClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputeClassSpec {
    /// Choices, tried in order.
    #[serde(deserialize_with = "null_default")]
    pub priorities: Vec<ComputePriority>,
    /// `ScaleUpAnyway` or `DoNotScaleUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_unsatisfiable: Option<String>,
}

/// One choice of a ComputeClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputePriority {
    /// Type and count of GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<serde_json::Value>,
    /// Type and count of TPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpu: Option<serde_json::Value>,
    /// Machine type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// Machine family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_family: Option<String>,
    /// Existing node pools.
    #[serde(deserialize_with = "null_default")]
    pub nodepools: Vec<String>,
}
