//! Answers to what is no admission review: an HTTP error whose body is a `metav1.Status`, which is what clients of
//! Kubernetes print, so the reason reaches whoever has to act on it.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::counters::{Counters, Outcome};

/// Why a request got no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 404
    #[error("there is nothing here; the webhook answers POST /mutate and POST /validate")]
    UnknownPath,
    /// 405
    #[error("only POST is answered here")]
    Method,
    /// 415
    #[error("the content type has to be application/json")]
    ContentType,
    /// 415
    #[error("the body must not have a Content-Encoding")]
    ContentEncoding,
    /// 413
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: usize,
    },
    /// 400
    #[error("the body ended early or broke HTTP's framing")]
    Truncated,
    /// 400
    #[error("{0}")]
    Malformed(String),
    /// 408
    #[error("the body did not arrive in time")]
    SlowBody,
    /// 429
    #[error("too much is in flight; try again in a second")]
    Busy,
    /// 504
    #[error("no decision was reached in time")]
    Late,
    /// 500
    #[error("the decision failed; this is a bug in scalegate, and its log says where")]
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    #[serde(rename = "status")]
    outcome: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
}

impl Refusal {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::ContentType | Self::ContentEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::Truncated | Self::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// What this refusal is counted as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::UnknownPath | Self::Method | Self::ContentType | Self::ContentEncoding => Outcome::Misdirected,
            Self::TooLarge { .. } => Outcome::TooLarge,
            Self::Truncated | Self::Malformed(_) => Outcome::Malformed,
            Self::SlowBody => Outcome::SlowBody,
            Self::Busy => Outcome::Shed,
            Self::Late => Outcome::Late,
            Self::Failed => Outcome::Failed,
        }
    }

    /// Adds one where this refusal is counted.
    pub fn count(&self, counters: &Counters) {
        match self.outcome() {
            Outcome::Misdirected => &counters.misdirected,
            Outcome::TooLarge => &counters.too_large,
            Outcome::Malformed => &counters.malformed,
            Outcome::SlowBody => &counters.slow_bodies,
            Outcome::Shed => &counters.shed,
            Outcome::Late => &counters.late,
            Outcome::Failed => &counters.panics,
            Outcome::Allowed | Outcome::Patched | Outcome::Denied => return,
        }
        .increment();
    }

    /// The HTTP answer. `close` ends the connection after it, which is needed when the request's body was not read.
    pub fn response(&self, close: bool) -> Response {
        let (code, reason) = self.status();
        let status = Status {
            kind: "Status",
            api_version: "v1",
            outcome: "Failure",
            message: &format!("scalegate: {self}"),
            reason,
            code: code.as_u16(),
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&status).unwrap_or_default()));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            // Whole seconds: the API server waits that long and tries again within its deadline. Without the header
            // the call has failed at once.
            Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
