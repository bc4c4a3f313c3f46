//! Kubernetes Events on workloads: what their owners should know.

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy::finding::beginning;
use crate::policy::objects::{Key, WorkloadKind};
use crate::policy::render::fingerprint;

use super::rest::{Class, Content, Fault, Rest};

/// Who the Events are from.
const REPORTER: &str = "scalegate.dev/controller";
/// What an Event may hold, in bytes: `pkg/apis/core/validation/events.go`.
const NOTE: usize = 1_024;
const INSTANCE: usize = 128;
/// What is left of a name of 253 bytes beside a dot and sixteen digits.
const NAME: usize = 236;

/// One thing to tell the owner of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) workload: Key,
    pub(super) uid: String,
    pub(super) reason: &'static str,
    pub(super) warning: bool,
    /// A sentence without its full stop.
    pub(super) note: String,
    /// How often this was told, this time included.
    pub(super) times: u32,
}

/// Writes Events.
#[derive(Clone)]
pub(super) struct Events {
    rest: Rest,
    instance: String,
}

// === impl Events ===

impl Events {
    /// Events that `instance` reports, a pod's name.
    pub(super) fn new(rest: Rest, instance: &str) -> Self {
        Self { rest, instance: beginning(instance, INSTANCE).to_owned() }
    }

    /// Writes one. The same thing told again, by whichever replica, is one Event, and a series of them when it was something
    /// else in between.
    pub(super) async fn tell(&self, told: &Told) -> Result<(), Fault> {
        let Some(namespace) = &told.workload.namespace else { return Ok(()) };
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let now = format!("{:.6}", Timestamp::now());
        let Some(event) = self.event(told, &now) else { return Ok(()) };
        match self.rest.ask(Method::POST, &path, Content::Json(&event)).await {
            Err(fault) if fault.class == Class::Conflict && told.times > 1 => {
                let series = json!({ "series": { "count": told.times, "lastObservedTime": now } });
                let path = format!("{path}/{}", name(told));
                self.rest.ask(Method::PATCH, &path, Content::MergePatch(&series)).await.map(drop)
            }
            Err(fault) if fault.class == Class::Conflict => Ok(()),
            answer => answer.map(drop),
        }
    }

    fn event(&self, told: &Told, now: &str) -> Option<Value> {
        let Told { workload, uid, reason, warning, note, .. } = told;
        let kind = WorkloadKind::find(&workload.group, &workload.kind)?;
        Some(json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": name(told), "namespace": workload.namespace },
            "eventTime": now,
            "reportingController": REPORTER,
            "reportingInstance": self.instance,
            "action": "Reconcile",
            "type": if *warning { "Warning" } else { "Normal" },
            "reason": reason,
            "note": beginning(note, NOTE),
            "regarding": {
                "apiVersion": kind.api_version(),
                "kind": workload.kind,
                "namespace": workload.namespace,
                "name": workload.name,
                "uid": uid,
            },
        }))
    }
}

/// A number for what is told of a workload.
pub(super) fn number(reason: &str, note: &str) -> u64 {
    fingerprint("Event", &json!([reason, note]))
}

/// The same for the same thing told of the same workload, so that two controllers, or one that starts again, tell it once.
fn name(told: &Told) -> String {
    let number = fingerprint("Event", &json!([told.workload.kind, told.uid, told.reason, told.note]));
    let workload = beginning(&told.workload.name, NAME).trim_end_matches(['.', '-']);
    format!("{workload}.{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, note: &str) -> Told {
        let workload =
            Key { group: "apps".into(), kind: "Deployment".into(), namespace: Some("ml".into()), name: name.into() };
        Told { workload, uid: "1".into(), reason: "Generated", warning: false, note: note.into(), times: 1 }
    }

    #[test]
    fn a_text_is_cut_before_the_character_that_does_not_fit() {
        assert_eq!(beginning("ab\u{e9}d", 3), "ab");
        assert_eq!(beginning("ab\u{e9}d", 4), "ab\u{e9}");
        assert_eq!(beginning("ab", 9), "ab");
    }

    #[test]
    fn the_same_thing_has_the_same_name_which_is_a_name() {
        assert_eq!(name(&told("llm", "a")), name(&told("llm", "a")));
        assert_ne!(name(&told("llm", "a")), name(&told("llm", "b")));
        let long = "a".repeat(235) + "-" + "b";
        let name = name(&told(&long, "a"));
        assert!(name.len() <= 253 && name.starts_with(&("a".repeat(235) + ".")), "{name}");
    }
}
