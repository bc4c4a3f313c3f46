//! Events about what was found: written once for each change, and never a reason to stop.

use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::policy::finding::{ObjectRef, beginning};
use crate::policy::render::fingerprint;

/// Who the Events are from.
const REPORTER: &str = "scalegate.dev/controller";
/// What an Event may hold, in bytes (`pkg/apis/core/validation/events.go`).
const NOTE: usize = 1_024;
const REASON: usize = 128;
const INSTANCE: usize = 128;
/// What is left of a name of 253 bytes beside a dot and sixteen digits.
const NAME: usize = 236;
/// How long one write may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Writes at a time.
const AT_ONCE: usize = 4;

/// One thing to tell whoever looks after an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The object.
    pub about: ObjectRef,
    /// Its UID.
    pub uid: String,
    /// In camel case.
    pub reason: String,
    /// Whether something is wrong.
    pub warning: bool,
    /// What is to be said.
    pub note: String,
}

/// Writes Events as they come, some at a time.
pub(super) async fn tell_all(client: &Client, instance: &str, told: Vec<Told>) {
    let writes = told.into_iter().map(|told| async move {
        if let Err(problem) = tell(client, instance, &told).await {
            let Told { about, reason, note, .. } = &told;
            tracing::warn!(
                kind = about.kind,
                namespace = about.namespace,
                name = about.name,
                reason,
                note,
                problem,
                "an Event could not be written"
            );
        }
    });
    futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Writes one. What was told before, by whichever replica, is told again as the same Event.
async fn tell(client: &Client, instance: &str, told: &Told) -> Result<(), String> {
    let Some(namespace) = &told.about.namespace else { return Ok(()) };
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let now = format!("{:.6}", Timestamp::now());
    let event = event(told, instance, &now);
    match send(client, Method::POST, &path, "application/json", &event).await? {
        StatusCode::CONFLICT => {}
        status if status.is_success() => return Ok(()),
        status => return Err(format!("the API server answers {status}")),
    }
    // Two is the least that a series may count.
    let series = json!({ "series": { "count": 2, "lastObservedTime": now } });
    let path = format!("{path}/{}", name(told));
    match send(client, Method::PATCH, &path, "application/merge-patch+json", &series).await? {
        status if status.is_success() => Ok(()),
        status => Err(format!("the API server answers {status}")),
    }
}

async fn send(client: &Client, method: Method, path: &str, of: &str, body: &Value) -> Result<StatusCode, String> {
    let request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
    let request = request.header(CONTENT_TYPE, of).body(Body::from(body.to_string().into_bytes()));
    let request = request.map_err(|error| error.to_string())?;
    match timeout(ANSWER, client.send(request)).await {
        Ok(Ok(response)) => Ok(response.status()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

fn event(told: &Told, instance: &str, now: &str) -> Value {
    let Told { about, uid, reason, warning, note } = told;
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": name(told), "namespace": about.namespace },
        "eventTime": now,
        "reportingController": REPORTER,
        "reportingInstance": beginning(instance, INSTANCE),
        "action": "Look",
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

/// The same for the same thing told of the same object, so that two controllers, or one that starts again, tell it once.
fn name(told: &Told) -> String {
    let number = fingerprint("Event", &json!([told.about.kind, told.uid, told.reason, told.note]));
    format!("{}.{number:016x}", beginning(&told.about.name, NAME).trim_end_matches(['.', '-']))
}

/// A rule's id as the reason of an Event: `metric-exists` is `MetricExists`.
pub(super) fn camel(id: &str) -> String {
    let parts = id.split('-').map(|part| {
        let mut characters = part.chars();
        characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, note: &str) -> Told {
        let about = ObjectRef {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some("ml".into()),
            name: name.into(),
        };
        Told { about, uid: "1".into(), reason: "ChainBroken".into(), warning: true, note: note.into() }
    }

    #[test]
    fn a_note_is_cut_before_the_character_that_does_not_fit() {
        let event = event(&told("llm", &"\u{e9}".repeat(600)), "pod", "2026-01-31T12:00:00.000000Z");
        let note = event["note"].as_str().unwrap();
        assert_eq!(note.len(), 1024);
        assert_eq!(beginning("ab\u{e9}", 3), "ab");
    }

    #[test]
    fn the_same_thing_has_the_same_name_which_is_no_longer_than_a_name_may_be() {
        assert_eq!(name(&told("llm", "a")), name(&told("llm", "a")));
        assert_ne!(name(&told("llm", "a")), name(&told("llm", "b")));
        assert_eq!(name(&told(&"a".repeat(253), "a")).len(), 253);
    }

    #[test]
    fn a_rules_id_becomes_a_reason() {
        assert_eq!(camel("metric-exists"), "MetricExists");
        assert_eq!(camel("min-zero"), "MinZero");
        assert_eq!(camel("--"), "");
    }
}
