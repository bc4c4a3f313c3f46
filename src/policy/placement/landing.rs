//! Can a pod ever land on a node that has the accelerator it asks for?

use std::collections::BTreeSet;

use super::super::configuration::Configuration;
use super::super::view::ClusterView;
use super::super::workload::PodNeeds;
use super::pins::{COMPUTE_CLASS, KARPENTER, Pin, names_a_pool, pins};
use super::pools::nodes::{self, Device};
use super::pools::{Ask, Candidate, Obstacle, Verdict, candidates};
use super::resources::accelerators;

/// A pool, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLack {
    /// The pool's name; `Karpenter NodePool x`, `ComputeClass x`, `node x` or `nodes without a pool label` where it is no
    /// node pool of a provider.
    pub pool: String,
    /// What it lacks, as a clause about it: `has no nvidia.com/gpu (allocatable: cpu 4, memory 16Gi)`, `has taint x`,
    /// `label y is z`.
    pub lack: String,
}

/// Whether pods find a node with the accelerator that they ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landing {
    /// They ask for none.
    NotAsked,
    /// They do.
    Present {
        /// What hosts them: `node pool gpu-pool`.
        on: String,
    },
    /// The node is there, but its driver or device plugin is not ready: its capacity or a label shows the accelerator, its
    /// allocatable does not.
    NotReady {
        /// What will host them.
        on: String,
    },
    /// Proven: no node that they may go to has it, or ever will.
    Absent {
        /// Every pool that they may go to (all that are known, unless they are pinned), and what it lacks.
        pools: Vec<PoolLack>,
        /// What pins them to these pools, as in `nodeSelector cloud.google.com/gke-nodepool=cpu-pool`.
        pinned_by: Option<String>,
        /// The path of what pins them, else of their template, as kubectl writes it.
        field: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why, as a clause.
        reason: String,
        /// There is evidence against it, worth a warning: most likely a mistake in a selector.
        suspicious: bool,
        /// The pools that are known, to choose the right one from; empty unless suspicious.
        known_pools: Vec<String>,
    },
}

/// Values of GKE's accelerator label. One of them that no node shows is most likely a pool at zero nodes, not a mistake.
const GKE_ACCELERATORS: &[&str] = &[
    "nvidia-l4",
    "nvidia-tesla-t4",
    "nvidia-tesla-p4",
    "nvidia-tesla-p100",
    "nvidia-tesla-v100",
    "nvidia-tesla-a100",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h100-mega-80gb",
    "nvidia-h200-141gb",
    "nvidia-b200",
    "nvidia-gb200",
    "nvidia-gb300",
    "nvidia-rtx-pro-6000",
];

/// Classes that GKE itself has, without an object.
const BUILT_IN_CLASSES: &[&str] =
    &["autopilot", "autopilot-spot", "balanced", "performance", "scale-out", "accelerator"];

/// Says whether pods of this form can ever land on a node with the accelerators that they ask for.
///
/// [`Landing::Absent`] is said only when proven: the pods are pinned by a pool-identity label to known pools without the
/// accelerator, or the configuration declares the pools complete and none can host them. A pool that shows no GPU node
/// at present may create one, and whatever may still change the pod or the device's name leaves the answer open.
pub fn land(needs: &PodNeeds, view: &ClusterView, configuration: &Configuration) -> Landing {
    let asked = accelerators(needs, configuration);
    if asked.is_empty() && !needs.claims {
        return Landing::NotAsked;
    }
    if needs.claims {
        return unknown("the pods use resource claims, which Dynamic Resource Allocation satisfies");
    }
    let ask = Ask { needs, asked, view, configuration };
    if let Some(name) = needs.node_name.as_deref().filter(|name| !name.is_empty()) {
        return on_node(&ask, name);
    }
    if let Some(reason) = decided_elsewhere(needs) {
        return unknown(reason);
    }
    let candidates = candidates(&ask);
    if let Some(host) = candidates.iter().find(|candidate| candidate.verdict == Verdict::Hosts) {
        return Landing::Present { on: host.on.clone() };
    }
    if let Some(host) = candidates.iter().find(|candidate| candidate.verdict == Verdict::NotReady) {
        return Landing::NotReady { on: host.on.clone() };
    }
    if let Some(reason) = dra(view).or_else(|| partial(view)) {
        return unknown(reason);
    }
    let pins = pins(needs, configuration);
    if let Some(absent) = absent(&ask, &candidates, &pins) {
        return absent;
    }
    doubt(&ask, &candidates, &pins)
}

fn unknown(reason: impl Into<String>) -> Landing {
    Landing::Unknown { reason: reason.into(), suspicious: false, known_pools: Vec::new() }
}

fn suspicious(reason: String, known_pools: Vec<String>) -> Landing {
    Landing::Unknown { reason, suspicious: true, known_pools }
}

/// What else than the filters decides where the pods go, as a clause.
fn decided_elsewhere(needs: &PodNeeds) -> Option<String> {
    if needs.gated {
        return Some("scheduling gates hold the pods back, and whoever lifts them may change where they go".to_owned());
    }
    if let Some(scheduler) = needs.scheduler.as_deref().filter(|name| !name.is_empty() && *name != "default-scheduler")
    {
        return Some(format!("scheduler {scheduler} places the pods"));
    }
    let class = needs.runtime_class.as_deref().filter(|name| !name.is_empty())?;
    Some(format!("RuntimeClass {class} may add a node selector and tolerations"))
}

/// Whether DRA may serve an extended resource. Only the metadata of these objects is read, so each may be the one.
pub(super) fn dra(view: &ClusterView) -> Option<&'static str> {
    if view.of_kind("resource.k8s.io", "DeviceClass").next().is_some() {
        return Some("a DeviceClass may serve the accelerator by Dynamic Resource Allocation");
    }
    if view.of_kind("resource.k8s.io", "ResourceSlice").next().is_some() {
        return Some("ResourceSlices show devices for Dynamic Resource Allocation");
    }
    None
}

/// Kinds that have, create or serve accelerators.
const HARDWARE: [&str; 5] = ["Node", "NodePool", "ComputeClass", "DeviceClass", "ResourceSlice"];

/// Whether a live view may lack what has the accelerator, so that nothing is proven.
fn partial(view: &ClusterView) -> Option<&'static str> {
    let missing = HARDWARE.iter().any(|kind| view.is_partial(kind));
    missing.then_some("not all nodes and node pools of the cluster are in view at present")
}

/// `nodeName` bypasses the scheduler: only what that node has counts.
fn on_node(ask: &Ask<'_>, name: &str) -> Landing {
    let Some(shape) = ask.view.node(name) else {
        return if ask.view.is_closed("Node") && !ask.view.has_nameless_nodes() {
            suspicious(format!("nodeName {name} is no node of the cluster"), Vec::new())
        } else {
            unknown(format!("node {name} is not in view"))
        };
    };
    let on = format!("node {name}");
    let verdict = match nodes::device(ask, shape) {
        Device::Missing(resource) => {
            let lack = super::pools::has_no(&resource, &shape.allocatable, ask.configuration);
            Verdict::lacks(Obstacle::Accelerator, lack)
        }
        Device::Unclear(reason) => Verdict::may(reason),
        Device::Registered | Device::Promised => nodes::amounts(ask, shape),
    };
    match verdict {
        Verdict::Hosts => Landing::Present { on },
        Verdict::NotReady => Landing::NotReady { on },
        Verdict::May { reason, suspicious, .. } => {
            Landing::Unknown { reason: format!("{on} {reason}"), suspicious, known_pools: Vec::new() }
        }
        Verdict::Lacks { lack, .. } => match dra(ask.view).or_else(|| partial(ask.view)) {
            Some(reason) => unknown(reason),
            None => Landing::Absent {
                pools: vec![PoolLack { pool: on, lack }],
                pinned_by: Some(format!("nodeName {name}")),
                field: format!("{}.spec.nodeName", ask.needs.path),
            },
        },
    }
}

/// Whether a candidate is the pool that a label and its value name.
pub(super) fn is_pool(candidate: &Candidate, pool: &(String, String)) -> bool {
    candidate.identities.contains(pool)
}

/// The proof that no node can have it, if there is one; or what comes nearest to it where nodes are provisioned.
fn absent(ask: &Ask<'_>, candidates: &[Candidate], pins: &[Pin]) -> Option<Landing> {
    for pin in pins {
        let known = pin.pools.iter().all(|pool| candidates.iter().any(|candidate| is_pool(candidate, pool)));
        let of_pin = || candidates.iter().filter(|candidate| pin.pools.iter().any(|pool| is_pool(candidate, pool)));
        if known && of_pin().all(|candidate| candidate.verdict.without_accelerator()) {
            let pools = lacks(of_pin());
            if ask.configuration.pools.provisioning && pin.provisionable() {
                return Some(provisioned(pin, &pools, candidates));
            }
            return Some(Landing::Absent { pools, pinned_by: Some(pin.text.clone()), field: pin.field.clone() });
        }
    }
    if !ask.configuration.pools.complete || ask.configuration.pools.provisioning || candidates.is_empty() {
        return None;
    }
    let nowhere = candidates.iter().all(|candidate| matches!(candidate.verdict, Verdict::Lacks { .. }));
    // A name that no pool has is more likely mistyped than a proof, as long as some pool has the accelerator.
    let mistyped = unknown_pool(candidates, pins).is_some()
        && !candidates.iter().all(|candidate| candidate.verdict.without_accelerator());
    (nowhere && !mistyped).then(|| Landing::Absent {
        pools: lacks(candidates.iter()),
        pinned_by: None,
        field: ask.needs.path.clone(),
    })
}

/// Each pool once for each thing that it lacks.
fn lacks<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Vec<PoolLack> {
    let mut found: Vec<PoolLack> = Vec::new();
    for candidate in candidates {
        if let Verdict::Lacks { lack, .. } = &candidate.verdict
            && !found.iter().any(|other| other.pool == candidate.name)
        {
            found.push(PoolLack { pool: candidate.name.clone(), lack: lack.clone() });
        }
    }
    found.sort_by(|one, other| one.pool.cmp(&other.pool));
    found
}

/// Nodes that the pin admits may appear unannounced, so it is no proof, but worth a word.
fn provisioned(pin: &Pin, pools: &[PoolLack], candidates: &[Candidate]) -> Landing {
    let lacks: Vec<String> = pools.iter().map(|pool| format!("{} {}", pool.pool, pool.lack)).collect();
    let reason = format!("{}: {}; but nodes may be provisioned unannounced", pin.text, lacks.join("; "));
    suspicious(reason, known_pools(candidates, None))
}

/// A pool that a pin names and that nobody knows, while others of its kind are known: the pin, and the known names.
fn unknown_pool<'a>(candidates: &[Candidate], pins: &'a [Pin]) -> Option<(&'a Pin, &'a (String, String), Vec<String>)> {
    pins.iter().find_map(|pin| {
        pin.pools.iter().find_map(|pool| {
            let built_in = pool.0 == COMPUTE_CLASS && BUILT_IN_CLASSES.contains(&pool.1.to_ascii_lowercase().as_str());
            let known = candidates.iter().any(|candidate| is_pool(candidate, pool));
            let names = known_pools(candidates, Some(&pool.0));
            (!built_in && !known && !names.is_empty()).then_some((pin, pool, names))
        })
    })
}

/// Names of the known pools; with `key`, only those that this label can name.
fn known_pools(candidates: &[Candidate], key: Option<&str>) -> Vec<String> {
    let identities = candidates.iter().flat_map(|candidate| &candidate.identities);
    let names: BTreeSet<&String> =
        identities.filter(|(label, _)| key.is_none_or(|key| key == label)).map(|(_, name)| name).collect();
    names.into_iter().cloned().collect()
}

/// Nothing is proven: what speaks against it, if anything.
fn doubt(ask: &Ask<'_>, candidates: &[Candidate], pins: &[Pin]) -> Landing {
    if candidates.is_empty() {
        return unknown("no node and no node pool is known");
    }
    if let Some((pin, (_, name), known)) = unknown_pool(candidates, pins) {
        return suspicious(format!("{} names pool {name}, which nobody knows", pin.text), known);
    }
    let provisioning = ask.configuration.pools.provisioning;
    for pin in pins.iter().filter(|pin| !(provisioning && pin.provisionable())) {
        let mut of_pin = candidates.iter().filter(|candidate| pin.pools.iter().any(|pool| is_pool(candidate, pool)));
        if let Some(candidate) = of_pin.clone().next()
            && of_pin.all(|candidate| matches!(candidate.verdict, Verdict::Lacks { .. }))
            && let Verdict::Lacks { lack, .. } = &candidate.verdict
        {
            return suspicious(format!("{}: {} {lack}", pin.text, candidate.name), known_pools(candidates, None));
        }
    }
    if provisioning {
        return unknown("nodes with accelerators may be provisioned unannounced");
    }
    if let Some((key, value)) = unseen(ask, candidates) {
        let reason = format!("nodeSelector {key}={value} matches no node and no pool that is known");
        return suspicious(reason, known_pools(candidates, None));
    }
    let doubtful = candidates.iter().find_map(|candidate| match &candidate.verdict {
        Verdict::May { reason, suspicious: true } => Some(format!("{} {reason}", candidate.name)),
        _ => None,
    });
    if let Some(reason) = doubtful {
        return suspicious(reason, known_pools(candidates, None));
    }
    let open = candidates.iter().find_map(|candidate| match &candidate.verdict {
        Verdict::May { reason, .. } => Some(format!("{} {reason}", candidate.name)),
        _ => None,
    });
    unknown(open.unwrap_or_else(|| "a node pool that is not known may have the accelerator".to_owned()))
}

/// A label of the node selector that no node and no pool in view has, and that pools at zero nodes are not known for.
fn unseen<'a>(ask: &Ask<'a>, candidates: &[Candidate]) -> Option<(&'a str, &'a str)> {
    // A definition may create nodes of any label.
    if candidates.iter().any(|candidate| {
        let definition = candidate.identities.iter().any(|(key, _)| key == KARPENTER || key == COMPUTE_CLASS);
        definition && matches!(candidate.verdict, Verdict::May { .. })
    }) {
        return None;
    }
    let pair = ask.needs.node_selector.iter().find(|(key, value)| {
        !usual_at_zero(key, value)
            && !names_a_pool(key, ask.configuration)
            && !ask.view.node_shapes().any(|shape| shape.labels.get(*key) == Some(*value))
            && !ask.configuration.pools.items.iter().any(|pool| pool.labels.get(*key) == Some(*value))
    });
    pair.map(|(key, value)| (key.as_str(), value.as_str()))
}

/// Labels that a pool at zero nodes has from its provider, so that missing them now says nothing.
fn usual_at_zero(key: &str, value: &str) -> bool {
    match key {
        "cloud.google.com/gke-accelerator" => GKE_ACCELERATORS.contains(&value),
        "node.kubernetes.io/instance-type" => true,
        _ => {
            let spot =
                ["gke-spot", "gke-provisioning", "gke-preemptible", "gke-flex-start", "capacityType", "capacity-type"];
            key.starts_with("topology.kubernetes.io/")
                || key.starts_with("kubernetes.io/")
                || key.split_once('/').is_some_and(|(_, name)| spot.contains(&name) || name == "scalesetpriority")
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
