//! What the scheduler says of pods that find no node. Pods are not watched: their Events are asked for, now and then, where
//! a labelled workload has had too few Ready replicas for some time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use http::header::ACCEPT;
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;

use crate::policy::health::Unscheduled;
use crate::policy::objects::{Key, seconds};

/// So long a workload must have too few Ready replicas: pods that find a node have started to run by then.
const SHORT_FOR: i64 = 30;
/// The least time between two questions about one namespace, in seconds.
const EVERY: i64 = 60;
/// How old an Event may be: the scheduler tries a pod again, and tells so, at least every 5 minutes
/// (`pkg/scheduler/backend/queue`, `DefaultPodMaxInUnschedulablePodsDuration`).
const OLDEST: i64 = 900;
/// Namespaces that are asked about at one time, and in all between two looks.
const AT_ONCE: usize = 4;
const MOST: usize = 16;
/// Events of one namespace that are read, and bytes of them.
const PAGE: u32 = 500;
const LARGEST: usize = 4 * 1024 * 1024;
const ANSWER: Duration = Duration::from_secs(10);

/// What is known of the pods of each namespace that is asked about.
#[derive(Debug, Default)]
pub(super) struct Scheduling {
    /// Since when each workload has too few Ready replicas, in seconds since the epoch.
    short: BTreeMap<Key, i64>,
    namespaces: BTreeMap<String, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    at: i64,
    events: Vec<Unscheduled>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    items: Vec<Event>,
}

/// An Event of `v1`. Which of the times is set depends on who wrote it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    metadata: Metadata,
    involved_object: Involved,
    message: Option<String>,
    last_timestamp: Option<String>,
    #[serde(rename = "eventTime")]
    happened: Option<String>,
    series: Option<Series>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Involved {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

// === impl Scheduling ===

impl Scheduling {
    /// Takes in which workloads have too few Ready replicas at `now`, and forgets about all others.
    pub fn note(&mut self, short: BTreeSet<Key>, now: i64) {
        let before = std::mem::take(&mut self.short);
        self.short = short.into_iter().map(|key| (key.clone(), before.get(&key).copied().unwrap_or(now))).collect();
        let still: BTreeSet<&str> = self.short.keys().filter_map(|key| key.namespace.as_deref()).collect();
        self.namespaces.retain(|namespace, _| still.contains(namespace.as_str()));
    }

    /// What the Events of a namespace said.
    pub fn events(&self, namespace: &str) -> &[Unscheduled] {
        self.namespaces.get(namespace).map_or(&[], |asked| &asked.events)
    }

    /// The oldest time of an Event that counts at `now`.
    pub fn oldest(now: i64) -> i64 {
        now.saturating_sub(OLDEST)
    }

    /// Asks about the namespaces that are due, the longest not asked first. True when anything was asked.
    pub async fn ask(&mut self, client: &Client, now: i64) -> bool {
        let due = self.due(now);
        let asked = due.into_iter().map(|namespace| async {
            let answer = ask(client, &namespace).await;
            (namespace, answer)
        });
        let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        let any = !answers.is_empty();
        for (namespace, answer) in answers {
            let known = self.namespaces.entry(namespace).or_default();
            known.at = now;
            match answer {
                Ok(events) => known.events = events,
                Err(problem) => tracing::debug!(problem, "Events of pods cannot be read"),
            }
        }
        any
    }

    fn due(&self, now: i64) -> Vec<String> {
        let long = self.short.iter().filter(|(_, since)| now.saturating_sub(**since) >= SHORT_FOR);
        let namespaces: BTreeSet<&str> = long.filter_map(|(key, _)| key.namespace.as_deref()).collect();
        let at = |namespace: &str| self.namespaces.get(namespace).map(|asked| asked.at);
        let mut due: Vec<&str> = namespaces
            .into_iter()
            .filter(|namespace| at(namespace).is_none_or(|at| now.saturating_sub(at) >= EVERY))
            .collect();
        due.sort_by_key(|namespace| at(namespace));
        due.into_iter().take(MOST).map(str::to_owned).collect()
    }
}

async fn ask(client: &Client, namespace: &str) -> Result<Vec<Unscheduled>, String> {
    let path = format!(
        "/api/v1/namespaces/{namespace}/events?fieldSelector=reason%3DFailedScheduling%2CinvolvedObject.kind%3DPod&limit={PAGE}"
    );
    let request = Request::get(path).header(ACCEPT, "application/json").body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("the API server answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        read(&body.to_bytes())
    };
    timeout(ANSWER, exchange).await.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?
}

fn read(body: &[u8]) -> Result<Vec<Unscheduled>, String> {
    let list: List = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let events = list.items.into_iter().filter_map(|event| {
        let series = event.series.and_then(|series| series.last_observed_time);
        let times = [series, event.last_timestamp, event.happened, event.metadata.creation_timestamp];
        let at = times.iter().flatten().filter_map(|time| seconds(time)).max()?;
        Some(Unscheduled { pod: event.involved_object.name?, message: event.message?, at })
    });
    Ok(events.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str) -> Key {
        Key { kind: "Deployment".into(), namespace: Some(namespace.into()), name: "llm".into(), ..Key::default() }
    }

    fn short(namespaces: &[&str]) -> BTreeSet<Key> {
        namespaces.iter().map(|namespace| key(namespace)).collect()
    }

    #[test]
    fn only_what_has_been_short_for_some_time_is_asked_about_and_once_a_minute() {
        let mut scheduling = Scheduling::default();
        scheduling.note(short(&["a", "b"]), 100);
        assert!(scheduling.due(100 + SHORT_FOR - 1).is_empty());
        scheduling.note(short(&["a", "b"]), 120);
        assert_eq!(scheduling.due(100 + SHORT_FOR), ["a", "b"]);
        scheduling.namespaces.insert("a".into(), Asked { at: 130, events: vec![Unscheduled::default()] });
        assert_eq!(scheduling.due(140), ["b"]);
        assert_eq!(scheduling.due(130 + EVERY), ["b", "a"], "the one that was never asked comes first");
        scheduling.note(short(&["b"]), 150);
        assert!(scheduling.events("a").is_empty(), "what has its replicas is forgotten");
        scheduling.note(short(&["a", "b"]), 160);
        assert_eq!(scheduling.due(160), ["b"], "its time begins anew");
    }

    #[test]
    fn few_namespaces_are_asked_about_at_a_time() {
        let many: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
        let mut scheduling = Scheduling::default();
        scheduling.note(many.iter().map(|namespace| key(namespace)).collect(), 0);
        assert_eq!(scheduling.due(1000).len(), MOST);
    }

    #[test]
    fn events_of_the_old_and_of_the_new_form_are_read() {
        let body = br#"{"items": [
            {"metadata": {"creationTimestamp": "2026-01-31T11:00:00Z"}, "involvedObject": {"name": "a"}, "message": "m",
             "lastTimestamp": null, "eventTime": "2026-01-31T11:00:00.123456Z",
             "series": {"count": 2, "lastObservedTime": "2026-01-31T12:00:00.000001Z"}},
            {"metadata": {}, "involvedObject": {"name": "b"}, "message": "m", "lastTimestamp": "2026-01-31T12:00:01Z"},
            {"metadata": {}, "involvedObject": {"name": "c"}, "message": "no time"}
        ]}"#;
        let read: Vec<(String, i64)> = read(body).unwrap().into_iter().map(|event| (event.pod, event.at)).collect();
        assert_eq!(read, [("a".into(), 1_769_860_800), ("b".into(), 1_769_860_801)]);
        assert!(super::read(b"<html>").is_err());
    }
}
