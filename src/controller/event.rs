//! A Kubernetes Event about an object: its document, name and place. Who writes it decides what happens when it is there.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy::finding::{ObjectRef, beginning};
use crate::policy::render::fingerprint;

/// Who the Events are from.
const REPORTER: &str = "scalegate.dev/controller";
/// What an Event may hold, in bytes: `pkg/apis/core/validation/events.go`.
const NOTE: usize = 1_024;
const REASON: usize = 128;
const INSTANCE: usize = 128;
/// What is left of a name of 253 bytes beside a dot and sixteen digits.
const NAME: usize = 236;

/// What is told of an object.
pub(super) struct Event<'a> {
    pub(super) about: &'a ObjectRef,
    /// The object's UID.
    pub(super) uid: &'a str,
    /// In camel case.
    pub(super) reason: &'a str,
    /// Whether something is wrong.
    pub(super) warning: bool,
    /// What is to be said.
    pub(super) note: &'a str,
    /// What was being done, in camel case.
    pub(super) action: &'static str,
}

// === impl Event ===

impl Event<'_> {
    /// The path of the Events of the object's namespace; none of an object that has none.
    pub(super) fn collection(&self) -> Option<String> {
        let namespace = self.about.namespace.as_ref()?;
        Some(format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"))
    }

    /// The same for the same thing told of the same object, so that two controllers, or one that starts again, tell it once.
    pub(super) fn name(&self) -> String {
        let number = fingerprint("Event", &json!([self.about.kind, self.uid, self.reason, self.note]));
        format!("{}.{number:016x}", beginning(&self.about.name, NAME).trim_end_matches(['.', '-']))
    }

    /// The document that `instance`, a pod's name, reports at `now`.
    pub(super) fn document(&self, instance: &str, now: &str) -> Value {
        let Self { about, uid, reason, warning, note, action } = self;
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": self.name(), "namespace": about.namespace },
            "eventTime": now,
            "reportingController": REPORTER,
            "reportingInstance": beginning(instance, INSTANCE),
            "action": action,
            "type": if *warning { "Warning" } else { "Normal" },
            "reason": beginning(reason, REASON),
            "note": beginning(note, NOTE),
            "regarding": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": uid,
            },
        })
    }
}

/// The present time as an Event writes it, to the microsecond.
pub(super) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(name: &str) -> ObjectRef {
        ObjectRef {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some("ml".into()),
            name: name.into(),
        }
    }

    fn event<'a>(about: &'a ObjectRef, note: &'a str) -> Event<'a> {
        Event { about, uid: "1", reason: "ChainBroken", warning: true, note, action: "Look" }
    }

    #[test]
    fn a_text_is_cut_before_the_character_that_does_not_fit() {
        assert_eq!(beginning("ab\u{e9}d", 3), "ab");
        assert_eq!(beginning("ab\u{e9}d", 4), "ab\u{e9}");
        assert_eq!(beginning("ab", 9), "ab");
        let note = "\u{e9}".repeat(600);
        let document = event(&about("llm"), &note).document("pod", "2026-01-31T12:00:00.000000Z");
        assert_eq!(document["note"].as_str().unwrap().len(), 1024);
        assert_eq!(beginning("ab\u{e9}", 3), "ab");
    }

    #[test]
    fn the_same_thing_has_the_same_name_which_is_a_name() {
        let name = |of: &str, note: &str| event(&about(of), note).name();
        assert_eq!(name("llm", "a"), name("llm", "a"));
        assert_ne!(name("llm", "a"), name("llm", "b"));
        assert_eq!(name(&"a".repeat(253), "a").len(), 253);
        let long = name(&("a".repeat(235) + "-" + "b"), "a");
        assert!(long.len() <= 253 && long.starts_with(&("a".repeat(235) + ".")), "{long}");
    }
}
