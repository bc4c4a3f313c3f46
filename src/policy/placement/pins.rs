//! Labels whose value names a pool, and pods that are pinned by them.

use super::super::configuration::Configuration;
use super::super::objects::{NodeRequirement, NodeSelectorTerm};
use super::super::workload::PodNeeds;

/// Karpenter's label on nodes of a NodePool.
pub(super) const KARPENTER: &str = "karpenter.sh/nodepool";
/// GKE's label on nodes that a ComputeClass made, and the label by which pods select one.
pub(super) const COMPUTE_CLASS: &str = "cloud.google.com/compute-class";

/// Labels whose value the provider assigns, one to a pool: what is provisioned later gets a name of its own. For any other
/// label, a node auto-provisioner may make a new pool that carries it.
const ASSIGNED: &[&str] = &[
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    KARPENTER,
    COMPUTE_CLASS,
];

/// One constraint that leaves the pods only certain pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    /// As a message names it.
    pub(super) text: String,
    /// Path of the constraint, as kubectl writes it.
    pub(super) field: String,
    /// The pools that it leaves, each as label and value.
    pub(super) pools: Vec<(String, String)>,
}

/// Whether a label's value names a pool.
pub(super) fn names_a_pool(key: &str, configuration: &Configuration) -> bool {
    key == KARPENTER || key == COMPUTE_CLASS || configuration.pools.identity_labels.iter().any(|label| label == key)
}

/// Every constraint that pins the pods: each on its own keeps them to its pools.
pub(super) fn pins(needs: &PodNeeds, configuration: &Configuration) -> Vec<Pin> {
    let mut pins: Vec<Pin> = needs
        .node_selector
        .iter()
        .filter(|(key, _)| names_a_pool(key, configuration))
        .map(|(key, value)| Pin {
            text: format!("nodeSelector {key}={value}"),
            field: format!("{}.spec.nodeSelector[{key}]", needs.path),
            pools: vec![(key.clone(), value.clone())],
        })
        .collect();
    pins.extend(affinity(needs, configuration));
    // What proves most comes first.
    pins.sort_by_key(Pin::provisionable);
    pins
}

impl Pin {
    /// Whether a pool that is provisioned later may be one that this constraint leaves.
    pub(super) fn provisionable(&self) -> bool {
        self.pools.iter().any(|(key, _)| !ASSIGNED.contains(&key.as_str()))
    }
}

/// Required affinity pins only when each of its terms does, for one matching term is enough.
fn affinity(needs: &PodNeeds, configuration: &Configuration) -> Option<Pin> {
    let terms = needs.affinity.as_ref()?;
    let path = format!(
        "{}.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        needs.path
    );
    let mut pin = Pin { text: String::new(), field: path.clone(), pools: Vec::new() };
    let mut pinning = 0;
    for (index, term) in terms.iter().enumerate() {
        if term.match_expressions.is_empty() && term.match_fields.is_empty() {
            continue; // Matches nothing, so it lets no other pool in.
        }
        let (at, wanted) = pool_requirement(term, configuration)?;
        let text = format!("{} In [{}]", wanted.key, wanted.values.join(", "));
        pin.text =
            if pinning == 0 { format!("required node affinity {text}") } else { format!("{} or {text}", pin.text) };
        pin.field = if pinning == 0 { format!("{path}[{index}].matchExpressions[{at}]") } else { path.clone() };
        pin.pools.extend(wanted.values.iter().map(|value| (wanted.key.clone(), value.clone())));
        pinning += 1;
    }
    (pinning > 0).then_some(pin)
}

fn pool_requirement<'a>(
    term: &'a NodeSelectorTerm,
    configuration: &Configuration,
) -> Option<(usize, &'a NodeRequirement)> {
    term.match_expressions.iter().enumerate().find(|(_, wanted)| {
        wanted.operator == "In" && !wanted.values.is_empty() && names_a_pool(&wanted.key, configuration)
    })
}
