//! The routes as a client sees them. In process here and in `properties`; over real connections in `over_tls`.

mod over_tls;
mod properties;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request as HttpRequest};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Counters, Decide, Limits, Phase, Request, Verdict, router_counting};

/// Decides by a closure.
struct Fake<F>(F);

impl<F: Fn(Phase, &Request<'_>) -> Verdict + Send + Sync + 'static> Decide for Fake<F> {
    fn mutate(&self, request: &Request<'_>) -> Verdict {
        self.0(Phase::Mutating, request)
    }

    fn validate(&self, request: &Request<'_>) -> Verdict {
        self.0(Phase::Validating, request)
    }
}

/// A router over a closure, with its counters.
fn deciding(
    limits: Limits,
    decide: impl Fn(Phase, &Request<'_>) -> Verdict + Send + Sync + 'static,
) -> (Router, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (router_counting(Arc::new(Fake(decide)), limits, Arc::clone(&counters)), counters)
}

fn silent() -> (Router, Arc<Counters>) {
    deciding(Limits::default(), |_, _| Verdict::silent())
}

fn allow_with_patch(patch: &Value) -> Verdict {
    Verdict::Allow { patch: Some(patch.to_string().into_bytes()), warnings: Vec::new(), audit: Vec::new() }
}

/// A review about a Deployment.
fn review(uid: &str, operation: &str, object: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "name": "vllm", "namespace": "ml", "operation": operation,
            "userInfo": {"username": "alice"}, "object": object, "oldObject": null, "dryRun": false,
        },
    })
    .to_string()
}

/// What came back.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an answer is JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// The message of a refusal, after checking that it is the `Status` of its own HTTP code.
    fn refusal(&self) -> String {
        let status = self.json();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["code"], self.status);
        assert_eq!(self.header("content-type"), Some("application/json"));
        status["message"].as_str().expect("a message").to_owned()
    }
}

async fn send(router: &Router, request: HttpRequest<Body>) -> Answered {
    let (head, body) = router.clone().oneshot(request).await.expect("a router never fails").into_parts();
    let body = body.collect().await.expect("an answer's body is at hand").to_bytes().to_vec();
    Answered { status: head.status.as_u16(), headers: head.headers, body }
}

async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answered {
    let request = HttpRequest::post(path).header(CONTENT_TYPE, "application/json").body(body.into());
    send(router, request.expect("a request")).await
}
