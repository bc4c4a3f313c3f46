//! Requests to the API server, and what its refusals mean.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

/// How long one request may take, its answer included. The API server itself gives up on a write after 34 s.
const ANSWER: Duration = Duration::from_secs(35);
/// How much an answer may hold. What we write has some kilobytes; what others add to it is bounded by etcd.
const LARGEST: usize = 4 * 1024 * 1024;
/// The longest time that a server may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Asks the API server, once each time.
#[derive(Clone)]
pub(super) struct Rest {
    client: Client,
}

/// A body and how it is meant.
pub(super) enum Content<'a> {
    None,
    Json(&'a Value),
    /// Server-side apply.
    Apply(&'a Value),
    /// RFC 6902.
    JsonPatch(&'a Value),
    /// RFC 7386.
    MergePatch(&'a Value),
}

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    pub(super) class: Class,
    /// The API server's words.
    pub(super) message: String,
    /// How long it wants us to wait.
    pub(super) wait: Option<Duration>,
}

/// What a fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What was read is not so any more, or there is one already.
    Conflict,
    /// The object, its kind or its namespace is not there.
    NotFound,
    /// This object is not taken, however often it is tried.
    Refused,
    /// The namespace is being deleted, and nothing is created in it any more.
    Terminating,
    /// Nothing is taken at present, whatever the object.
    Unavailable,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
}

// === impl Rest ===

impl Rest {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn ask(&self, method: Method, path: &str, content: Content<'_>) -> Result<Value, Fault> {
        let (kind, body) = match content {
            Content::None => (None, None),
            Content::Json(value) => (Some("application/json"), Some(value)),
            // JSON is YAML.
            Content::Apply(value) => (Some("application/apply-patch+yaml"), Some(value)),
            Content::JsonPatch(value) => (Some("application/json-patch+json"), Some(value)),
            Content::MergePatch(value) => (Some("application/merge-patch+json"), Some(value)),
        };
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let body = body.map_or_else(Body::empty, |value| Body::from(value.to_string().into_bytes()));
        let request = request.body(body).map_err(|error| Fault::new(Class::Refused, error.to_string()))?;
        match timeout(ANSWER, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(Class::Unavailable, format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Value, Fault> {
        let unavailable = |message: String| Fault::new(Class::Unavailable, message);
        let response = self.client.send(request).await.map_err(|error| unavailable(error.to_string()))?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| unavailable(format!("the answer cannot be read: {error}")))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| unavailable(format!("the answer is no JSON: {error}")));
        }
        Err(Fault::of(status.as_u16(), &body, wait.map(Duration::from_secs)))
    }
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), wait: None }
    }

    fn of(code: u16, body: &[u8], wait: Option<Duration>) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let causes = status.details.unwrap_or_default().causes;
        let class = match code {
            409 => Class::Conflict,
            404 => Class::NotFound,
            403 if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") => Class::Terminating,
            // Somebody's webhook, which is not asked about everything.
            500 if status.message.contains("failed calling webhook") => Class::Refused,
            401 | 408 | 429 | 500.. => Class::Unavailable,
            _ => Class::Refused,
        };
        let message = if status.message.is_empty() { format!("status {code}") } else { status.message };
        Self { class, message, wait: wait.map(|wait| wait.min(LONGEST_WAIT)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: u16, body: &str) -> Class {
        Fault::of(code, body.as_bytes(), None).class
    }

    #[test]
    fn what_concerns_one_object_is_told_from_what_concerns_all() {
        assert_eq!(class(409, "{}"), Class::Conflict);
        assert_eq!(class(404, "not json"), Class::NotFound);
        assert_eq!(class(422, "{}"), Class::Refused);
        assert_eq!(class(403, "{}"), Class::Refused);
        let terminating = r#"{"details": {"causes": [{"reason": "NamespaceTerminating"}]}}"#;
        assert_eq!(class(403, terminating), Class::Terminating);
        for code in [401, 429, 500, 503, 504] {
            assert_eq!(class(code, "too busy"), Class::Unavailable, "{code}");
        }
        let webhook = r#"{"message": "Internal error occurred: failed calling webhook \"a\""}"#;
        assert_eq!(class(500, webhook), Class::Refused);
    }

    #[test]
    fn a_server_says_how_long_to_wait_and_is_not_believed_for_ever() {
        let wait = |seconds| Fault::of(429, b"{}", Some(Duration::from_secs(seconds))).wait;
        assert_eq!(wait(3), Some(Duration::from_secs(3)));
        assert_eq!(wait(86_400), Some(LONGEST_WAIT));
    }
}
