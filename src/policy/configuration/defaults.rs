//! What holds where the administrator says nothing.

use std::collections::BTreeMap;

use super::{Backend, Configuration, Enforcement, Pools, Probes, Scope};

/// The profile of `enabled`.
pub const DEFAULT_PROFILE: &str = "throughput";
/// Upper bound of replicas where nobody gives one: enough to show that scaling works, little enough to pay for.
pub const MAX_REPLICAS: i64 = 2;
/// Labels whose value names a node pool: GKE, EKS, AKS, Karpenter.
const IDENTITY_LABELS: [&str; 4] = [
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
];
impl Default for Configuration {
    fn default() -> Self {
        Self {
            default_profile: DEFAULT_PROFILE.to_owned(),
            max_replicas: MAX_REPLICAS,
            backend: Backend::default(),
            scope: Scope::default(),
            enforcement: Enforcement::default(),
            allow_skip: Vec::new(),
            makers_first: false,
            exempt: Vec::new(),
            pools: Pools::default(),
            accelerator_resources: Vec::new(),
            profiles: BTreeMap::new(),
            inject_pod_annotations: false,
            probes: Probes::default(),
        }
    }
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            complete: false,
            provisioning: false,
            items: Vec::new(),
            identity_labels: IDENTITY_LABELS.map(str::to_owned).to_vec(),
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            interval_seconds: 60,
            settle_seconds: 15 * 60,
            // The Stackdriver adapter and Prometheus look back five minutes; an older answer says nothing about now.
            stale_after_seconds: 5 * 60,
            per_minute: 60,
            look_milliseconds: 300,
            control: None,
        }
    }
}
