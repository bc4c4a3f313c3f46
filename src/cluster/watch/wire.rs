//! What goes to the API server and what comes back: list pages and watch events, read no further than rules need.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::kinds::Kind;

/// How long one page, or one document of the discovery, may take. The API server itself gives up after 60 s.
const ANSWER: Duration = Duration::from_secs(65);
/// How much one answer may hold. A page that holds more is asked for again with fewer objects.
pub(super) const LARGEST: usize = 32 * 1024 * 1024;

/// Why the API server gave no answer that helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// 410: what was asked from is no longer kept; everything has to be listed again.
    #[error("the resource version is too old")]
    Expired,
    /// 404: the kind is not served.
    #[error("not served")]
    NotServed,
    /// 401 or 403.
    #[error("{0}")]
    Forbidden(String),
    /// More than [`LARGEST`] bytes.
    #[error("one answer holds more than {} MiB", LARGEST / 1024 / 1024)]
    TooLarge,
    /// 429 or 503 with the time to wait.
    #[error("the API server is busy")]
    Busy(Duration),
    /// Anything else: no connection, a broken one, an answer that cannot be read.
    #[error("{0}")]
    Other(String),
}

/// A page of a list, its objects unread.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    /// Where to go on.
    #[serde(default)]
    pub metadata: PageMeta,
    /// The objects.
    #[serde(borrow, default)]
    pub items: Option<Vec<&'a RawValue>>,
}

/// `metadata` of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    /// Where a watch goes on from.
    pub resource_version: Option<String>,
    /// Where the next page starts; unset or empty on the last one.
    #[serde(rename = "continue")]
    pub next: Option<String>,
}

/// One event of a watch, its object unread.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The object; a status when it is an error.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// What has to be known of every object, even of one that does not read as its kind.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    /// Metadata.
    pub metadata: HeadMeta,
}

/// `metadata` of a [`Head`].
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HeadMeta {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: Option<String>,
    /// Where a watch goes on from.
    pub resource_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

// === impl Trouble ===

impl Trouble {
    /// What an HTTP answer, or an error event, means.
    fn of(code: u16, message: &str, wait: Option<Duration>) -> Self {
        match (code, wait) {
            (410, _) => Self::Expired,
            (404, _) => Self::NotServed,
            (401 | 403, _) => Self::Forbidden(message.to_owned()),
            (429 | 503, Some(wait)) => Self::Busy(wait),
            _ => Self::Other(format!("{code}: {message}")),
        }
    }

    /// What an error event of a watch means.
    pub fn of_event(object: &RawValue) -> Self {
        let status: Status = serde_json::from_str(object.get()).unwrap_or_default();
        Self::of(status.code, &status.message, None)
    }
}

/// The resource version of an object, where it has one.
pub(super) fn resource_version(object: &RawValue) -> Option<String> {
    let head: Head = serde_json::from_str(object.get()).ok()?;
    head.metadata.resource_version.filter(|version| !version.is_empty())
}

/// Text as it may stand in a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The query of one page of a list.
pub(super) fn page_query(limit: u32, next: Option<&str>, name: Option<&str>) -> String {
    let mut query = format!("limit={limit}");
    if let Some(next) = next {
        let _ = write!(query, "&continue={}", encoded(next));
    }
    if let Some(name) = name {
        let _ = write!(query, "&fieldSelector=metadata.name%3D{}", encoded(name));
    }
    query
}

/// The query of a watch that goes on from a resource version, for so long.
pub(super) fn watch_query(from: &str, lasting: Duration, name: Option<&str>) -> String {
    let mut query = format!(
        "watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
        encoded(from),
        lasting.as_secs()
    );
    if let Some(name) = name {
        let _ = write!(query, "&fieldSelector=metadata.name%3D{}", encoded(name));
    }
    query
}

/// The form in which a list (`List`) or an object (``) of a kind is asked for.
pub(super) fn accept(kind: &Kind, list: bool) -> &'static str {
    match (kind.metadata_only, list) {
        (false, _) => "application/json",
        (true, true) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        (true, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    }
}

/// Sends a GET and waits for the head of the answer.
pub(super) async fn send(client: &Client, path: &str, accept: &str) -> Result<Response<Body>, Trouble> {
    let request = Request::get(path)
        .header(ACCEPT, accept)
        // From 1.37 on the API server may compress each event of a watch by itself.
        .header(ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(|error| Trouble::Other(error.to_string()))?;
    let response = match timeout(ANSWER, client.send(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Trouble::Other(with_causes(&error))),
        Err(_) => return Err(Trouble::Other(format!("no answer within {} s", ANSWER.as_secs()))),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let wait = retry_after(status, response.headers());
    let body = collected(response).await.unwrap_or_default();
    let message = serde_json::from_slice::<Status>(&body).map(|status| status.message).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or("refused");
    Err(Trouble::of(status.as_u16(), if message.is_empty() { reason } else { &message }, wait))
}

fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(60)))
}

/// Sends a GET and reads the whole answer.
pub(super) async fn get(client: &Client, path: &str, accept: &str) -> Result<Vec<u8>, Trouble> {
    collected(send(client, path, accept).await?).await
}

async fn collected(response: Response<Body>) -> Result<Vec<u8>, Trouble> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    let all = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Trouble::Other(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                if read.len().saturating_add(data.len()) > LARGEST {
                    return Err(Trouble::TooLarge);
                }
                read.extend_from_slice(data);
            }
        }
        Ok(())
    };
    match timeout(ANSWER, all).await {
        Ok(Ok(())) => Ok(read),
        Ok(Err(trouble)) => Err(trouble),
        Err(_) => Err(Trouble::Other(format!("the answer took more than {} s", ANSWER.as_secs()))),
    }
}

/// An error with what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_nothing_that_ends_it() {
        assert_eq!(page_query(500, Some("a=b&c"), None), "limit=500&continue=a%3Db%26c");
        assert_eq!(page_query(1, None, Some("x")), "limit=1&fieldSelector=metadata.name%3Dx");
        let watch = watch_query("7", Duration::from_secs(9), None);
        assert_eq!(watch, "watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=9");
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(Trouble::of(410, "", None), Trouble::Expired);
        assert_eq!(Trouble::of(404, "", None), Trouble::NotServed);
        assert_eq!(Trouble::of(403, "no", None), Trouble::Forbidden("no".to_owned()));
        let wait = Duration::from_secs(3);
        assert_eq!(Trouble::of(429, "", Some(wait)), Trouble::Busy(wait));
        assert_eq!(Trouble::of(500, "oh", None), Trouble::Other("500: oh".to_owned()));
    }

    #[test]
    fn a_page_is_read_without_its_objects() {
        let page: Page<'_> = serde_json::from_str(
            r#"{"kind": "List", "metadata": {"resourceVersion": "9", "continue": ""}, "items": [{"a": 1}, {"b": [2]}]}"#,
        )
        .unwrap();
        let items: Vec<&str> = page.items.unwrap().into_iter().map(RawValue::get).collect();
        assert_eq!(items, [r#"{"a": 1}"#, r#"{"b": [2]}"#]);
        assert_eq!(page.metadata.next.as_deref(), Some(""));
        let empty: Page<'_> = serde_json::from_str(r#"{"items": null, "metadata": {}}"#).unwrap();
        assert!(empty.items.is_none());
    }
}
