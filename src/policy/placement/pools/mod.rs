//! What may host the pods: declared pools, pools seen through their nodes, and the definitions that create nodes.

use std::collections::BTreeMap;

use super::super::configuration::Configuration;
use super::super::objects::{Quantity, Taint};
use super::super::view::ClusterView;
use super::super::workload::PodNeeds;
use super::pins::names_a_pool;
use super::resources::is_accelerator;

pub(super) mod compute_class;
pub(super) mod declared;
pub(super) mod karpenter;
pub(super) mod nodes;

/// The question: which accelerators one pod asks for, and where it may go.
pub(super) struct Ask<'a> {
    pub(super) needs: &'a PodNeeds,
    /// Whole units by resource, all above zero.
    pub(super) asked: BTreeMap<String, i64>,
    pub(super) view: &'a ClusterView,
    pub(super) configuration: &'a Configuration,
}

/// A pool, or a definition that makes nodes, and whether it can host the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// As a list of pools names it.
    pub(super) name: String,
    /// As a sentence names it.
    pub(super) on: String,
    /// Labels that name the pool, with their values.
    pub(super) identities: Vec<(String, String)>,
    /// Whether it can host the pods.
    pub(super) verdict: Verdict,
}

/// Whether a pool can host the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It can.
    Hosts,
    /// It could, but the accelerator is not registered yet.
    NotReady,
    /// It cannot be told.
    May {
        /// Why, as a clause about the pool.
        reason: String,
        /// Whether the reason is worth a warning.
        suspicious: bool,
    },
    /// It cannot.
    Lacks {
        /// What is in the way.
        kind: Obstacle,
        /// The same as a clause about the pool.
        lack: String,
    },
}

/// What keeps the pods off a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The pool has no such accelerator, ever.
    Accelerator,
    /// Its labels are others than the pods want.
    Label,
    /// A taint that the pods do not tolerate.
    Taint,
    /// One pod asks for more than one of its nodes has.
    Amount,
}

/// All that is known to be able to run pods, each once with its verdict. Stops at the first that hosts them.
pub(super) fn candidates(ask: &Ask<'_>) -> Vec<Candidate> {
    let mut all = karpenter::candidates(ask);
    all.extend(compute_class::candidates(ask));
    let seen = nodes::candidates(ask, &all, false);
    all.extend(declared::candidates(ask, &seen));
    all.extend(seen);
    all
}

impl Verdict {
    pub(super) fn may(reason: impl Into<String>) -> Self {
        Self::May { reason: reason.into(), suspicious: false }
    }

    pub(super) fn doubtful(reason: impl Into<String>) -> Self {
        Self::May { reason: reason.into(), suspicious: true }
    }

    pub(super) fn lacks(kind: Obstacle, lack: impl Into<String>) -> Self {
        Self::Lacks { kind, lack: lack.into() }
    }

    /// Proven to be without the accelerator.
    pub(super) fn without_accelerator(&self) -> bool {
        matches!(self, Self::Lacks { kind: Obstacle::Accelerator, .. })
    }
}

/// The pool-identity labels among a node's labels.
fn identities(labels: &BTreeMap<String, String>, configuration: &Configuration) -> Vec<(String, String)> {
    labels
        .iter()
        .filter(|(key, _)| names_a_pool(key, configuration))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// `has no nvidia.com/gpu (allocatable: cpu 4, memory 16Gi)`.
pub(super) fn has_no(
    resource: &str,
    allocatable: &BTreeMap<String, Quantity>,
    configuration: &Configuration,
) -> String {
    let accelerators = allocatable
        .keys()
        .map(String::as_str)
        .filter(|name| is_accelerator(name, &configuration.accelerator_resources))
        .filter(|name| allocatable.get(*name).and_then(Quantity::units).is_some_and(|units| units > 0));
    let shown: Vec<String> = ["cpu", "memory"]
        .into_iter()
        .chain(accelerators)
        .filter_map(|name| Some(format!("{name} {}", allocatable.get(name)?)))
        .collect();
    if shown.is_empty() {
        format!("has no {resource}")
    } else {
        format!("has no {resource} (allocatable: {})", shown.join(", "))
    }
}

/// `has taint dedicated=batch:NoSchedule`.
fn has_taint(taint: &Taint) -> String {
    if taint.value.is_empty() {
        format!("has taint {}:{}, which they do not tolerate", taint.key, taint.effect)
    } else {
        format!("has taint {}={}:{}, which they do not tolerate", taint.key, taint.value, taint.effect)
    }
}

/// Whole units of a resource, 0 where it is missing or unreadable.
fn units(resources: &BTreeMap<String, Quantity>, resource: &str) -> i64 {
    resources.get(resource).and_then(Quantity::units).unwrap_or(0)
}

/// Why more than one shared GPU for one pod is not granted, as a clause about the pool.
const SHARED: &str = "shares its GPUs among pods, which usually get no more than one each";
