//! Which extended resources are accelerators, and which node labels say that a pool has one.

use std::collections::BTreeMap;

use super::super::configuration::Configuration;
use super::super::workload::{PodNeeds, Workload};
use super::machines::{self, Machine};

/// Whose device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// It is not told.
    Any,
    /// This vendor's.
    One(&'static str),
}

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

/// Whether a resource is an accelerator; `extra` are those that the configuration adds, with `*` at the end
/// for any rest.
pub fn is_accelerator(resource: &str, extra: &[String]) -> bool {
    resource.starts_with(MIG)
        || RESOURCES.iter().any(|(name, _)| *name == resource)
        || extra.iter().any(|name| match name.strip_suffix('*') {
            Some(start) => !start.is_empty() && resource.starts_with(start),
            None => name == resource,
        })
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
    maker(one).may_be(maker(other))
}

fn maker(resource: &str) -> Maker {
    vendor(resource).map_or(Maker::Any, Maker::One)
}

impl Maker {
    fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

/// The label that says that nodes of this pool have a device for `resource`, although the resource may not be registered
/// yet (a new node has none until its device plugin runs).
pub(super) fn promised<'a>(labels: &'a BTreeMap<String, String>, resource: &str) -> Option<(&'a str, &'a str)> {
    labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .find(|(key, value)| accelerator_label(key, value).is_some_and(|made_by| made_by.may_be(maker(resource))))
}

/// Whether a node label says that the node has an accelerator, and whose.
fn accelerator_label(key: &str, value: &str) -> Option<Maker> {
    let nvidia = Maker::One("nvidia");
    if matches!(value, "false" | "0" | "none") {
        return None;
    }
    match key {
        "cloud.google.com/gke-accelerator"
        | "k8s.amazonaws.com/accelerator"
        | "kubernetes.azure.com/accelerator"
        | "accelerator" => return Some(if value.starts_with("nvidia") { nvidia } else { Maker::Any }),
        "cloud.google.com/gke-tpu-accelerator" | "cloud.google.com/gke-tpu-topology" => {
            return Some(Maker::One("google"));
        }
        "cloud.google.com/gke-gpu"
        | "cloud.google.com/gke-accelerator-count"
        | "cloud.google.com/gke-gpu-partition-size"
        | "cloud.google.com/gke-gpu-sharing-strategy"
        | "cloud.google.com/gke-max-shared-clients-per-gpu" => return Some(Maker::Any),
        "node.kubernetes.io/instance-type" | "beta.kubernetes.io/instance-type" => {
            return (machines::kind(value) == Machine::Accelerated).then_some(Maker::Any);
        }
        _ => {}
    }
    let (prefix, name) = key.split_once('/')?;
    match prefix {
        "karpenter.k8s.aws" | "eks.amazonaws.com" => {
            (name.starts_with("instance-gpu-") || name.starts_with("instance-accelerator-")).then_some(Maker::Any)
        }
        "karpenter.azure.com" => name.starts_with("sku-gpu-").then_some(Maker::Any),
        "nvidia.com" => {
            let facts = ["gpu.present", "gpu.count", "gpu.product", "gpu.memory", "gpu.family", "gpu.replicas"];
            (facts.contains(&name) || name.starts_with("cuda.") || name.starts_with("mig-")).then_some(nvidia)
        }
        "amd.com" | "beta.amd.com" => name.starts_with("gpu.").then_some(Maker::One("amd")),
        "gpu.intel.com" => name.starts_with("device").then_some(Maker::One("intel")),
        "intel.feature.node.kubernetes.io" => match name {
            "gpu" => Some(Maker::One("intel")),
            "gaudi" => Some(Maker::One("habana")),
            _ => None,
        },
        "feature.node.kubernetes.io" => match name {
            "amd-gpu" | "amd-vgpu" => Some(Maker::One("amd")),
            _ => pci_device(name),
        },
        _ => None,
    }
}

/// Whose accelerator a PCI device is that node feature discovery found: `pci-<class>_<vendor>.present`, where the class may
/// be left out. Vendors make other devices too, so that for all but NVIDIA the class has to be that of displays (03) or of
/// processing accelerators (12).
fn pci_device(name: &str) -> Option<Maker> {
    let device = name.strip_prefix("pci-")?;
    if device.contains("10de") {
        return Some(Maker::One("nvidia"));
    }
    if !device.starts_with("03") && !device.starts_with("12") {
        return None;
    }
    [("_1002", "amd"), ("_8086", "intel"), ("_1da3", "habana")]
        .into_iter()
        .find_map(|(vendor, maker)| device.contains(vendor).then_some(Maker::One(maker)))
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

#[cfg(test)]
mod tests {
    use super::super::super::objects::Quantity;
    use super::*;

    #[test]
    fn accelerators_of_every_vendor_count_and_others_do_not() {
        for resource in [
            "nvidia.com/gpu",
            "nvidia.com/mig-1g.5gb",
            "nvidia.com/gpu.shared",
            "amd.com/gpu",
            "gpu.intel.com/i915",
            "gpu.intel.com/xe",
            "habana.ai/gaudi",
            "google.com/tpu",
            "aws.amazon.com/neuron",
            "aws.amazon.com/neuroncore",
            "microsoft.com/directx",
        ] {
            assert!(is_accelerator(resource, &[]), "{resource}");
        }
        for resource in ["cpu", "memory", "hugepages-2Mi", "nvidia.com/", "nvidia.com/gpumem", "example.com/npu", ""] {
            assert!(!is_accelerator(resource, &[]), "{resource}");
        }
        assert!(is_accelerator("example.com/npu", &["example.com/npu".to_owned()]));
        assert!(is_accelerator("example.com/npu-2", &["example.com/*".to_owned()]));
        assert!(!is_accelerator("cpu", &["*".to_owned()]));
    }

    #[test]
    fn slices_of_a_device_are_related_and_other_vendors_are_not() {
        assert!(related("nvidia.com/gpu", "nvidia.com/mig-1g.5gb"));
        assert!(!related("nvidia.com/gpu", "amd.com/gpu"));
        assert!(related("example.com/npu", "amd.com/gpu"), "whose a custom resource is cannot be told");
    }

    #[test]
    fn labels_promise_devices_of_their_vendor() {
        let promises = |key: &str, value: &str, resource: &str| {
            promised(&BTreeMap::from([(key.to_owned(), value.to_owned())]), resource).is_some()
        };
        assert!(promises("cloud.google.com/gke-accelerator", "nvidia-l4", "nvidia.com/gpu"));
        assert!(!promises("cloud.google.com/gke-accelerator", "nvidia-l4", "amd.com/gpu"));
        assert!(promises("k8s.amazonaws.com/accelerator", "vgpu", "amd.com/gpu"));
        assert!(promises("cloud.google.com/gke-tpu-accelerator", "tpu-v6e-slice", "google.com/tpu"));
        assert!(!promises("cloud.google.com/gke-tpu-accelerator", "tpu-v6e-slice", "nvidia.com/gpu"));
        assert!(!promises("cloud.google.com/machine-family", "n2", "nvidia.com/gpu"));
        assert!(!promises("nvidia.com/gpu.deploy.operands", "true", "nvidia.com/gpu"));
        assert!(promises("feature.node.kubernetes.io/amd-gpu", "true", "amd.com/gpu"));
        assert!(promises("feature.node.kubernetes.io/pci-1200_1002.present", "true", "amd.com/gpu"));
        assert!(!promises("feature.node.kubernetes.io/pci-1200_1002.present", "true", "nvidia.com/gpu"));
        assert!(promises("feature.node.kubernetes.io/pci-0380_8086.present", "true", "gpu.intel.com/xe"));
        assert!(
            !promises("feature.node.kubernetes.io/pci-0200_8086.present", "true", "gpu.intel.com/xe"),
            "a network card"
        );
        assert!(promises("feature.node.kubernetes.io/pci-1200_1da3.present", "true", "habana.ai/gaudi"));
        assert!(promises("intel.feature.node.kubernetes.io/gpu", "true", "gpu.intel.com/i915"));
        assert!(promises("intel.feature.node.kubernetes.io/gaudi", "true", "habana.ai/gaudi"));
        assert!(promises("gpu.intel.com/device-id.0300-9a49.present", "true", "gpu.intel.com/i915"));
    }

    #[test]
    fn one_pod_per_shared_device() {
        let shares =
            |key: &str, value: &str| shared(&BTreeMap::from([(key.to_owned(), value.to_owned())]), "nvidia.com/gpu");
        assert!(shares("nvidia.com/gpu.sharing-strategy", "mps"));
        assert!(!shares("nvidia.com/gpu.sharing-strategy", "none"));
        assert!(!shares("cloud.google.com/gke-max-shared-clients-per-gpu", "1"));
        assert!(shared(&BTreeMap::new(), "nvidia.com/gpu.shared"));
        assert!(!shared(&BTreeMap::new(), "nvidia.com/gpu"));
    }

    #[test]
    fn claims_count_as_wanting_an_accelerator() {
        use super::super::super::objects::{Object, TypeMeta};
        let of = TypeMeta { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned() };
        let document = serde_json::json!({"metadata": {"name": "a"}, "spec": {}});
        let Object::Workload(object) = Object::read(&of, &document).unwrap() else { panic!("no workload") };
        let mut workload = super::super::super::workload::read(&object, &|_| None);
        let configuration = super::super::landing::tests::configuration();
        workload.pods = vec![PodNeeds::default()];
        assert!(!wants_accelerator(&workload, &configuration));
        workload.pods.push(PodNeeds { claims: true, ..PodNeeds::default() });
        assert!(wants_accelerator(&workload, &configuration));
        let requests = BTreeMap::from([("amd.com/gpu".to_owned(), Quantity::from(2))]);
        workload.pods = vec![PodNeeds { requests, ..PodNeeds::default() }];
        assert!(wants_accelerator(&workload, &configuration));
        assert_eq!(accelerators(&workload.pods[0], &configuration).get("amd.com/gpu"), Some(&2));
    }
}
