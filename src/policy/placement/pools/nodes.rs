//! Pools as their present nodes show them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::objects::Quantity;
use super::super::NodeShape;
use super::super::filter::{Match, fits, matched, matched_by, mismatch, requirement, tolerates};
use super::super::pins::{COMPUTE_CLASS, KARPENTER};
use super::super::resources::{GKE_DRA_LABEL, is_accelerator, promised, related, shared};
use super::{Ask, Candidate, Obstacle, SHARED, Verdict, has_no, has_taint, identities, units};

/// Labels that are set after a node came up, by device plugins and feature discovery: a node may yet get them.
const LATE_LABELS: &[&str] = &["nvidia.com/", "amd.com/", "gpu.intel.com/", "feature.node.kubernetes.io/"];

/// Labels in which nodes of one pool differ: the next node may have another value.
const VARYING_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.gke.io/zone",
    "topology.ebs.csi.aws.com/zone",
    "topology.k8s.aws/zone-id",
    "topology.disk.csi.azure.com/zone",
];

/// Whether a node has the devices that are asked for.
pub(in super::super) enum Device {
    /// Each is in capacity or allocatable.
    Registered,
    /// A label says so; the device plugin has not registered them.
    Promised,
    /// It cannot be told from the node.
    Unclear(String),
    /// It has no such device, and nothing says that it will.
    Missing(String),
}

/// The pools of the nodes in view, each once for each verdict. `definitions` are Karpenter's and GKE's, judged before: a
/// node that one of them made never proves that the next such node is the same. Unless `all` are asked for, the first that hosts the pods ends
/// the search.
pub(in super::super) fn candidates(ask: &Ask<'_>, definitions: &[Candidate], all: bool) -> Vec<Candidate> {
    let mut without: BTreeSet<String> = BTreeSet::new();
    let mut found = Vec::new();
    for shape in ask.view.node_shapes() {
        let made_by = definition(&shape.labels);
        let (name, on) = name(ask, &shape.labels);
        let missing = matches!(device(ask, shape), Device::Missing(_));
        if missing && made_by.is_none() && without.contains(&name) {
            continue;
        }
        let mut verdict = judge(ask, shape);
        if let (Verdict::Lacks { .. }, Some((key, value))) = (&verdict, made_by) {
            verdict = by_definition(definitions, key, value);
        } else if missing {
            without.insert(name.clone());
        }
        let hosts = verdict == Verdict::Hosts;
        let candidate = Candidate { name, on, identities: identities(&shape.labels, ask.configuration), verdict };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
        if hosts && !all {
            break;
        }
    }
    found
}

/// Karpenter's or GKE's definition that made a node, as label and name.
fn definition(labels: &BTreeMap<String, String>) -> Option<(&'static str, &str)> {
    [KARPENTER, COMPUTE_CLASS].into_iter().find_map(|key| Some((key, labels.get(key)?.as_str())))
}

fn by_definition(definitions: &[Candidate], key: &str, name: &str) -> Verdict {
    let judged = definitions
        .iter()
        .find(|candidate| candidate.identities.iter().any(|(label, value)| label == key && value == name));
    match judged.map(|candidate| &candidate.verdict) {
        Some(lacks @ Verdict::Lacks { .. }) => lacks.clone(),
        Some(_) => Verdict::may(format!("is made by {key}={name}, which may make other nodes too")),
        None => Verdict::may(format!("is made by {key}={name}, whose definition is not in view")),
    }
}

fn name(ask: &Ask<'_>, labels: &BTreeMap<String, String>) -> (String, String) {
    let identity_labels = ask.configuration.pools.identity_labels.iter();
    let pool = identity_labels.filter(|key| *key != KARPENTER && *key != COMPUTE_CLASS).find_map(|key| labels.get(key));
    match (pool, definition(labels)) {
        (Some(pool), _) => (pool.clone(), format!("node pool {pool}")),
        (None, Some((KARPENTER, made_by))) => {
            (format!("Karpenter NodePool {made_by}"), format!("a node of Karpenter NodePool {made_by}"))
        }
        (None, Some((_, class))) => (format!("ComputeClass {class}"), format!("a node of ComputeClass {class}")),
        (None, None) => ("nodes without a pool label".to_owned(), "a node without a pool label".to_owned()),
    }
}

/// Whether nodes of this shape have the devices that are asked for.
pub(in super::super) fn device(ask: &Ask<'_>, shape: &NodeShape) -> Device {
    let mut all = Device::Registered;
    for resource in ask.asked.keys() {
        if units(&shape.capacity, resource).max(units(&shape.allocatable, resource)) > 0 {
            continue;
        }
        if shape.labels.get(GKE_DRA_LABEL).is_some_and(|value| value == "true") {
            return Device::Unclear("hands its GPUs out by Dynamic Resource Allocation".to_owned());
        }
        if promised(&shape.labels, resource).is_some() {
            all = Device::Promised;
            continue;
        }
        if let Some(other) = sibling(ask, &[&shape.capacity, &shape.allocatable], resource) {
            return Device::Unclear(format!("has {other} and no {resource} at present"));
        }
        return Device::Missing(resource.clone());
    }
    all
}

/// Another resource that may be the same device under another name, as MIG slices are.
fn sibling<'a>(ask: &Ask<'_>, resources: &[&'a BTreeMap<String, Quantity>], resource: &str) -> Option<&'a str> {
    resources.iter().flat_map(|resources| resources.iter()).find_map(|(name, amount)| {
        (is_accelerator(name, &ask.configuration.accelerator_resources)
            && related(name, resource)
            && amount.units().is_some_and(|units| units > 0))
        .then_some(name.as_str())
    })
}

fn judge(ask: &Ask<'_>, shape: &NodeShape) -> Verdict {
    let device = device(ask, shape);
    if let Device::Missing(resource) = &device {
        return Verdict::lacks(Obstacle::Accelerator, has_no(resource, &shape.allocatable, ask.configuration));
    }
    let of_pool = |key: &str, operator: &str, values: &[String]| on_pool(&shape.labels, key, operator, values);
    if matched_by(ask.needs, &of_pool) == Match::No {
        return Verdict::lacks(Obstacle::Label, mismatch(ask.needs, &shape.labels, &of_pool));
    }
    if let Err(taint) = tolerates(ask.needs, &shape.taints) {
        return Verdict::lacks(Obstacle::Taint, has_taint(taint));
    }
    if let Device::Unclear(reason) = device {
        return Verdict::may(reason);
    }
    match matched(ask.needs, &shape.labels) {
        Match::Yes => amounts(ask, shape),
        Match::Maybe => Verdict::may("may have a node of the name that the pods want"),
        Match::No => Verdict::may("has no node yet with the labels that the pods select"),
    }
}

/// Whether a node of the same pool as one with these labels may meet a requirement.
fn on_pool(labels: &BTreeMap<String, String>, key: &str, operator: &str, values: &[String]) -> Match {
    let value = labels.get(key).map(String::as_str);
    let open =
        VARYING_LABELS.contains(&key) || (value.is_none() && LATE_LABELS.iter().any(|late| key.starts_with(late)));
    let holds = requirement(operator, values, value);
    if open { holds.max(Match::Maybe) } else { holds }
}

/// Whether an empty node of this shape has enough, for pods that may go there.
pub(in super::super) fn amounts(ask: &Ask<'_>, shape: &NodeShape) -> Verdict {
    if ask.asked.iter().any(|(resource, asked)| *asked > 1 && shared(&shape.labels, resource)) {
        return Verdict::doubtful(SHARED);
    }
    // Allocatable comes last; until then capacity tells how many there will be.
    let mut ready = true;
    let mut expected = shape.allocatable.clone();
    for (resource, asked) in &ask.asked {
        if units(&shape.allocatable, resource) <= 0 {
            ready = false;
            let coming = shape.capacity.get(resource).filter(|_| units(&shape.capacity, resource) > 0);
            expected.insert(resource.clone(), coming.cloned().unwrap_or_else(|| Quantity::from(*asked)));
        }
    }
    match fits(ask.needs, &expected) {
        Ok(()) if ready => Verdict::Hosts,
        Ok(()) => Verdict::NotReady,
        Err(lack) => Verdict::lacks(Obstacle::Amount, lack.to_string()),
    }
}
