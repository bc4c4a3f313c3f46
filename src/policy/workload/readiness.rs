//! Since when a workload's rollout is complete and its pods are Ready. Both must be old before a metric that is missing
//! says anything about the autoscaler.

use super::super::objects::{Condition, WorkloadKind, WorkloadObject};
use super::Workload;

/// What the Deployment controller gives as the reason of `Progressing` once a rollout is complete
/// (`pkg/controller/deployment/util`, `NewRSAvailableReason`). It writes the condition again when the reason changes only.
const ROLLED_OUT: &str = "NewReplicaSetAvailable";

/// What the status alone says; `None` when it does not tell. Whether the rollout is complete is not looked at.
pub(super) fn told_by(object: &WorkloadObject) -> Option<i64> {
    let condition = |kind: &str| {
        let found = object.status.conditions.iter().find(|condition| condition.kind == kind);
        found.filter(|condition| condition.holds())
    };
    let told = match object.kind {
        WorkloadKind::Deployment => {
            let rolled_out = condition("Progressing").filter(|condition| condition.reason == ROLLED_OUT)?;
            condition("Available")?.since()?.max(rolled_out.changed()?)
        }
        // The controller sets it when every group is ready, and takes it back while a rollout is under way.
        WorkloadKind::LeaderWorkerSet => condition("Available").and_then(Condition::since)?,
        WorkloadKind::StatefulSet => return None,
    };
    let seen = match (object.metadata.generation, object.status.observed_generation) {
        (Some(generation), Some(observed)) => observed >= generation,
        _ => true,
    };
    let status = &object.status;
    let complete = seen && status.replicas > 0 && status.updated_replicas >= status.replicas;
    (complete && status.ready_replicas > 0).then_some(told)
}

/// Completes what the status says by what was seen of the workload before.
pub(super) fn follow(workload: &mut Workload, before: Option<&Workload>, now: i64) {
    let clock = (now > 0).then_some(now);
    let told = workload.ready_since;
    workload.ready_since = if workload.serves() {
        match before {
            Some(before) if !before.serves() => told.max(clock),
            // A new generation without a time of its own may be a rollout that began and ended between two events.
            Some(before) if told.is_none() && before.metadata.generation != workload.metadata.generation => clock,
            Some(before) => told.max(before.ready_since).or(clock),
            None => told.or(clock),
        }
    } else {
        None
    };
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::objects::Object;
    use super::super::super::view::ClusterView;
    use super::*;

    /// 2026-01-31T12:00:00Z.
    const NOON: i64 = 1_769_860_800;

    fn object(kind: &str, status: &Value, generation: i64) -> Value {
        let api_version = if kind == "LeaderWorkerSet" { "leaderworkerset.x-k8s.io/v1" } else { "apps/v1" };
        json!({ "apiVersion": api_version, "kind": kind,
            "metadata": { "name": "llm", "namespace": "ml", "generation": generation },
            "spec": { "selector": { "matchLabels": { "app": "llm" } } }, "status": status })
    }

    fn status(ready: i64, conditions: &Value) -> Value {
        json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready, "observedGeneration": 2,
            "conditions": conditions })
    }

    fn conditions(available: &str, progressing: &str, reason: &str) -> Value {
        json!([
            { "type": "Available", "status": available, "lastTransitionTime": "2026-01-31T12:00:00Z",
              "lastUpdateTime": "2026-01-31T12:00:00Z", "reason": "MinimumReplicasAvailable" },
            { "type": "Progressing", "status": "True", "reason": reason,
              "lastTransitionTime": "2026-01-31T11:00:00Z", "lastUpdateTime": progressing },
        ])
    }

    fn apply(view: &mut ClusterView, object: &Value) -> Option<i64> {
        let (of, object) = Object::from_value(object).unwrap();
        view.apply(&of, object);
        view.workloads().next().unwrap().ready_since
    }

    fn told(kind: &str, status: &Value) -> Option<i64> {
        apply(&mut ClusterView::default(), &object(kind, status, 2))
    }

    #[test]
    fn a_deployment_is_ready_since_the_later_of_available_and_rolled_out() {
        let early = conditions("True", "2026-01-31T11:59:00Z", ROLLED_OUT);
        assert_eq!(told("Deployment", &status(2, &early)), Some(NOON));
        let late = conditions("True", "2026-01-31T12:01:00Z", ROLLED_OUT);
        assert_eq!(told("Deployment", &status(2, &late)), Some(NOON + 60));
        for (what, status) in [
            ("not available", status(2, &conditions("False", "2026-01-31T11:59:00Z", ROLLED_OUT))),
            ("rolling out", status(2, &conditions("True", "2026-01-31T11:59:00Z", "ReplicaSetUpdated"))),
            ("no pod is ready", status(0, &early)),
            ("no conditions", status(2, &json!([]))),
            ("no status", json!({})),
            ("pods of the old template", {
                let mut status = status(2, &early);
                status["updatedReplicas"] = 1.into();
                status
            }),
            ("the new template was not looked at", {
                let mut status = status(2, &early);
                status["observedGeneration"] = 1.into();
                status
            }),
        ] {
            assert_eq!(told("Deployment", &status), None, "{what}");
        }
    }

    #[test]
    fn a_leader_worker_set_is_ready_since_it_is_available() {
        let available =
            json!([{ "type": "Available", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z" }]);
        assert_eq!(told("LeaderWorkerSet", &status(2, &available)), Some(NOON));
        let progressing =
            json!([{ "type": "Available", "status": "False", "lastTransitionTime": "2026-01-31T12:00:00Z" }]);
        assert_eq!(told("LeaderWorkerSet", &status(2, &progressing)), None);
    }

    #[test]
    fn a_stateful_set_is_ready_since_it_was_first_seen_so() {
        let mut view = ClusterView::default();
        view.now = 100;
        let with = |ready: i64| object("StatefulSet", &status(ready, &json!([])), 2);
        assert_eq!(apply(&mut view, &with(2)), Some(100));
        view.now = 200;
        assert_eq!(apply(&mut view, &with(2)), Some(100));
        assert_eq!(apply(&mut view, &with(0)), None);
        view.now = 300;
        assert_eq!(apply(&mut view, &with(2)), Some(300));
        view.now = 400;
        let mut next = object("StatefulSet", &status(2, &json!([])), 3);
        next["status"]["observedGeneration"] = 3.into();
        assert_eq!(apply(&mut view, &next), Some(400), "a rollout may lie between");
    }

    #[test]
    fn a_deployment_that_comes_back_from_zero_is_ready_since_then() {
        let conditions = conditions("True", "2026-01-31T11:59:00Z", ROLLED_OUT);
        let mut view = ClusterView::default();
        view.now = NOON + 1000;
        let with = |ready: i64| object("Deployment", &status(ready, &conditions), 2);
        assert_eq!(apply(&mut view, &with(0)), None);
        view.now = NOON + 2000;
        assert_eq!(apply(&mut view, &with(1)), Some(NOON + 2000));
        view.now = NOON + 3000;
        assert_eq!(apply(&mut view, &with(2)), Some(NOON + 2000));
    }

    #[test]
    fn without_a_clock_nothing_is_seen() {
        assert_eq!(told("StatefulSet", &status(2, &json!([]))), None);
    }
}
