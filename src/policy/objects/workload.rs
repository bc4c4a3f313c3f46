//! What can be scaled: Deployments, StatefulSets and LeaderWorkerSets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::de::null_default;
use super::{Condition, LabelSelector, ObjectMeta, PodTemplate};

/// The kinds of workload that scalegate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps` Deployment.
    Deployment,
    /// `apps` StatefulSet.
    StatefulSet,
    /// `leaderworkerset.x-k8s.io` LeaderWorkerSet: groups of a leader and its workers; only the leader serves HTTP.
    LeaderWorkerSet,
}

impl WorkloadKind {
    /// The kind's API group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet => "apps",
            Self::LeaderWorkerSet => "leaderworkerset.x-k8s.io",
        }
    }

    /// The kind's group and version, as an HPA's `scaleTargetRef` writes it.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet => "apps/v1",
            Self::LeaderWorkerSet => "leaderworkerset.x-k8s.io/v1",
        }
    }

    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::LeaderWorkerSet => "LeaderWorkerSet",
        }
    }

    /// The kind by group and name. Versions do not matter: the HPA controller resolves them through discovery.
    pub fn find(group: &str, kind: &str) -> Option<Self> {
        [Self::Deployment, Self::StatefulSet, Self::LeaderWorkerSet]
            .into_iter()
            .find(|candidate| candidate.group() == group && candidate.name() == kind)
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A workload as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadObject {
    /// Kind.
    pub kind: WorkloadKind,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Desired replicas; `None` when the manifest leaves them out (the API server then writes 1).
    pub replicas: Option<i64>,
    /// Selector; `None` for a LeaderWorkerSet, which has none.
    pub selector: Option<LabelSelector>,
    /// The template of the pods that serve: of a LeaderWorkerSet the leader's, or the workers' when it has no own one.
    pub template: PodTemplate,
    /// What of a LeaderWorkerSet is not the serving pod.
    pub lws: Option<LwsTemplate>,
    /// Status.
    pub status: WorkloadStatus,
}

/// The worker half of a LeaderWorkerSet.
#[derive(Clone, Debug, PartialEq)]
pub struct LwsTemplate {
    /// Pods of a group, the leader among them; 1 when unset.
    pub size: i64,
    /// The workers' template.
    pub worker: PodTemplate,
    /// Whether a leader template of its own is there.
    pub has_leader_template: bool,
}

/// The part of a workload's status that rules read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Pods.
    #[serde(deserialize_with = "null_default")]
    pub replicas: i64,
    /// Pods of the present template.
    #[serde(deserialize_with = "null_default")]
    pub updated_replicas: i64,
    /// Ready pods.
    #[serde(deserialize_with = "null_default")]
    pub ready_replicas: i64,
    /// The generation that the controller has seen.
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct RawWorkload {
    #[serde(deserialize_with = "null_default")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    spec: RawSpec,
    #[serde(deserialize_with = "null_default")]
    status: WorkloadStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    replicas: Option<i64>,
    selector: Option<LabelSelector>,
    #[serde(deserialize_with = "null_default")]
    template: PodTemplate,
    leader_worker_template: Option<RawLeaderWorker>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawLeaderWorker {
    leader_template: Option<PodTemplate>,
    #[serde(deserialize_with = "null_default")]
    worker_template: PodTemplate,
    size: Option<i64>,
}

// === impl WorkloadObject ===

impl WorkloadObject {
    pub(super) fn from_raw(kind: WorkloadKind, raw: RawWorkload) -> Self {
        let RawWorkload { metadata, spec, status } = raw;
        let (template, lws) = match (kind, spec.leader_worker_template) {
            (WorkloadKind::LeaderWorkerSet, Some(lws)) => {
                let has_leader_template = lws.leader_template.is_some();
                let leader = lws.leader_template.unwrap_or_else(|| lws.worker_template.clone());
                let lws = LwsTemplate { size: lws.size.unwrap_or(1), worker: lws.worker_template, has_leader_template };
                (leader, Some(lws))
            }
            _ => (spec.template, None),
        };
        Self { kind, metadata, replicas: spec.replicas, selector: spec.selector, template, lws, status }
    }

    /// The path of the serving pods' template, as kubectl writes it.
    pub fn template_path(&self) -> &'static str {
        match &self.lws {
            None => "spec.template",
            Some(lws) if lws.has_leader_template => "spec.leaderWorkerTemplate.leaderTemplate",
            Some(_) => "spec.leaderWorkerTemplate.workerTemplate",
        }
    }
}
