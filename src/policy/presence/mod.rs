//! Whether a metrics API serves what an autoscaler names: what to ask, where, and how to read the answer. Asking is done
//! elsewhere.
//!
//! ```text
//! HPA facts -> wanted -> path -> (asked) -> answer -> presence and a reason -> ClusterView::metrics -> metric-exists
//! ```

mod answer;
mod path;
mod scraped;

use std::collections::BTreeMap;

pub use answer::{Answer, Evidence, Failure, Listing, Reason, read};
pub use path::{encode, listing, query};
pub(super) use scraped::scraped;

use super::chain::adapter::{self, Served};
use super::chain::{Adapter, Form};
use super::configuration::Probes;
use super::facts::{Context, HpaFacts, MetricUse, Source};
use super::rules::naming::{judged_elsewhere, may_coin};
use super::view::{ClusterView, MetricApi, MetricKey, MetricObservation, MetricPresence};

/// A metric that an autoscaler in scope names and that an API can be asked about. It holds the metric's name and the
/// namespace of the autoscaler, and nothing else that a user wrote: no selector, no project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// API, name and namespace. Pods metrics are asked of `custom.metrics.k8s.io` as `pods/*`; External names are in lower
    /// case, as they arrive.
    pub key: MetricKey,
    /// How the API is registered; `None` when it is not.
    pub served: Option<Served>,
    /// Whether the target has Ready pods.
    pub pods: bool,
    /// Since when they are Ready and its rollout complete, in seconds since the epoch.
    pub ready_since: Option<i64>,
}

/// How the answer of an adapter is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The adapter answers 404 for anything that goes wrong: absence needs the answer of a control probe beside it.
    Control,
    /// The adapter lists what it serves: absence needs the list beside the answer, and an answer about a metric on it.
    List,
    /// Nothing is known about its refusals: only a metric that it serves counts.
    Positive,
    /// Nothing is asked.
    Nothing,
}

// === impl Wanted ===

impl Wanted {
    /// How its answer is to be understood.
    pub fn strategy(&self) -> Strategy {
        match &self.served {
            None | Some(Served { unavailable: Some(_), .. }) => Strategy::Nothing,
            Some(served) => match served.adapter {
                Adapter::Stackdriver => Strategy::Control,
                Adapter::PrometheusAdapter => Strategy::List,
                Adapter::Keda | Adapter::Datadog => Strategy::Nothing,
                Adapter::Other(_) | Adapter::Unknown => Strategy::Positive,
            },
        }
    }

    /// The path that the HPA controller would ask, without selectors. `None` when the API is not there or the name cannot be
    /// a part of a path.
    pub fn path(&self) -> Option<String> {
        query(self.key.api, self.served.as_ref()?.version, &self.key.namespace, &self.key.name)
    }

    /// The same path for the metric that is known to exist.
    pub fn control_path(&self, control: &str) -> Option<String> {
        let control = key_name(self.key.api, control);
        query(self.key.api, self.served.as_ref()?.version, &self.key.namespace, &control)
    }

    /// The path of the API's list.
    pub fn listing_path(&self) -> Option<String> {
        Some(listing(self.key.api, self.served.as_ref()?.version))
    }

    /// Whether the pods of its target have been Ready for long enough that a missing metric means something.
    pub fn settled(&self, now: i64, probes: &Probes) -> bool {
        self.ready_since.is_some_and(|since| now.saturating_sub(since) >= seconds(probes.settle_seconds))
    }
}

/// The metrics of an HPA that its API can be asked about, each once. None of an HPA out of scope or made by KEDA; none that
/// another object answers for (ScaledObject, DatadogMetric, AutoscalingMetric), no metric of an object, and none of the system's.
pub fn wanted(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Wanted> {
    if !facts.in_scope(context.configuration) {
        return Vec::new();
    }
    let mut found: Vec<Wanted> = Vec::new();
    for usage in &facts.metrics {
        if let Some(wanted) = one(usage, facts, context.view)
            && !found.iter().any(|other| other.key == wanted.key)
        {
            found.push(wanted);
        }
    }
    found
}

/// Those of [`wanted`] for which an admission should ask now: nobody asked lately, the target's pods have been Ready for
/// `probes.settle`, and the answer can change the verdict.
pub fn to_look_for(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Wanted> {
    let (view, probes) = (context.view, &context.configuration.probes);
    if view.now <= 0 || probes.look_milliseconds == 0 || !facts.in_scope(context.configuration) {
        return Vec::new();
    }
    let mut found: Vec<Wanted> = Vec::new();
    for usage in &facts.metrics {
        let Some(wanted) = one(usage, facts, view) else { continue };
        let asked = wanted.strategy() != Strategy::Nothing && wanted.settled(view.now, probes);
        let known = view.metrics.get(&wanted.key).is_some_and(|observed| fresh(observed, view.now, probes));
        let decided = may_coin(usage) || scraped(usage, facts, context);
        if asked && !known && !decided && !found.iter().any(|other| other.key == wanted.key) {
            found.push(wanted);
        }
    }
    found
}

/// Whether a cached answer may stand for a look: a served metric stays served for a while, the others may come at any time.
fn fresh(observed: &MetricObservation, now: i64, probes: &Probes) -> bool {
    let age = now.saturating_sub(observed.observed_at);
    let limit = match observed.presence {
        MetricPresence::Present => probes.stale_after_seconds,
        MetricPresence::Absent | MetricPresence::Unknown => probes.interval_seconds.min(probes.stale_after_seconds),
    };
    age <= seconds(limit)
}

fn one(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, view: &ClusterView) -> Option<Wanted> {
    let api = match usage.source {
        Source::Pods => MetricApi::Custom,
        Source::External => MetricApi::External,
        Source::Object | Source::Resource => return None,
    };
    if judged_elsewhere(usage, facts) || matches!(usage.spelling.form, Form::GkeManaged { .. } | Form::GkeSystem) {
        return None;
    }
    let served = adapter::served(view, api);
    if matches!(served.as_ref().map(|served| &served.adapter), Some(Adapter::Datadog | Adapter::Keda)) {
        return None;
    }
    let namespace = facts.hpa.metadata.namespace.clone()?;
    let name = key_name(api, usage.name);
    if !path::is_namespace(&namespace) || !path::is_segment(&name) {
        return None;
    }
    let target = facts.target.workload();
    Some(Wanted {
        key: MetricKey { api, name, namespace },
        served,
        pods: target.is_some_and(|workload| workload.status.ready_replicas > 0),
        ready_since: target.and_then(|workload| workload.ready_since),
    })
}

/// A metric's name as it arrives at the adapter: the HPA controller sends External names as a resource, which lowers them.
fn key_name(api: MetricApi, name: &str) -> String {
    match api {
        MetricApi::Custom => name.to_owned(),
        MetricApi::External => name.to_ascii_lowercase(),
    }
}

/// The keys under which an answer about a metric may be known: as it is asked, then as it is written.
pub(super) fn keys(usage: &MetricUse<'_>, namespace: &str) -> Vec<MetricKey> {
    let key = |api, name: String| MetricKey { api, name, namespace: namespace.to_owned() };
    match usage.source {
        Source::Pods => vec![key(MetricApi::Custom, usage.name.to_owned())],
        Source::External => vec![
            key(MetricApi::External, key_name(MetricApi::External, usage.name)),
            key(MetricApi::External, usage.name.to_owned()),
        ],
        Source::Object | Source::Resource => Vec::new(),
    }
}

/// Joins what several autoscalers want: a metric once, with pods where any target has them and the longest readiness.
pub fn joined(all: impl IntoIterator<Item = Wanted>) -> BTreeMap<MetricKey, Wanted> {
    let mut joined: BTreeMap<MetricKey, Wanted> = BTreeMap::new();
    for wanted in all {
        match joined.get_mut(&wanted.key) {
            Some(known) => {
                known.pods |= wanted.pods;
                known.ready_since = match (known.ready_since, wanted.ready_since) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            None => {
                joined.insert(wanted.key.clone(), wanted);
            }
        }
    }
    joined
}

/// Puts an answer into the view. An answer that tells nothing leaves one that does in its place until that is stale: an
/// adapter that is down for a minute has not lost its metrics. True when a presence changed.
pub fn remember(view: &mut ClusterView, key: MetricKey, observed: MetricObservation, probes: &Probes) -> bool {
    let before = view.metrics.get(&key).copied();
    if let Some(before) = before
        && observed.presence == MetricPresence::Unknown
        && before.presence != MetricPresence::Unknown
        && observed.observed_at.saturating_sub(before.observed_at) <= seconds(probes.stale_after_seconds)
    {
        return false;
    }
    view.metrics.insert(key, observed);
    before.is_none_or(|before| before.presence != observed.presence)
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
