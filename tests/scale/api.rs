//! Requests to the API server, many at a time.

use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, Request};
use kube::Client;
use serde_json::Value;
use tokio::time::timeout;

use crate::harness::block_on;
use crate::report::Report;

/// A request that takes longer hangs.
const ANSWER: Duration = Duration::from_secs(60);
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Names and metadata are all that is asked for.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// One request.
pub struct Ask {
    pub method: Method,
    pub path: String,
    /// Of the body.
    pub content: &'static str,
    pub body: String,
}

impl Ask {
    pub fn post(path: String, body: &Value) -> Self {
        Self { method: Method::POST, path, content: "application/json", body: body.to_string() }
    }
}

#[derive(Clone)]
pub struct Api(Client);

impl Api {
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Sends all requests, so many at a time, and gives each answer to `note`.
    pub fn all(
        &self,
        what: &str,
        at_once: usize,
        total: u32,
        asks: impl Iterator<Item = Ask>,
        report: &mut Report,
        mut note: impl FnMut(&str),
    ) {
        let mut answers = futures::stream::iter(asks.map(|ask| self.send(ask))).buffer_unordered(at_once);
        let mut done = 0;
        block_on(async {
            while let Some(answer) = answers.next().await {
                done += 1;
                note(&answer);
                report.progress(what, done, total);
            }
        });
        report.done(what, done);
    }

    async fn send(&self, ask: Ask) -> String {
        let Ask { method, path, content, body } = ask;
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(path).header("Content-Type", content);
        let request = request.body(body.into_bytes()).expect("a request");
        let answer = timeout(ANSWER, self.0.request_text(request)).await;
        answer.unwrap_or_else(|_| panic!("{what}: no answer")).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The metadata of everything in a collection.
    pub fn metadata(&self, collection: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!("{collection}?limit={PAGE}&continue={next}");
            let request = Request::get(path).header("Accept", METADATA).body(Vec::new()).expect("a request");
            let page: Value = block_on(self.0.request(request)).unwrap_or_else(|error| panic!("{collection}: {error}"));
            found.extend(page["items"].as_array().into_iter().flatten().map(|item| item["metadata"].clone()));
            match page["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => more.clone_into(&mut next),
                _ => return found,
            }
        }
    }
}
