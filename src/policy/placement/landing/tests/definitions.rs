//! Karpenter NodePools and ComputeClasses.

use super::*;

#[test]
fn a_karpenter_pool_is_judged_by_its_definition() {
    let pinned = |requirements: &Value| world().selecting("karpenter.sh/nodepool", "k").karpenter("k", requirements);
    for (key, operator, values) in [
        ("karpenter.k8s.aws/instance-gpu-count", "DoesNotExist", json!([])),
        ("karpenter.k8s.aws/instance-gpu-count", "In", json!(["0"])),
        ("karpenter.k8s.aws/instance-gpu-count", "Lt", json!(["1"])),
        ("karpenter.k8s.aws/instance-gpu-manufacturer", "NotIn", json!(["nvidia"])),
        ("karpenter.k8s.aws/instance-category", "In", json!(["c", "m", "r"])),
        ("karpenter.k8s.aws/instance-family", "In", json!(["m5", "c6i"])),
        ("node.kubernetes.io/instance-type", "In", json!(["m5.large"])),
        ("eks.amazonaws.com/instance-category", "In", json!(["c", "m"])),
        ("karpenter.azure.com/sku-family", "In", json!(["D"])),
    ] {
        let requirements = json!([{"key": key, "operator": operator, "values": values}]);
        pinned(&requirements)
            .is("absent (nodeSelector karpenter.sh/nodepool=k): Karpenter NodePool k creates no node with");
        let overlay = json!({"apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": "o"}});
        pinned(&requirements).object(&overlay).is("unknown");
        // Its GPU-less nodes add nothing to the definition, and nothing takes it back.
        let labels: &[(&str, &str)] = &[("karpenter.sh/nodepool", "k")];
        pinned(&requirements).node("a", labels, CPU_NODE).is("absent");
    }
    for (key, operator, values) in [
        ("karpenter.k8s.aws/instance-category", "In", json!(["c", "m", "g"])),
        ("karpenter.k8s.aws/instance-category", "NotIn", json!(["g", "p"])),
        ("karpenter.k8s.aws/instance-category", "In", json!(["f"])),
        ("karpenter.k8s.aws/instance-accelerator-count", "DoesNotExist", json!([])),
        ("karpenter.sh/capacity-type", "In", json!(["spot"])),
        ("node.kubernetes.io/instance-type", "In", json!(["m5.large", "exotic"])),
    ] {
        pinned(&json!([{"key": key, "operator": operator, "values": values}]))
            .is("unknown: Karpenter NodePool k may create");
    }
    pinned(&json!([])).node("a", &[("karpenter.sh/nodepool", "k")], CPU_NODE).is("unknown");
    pinned(&json!([])).complete().is("unknown");
    world().complete().node("a", &[("karpenter.sh/nodepool", "k")], CPU_NODE).is("unknown");
    let of_gpus = json!([{"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "Gt", "values": ["0"]}]);
    pinned(&of_gpus).is("present on Karpenter NodePool k");
    pinned(&of_gpus).asks(GPU, "8").is("unknown");
    world().selecting("karpenter.sh/nodepool", "l").karpenter("k", &json!([])).is("suspicious");
}

#[test]
fn limits_of_a_karpenter_pool_count() {
    let limited = |limit: &str| {
        world().selecting("karpenter.sh/nodepool", "k").object(&json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "k"},
            "spec": {"limits": {"nvidia.com/gpu": limit}}
        }))
    };
    limited("0").is("absent (nodeSelector karpenter.sh/nodepool=k): Karpenter NodePool k limits nvidia.com/gpu to 0");
    limited("4").is("unknown");
    limited("4").asks(GPU, "8").complete().is("absent (complete): Karpenter NodePool k limits nvidia.com/gpu to 4");
}

#[test]
fn a_compute_class_is_judged_by_its_priorities() {
    let class = |spec: &Value| world().selecting("cloud.google.com/compute-class", "c").class("c", spec);
    class(&json!({"priorities": [{"gpu": {"type": "nvidia-l4", "count": 1}}]})).is("present on ComputeClass c");
    let no_gpu = json!({"priorities": [{"machineFamily": "n2"}, {"machineType": "e2-standard-4"}], "whenUnsatisfiable": "DoNotScaleUp"});
    class(&no_gpu).is(
        "absent (nodeSelector cloud.google.com/compute-class=c): ComputeClass c has no priority with nvidia.com/gpu",
    );
    class(&json!({"priorities": [{"machineFamily": "n2"}]})).is("unknown");
    class(&json!({"priorities": [{"machineFamily": "n1"}], "whenUnsatisfiable": "DoNotScaleUp"})).is("unknown");
    class(&json!({"priorities": [{"nodepools": ["p"]}], "whenUnsatisfiable": "DoNotScaleUp"})).is("unknown");
    class(&json!({})).is("unknown");
    let two =
        json!({"priorities": [{"gpu": {"type": "nvidia-l4", "count": "2"}}], "whenUnsatisfiable": "DoNotScaleUp"});
    class(&two).asks(GPU, "2").is("present");
    class(&two).asks(GPU, "4").is("suspicious");
    class(&two).asks(GPU, "4").complete().is("absent (complete)");
    class(&two).selecting("cloud.google.com/gke-accelerator", "nvidia-h100-80gb").is("unknown");
    // Not selected: it may still be the namespace's default.
    world().complete().node("a", &[], CPU_NODE).class("c", &two).is("unknown");
    world().complete().node("a", &[], CPU_NODE).class("c", &no_gpu).is("absent (complete)");
    world().selecting("cloud.google.com/compute-class", "d").class("c", &two).is("suspicious");
    world().selecting("cloud.google.com/compute-class", "Balanced").class("c", &two).is("unknown");
    // A present node of a class proves nothing about the next one.
    let labels: &[(&str, &str)] = &[(POOL, "nap-1"), ("cloud.google.com/compute-class", "c")];
    world().complete().selecting(POOL, "nap-1").node("a", labels, CPU_NODE).class("c", &two).is("unknown");
}
