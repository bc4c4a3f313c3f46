//! `metric-removed`: the target's release does not export the metric, although another one does.

use super::naming::{
    judged_elsewhere, may_coin, one_of, origins, presence, queries, query_fault, release, serves_its_template, spell,
    successors,
};
use super::{Checks, Rule};
use crate::policy::chain::promql::{Op, Selector};
use crate::policy::configuration::Level;
use crate::policy::engine::{self, Exporter, Metric, Presence};
use crate::policy::facts::{Context, HpaFacts, MetricUse, ScaledObjectFacts, Source};
use crate::policy::finding::Finding;
use crate::policy::workload::Workload;

pub(super) static RULE: Rule = Rule {
    id: "metric-removed",
    default: Level::Deny,
    at_admission: true,
    summary: "The target's release no longer exports the metric, or does not export it yet",
    explain: "\
Servers rename and drop metrics. vLLM hides a deprecated metric for a release or two and then removes it; the autoscaler \
on it gets no value any more, keeps the replicas it has, and nothing else looks wrong. At v0.11.0 that happened to \
`vllm:gpu_cache_usage_perc`, which many guides still show.

Refused where the image that serves (the rollout is complete; in a folder, the image of the manifest) is later than the \
last release that exports the metric, or hides it behind `--show-hidden-metrics-for-version`. On an update of the \
autoscaler it is a warning. A release that does not export the metric yet is a warning too: the new image may be on its way.

Write the successor that the message names. A metric that a rule makes is judged by the series it is made from.

Silent when the release cannot be read from the image, lies between two releases that were looked at, or is newer than the \
catalogue.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), scaled_object: Some(check_queries), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-gemma-deployment
  namespace: default
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.12.0
        args: [--model=google/gemma-3-1b-it]
        resources: {limits: {nvidia.com/gpu: 1}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge
      target: {type: AverageValue, averageValue: 800m}
";

const PASSING: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-gemma-deployment
  namespace: default
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.12.0
        args: [--model=google/gemma-3-1b-it]
        resources: {limits: {nvidia.com/gpu: 1}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge
      target: {type: AverageValue, averageValue: 800m}
";

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    let judged = facts.metrics.iter().filter(|usage| !judged_elsewhere(usage, facts));
    judged.filter_map(|usage| judge(usage, workload, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, workload: &Workload, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let origins = origins(usage, facts, context.view);
    // A name that several series may stand for is there as long as one of them is.
    let mut faults = origins.iter().map(|(metric, made)| (*metric, *made, Fault::of(metric, workload)));
    let (metric, made, fault) = faults.next()?;
    let fault = fault?;
    if faults.any(|(_, _, other)| other.is_none()) {
        return None;
    }
    let field = usage.name_field();
    let what =
        if made { format!("`{}`, made from `{}`,", usage.name, metric.name) } else { format!("`{}`", usage.name) };
    let message = fault.message(&what, workload);
    // An alias is what some adapter rule makes it, perhaps from the successor; patterns and unreadable rules may do so too.
    let unsure = if made || !usage.makers.made.is_empty() {
        !usage.makers.unreadable.is_empty()
    } else {
        may_coin(usage) || matches!(usage.resolved, engine::Resolved::Alias { .. })
    };
    // Metrics of these types are not those of the target's pods by themselves.
    let others = matches!(usage.source, Source::External | Source::Object);
    let finding = match fault {
        Fault::NotYet { .. } => Finding::suspect(field, usage.name, message),
        _ if unsure || others || !serves_its_template(workload) => Finding::suspect(field, usage.name, message),
        _ if context.update => Finding::warn(field, usage.name, message),
        _ => Finding::deny(field, usage.name, message),
    };
    Some(if made {
        fault.hint(finding, "make it from", metric, workload, &str::to_owned)
    } else {
        fault.hint(finding, "write", metric, workload, &|name| spell(name, usage, facts))
    })
}

/// Why a release does not export a metric.
pub(super) enum Fault {
    /// The last release that did.
    Gone { last: engine::Version },
    /// It is hidden; the option's value that restores it.
    Hidden { show: String },
    /// The first release that does.
    NotYet { since: engine::Version },
}

// === impl Fault ===

impl Fault {
    /// Why the workload's server does not export a metric of its engine; `None` when it does or that cannot be told.
    pub(super) fn of(metric: &Metric, workload: &Workload) -> Option<Self> {
        let (server, version) = release(workload, metric)?;
        match presence(metric, server, version) {
            Presence::Gone { last } => Some(Self::Gone { last }),
            Presence::Hidden { show } => Some(Self::Hidden { show }),
            Presence::NotYet { since } => Some(Self::NotYet { since }),
            Presence::Exported | Presence::Unknown => None,
        }
    }

    /// One sentence about `what`, the metric as the user knows it.
    pub(super) fn message(&self, what: &str, workload: &Workload) -> String {
        let version = workload.server().and_then(|server| server.version).map(|version| version.to_string());
        let runs = format!("{} {} runs vLLM {}", workload.kind, workload.metadata.name, version.unwrap_or_default());
        match self {
            Self::Gone { last } => {
                format!("{runs}, which does not export {what} any more; the last release that does is {last}")
            }
            Self::Hidden { .. } => format!("{runs}, which hides {what}"),
            Self::NotYet { since } => {
                format!("{runs}, which does not export {what} yet; {since} is the first known to do so")
            }
        }
    }

    /// Adds what to do: the successors in the user's spelling, and the option that brings a hidden metric back.
    pub(super) fn hint(
        &self,
        finding: Finding,
        verb: &str,
        metric: &Metric,
        workload: &Workload,
        spell: &dyn Fn(&str) -> String,
    ) -> Finding {
        let successors =
            release(workload, metric).map(|(server, version)| successors(metric, server, version)).unwrap_or_default();
        let successors: Vec<String> = successors.into_iter().map(spell).collect();
        let instead = if successors.is_empty() { String::new() } else { format!("{verb} {}", one_of(&successors)) };
        let hint = match self {
            Self::Hidden { show } => {
                let option = format!("`--show-hidden-metrics-for-version={show}` brings it back for this release only");
                if instead.is_empty() { option } else { format!("{instead}; {option}") }
            }
            Self::NotYet { since } => format!("update the image to {since} or later first"),
            Self::Gone { .. } if instead.is_empty() => {
                "nothing replaces it: leave it out, or scale on a gauge such as the requests that wait".to_owned()
            }
            Self::Gone { .. } => instead,
        };
        finding.hint(hint)
    }
}

fn check_queries(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    let namespace = facts.scaled_object.metadata.namespace.as_deref();
    let mut findings = Vec::new();
    for (field, query) in queries(facts) {
        // `new or old` is how a query is written for a change of release: one that is there is enough.
        let metrics: Vec<(&Selector, &str, &'static Metric)> = query
            .series
            .iter()
            .filter_map(|selector| {
                let name = selector.name.as_deref()?;
                Some((selector, name, super::naming::exported(name)?))
            })
            .collect();
        for (selector, name, metric) in &metrics {
            let Some(fault) = Fault::of(metric, workload) else { continue };
            if crate::policy::chain::makers_for(context.view, name, namespace).may_coin() {
                continue;
            }
            let others = metrics.iter().any(|(_, _, other)| {
                metric.successors.contains(&other.name) || other.successors.contains(&metric.name)
            });
            let message = fault.message(&format!("`{name}`"), workload);
            let finding = match fault {
                _ if others => continue,
                Fault::NotYet { .. } => Finding::suspect(field.as_str(), *name, message),
                _ if query.spares(selector) || may_read_others(selector, metric, namespace, workload, context) => {
                    Finding::suspect(field.as_str(), *name, message)
                }
                _ if !serves_its_template(workload) => Finding::suspect(field.as_str(), *name, message),
                _ if context.update => Finding::warn(field.as_str(), *name, message),
                _ => query_fault(&field, name, message, context),
            };
            findings.push(fault.hint(finding, "write", metric, workload, &str::to_owned));
        }
    }
    findings
}

/// Whether a selector reads other servers than the target, which may still export the metric.
fn may_read_others(
    selector: &Selector,
    metric: &Metric,
    namespace: Option<&str>,
    target: &Workload,
    context: &Context<'_>,
) -> bool {
    let elsewhere = selector.matchers.iter().any(|(label, op, value)| {
        matches!(label.as_str(), "namespace" | "exported_namespace" | "kubernetes_namespace")
            && *op == Op::Equal
            && namespace.is_some_and(|namespace| namespace != value)
    });
    let exports = |workload: &Workload| {
        let server = workload.server().filter(|server| metric.exporter == Exporter::Engine(server.engine));
        server.is_some_and(|server| server.version.is_none() || Fault::of(metric, workload).is_none())
    };
    let is_target = |workload: &Workload| {
        workload.kind == target.kind
            && workload.metadata.name == target.metadata.name
            && workload.metadata.namespace == target.metadata.namespace
    };
    elsewhere || context.view.workloads().any(|workload| !is_target(workload) && exports(workload))
}

#[cfg(test)]
mod tests;
