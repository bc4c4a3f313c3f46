//! The scheduler's filters over node shapes and node pools: can a pod ever land on a node that has what it asks for?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::objects::{Node, Quantity, Taint};

mod capacity;
pub mod filter;
mod landing;
mod machines;
mod pins;
mod pools;
pub mod resources;

pub use capacity::{Room, replicas_that_fit};
pub use landing::{Landing, PoolLack, land};

/// Nodes that are alike in labels (host names left out), taints, capacity and allocatable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeShape {
    /// How many nodes are of this shape.
    pub count: u64,
    /// Labels, without those that tell one node from another.
    pub labels: BTreeMap<String, String>,
    /// Taints, without those that come and go with a node's condition.
    pub taints: Vec<Taint>,
    /// What the machine has.
    pub capacity: BTreeMap<String, Quantity>,
    /// What pods may use; what the scheduler looks at.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// Labels that tell one node from another; none is left in a shape.
const NAMING_LABELS: &[&str] = &["kubernetes.io/hostname", "alpha.eksctl.io/instance-id"];

// === impl NodeShape ===

impl NodeShape {
    /// The shape of one node.
    pub fn of(node: &Node) -> Self {
        let labels = node.metadata.labels.iter().filter(|(key, _)| !NAMING_LABELS.contains(&key.as_str()));
        Self {
            count: 1,
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            taints: node.spec.taints.clone(),
            capacity: node.status.capacity.clone(),
            allocatable: node.status.allocatable.clone(),
        }
    }
}
