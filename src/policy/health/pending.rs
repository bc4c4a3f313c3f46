//! Pods that find no node, as the scheduler's Events tell.

use std::collections::BTreeMap;

use crate::policy::configuration::Configuration;
use crate::policy::finding::beginning;
use crate::policy::placement::resources::{is_accelerator, wants_accelerator};
use crate::policy::workload::Workload;

/// A scheduler's message is kept up to so many bytes: on a large cluster it lists every reason of every node.
const LONGEST_MESSAGE: usize = 400;
/// Before the name of a resource of which nodes have too little (`pkg/scheduler/framework/plugins/noderesources`).
const INSUFFICIENT: &str = "Insufficient ";
/// What nodes answer to resource claims (`pkg/scheduler/framework/plugins/dynamicresources`).
const CLAIMS: &str = "cannot allocate all claims";
/// What the API server makes of `generateName`: so many characters of it, and so many random ones
/// (`k8s.io/apiserver/pkg/storage/names`).
const CUT: usize = 58;
const SUFFIX: usize = 5;
/// Characters of the hash in the name of a ReplicaSet, at most.
const LONGEST_HASH: usize = 10;

/// An Event of reason `FailedScheduling`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unscheduled {
    /// The pod's name.
    pub pod: String,
    /// What the scheduler said.
    pub message: String,
    /// When it said so last, in seconds since the epoch.
    pub at: i64,
}

/// Pods of a workload that find no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub pods: usize,
    /// What the scheduler said last of one of them.
    pub message: String,
}

/// The pods of a workload that find no node, from the Events of its namespace: those that are not older than `oldest`
/// (seconds since the epoch), of each pod the last. `None` when there is none, and when all replicas are Ready.
pub fn pending(workload: &Workload, events: &[Unscheduled], oldest: i64) -> Option<Pending> {
    let missing = missing(workload).filter(|missing| *missing > 0)?;
    let mut last: BTreeMap<&str, &Unscheduled> = BTreeMap::new();
    for event in events.iter().filter(|event| event.at >= oldest && is_pod_of(&event.pod, workload)) {
        let newer = last.get(event.pod.as_str()).is_none_or(|other| other.at < event.at);
        if newer {
            last.insert(&event.pod, event);
        }
    }
    let newest = last.values().max_by_key(|event| event.at)?;
    let message = beginning(&newest.message, LONGEST_MESSAGE).trim_end_matches('.').to_owned();
    // Pods that were replaced meanwhile have Events still.
    Some(Pending { pods: last.len().min(missing), message })
}

/// How many replicas are not Ready.
fn missing(workload: &Workload) -> Option<usize> {
    let desired = workload.replicas.unwrap_or(1);
    usize::try_from(desired.saturating_sub(workload.status.ready_replicas)).ok()
}

/// Whether a pod's name can be one of the workload's: `<name>-<hash>-<suffix>` of a Deployment, `<name>-<number>` of a
/// StatefulSet, and of a LeaderWorkerSet one or two numbers. Another Deployment whose name begins alike has more parts.
fn is_pod_of(pod: &str, workload: &Workload) -> bool {
    use crate::policy::objects::WorkloadKind::{Deployment, LeaderWorkerSet, StatefulSet};
    let name = workload.metadata.name.as_str();
    // What the API server completes it cuts first.
    if workload.kind == Deployment && pod.len() == CUT + SUFFIX && name.len() + 2 > CUT - LONGEST_HASH {
        return name.get(..name.len().min(CUT)).is_some_and(|start| pod.starts_with(start));
    }
    let rest = pod.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return false };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match workload.kind {
        Deployment => rest
            .split_once('-')
            .is_some_and(|(hash, suffix)| !hash.is_empty() && suffix.len() == SUFFIX && !suffix.contains('-')),
        StatefulSet => number(rest),
        LeaderWorkerSet => match rest.split_once('-') {
            Some((group, worker)) => number(group) && number(worker),
            None => number(rest),
        },
    }
}

// === impl Pending ===

impl Pending {
    /// Whether the scheduler says that nodes lack an accelerator.
    pub fn lacks_accelerator(&self, workload: &Workload, configuration: &Configuration) -> bool {
        let insufficient = self.message.match_indices(INSUFFICIENT).any(|(at, found)| {
            let rest = self.message.get(at + found.len()..).unwrap_or_default();
            let resource = rest.split([',', ' ', ';']).next().unwrap_or_default().trim_end_matches('.');
            is_accelerator(resource, &configuration.accelerator_resources)
        });
        let claims = self.message.contains(CLAIMS) && wants_accelerator(workload, configuration);
        insufficient || claims
    }
}
