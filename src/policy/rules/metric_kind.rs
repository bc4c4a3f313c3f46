//! `metric-kind`: a metric whose type an autoscaler cannot use.

use super::naming::{adapter, exporter, has_upper_case, judged_elsewhere, queries, query_fault, stackdriver};
use super::{Checks, Rule};
use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::spelling::Form;
use crate::policy::chain::{self, Made, MakerKind};
use crate::policy::configuration::Level;
use crate::policy::engine::{self, Metric, MetricKind, Resolved};
use crate::policy::facts::{Context, HpaFacts, MetricUse, ScaledObjectFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "metric-kind",
    default: Level::Deny,
    at_admission: true,
    summary: "The metric is a histogram, an info metric or a counter that nobody turns into a rate",
    explain: "\
An autoscaler compares one number per pod with its target. A histogram is many series and has none of its bare name; an \
info metric is always 1, or a date; a counter only goes up, so an autoscaler on it adds pods until it reaches its maximum \
and never takes one away.

Scale on a gauge, such as the requests that run or wait. For latencies, let a recording rule or an adapter rule compute a \
quantile or an average, and scale on what it makes: a made metric is judged by what its maker makes of it.

Counters are refused only where the adapter is known to hand them on unchanged: the rule in view does not take a rate. The \
Stackdriver adapter takes the rate itself, so there a counter is fine. Note that `vllm:iteration_tokens_total` is a \
histogram.

In the queries of a ScaledObject, `_bucket`, `_sum` and `_count` are right; the bare name of a histogram matches nothing.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), scaled_object: Some(check_queries), ..Checks::NONE },
};

const FAILING: &str = "\
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
        name: prometheus.googleapis.com|vllm:time_to_first_token_seconds|histogram
      target: {type: AverageValue, averageValue: 500m}
";

const PASSING: &str = "\
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
        name: prometheus.googleapis.com|vllm:num_requests_waiting|gauge
      target: {type: AverageValue, averageValue: 5}
";

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let judged = facts.metrics.iter().filter(|usage| !judged_elsewhere(usage, facts));
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, _context: &Context<'_>) -> Option<Finding> {
    if !usage.makers.made.is_empty() {
        return made(usage);
    }
    if matches!(usage.spelling.form, Form::GkeManaged { .. } | Form::GoogleApis) {
        return None;
    }
    let name = usage.spelling.name;
    let child = engine::histogram_child(name).is_some();
    let metric = usage.metric()?;
    let message = message(usage, metric, child)?;
    let field = usage.name_field();
    if metric.kind == MetricKind::Counter {
        if stackdriver(usage, facts) {
            return None;
        }
        let serves = match adapter(usage, facts) {
            Adapter::PrometheusAdapter => {
                "prometheus-adapter takes its rate only where a rule says so, and none is in view"
            }
            _ => "whether the adapter takes its rate cannot be told",
        };
        return Some(Finding::note(field, usage.name, format!("{message}; {serves}")));
    }
    // An alias is what some adapter rule makes it, such as a quantile; so is any name that a pattern may serve. With a
    // `reducer`, the Stackdriver adapter can be made to compute one from a histogram.
    let reduced = metric.kind == MetricKind::Histogram && has_reducer(usage);
    let alias = matches!(usage.resolved, Resolved::Alias { .. }) && usage.spelling.form != Form::Gmp;
    let finding = if alias || reduced || usage.makers.may() {
        Finding::suspect(field, usage.name, message)
    } else {
        Finding::deny(field, usage.name, message)
    };
    Some(finding.hint(instead(metric)))
}

/// What is wrong with a metric that nothing in view makes.
fn message(usage: &MetricUse<'_>, metric: &Metric, child: bool) -> Option<String> {
    let name = usage.name;
    Some(match metric.kind {
        MetricKind::Gauge => return None,
        MetricKind::Histogram if child => {
            format!(
                "`{name}` is one part of the histogram `{}`, not a value that can be compared with a target",
                metric.name
            )
        }
        MetricKind::Histogram => {
            format!("`{name}` is a histogram of {}, not a value that can be compared with a target", exporter(metric))
        }
        MetricKind::Info => format!("`{name}` carries its information in labels; its value says nothing about load"),
        MetricKind::Counter => format!("`{name}` is a counter, which only goes up"),
    })
}

fn instead(metric: &Metric) -> &'static str {
    match metric.kind {
        MetricKind::Histogram => {
            "scale on a gauge such as the requests that wait, or on a quantile that a recording rule or an adapter rule makes"
        }
        _ => "scale on a gauge such as the requests that wait",
    }
}

fn has_reducer(usage: &MetricUse<'_>) -> bool {
    usage.selector.is_some_and(|selector| {
        selector.match_labels.contains_key("reducer")
            || selector.match_expressions.iter().any(|requirement| requirement.key == "reducer")
    })
}

/// A made metric is what its makers make of it; of several, all must be at fault.
fn made(usage: &MetricUse<'_>) -> Option<Finding> {
    let made = &usage.makers.made;
    let first: &Made = made.iter().copied().find(|made| made.kind.is_some())?;
    let kind = first.kind?;
    if kind == MetricKind::Gauge || made.iter().any(|made| made.kind != Some(kind)) {
        return None;
    }
    let object = &first.object;
    let by = format!("{} {}", object.kind, object.name);
    let adapter_rule = |made: &&Made| matches!(made.by, MakerKind::AdapterRule | MakerKind::ExternalAdapterRule);
    let field = usage.name_field();
    let hands_on = match kind {
        MetricKind::Counter => "a counter, which only goes up",
        MetricKind::Histogram => "buckets of a histogram",
        MetricKind::Info => "an info metric, which is always 1",
        MetricKind::Gauge => return None,
    };
    let message = format!("{by} makes `{}` {hands_on}", usage.spelling.name);
    // A recorded counter is exported as a gauge, so Stackdriver does not take its rate. What prometheus-adapter makes of a
    // recorded series is its own rule's affair.
    let recorded_gauge = made.iter().all(|made| made.by == MakerKind::RecordingRule)
        && usage.spelling.form == Form::Gmp
        && usage.spelling.suffix == Some("gauge");
    let certain = made.iter().all(adapter_rule) || recorded_gauge || kind != MetricKind::Counter;
    if kind == MetricKind::Counter && usage.spelling.suffix.is_some_and(|suffix| suffix.ends_with("counter")) {
        return None;
    }
    let finding = if certain && usage.makers.unreadable.is_empty() && usage.makers.patterns.is_empty() {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    Some(finding.hint(match kind {
        MetricKind::Counter => {
            "let the rule take its rate, as in `sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)`"
        }
        _ => "let the rule compute a quantile or an average, or scale on a gauge",
    }))
}

fn check_queries(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let namespace = facts.scaled_object.metadata.namespace.as_deref();
    let mut findings = Vec::new();
    for (field, query) in queries(facts) {
        for name in query.series.iter().filter_map(|selector| selector.name.as_deref()) {
            let histogram = engine::lookup(name).filter(|metric| metric.kind == MetricKind::Histogram);
            if histogram.is_none() || chain::makers_for(context.view, name, namespace).may() {
                continue;
            }
            let message = format!("`{name}` is a histogram: no series has its bare name, so the query finds nothing");
            let hint = format!(
                "write a function of its series, as in \
                 `histogram_quantile(0.95, sum(rate({name}_bucket[5m])) by (le))`"
            );
            findings.push(query_fault(&field, name, message, context).hint(hint));
        }
        let series = query.series.iter().filter_map(|selector| selector.name.as_deref());
        let counter = series.into_iter().find(|name| {
            !has_upper_case(name) && engine::lookup(name).is_some_and(|metric| metric.kind == MetricKind::Counter)
        });
        if let (Some(MetricKind::Counter), Some(name)) = (query.kind, counter) {
            let message = format!("the query returns the counter `{name}` as it is, which only goes up");
            let hint = format!("take its rate, as in `sum(rate({name}[2m]))`");
            findings.push(query_fault(&field, name, message, context).hint(hint));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
