//! Which extended resources are accelerators, and which node labels say that a pool has one.

use std::collections::BTreeMap;

use super::super::configuration::Configuration;
use super::super::workload::{PodNeeds, Workload};
use super::machines::{self, Machine};

/// Accelerator resources and who makes the device; `None` where any vendor may. From `utils/gpu/gpu.go` of the cluster
/// autoscaler (release 1.36) and the device plugins' documentation.
const RESOURCES: &[(&str, Option<&str>)] = &[
    ("nvidia.com/gpu", Some("nvidia")),
    ("nvidia.com/gpu.shared", Some("nvidia")),
    ("amd.com/gpu", Some("amd")),
    ("gpu.intel.com/i915", Some("intel")),
    ("gpu.intel.com/xe", Some("intel")),
    ("habana.ai/gaudi", Some("habana")),
    ("google.com/tpu", Some("google")),
    ("aws.amazon.com/neuron", Some("aws")),
    ("aws.amazon.com/neuroncore", Some("aws")),
    ("aws.amazon.com/neurondevice", Some("aws")),
    ("microsoft.com/directx", None),
];

/// MIG slices under the device plugin's `mixed` strategy: `nvidia.com/mig-1g.5gb`.
const MIG: &str = "nvidia.com/mig-";

/// GKE's label of node pools whose GPUs are handed out by DRA: their nodes have no `nvidia.com/gpu` resource.
pub(super) const GKE_DRA_LABEL: &str = "cloud.google.com/gke-gpu-dra-driver";

/// Whether a resource is an accelerator; `extra` are those that the configuration adds.
pub fn is_accelerator(resource: &str, extra: &[String]) -> bool {
    resource.starts_with(MIG)
        || RESOURCES.iter().any(|(name, _)| *name == resource)
        || extra.iter().any(|name| name == resource)
}

/// The accelerators that one pod asks for, in whole units; those asked for with zero are left out.
pub fn accelerators(needs: &PodNeeds, configuration: &Configuration) -> BTreeMap<String, i64> {
    needs
        .requests
        .iter()
        .filter(|(resource, _)| is_accelerator(resource, &configuration.accelerator_resources))
        .filter_map(|(resource, amount)| Some((resource.clone(), amount.units().filter(|units| *units > 0)?)))
        .collect()
}

/// Whether any pod of a replica asks for an accelerator. Resource claims (DRA) count: they may be for one.
pub fn wants_accelerator(workload: &Workload, configuration: &Configuration) -> bool {
    workload.pods.iter().any(|needs| needs.claims || !accelerators(needs, configuration).is_empty())
}

/// Who makes the device behind a resource; `None` when any vendor may.
pub(super) fn vendor(resource: &str) -> Option<&'static str> {
    if resource.starts_with(MIG) {
        return Some("nvidia");
    }
    RESOURCES.iter().find(|(name, _)| *name == resource).and_then(|(_, vendor)| *vendor)
}

/// Whether two resources may stand for the same device, such as a whole GPU and its MIG slices.
pub(super) fn related(one: &str, other: &str) -> bool {
    may_be_same(vendor(one), vendor(other))
}

fn may_be_same(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// The label that says that nodes of this pool have a device for `resource`, although the resource may not be registered
/// yet (a new node has none until its device plugin runs).
pub(super) fn promised<'a>(labels: &'a BTreeMap<String, String>, resource: &str) -> Option<(&'a str, &'a str)> {
    labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).find(|(key, value)| {
        accelerator_label(key, value).is_some_and(|made_by| may_be_same(made_by, vendor(resource)))
    })
}

/// Whether a node label says that the node has an accelerator, and whose: `Some(None)` when any vendor's.
fn accelerator_label(key: &str, value: &str) -> Option<Option<&'static str>> {
    if matches!(value, "false" | "0" | "none") {
        return None;
    }
    match key {
        "cloud.google.com/gke-accelerator"
        | "k8s.amazonaws.com/accelerator"
        | "kubernetes.azure.com/accelerator"
        | "accelerator" => return Some(value.starts_with("nvidia").then_some("nvidia")),
        "cloud.google.com/gke-tpu-accelerator" | "cloud.google.com/gke-tpu-topology" => return Some(Some("google")),
        "cloud.google.com/gke-gpu"
        | "cloud.google.com/gke-accelerator-count"
        | "cloud.google.com/gke-gpu-partition-size"
        | "cloud.google.com/gke-gpu-sharing-strategy"
        | "cloud.google.com/gke-max-shared-clients-per-gpu" => return Some(None),
        "node.kubernetes.io/instance-type" | "beta.kubernetes.io/instance-type" => {
            return (machines::kind(value) == Machine::Accelerated).then_some(None);
        }
        _ => {}
    }
    let (prefix, name) = key.split_once('/')?;
    match prefix {
        "karpenter.k8s.aws" | "eks.amazonaws.com" => {
            (name.starts_with("instance-gpu-") || name.starts_with("instance-accelerator-")).then_some(None)
        }
        "karpenter.azure.com" => name.starts_with("sku-gpu-").then_some(None),
        "nvidia.com" => {
            let facts = ["gpu.present", "gpu.count", "gpu.product", "gpu.memory", "gpu.family", "gpu.replicas"];
            (facts.contains(&name) || name.starts_with("cuda.") || name.starts_with("mig-")).then_some(Some("nvidia"))
        }
        "amd.com" | "beta.amd.com" => name.starts_with("gpu.").then_some(Some("amd")),
        // Node feature discovery: a PCI device of NVIDIA's vendor id 10de.
        "feature.node.kubernetes.io" => (name.starts_with("pci-") && name.contains("10de")).then_some(Some("nvidia")),
        _ => None,
    }
}

/// Whether GPUs of these nodes are shared, so that one pod gets one unit whatever allocatable says.
pub(super) fn shared(labels: &BTreeMap<String, String>, resource: &str) -> bool {
    let number = |key: &str| labels.get(key).and_then(|value| value.parse::<i64>().ok()).unwrap_or(0);
    vendor(resource) == Some("nvidia")
        && (resource == "nvidia.com/gpu.shared"
            || resource.ends_with(".shared")
            || labels.contains_key("cloud.google.com/gke-gpu-sharing-strategy")
            || number("cloud.google.com/gke-max-shared-clients-per-gpu") > 1
            || number("nvidia.com/gpu.replicas") > 1
            || labels
                .get("nvidia.com/gpu.sharing-strategy")
                .is_some_and(|strategy| matches!(strategy.as_str(), "mps" | "time-slicing")))
}
