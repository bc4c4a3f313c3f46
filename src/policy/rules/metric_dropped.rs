//! `metric-dropped`: a change of image takes away the metric that an existing autoscaler uses.

use super::metric_removed::Fault;
use super::naming::{exported, judged_elsewhere, origins, queries, spell};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::engine::Metric;
use crate::policy::facts::{Context, HpaFacts, ScaledObjectFacts, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::workload::{self, Workload};

pub(super) static RULE: Rule = Rule {
    id: "metric-dropped",
    default: Level::Warn,
    at_admission: true,
    summary: "The new image no longer exports what an existing autoscaler on the workload uses",
    explain: "\
When the image of a server is updated, metrics go with it: vLLM 0.12.0 has no `vllm:gpu_cache_usage_perc` any more. The \
autoscaler that was right before gets no value after the rollout, and keeps the replicas it happens to have.

Change the autoscaler to the successor that the message names, best in the same change. A workload is never refused for \
this: it is a warning.

Said when the workload changes and the present image does export the metric. Silent when the present image does not export \
it either, when a release cannot be read, and when the autoscaler is new; then `metric-removed` speaks about the autoscaler.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-gemma-deployment
  namespace: default
  labels: {scalegate.dev/autoscale: disabled}
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.12.0 # v0.10.0 until now; the autoscaler below exists already
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
  labels: {scalegate.dev/autoscale: disabled}
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.10.0
        args: [--model=google/gemma-3-1b-it]
        resources: {limits: {nvidia.com/gpu: 1}}
";

fn check(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(old) = old(facts, context) else { return Vec::new() };
    let mut findings = Vec::new();
    for (entry, hpa) in facts.hpas(context) {
        let judged = HpaFacts::new(&entry.of, hpa, None, context);
        for usage in judged.metrics.iter().filter(|usage| !judged_elsewhere(usage, &judged)) {
            let origins = origins(usage, &judged, context.view);
            // One of several that is still there may be enough.
            let [(metric, _)] = origins.as_slice() else { continue };
            let by = format!("HorizontalPodAutoscaler {}", hpa.metadata.name);
            findings.extend(dropped(metric, &by, usage.name, &old, facts, &|name| spell(name, usage, &judged)));
        }
    }
    for (entry, object) in facts.scaled_objects(context) {
        let judged = ScaledObjectFacts::new(&entry.of, object, None, context);
        for (_, query) in queries(&judged) {
            let by = format!("ScaledObject {}", object.metadata.name);
            for name in query.names() {
                if let Some(metric) = exported(&name) {
                    findings.extend(dropped(metric, &by, &name, &old, facts, &str::to_owned));
                }
            }
        }
    }
    findings
}

/// The workload before the change: as the API server sends it, or as it is in the cluster that files are put over. In a
/// folder alone it is the workload itself, and nothing changes.
fn old(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Option<Workload> {
    let namespace = facts.written.metadata.namespace.as_deref();
    if let Some(old) = facts.old {
        return Some(workload::read(old, &|name| context.view.config_map(namespace, name)));
    }
    let view = context.view.before.as_deref().unwrap_or(context.view);
    view.workload(facts.written.kind, namespace, &facts.written.metadata.name).cloned()
}

fn dropped(
    metric: &'static Metric,
    by: &str,
    name: &str,
    old: &Workload,
    facts: &WorkloadFacts<'_>,
    spell: &dyn Fn(&str) -> String,
) -> Option<Finding> {
    let fault = Fault::of(metric, &facts.workload)?;
    if Fault::of(metric, old).is_some() {
        return None;
    }
    let server = facts.workload.server()?;
    let message = fault.message(&format!("`{}`, on which {by} scales it,", metric.name), &facts.workload);
    let finding = Finding::warn(format!("{}.image", server.path), name, message);
    Some(fault.hint(finding, &format!("in {by} write"), metric, &facts.workload, spell))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{admit, brief, review, view};

    const HPA: &str = "
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: gemma-server-hpa, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric: {name: prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge}
      target: {type: AverageValue, averageValue: 800m}
";

    fn image(tag: &str) -> String {
        PASSING.replace("v0.10.0", tag)
    }

    fn update(from: &str, to: &str) -> Vec<Finding> {
        let view = view(&format!("{}{HPA}", image(from)));
        let findings = admit(&view, &image(to), Some(&image(from)), &Configuration::default());
        findings.into_iter().filter(|finding| finding.rule == "metric-dropped").collect()
    }

    #[test]
    fn an_update_that_takes_the_metric_away_is_warned_about_with_the_successor() {
        let findings = update("v0.10.0", "v0.12.0");
        assert_eq!(brief(&findings), ["metric-dropped warn spec.template.spec.containers[0].image"]);
        let hint = findings[0].hint.as_deref().unwrap_or_default();
        assert!(hint.contains("prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge"), "{hint}");
    }

    #[test]
    fn a_hidden_metric_is_dropped_too() {
        assert_eq!(update("v0.10.0", "v0.11.0").len(), 1);
    }

    #[test]
    fn an_update_that_keeps_the_metric_or_never_had_it_is_not_spoken_about() {
        assert!(update("v0.9.2", "v0.10.0").is_empty());
        assert!(update("v0.12.0", "v0.13.0").is_empty());
        assert!(update("v0.10.0", "latest").is_empty());
    }

    #[test]
    fn a_folder_with_both_is_the_autoscalers_fault() {
        let findings = review(&format!("{}{HPA}", image("v0.12.0")), &Configuration::default());
        assert!(brief(&findings).iter().all(|line| !line.starts_with("metric-dropped")));
    }

    #[test]
    fn a_new_workload_has_dropped_nothing() {
        let findings = admit(&view(HPA), &image("v0.12.0"), None, &Configuration::default());
        assert!(brief(&findings).iter().all(|line| !line.starts_with("metric-dropped")));
    }
}
