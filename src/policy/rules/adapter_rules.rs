//! `adapter-rules`: prometheus-adapter's rules do not load, or do not make what the autoscaler asks for.

use super::naming::{adapter_seen, judged_elsewhere};
use super::{Checks, Rule};
use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::adapter_rule::{self, Fault, Listed};
use crate::policy::chain::{Form, MakerKind};
use crate::policy::configuration::Level;
use crate::policy::engine::{self, Resolved};
use crate::policy::facts::{AdapterFacts, Context, HpaFacts, MetricUse, Source, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::render;
use crate::policy::settings::Wish;

#[cfg(test)]
mod tests;

pub(super) static RULE: Rule = Rule {
    id: "adapter-rules",
    default: Level::Deny,
    at_admission: false,
    summary: "prometheus-adapter's rules do not load, or do not make the metric that an autoscaler asks for",
    explain: "\
prometheus-adapter serves the metrics that its rules name, and no other. Its rules are a file inside a ConfigMap, which kubectl
applies unread: a slip in the indentation makes the adapter keep from starting, and a name that differs from the autoscaler's
by a letter leaves that autoscaler without a metric. In both cases every object looks healthy.

Refused: a file that is not valid YAML; a rule over the series that an autoscaler in view means, which gives it a name that
nobody asks for; a rule whose `name.matches` or `seriesFilters` does not take the series that its `seriesQuery` selects; and a
rule whose `resources` have no pod, so that it serves no metric of pods. Warned about: a `metricsQuery` that cannot be read as
PromQL, and a labelled workload whose metric the ConfigMap that the configuration names (`backend.adapterConfigMap`) does not make.

`scalegate render` prints the rules that a labelled workload needs. The finding stands at the line of the file in the ConfigMap.

Where autoscaler and rule disagree, the one whose name is neither a server's nor a customary spelling of it is at fault; if
both names are of that kind, `metric-exists` speaks about the autoscaler. Silent about rules over series that have no tie to
inference, and where anything else in view makes the metric.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { adapter: Some(check), workload: Some(check_workload), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: prometheus-adapter
  namespace: monitoring
data:
  config.yaml: |
    rules:
      - seriesQuery: 'vllm:num_requests_running{namespace!=\"\",pod!=\"\"}'
        resources:
          overrides:
            namespace: {resource: namespace}
            pod: {resource: pod}
        name:
          matches: ^vllm:num_requests_running$
          as: vllm_running_requests
        metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: vllm_num_requests_running
        target:
          type: AverageValue
          averageValue: 4
";

const PASSING: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: prometheus-adapter
  namespace: monitoring
data:
  config.yaml: |
    rules:
      - seriesQuery: 'vllm:num_requests_running{namespace!=\"\",pod!=\"\"}'
        resources:
          overrides:
            namespace: {resource: namespace}
            pod: {resource: pod}
        name:
          matches: ^vllm:num_requests_running$
          as: vllm_num_requests_running
        metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: vllm_num_requests_running
        target:
          type: AverageValue
          averageValue: 4
";

fn check(facts: &AdapterFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    if facts.config_map.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let hpas: Vec<HpaFacts<'_>> = context
        .view
        .hpas()
        .filter(|(_, hpa)| hpa.metadata.deletion_timestamp.is_none())
        .map(|(entry, hpa)| HpaFacts::new(&entry.of, hpa, Some(entry.order), context))
        .filter(|hpa| hpa.in_scope(context.configuration))
        .collect();
    if let Some(fault) = adapter_rule::fault(facts.config_map) {
        let text = facts.config_map.data.get(&fault.key).map_or("", String::as_str);
        return if names_inference(text, &hpas) { vec![unreadable(&fault)] } else { Vec::new() };
    }
    let rules = adapter_rule::rules(facts.config_map);
    let mut findings: Vec<Finding> = Vec::new();
    for hpa in &hpas {
        for usage in hpa.metrics.iter().filter(|usage| asked_of_adapter(usage, hpa, context)) {
            let finding = unmade(usage, hpa, &rules, &hpas);
            findings.extend(finding.filter(|new| !findings.iter().any(|old| old.value == new.value)));
        }
    }
    let catalogued = |rule: &&Listed| rule.series.as_deref().and_then(engine::lookup).is_some();
    findings.extend(rules.iter().filter(catalogued).filter_map(not_promql));
    findings
}

/// The metric of a labelled workload that the adapter named in the configuration does not make.
fn check_workload(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Ok(Wish::Enabled(settings)) = &facts.settings.wish else { return Vec::new() };
    let missing = render::missing_adapter_rule(&facts.workload, settings, context.configuration, context.view);
    let field = "metadata.labels[scalegate.dev/autoscale]";
    missing.map(|message| Finding::suspect(field, "adapter", message)).into_iter().collect()
}

fn unreadable(fault: &Fault) -> Finding {
    let field = format!("data[{}]", fault.key);
    let place = fault.line.map(|line| (line, fault.column.unwrap_or(1)));
    if !fault.proven {
        let message = format!("what these rules make cannot be told: {fault}");
        return Finding::note(field, fault.key.as_str(), message).inside(place);
    }
    let line = fault.line.map(|line| format!(" (line {line} of its text)")).unwrap_or_default();
    // Of the text as a whole, or of one rule, which the message then names.
    let syntax = fault.message.starts_with("is ");
    let subject = if syntax { format!("{} ", fault.key) } else { String::new() };
    let finding = Finding::deny(field, fault.key.as_str(), format!("{subject}{}{line}", fault.message));
    let finding =
        if syntax { finding.hint("mend the text: the items of one list stand at one indentation") } else { finding };
    finding.inside(place)
}

/// Whether prometheus-adapter is asked for a metric of pods that an inference server exports, and no rule of anybody may make.
fn asked_of_adapter(usage: &MetricUse<'_>, hpa: &HpaFacts<'_>, context: &Context<'_>) -> bool {
    // Where no APIService tells, the configuration under judgement does, even if it makes nothing.
    let told = adapter_seen(usage, context.view) || context.view.is_closed("APIService");
    usage.source == Source::Pods
        && usage.spelling.form == Form::Plain
        && (!told || hpa.custom_adapter == Adapter::PrometheusAdapter)
        && usage.in_scope()
        && !judged_elsewhere(usage, hpa)
}

/// The rule that was evidently meant to make a metric, and does not.
fn unmade(usage: &MetricUse<'_>, hpa: &HpaFacts<'_>, rules: &[Listed], all: &[HpaFacts<'_>]) -> Option<Finding> {
    let custom = || rules.iter().filter(|rule| rule.by == MakerKind::AdapterRule);
    let asker = format!("HorizontalPodAutoscaler {}", hpa.hpa.metadata.name);
    let name = usage.name;
    let at = |rule: &Listed, place, message: String| {
        let finding = Finding::deny(format!("data[{}]", rule.key), format!("{} {name}", rule.path), message);
        finding.inside(place)
    };
    if usage.makers.may() {
        // Made, but maybe for no pod: by rules of this configuration alone.
        let makers = || custom().filter(|rule| rule.made.as_deref() == Some(name));
        let rule = makers().next().filter(|_| makers().all(|rule| !rule.of_pods))?;
        if usage.makers.made.len() > makers().count() || usage.makers.patterns.len() + usage.makers.unreadable.len() > 0
        {
            return None;
        }
        let message = format!(
            "{}.resources ties `{name}` to no pod, so the adapter does not serve it for {asker}, which asks for a metric of pods",
            rule.path
        );
        return Some(at(rule, rule.at, message).hint("add under resources.overrides: pod: {resource: pod}"));
    }
    let metric = usage.metric()?;
    if let Some(rule) = custom().find(|rule| rule.fixed.as_deref() == Some(name) && rule.refused.is_some()) {
        let (series, refused) = (rule.series.as_deref().unwrap_or_default(), rule.refused.unwrap_or_default());
        let message =
            format!("{} selects `{series}`, but {refused}, so it never makes `{name}` for {asker}", rule.path);
        return Some(at(rule, rule.matches_at, message).hint(format!("write name.matches: ^{series}$")));
    }
    let of_metric = |rule: &&Listed| rule.series.as_deref() == Some(metric.name);
    let asked_by_others = |name: &str| all.iter().flat_map(|hpa| &hpa.metrics).any(|usage| usage.name == name);
    let rule = custom().filter(of_metric).find(|rule| {
        rule.made.as_deref().is_some_and(|made| {
            let known = matches!(engine::resolve(made), Resolved::Catalogued(_) | Resolved::Alias { .. });
            !known && !asked_by_others(made)
        })
    })?;
    let made = rule.made.as_deref().unwrap_or_default();
    let message = format!("{} makes `{made}` of `{}`, but {asker} asks for `{name}`", rule.path, metric.name);
    Some(at(rule, rule.as_at, message).hint(format!("write `as: {name}`, or `{made}` in the autoscaler")))
}

/// A query that Prometheus will hardly take. What the parser here does not know, a newer Prometheus may.
fn not_promql(rule: &Listed) -> Option<Finding> {
    let fault = rule.query_fault.as_ref()?;
    let message = format!("{}.metricsQuery cannot be read as PromQL: {fault}", rule.path);
    let finding = Finding::suspect(format!("data[{}]", rule.key), format!("{} metricsQuery", rule.path), message);
    Some(finding.inside(rule.query_at))
}

/// Words of one file that are looked at.
const MOST_WORDS: usize = 20_000;

/// Whether a file that cannot be read is about inference: it names a server's series, or what an autoscaler in scope asks for.
fn names_inference(text: &str, hpas: &[HpaFacts<'_>]) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').take(MOST_WORDS);
    let asked = |word: &str| hpas.iter().flat_map(|hpa| &hpa.metrics).any(|usage| usage.name == word);
    words
        .filter(|word| !word.is_empty())
        .any(|word| word.starts_with("vllm:") || engine::lookup(word).is_some() || asked(word))
}
