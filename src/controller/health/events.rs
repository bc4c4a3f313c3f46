//! Events about what was found: written once for each change, and never a reason to stop.

use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::event::{self, Event};
use crate::policy::finding::ObjectRef;

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
    let Told { about, uid, reason, warning, note } = told;
    let event = Event { about, uid, reason, warning: *warning, note, action: "Look" };
    let Some(path) = event.collection() else { return Ok(()) };
    let now = event::now();
    match send(client, Method::POST, &path, "application/json", &event.document(instance, &now)).await? {
        StatusCode::CONFLICT => {}
        status if status.is_success() => return Ok(()),
        status => return Err(format!("the API server answers {status}")),
    }
    // Two is the least that a series may count.
    let series = json!({ "series": { "count": 2, "lastObservedTime": now } });
    let path = format!("{path}/{}", event.name());
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

    #[test]
    fn a_rules_id_becomes_a_reason() {
        assert_eq!(camel("metric-exists"), "MetricExists");
        assert_eq!(camel("min-zero"), "MinZero");
        assert_eq!(camel("--"), "");
    }
}
