//! How the chain of each labelled workload is, and what stands in the cluster that rules deny: as Events where something
//! changes, and as numbers.
//!
//! | file | what |
//! |---|---|
//! | `debounce` | which change of a link is worth an Event |
//! | `rejudge` | what admission let through, judged again |
//! | `scheduling` | what the scheduler says of pods that find no node |
//! | `rows` | what is exported |
//! | `events` | writes Events |
//!
//! Nothing here changes anything but Events, and nothing else waits for it.

mod debounce;
mod events;
mod rejudge;
mod rows;
mod scheduling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use rows::HealthRows;

use crate::cluster::watch::Caches;
use crate::cluster::{State, now};
use crate::leader;
use crate::policy::finding::ObjectRef;
use crate::policy::health::{health, pending};
use crate::policy::objects::{Key, TypeMeta, WorkloadKind};
use crate::policy::settings::LABEL;
use crate::policy::workload::Workload;

use debounce::{Chain, News};
use events::Told;
use rejudge::Standing;
use scheduling::Scheduling;

/// How often everything is looked at though nothing happened.
const LOOK: Duration = Duration::from_secs(15);
/// The least time between two looks, and between two rounds of judging: changes come together.
const BREATH: Duration = Duration::from_secs(3);
const JUDGE: Duration = Duration::from_secs(10);
/// A look may take this part of the time: after one that took a second the next begins 10 seconds later.
const SHARE: u32 = 10;
/// How often it is seen whether the view has been filled.
const FILLED: Duration = Duration::from_millis(500);
/// Events that one look writes at most, of each sort; what is left comes with the next.
const MOST_EVENTS: usize = 100;
/// Workloads that are looked at under one lock of the view.
const CHUNK: usize = 32;

/// What is remembered between two looks. All of it may be lost: then what is broken is told once more.
#[derive(Default)]
struct Memory {
    chains: BTreeMap<Key, (String, Chain)>,
    scheduling: Scheduling,
    standing: Standing,
}

/// What a look at the chains found.
#[derive(Default)]
struct Seen {
    rows: BTreeMap<(String, String), rows::Links>,
    told: Vec<Told>,
    short: BTreeSet<Key>,
}

/// Looks at the chains and judges again while `leading` says so. Ends when cancelled, or when `leading`'s other side is gone.
pub async fn run(
    client: Client,
    state: Arc<State>,
    caches: Arc<Caches>,
    mut leading: watch::Receiver<bool>,
    export: Arc<HealthRows>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            led = leading.wait_for(|leading| *leading) => if led.is_err() { return },
        }
        let mut lost = leading.clone();
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = lost.wait_for(|leading| !*leading) => {}
            () = follow(&client, &state, &caches, &export) => {}
        }
        export.clear();
    }
}

async fn follow(client: &Client, state: &Arc<State>, caches: &Caches, export: &HealthRows) {
    // What is not in view yet is missing nowhere.
    while !caches.ready() {
        sleep(FILLED).await;
    }
    let instance = leader::identity();
    let mut changes = state.changes();
    let mut memory = Memory::default();
    let (mut judge_at, mut stale) = (Instant::now(), true);
    loop {
        stale |= changes.has_changed().unwrap_or_default();
        changes.mark_unchanged();
        let began = Instant::now();
        let judges = stale && began >= judge_at;
        let Some((after, seen, judged)) = look(memory, Arc::clone(state), judges).await else {
            memory = Memory::default();
            sleep(LOOK).await;
            continue;
        };
        memory = after;
        let took = began.elapsed();
        export.set_links(seen.rows);
        let mut told = seen.told;
        if let Some(judged) = judged {
            export.set_findings(judged.findings);
            told.extend(judged.told);
            stale = judged.more;
            judge_at = began + JUDGE.max(took * SHARE);
        }
        events::tell_all(client, &instance, told).await;
        memory.scheduling.note(seen.short, now());
        memory.scheduling.ask(client, now()).await;
        sleep(BREATH.max(took * SHARE)).await;
        let next = if stale { judge_at.min(began + LOOK) } else { began + LOOK };
        tokio::select! {
            () = sleep_until(next) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                // To have waited for it is to have seen it.
                stale = true;
            }
        }
    }
}

/// One look, on a thread that may be held. `None` when it panicked.
async fn look(mut memory: Memory, state: Arc<State>, judges: bool) -> Option<(Memory, Seen, Option<rejudge::Judged>)> {
    let looked = tokio::task::spawn_blocking(move || {
        let seen = memory.chains(&state);
        let judged = judges.then(|| memory.standing.look(&state, MOST_EVENTS));
        (memory, seen, judged)
    });
    match looked.await {
        Ok(looked) => Some(looked),
        Err(error) => {
            tracing::error!(%error, "a look at the workloads failed; what is broken will be told anew");
            None
        }
    }
}

// === impl Memory ===

impl Memory {
    /// Looks at the chain of every labelled workload. The lock is let go between chunks of them.
    fn chains(&mut self, state: &State) -> Seen {
        let keys: Vec<Key> = state.read(|view, _| {
            let labelled = view.workloads().filter(|workload| workload.metadata.labels.contains_key(LABEL));
            labelled.map(Workload::key).collect()
        });
        let mut seen = Seen::default();
        let mut before = std::mem::take(&mut self.chains);
        for chunk in keys.chunks(CHUNK) {
            state.read(|view, configuration| {
                for key in chunk {
                    let found = WorkloadKind::find(&key.group, &key.kind)
                        .and_then(|kind| view.workload(kind, key.namespace.as_deref(), &key.name));
                    let Some(workload) = found else { continue };
                    let namespace = key.namespace.clone().unwrap_or_default();
                    let waiting = pending(workload, self.scheduling.events(&namespace), Scheduling::oldest(view.now));
                    let links = health(workload, view, configuration, waiting.as_ref());
                    if links.is_empty() {
                        continue;
                    }
                    if workload.status.ready_replicas < workload.replicas.unwrap_or(1) {
                        seen.short.insert(key.clone());
                    }
                    rows::add(seen.rows.entry((namespace, key.name.clone())).or_default(), &links);
                    let uid = workload.metadata.uid.clone().unwrap_or_default();
                    // Another one of that name has a chain of its own.
                    let known = before.remove(key).filter(|(other, _)| *other == uid);
                    let mut chain = known.map(|(_, chain)| chain).unwrap_or_default();
                    let mut left = MOST_EVENTS.saturating_sub(seen.told.len());
                    let news = chain.look(&links, view.now, &mut || {
                        let may = left > 0;
                        left = left.saturating_sub(1);
                        may
                    });
                    seen.told.extend(news.into_iter().map(|news| told(workload, &uid, news)));
                    self.chains.insert(key.clone(), (uid, chain));
                }
            });
        }
        seen
    }
}

fn told(workload: &Workload, uid: &str, news: News) -> Told {
    let of = TypeMeta { api_version: workload.kind.api_version().to_owned(), kind: workload.kind.name().to_owned() };
    let (reason, warning, note) = match news {
        News::Broken { note } => ("ChainBroken", true, note),
        News::Whole { note } => ("ChainHealthy", false, note),
    };
    Told {
        about: ObjectRef::new(&of, &workload.metadata),
        uid: uid.to_owned(),
        reason: reason.to_owned(),
        warning,
        note,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::configuration::Configuration;
    use crate::policy::objects::Object;
    use crate::policy::view::ClusterView;

    /// 2026-01-31T12:00:00Z.
    const NOON: i64 = 1_769_860_800;

    fn server(uid: &str, image: &str, label: &str) -> (TypeMeta, Object) {
        Object::from_value(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "llm", "namespace": "ml", "uid": uid, "labels": { (label): "server-metrics" } },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "llm" } }, "template": {
                "metadata": { "labels": { "app": "llm" } },
                "spec": { "containers": [{ "name": "server", "image": image, "args": ["--port=8000"] }] },
            } },
            "status": { "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1 },
        }))
        .unwrap()
    }

    fn put(state: &State, now: i64, (of, object): (TypeMeta, Object)) {
        state.update(|view| {
            view.now = now;
            view.apply(&of, object);
        });
    }

    #[test]
    fn a_broken_link_is_a_row_at_once_and_an_event_when_it_lasts_and_both_go_with_the_label() {
        let state = State::new(ClusterView::default(), Configuration::default());
        let mut memory = Memory::default();
        put(&state, NOON, server("1", "nginx:1.27", LABEL));
        let first = memory.chains(&state);
        let key = ("ml".to_owned(), "llm".to_owned());
        assert_eq!(first.rows[&key][0], Some(false));
        assert!(first.told.is_empty() && first.short.len() == 1, "{:?}", first.told);
        state.set_now(NOON + 31);
        let second = memory.chains(&state).told;
        assert_eq!(second.len(), 1);
        assert_eq!((second[0].reason.as_str(), second[0].warning), ("ChainBroken", true));
        assert!(second[0].note.starts_with("server: no inference server is recognised"), "{}", second[0].note);
        put(&state, NOON + 60, server("1", "vllm/vllm-openai:v0.11.0", LABEL));
        let third = memory.chains(&state);
        assert_eq!(third.rows[&key][0], Some(true));
        assert_eq!((third.told[0].reason.as_str(), third.told[0].warning), ("ChainHealthy", false));
        put(&state, NOON + 90, server("1", "vllm/vllm-openai:v0.11.0", "other"));
        let last = memory.chains(&state);
        assert!(last.rows.is_empty() && last.short.is_empty() && memory.chains.is_empty());
    }

    #[test]
    fn a_workload_that_was_made_anew_begins_with_a_clean_slate() {
        let state = State::new(ClusterView::default(), Configuration::default());
        let mut memory = Memory::default();
        put(&state, NOON, server("1", "nginx:1.27", LABEL));
        memory.chains(&state);
        put(&state, NOON + 40, server("2", "nginx:1.27", LABEL));
        assert!(memory.chains(&state).told.is_empty());
        state.set_now(NOON + 80);
        assert_eq!(memory.chains(&state).told[0].uid, "2");
    }
}
