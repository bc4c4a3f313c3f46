use serde_json::{Value, json};

use super::super::super::configuration::{DeclaredPool, Pools};
use super::super::super::objects::{NodeRequirement, NodeSelectorTerm, Object, Quantity, Taint, Toleration};
use super::*;

mod definitions;
mod properties;

pub(in super::super) fn configuration() -> Configuration {
    let defaults = Configuration::default();
    Configuration { pools: Pools { provisioning: false, ..defaults.pools.clone() }, ..defaults }
}

const POOL: &str = "cloud.google.com/gke-nodepool";
const GPU: &str = "nvidia.com/gpu";

/// Builds a view, a configuration and a pod, one sentence a call.
#[derive(Clone, Debug)]
pub(in super::super) struct World {
    pub(in super::super) view: ClusterView,
    pub(in super::super) configuration: Configuration,
    pub(in super::super) needs: PodNeeds,
}

pub(in super::super) fn world() -> World {
    let needs = PodNeeds { path: "spec.template".to_owned(), count: 1, ..PodNeeds::default() };
    World { view: ClusterView::default(), configuration: configuration(), needs }.asks(GPU, "1")
}

fn pairs(of: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn amounts(of: &[(&str, &str)]) -> std::collections::BTreeMap<String, Quantity> {
    of.iter().map(|(key, value)| ((*key).to_owned(), Quantity::new(*value))).collect()
}

const CPU_NODE: &[(&str, &str)] = &[("cpu", "4"), ("memory", "16Gi"), ("pods", "110")];
const GPU_NODE: &[(&str, &str)] = &[("cpu", "8"), ("memory", "32Gi"), ("pods", "110"), (GPU, "1")];

impl World {
    pub(in super::super) fn asks(mut self, resource: &str, amount: &str) -> Self {
        self.needs.requests.insert(resource.to_owned(), Quantity::new(amount));
        self
    }

    fn asks_only(mut self, resource: &str, amount: &str) -> Self {
        self.needs.requests.clear();
        self.asks(resource, amount)
    }

    pub(in super::super) fn selecting(mut self, key: &str, value: &str) -> Self {
        self.needs.node_selector.insert(key.to_owned(), value.to_owned());
        self
    }

    fn affinity(mut self, terms: &[(&str, &str, &[&str])]) -> Self {
        let terms = terms.iter().map(|(key, operator, values)| NodeSelectorTerm {
            match_expressions: vec![NodeRequirement {
                key: (*key).to_owned(),
                operator: (*operator).to_owned(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
            match_fields: Vec::new(),
        });
        self.needs.affinity = Some(terms.collect());
        self
    }

    fn tolerating(mut self, key: &str) -> Self {
        let toleration = Toleration { key: key.to_owned(), operator: "Exists".to_owned(), ..Toleration::default() };
        self.needs.tolerations.push(toleration);
        self
    }

    pub(in super::super) fn complete(mut self) -> Self {
        self.configuration.pools.complete = true;
        self
    }

    pub(in super::super) fn object(mut self, document: &Value) -> Self {
        let (of, object) = Object::from_value(document).unwrap();
        self.view.apply(&of, object);
        self
    }

    pub(in super::super) fn node(self, name: &str, labels: &[(&str, &str)], resources: &[(&str, &str)]) -> Self {
        self.node_with(name, labels, &[], resources, resources)
    }

    fn node_with(
        self,
        name: &str,
        labels: &[(&str, &str)],
        taints: &[(&str, &str)],
        capacity: &[(&str, &str)],
        allocatable: &[(&str, &str)],
    ) -> Self {
        let taints: Vec<Value> = taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        self.object(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": pairs(labels)},
            "spec": {"taints": taints},
            "status": {"capacity": amounts(capacity), "allocatable": amounts(allocatable)}
        }))
    }

    pub(in super::super) fn pool(self, name: &str, resources: &[(&str, &str)]) -> Self {
        self.pool_with(name, &[], &[], resources)
    }

    fn pool_with(
        mut self,
        name: &str,
        labels: &[(&str, &str)],
        taints: &[(&str, &str)],
        resources: &[(&str, &str)],
    ) -> Self {
        self.configuration.pools.items.push(DeclaredPool {
            name: name.to_owned(),
            labels: pairs(labels),
            taints: taints
                .iter()
                .map(|(key, effect)| Taint {
                    key: (*key).to_owned(),
                    value: "true".to_owned(),
                    effect: (*effect).to_owned(),
                })
                .collect(),
            allocatable: amounts(resources),
            min_nodes: Some(0),
            max_nodes: Some(4),
        });
        self
    }

    pub(in super::super) fn karpenter(self, name: &str, requirements: &Value) -> Self {
        self.object(&json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
            "spec": {"template": {"spec": {"requirements": requirements}}}
        }))
    }

    fn class(self, name: &str, spec: &Value) -> Self {
        self.object(&json!({
            "apiVersion": "cloud.google.com/v1", "kind": "ComputeClass", "metadata": {"name": name}, "spec": spec
        }))
    }

    fn lands(&self) -> Landing {
        land(&self.needs, &self.view, &self.configuration)
    }

    /// The answer in a word, and what it rests on.
    #[track_caller]
    fn is(&self, expected: &str) {
        let answer = match self.lands() {
            Landing::NotAsked => "not asked".to_owned(),
            Landing::Present { on } => format!("present on {on}"),
            Landing::NotReady { on } => format!("not ready on {on}"),
            Landing::Absent { pools, pinned_by, .. } => {
                let lacks: Vec<String> = pools.iter().map(|pool| format!("{} {}", pool.pool, pool.lack)).collect();
                format!("absent ({}): {}", pinned_by.as_deref().unwrap_or("complete"), lacks.join("; "))
            }
            Landing::Unknown { reason, suspicious: true, known_pools } => {
                format!("suspicious: {reason} [{}]", known_pools.join(", "))
            }
            Landing::Unknown { reason, .. } => format!("unknown: {reason}"),
        };
        assert!(answer.starts_with(expected), "expected {expected:?}\n  found {answer:?}");
    }
}

#[test]
fn without_an_accelerator_there_is_no_question() {
    world().asks_only("cpu", "4").is("not asked");
    world().asks_only(GPU, "0").is("not asked");
    world().asks_only(GPU, "one").is("not asked");
}

#[test]
fn an_empty_view_knows_nothing_and_suspects_nothing() {
    world().is("unknown: no node and no node pool is known");
    world().selecting(POOL, "gpu-pool").is("unknown");
    world().complete().is("unknown");
}

#[test]
fn a_node_that_has_it_hosts_it() {
    world().node("a", &[], GPU_NODE).is("present on a node without a pool label");
    world().node("a", &[(POOL, "gpu-pool")], GPU_NODE).is("present on node pool gpu-pool");
    world().node("a", &[(POOL, "cpu-pool")], CPU_NODE).node("b", &[(POOL, "gpu-pool")], GPU_NODE).is("present");
}

#[test]
fn pods_pinned_to_a_pool_seen_without_gpus_are_proven_wrong() {
    let pinned = world().selecting(POOL, "cpu-pool").node("a", &[(POOL, "cpu-pool")], CPU_NODE);
    pinned.is("absent (nodeSelector cloud.google.com/gke-nodepool=cpu-pool): \
               cpu-pool has no nvidia.com/gpu (allocatable: cpu 4, memory 16Gi)");
    let Landing::Absent { field, .. } = pinned.lands() else { panic!("not absent") };
    assert_eq!(field, "spec.template.spec.nodeSelector[cloud.google.com/gke-nodepool]");
    // A GPU pool beside it changes nothing for pods that may not go there.
    pinned.node("b", &[(POOL, "gpu-pool")], GPU_NODE).is("absent (nodeSelector");
}

#[test]
fn pods_pinned_to_a_declared_pool_at_zero_nodes_are_judged_by_the_declaration() {
    world().selecting(POOL, "cpu-pool").pool("cpu-pool", CPU_NODE).is("absent (nodeSelector");
    world().selecting(POOL, "gpu-pool").pool("gpu-pool", GPU_NODE).is("present on node pool gpu-pool");
    world().pool("gpu-pool", GPU_NODE).is("present on node pool gpu-pool");
    world().selecting(POOL, "p").pool_with("other", &[(POOL, "p")], &[], GPU_NODE).is("present on node pool other");
}

#[test]
fn affinity_pins_only_when_every_term_does() {
    let cpu = || world().node("a", &[(POOL, "cpu-a")], CPU_NODE).node("b", &[(POOL, "cpu-b")], CPU_NODE);
    cpu()
        .affinity(&[(POOL, "In", &["cpu-a", "cpu-b"])])
        .is("absent (required node affinity cloud.google.com/gke-nodepool In [cpu-a, cpu-b]): cpu-a has no");
    cpu().affinity(&[(POOL, "In", &["cpu-a"]), (POOL, "In", &["cpu-b"])]).is("absent");
    cpu().affinity(&[(POOL, "In", &["cpu-a"]), ("zone", "Exists", &[])]).is("unknown");
    cpu().affinity(&[(POOL, "NotIn", &["gpu-pool"])]).is("unknown");
    cpu().affinity(&[(POOL, "In", &["cpu-a", "new-pool"])]).is("suspicious");
    let pinned = cpu().affinity(&[(POOL, "In", &["cpu-a"])]);
    let Landing::Absent { field, .. } = pinned.lands() else { panic!("not absent") };
    assert_eq!(
        field,
        "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
         .nodeSelectorTerms[0].matchExpressions[0]"
    );
}

#[test]
fn no_gpu_node_now_is_not_no_gpu_pool() {
    world().node("a", &[(POOL, "cpu-pool")], CPU_NODE).is("unknown: a node pool that is not known");
    world().node("a", &[], CPU_NODE).is("unknown");
    world().pool("cpu-pool", CPU_NODE).is("unknown");
    world().selecting("cloud.google.com/gke-accelerator", "nvidia-l4").node("a", &[], CPU_NODE).is("unknown");
}

#[test]
fn a_pool_that_nobody_knows_is_suspected_with_the_known_names() {
    world()
        .selecting(POOL, "gpu-pol")
        .node("a", &[(POOL, "gpu-pool")], GPU_NODE)
        .node("b", &[(POOL, "cpu-pool")], CPU_NODE)
        .is("suspicious: nodeSelector cloud.google.com/gke-nodepool=gpu-pol names pool gpu-pol, which nobody knows \
             [cpu-pool, gpu-pool]");
    // Complete or not, while some pool has the accelerator it is a mistyped name.
    let complete = world().complete().selecting(POOL, "gpu-pol").node("a", &[(POOL, "gpu-pool")], GPU_NODE);
    complete.is("suspicious");
    // Nothing of this provider is known.
    world().selecting(POOL, "gpu-pool").node("a", &[], CPU_NODE).is("unknown");
}

#[test]
fn a_label_value_unseen_anywhere_is_suspected() {
    world().selecting("cloud.google.com/gke-accelerator", "nvidia-l5").node("a", &[], CPU_NODE).is("suspicious");
    world().selecting("tier", "gpu").node("a", &[("tier", "gpu")], CPU_NODE).is("unknown");
    world().selecting("cloud.google.com/gke-spot", "true").node("a", &[], CPU_NODE).is("unknown");
    world().selecting("tier", "gpu").is("unknown");
}

#[test]
fn a_complete_world_in_which_no_pool_can_host_them_is_a_proof() {
    world()
        .complete()
        .node("a", &[(POOL, "cpu-pool")], CPU_NODE)
        .pool("other", &[("cpu", "2")])
        .is("absent (complete): cpu-pool has no nvidia.com/gpu (allocatable: cpu 4, memory 16Gi); \
         other has no nvidia.com/gpu (allocatable: cpu 2)");
    let tainted = world().complete().pool_with("gpu-pool", &[], &[("dedicated", "NoSchedule")], GPU_NODE);
    tainted.is("absent (complete): gpu-pool has taint dedicated=true:NoSchedule");
    tainted.clone().tolerating("dedicated").is("present");
    let labelled = world().complete().selecting("tier", "gold");
    let labelled = labelled.pool_with("gpu-pool", &[("tier", "silver")], &[], GPU_NODE);
    labelled.is("absent (complete): gpu-pool has label tier=silver");
    let Landing::Absent { field, .. } = labelled.lands() else { panic!("not absent") };
    assert_eq!(field, "spec.template");
    // A label that the declaration leaves out may still be there.
    world().complete().selecting("tier", "gold").pool("gpu-pool", GPU_NODE).is("suspicious");
}

#[test]
fn more_than_any_node_has_is_a_proof_in_a_complete_world_alone() {
    let asks_8 = world().asks(GPU, "8").node("a", &[(POOL, "gpu-pool")], GPU_NODE);
    asks_8.is("unknown");
    asks_8.complete().is("absent (complete): gpu-pool offers nvidia.com/gpu 1 on a node, and one pod asks for 8");
    world().asks("cpu", "64").complete().pool("gpu-pool", GPU_NODE).is("absent (complete): gpu-pool offers cpu 8");
    // What the declaration does not speak of is not missing.
    world().asks("cpu", "64").complete().pool("gpu-pool", &[(GPU, "1")]).is("present");
    // Pinned to a pool that has the accelerator, but too few of them: a doubt.
    world().asks(GPU, "8").selecting(POOL, "gpu-pool").pool("gpu-pool", GPU_NODE).is("suspicious");
}

#[test]
fn capacity_shows_a_gpu_pool_whose_driver_is_not_ready() {
    let labels: &[(&str, &str)] = &[(POOL, "gpu-pool")];
    let not_ready = |selecting: &str| {
        world().selecting(POOL, selecting).node_with("a", labels, &[], GPU_NODE, &[("cpu", "8"), (GPU, "0")])
    };
    not_ready("gpu-pool").is("not ready on node pool gpu-pool");
    not_ready("gpu-pool").complete().is("not ready");
    world().complete().asks(GPU, "2").node_with("a", labels, &[], GPU_NODE, &[(GPU, "0")]).is("absent (complete)");
}

#[test]
fn a_pool_accelerator_label_counts_before_the_device_plugin_registers() {
    for (key, value) in [
        ("cloud.google.com/gke-accelerator", "nvidia-l4"),
        ("k8s.amazonaws.com/accelerator", "vgpu"),
        ("kubernetes.azure.com/accelerator", "nvidia"),
        ("karpenter.k8s.aws/instance-gpu-name", "t4"),
        ("nvidia.com/gpu.present", "true"),
        ("nvidia.com/gpu.count", "1"),
        ("node.kubernetes.io/instance-type", "g5.xlarge"),
        ("feature.node.kubernetes.io/pci-10de.present", "true"),
        ("feature.node.kubernetes.io/pci-0302_10de.present", "true"),
    ] {
        let new = world().complete().selecting(POOL, "p").node("a", &[(POOL, "p"), (key, value)], CPU_NODE);
        new.is("not ready on node pool p");
    }
    for (key, value) in [
        ("nvidia.com/gpu.present", "false"),
        ("nvidia.com/gpu.count", "0"),
        ("node.kubernetes.io/instance-type", "m5.large"),
        ("cloud.google.com/gke-tpu-accelerator", "tpu-v5-lite-podslice"),
        ("cloud.google.com/gke-boot-disk", "pd-balanced"),
    ] {
        let node = world().selecting(POOL, "p").node("a", &[(POOL, "p"), (key, value)], CPU_NODE);
        node.is("absent");
    }
    // One node of the pool is enough.
    let labels: &[(&str, &str)] = &[(POOL, "p"), ("cloud.google.com/gke-accelerator", "nvidia-l4")];
    let mixed = world().selecting(POOL, "p").node("a", &[(POOL, "p")], CPU_NODE).node("b", labels, CPU_NODE);
    mixed.is("not ready");
}

#[test]
fn another_accelerator_is_not_the_one_asked_for() {
    let amd: &[(&str, &str)] = &[("cpu", "8"), ("amd.com/gpu", "1")];
    world().selecting(POOL, "p").node("a", &[(POOL, "p")], amd).is("absent");
    world().selecting(POOL, "p").pool("p", amd).is("absent (nodeSelector cloud.google.com/gke-nodepool=p): \
         p has no nvidia.com/gpu (allocatable: cpu 8, amd.com/gpu 1)");
    world().asks_only("amd.com/gpu", "1").selecting(POOL, "p").pool("p", amd).is("present");
    let tpu: &[(&str, &str)] = &[(POOL, "t"), ("cloud.google.com/gke-tpu-accelerator", "tpu-v5-lite-podslice")];
    world().asks_only("google.com/tpu", "4").node("a", tpu, &[("google.com/tpu", "4")]).is("present");
    world().asks_only("google.com/tpu", "4").selecting(POOL, "t").node("a", tpu, CPU_NODE).is("not ready");
    world().asks_only("google.com/tpu", "4").selecting(POOL, "p").node("a", &[(POOL, "p")], GPU_NODE).is("absent");
    // MIG profiles may be made of the GPUs that are there; declared ones are what is declared.
    world()
        .asks_only("nvidia.com/mig-1g.5gb", "1")
        .selecting(POOL, "p")
        .node("a", &[(POOL, "p")], GPU_NODE)
        .is("unknown");
    world().asks_only("nvidia.com/mig-1g.5gb", "1").selecting(POOL, "p").pool("p", GPU_NODE).is("absent");
    let mut custom = world().asks_only("example.com/npu", "1").selecting(POOL, "p").pool("p", CPU_NODE);
    custom.is("not asked");
    custom.configuration.accelerator_resources.push("example.com/npu".to_owned());
    custom.is("absent");
}

#[test]
fn every_accelerator_that_is_asked_for_has_to_be_there() {
    let both = world().asks("amd.com/gpu", "1");
    both.clone().selecting(POOL, "p").pool("p", GPU_NODE).is("absent (nodeSelector");
    both.pool("p", &[(GPU, "1"), ("amd.com/gpu", "1")]).is("present");
}

#[test]
fn taints_of_gpu_pools_do_not_fool_it() {
    let tainted =
        |taints: &[(&str, &str)]| world().complete().node_with("a", &[(POOL, "g")], taints, GPU_NODE, GPU_NODE);
    // The admission plugin adds this toleration to pods, never to templates.
    tainted(&[(GPU, "NoSchedule")]).is("present");
    tainted(&[("node.kubernetes.io/unschedulable", "NoSchedule")]).is("present");
    tainted(&[("node.kubernetes.io/not-ready", "NoExecute")]).is("present");
    tainted(&[("soft", "PreferNoSchedule")]).is("present");
    tainted(&[("cloud.google.com/gke-spot", "NoSchedule")])
        .is("absent (complete): g has taint cloud.google.com/gke-spot");
    tainted(&[("cloud.google.com/gke-spot", "NoSchedule")]).tolerating("cloud.google.com/gke-spot").is("present");
    // A taint is no proof that a pool lacks the accelerator.
    let pinned =
        world().selecting(POOL, "g").node_with("a", &[(POOL, "g")], &[("x", "NoSchedule")], GPU_NODE, GPU_NODE);
    pinned.is("suspicious: nodeSelector cloud.google.com/gke-nodepool=g: g has taint x:NoSchedule");
}

#[test]
fn not_in_on_a_missing_label_lets_a_node_through() {
    world().complete().affinity(&[("tier", "NotIn", &["cpu"])]).node("a", &[], GPU_NODE).is("present");
    world().complete().affinity(&[("tier", "NotIn", &["cpu"])]).node("a", &[("tier", "cpu")], GPU_NODE).is("absent");
    world().complete().affinity(&[("tier", "Exists", &[])]).node("a", &[], GPU_NODE).is("absent");
}

#[test]
fn labels_that_come_late_prove_nothing() {
    world().complete().selecting("nvidia.com/gpu.product", "L4").node("a", &[], GPU_NODE).is("suspicious");
    let product = world().complete().selecting("nvidia.com/gpu.product", "L4");
    product.node("a", &[("nvidia.com/gpu.product", "A100")], GPU_NODE).is("absent");
    // The next node of a pool may be in another zone.
    let zone: &[(&str, &str)] = &[("topology.kubernetes.io/zone", "a")];
    world().complete().selecting("topology.kubernetes.io/zone", "b").node("a", zone, GPU_NODE).is("unknown");
    world().complete().selecting("topology.kubernetes.io/zone", "a").node("a", zone, GPU_NODE).is("present");
    world().complete().selecting("kubernetes.io/hostname", "b").node("a", &[], GPU_NODE).is("unknown");
}

#[test]
fn what_decides_elsewhere_leaves_it_open() {
    let absent = || world().selecting(POOL, "cpu-pool").pool("cpu-pool", CPU_NODE).complete();
    absent().is("absent");
    let with = |change: fn(&mut PodNeeds)| {
        let mut world = absent();
        change(&mut world.needs);
        world
    };
    with(|needs| needs.runtime_class = Some("nvidia".to_owned())).is("unknown: RuntimeClass nvidia");
    with(|needs| needs.scheduler = Some("volcano".to_owned())).is("unknown: scheduler volcano");
    with(|needs| needs.scheduler = Some("default-scheduler".to_owned())).is("absent");
    with(|needs| needs.gated = true).is("unknown: scheduling gates");
    with(|needs| needs.claims = true).is("unknown: the pods use resource claims");
}

#[test]
fn what_is_provisioned_is_another_pool_than_the_one_that_is_named() {
    let provisioning = |mut world: World| {
        world.configuration.pools.provisioning = true;
        world
    };
    let cpu = || provisioning(world().pool_with("cpu-pool", &[("example.com/pool", "cpu")], &[], CPU_NODE).complete());
    cpu()
        .selecting(POOL, "cpu-pool")
        .is("absent (nodeSelector cloud.google.com/gke-nodepool=cpu-pool): cpu-pool has no");
    cpu().is("unknown: nodes with accelerators may be provisioned");
    cpu().selecting("tier", "gpu").is("unknown: nodes with accelerators may be provisioned");
    cpu().selecting(POOL, "gpu-pol").pool("gpu-pool", GPU_NODE).is("suspicious: nodeSelector");
    // A label of the administrator's own can be on a new pool too.
    let mut custom = cpu().selecting("example.com/pool", "cpu");
    custom.configuration.pools.identity_labels.push("example.com/pool".to_owned());
    custom.is("suspicious: nodeSelector example.com/pool=cpu: cpu-pool has no nvidia.com/gpu");
    custom.clone().selecting(POOL, "cpu-pool").is("absent (nodeSelector cloud.google.com/gke-nodepool=cpu-pool)");
    custom.configuration.pools.provisioning = false;
    custom.is("absent (nodeSelector example.com/pool=cpu)");
}

#[test]
fn a_template_is_not_a_pod() {
    // Only limits, an integer, and no toleration: the API server and its plugins complete pods, never templates.
    let document = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {
                "nodeSelector": {POOL: "gpu-pool"},
                "containers": [{"name": "a", "image": "vllm/vllm-openai:v0.11.0", "resources": {"limits": {GPU: 1}}}]
            }
        }}
    });
    let mut world = world().object(&document);
    let workload = world.view.workloads().next().cloned().unwrap();
    world.needs = workload.pods.into_iter().next().unwrap();
    let gpu: &[(&str, &str)] = &[(POOL, "gpu-pool")];
    world.clone().node_with("g", gpu, &[(GPU, "NoSchedule")], GPU_NODE, GPU_NODE).is("present on node pool gpu-pool");
    world = world.node("c", gpu, CPU_NODE);
    let Landing::Absent { field, .. } = world.lands() else { panic!("not absent") };
    assert_eq!(field, "spec.template.spec.nodeSelector[cloud.google.com/gke-nodepool]");
}

#[test]
fn dynamic_resource_allocation_leaves_it_open() {
    let absent = || world().selecting(POOL, "p").node("a", &[(POOL, "p")], CPU_NODE).complete();
    absent().is("absent");
    for kind in ["DeviceClass", "ResourceSlice"] {
        let document =
            json!({"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": "gpu.nvidia.com"}});
        absent().object(&document).is("unknown");
    }
    let labels: &[(&str, &str)] = &[(POOL, "p"), ("cloud.google.com/gke-gpu-dra-driver", "true")];
    world().selecting(POOL, "p").node("a", labels, CPU_NODE).complete().is("unknown: p hands its GPUs out");
    let accelerated: &[(&str, &str)] = &[
        (POOL, "p"),
        ("cloud.google.com/gke-gpu-dra-driver", "true"),
        ("cloud.google.com/gke-accelerator", "nvidia-l4"),
    ];
    world().selecting(POOL, "p").node("a", accelerated, CPU_NODE).complete().is("unknown");
    let mut claims = world().asks_only("cpu", "1");
    claims.needs.claims = true;
    claims.is("unknown");
}

#[test]
fn what_a_live_view_may_lack_leaves_it_open() {
    let absent = || world().selecting(POOL, "p").node("a", &[(POOL, "p")], CPU_NODE).complete();
    let mut on_node = world().node("cpu", &[], CPU_NODE);
    on_node.needs.node_name = Some("cpu".to_owned());
    for kind in ["Node", "NodePool", "ComputeClass", "DeviceClass", "ResourceSlice"] {
        for mut world in [absent(), on_node.clone()] {
            world.view.partial.insert(kind.to_owned());
            world.is("unknown: not all nodes");
        }
    }
    let mut other = absent();
    other.view.partial.insert("PodMonitoring".to_owned());
    other.is("absent");
    let mut hosted = world().node("a", &[], GPU_NODE);
    hosted.view.partial.insert("Node".to_owned());
    hosted.is("present");
}

#[test]
fn a_node_by_name_is_the_only_one_looked_at() {
    let on = |name: &str| {
        let mut world =
            world().node("cpu", &[], CPU_NODE).node_with("gpu", &[], &[("x", "NoSchedule")], GPU_NODE, GPU_NODE);
        world.needs.node_name = Some(name.to_owned());
        world
    };
    on("gpu").is("present on node gpu");
    on("cpu").is("absent (nodeName cpu): node cpu has no nvidia.com/gpu (allocatable: cpu 4, memory 16Gi)");
    on("gone").is("unknown: node gone is not in view");
    let mut closed = on("gone");
    closed.view.closed.insert("Node".to_owned());
    closed.is("suspicious");
    on("gpu").asks(GPU, "2").is("absent (nodeName gpu): node gpu offers nvidia.com/gpu 1");
}

#[test]
fn one_pod_gets_one_unit_of_a_shared_gpu() {
    let shared: &[(&str, &str)] = &[("cpu", "8"), (GPU, "8")];
    for (key, value) in [
        ("cloud.google.com/gke-gpu-sharing-strategy", "time-sharing"),
        ("cloud.google.com/gke-max-shared-clients-per-gpu", "8"),
        ("nvidia.com/gpu.replicas", "8"),
    ] {
        let asks = |amount: &str| world().asks(GPU, amount).complete().node("a", &[(POOL, "g"), (key, value)], shared);
        asks("1").is("present");
        asks("2").is("suspicious: g shares its GPUs");
        world().asks(GPU, "2").pool_with("g", &[(key, value)], &[], shared).is("suspicious: g shares its GPUs");
    }
    world().asks(GPU, "2").node("a", &[("nvidia.com/gpu.replicas", "1")], shared).is("present");
}

#[test]
fn a_declaration_without_resources_leaves_it_to_the_nodes() {
    world().selecting(POOL, "p").pool("p", &[]).is("unknown: p is declared without its resources");
    world().selecting(POOL, "p").pool("p", &[]).node("a", &[(POOL, "p")], CPU_NODE).is("absent");
    world().selecting(POOL, "p").pool("p", &[(GPU, "many")]).is("suspicious");
    world()
        .complete()
        .pool_with("p", &[("cloud.google.com/gke-accelerator", "nvidia-l4")], &[], CPU_NODE)
        .is("unknown");
    let mut none = world().complete().pool("p", GPU_NODE);
    none.configuration.pools.items[0].max_nodes = Some(0);
    none.is("absent (complete): p may have no node at all");
}

#[test]
fn shapes_of_a_snapshot_count_like_nodes() {
    let mut snapshot = world().selecting(POOL, "cpu-pool");
    snapshot.view.apply_shape(super::super::NodeShape {
        count: 3,
        labels: pairs(&[(POOL, "cpu-pool")]),
        taints: Vec::new(),
        capacity: amounts(CPU_NODE),
        allocatable: amounts(CPU_NODE),
    });
    snapshot.is("absent");
}
