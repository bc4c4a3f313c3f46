use crate::policy::configuration::Configuration;
use crate::policy::finding::Finding;
use crate::policy::rules::testing::{admit, brief, review, view};

fn only(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == "metric-removed").collect()
}

fn of(yaml: &str) -> Vec<Finding> {
    only(review(yaml, &Configuration::default()))
}

fn release(yaml: &str, tag: &str) -> String {
    yaml.replace("vllm-openai:v0.12.0", &format!("vllm-openai:{tag}"))
}

const DENY: [&str; 1] = ["metric-removed deny spec.metrics[0].pods.metric.name"];
const WARN: [&str; 1] = ["metric-removed warn spec.metrics[0].pods.metric.name"];

#[test]
fn a_metric_that_is_gone_is_refused_and_its_successor_is_named() {
    let findings = of(super::FAILING);
    assert_eq!(brief(&findings), DENY);
    let hint = findings[0].hint.as_deref().unwrap_or_default();
    assert_eq!(hint, "write `prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge`");
    assert!(of(super::PASSING).is_empty());
}

#[test]
fn a_hidden_metric_is_refused_with_the_option_that_restores_it() {
    let findings = of(&release(super::FAILING, "v0.11.0"));
    assert_eq!(brief(&findings), DENY);
    let hint = findings[0].hint.as_deref().unwrap_or_default();
    assert!(hint.contains("--show-hidden-metrics-for-version=0.10"), "{hint}");
    let shown = release(super::FAILING, "v0.11.0").replace(
        "[--model=google/gemma-3-1b-it]",
        "[--model=google/gemma-3-1b-it, --show-hidden-metrics-for-version=0.10]",
    );
    assert!(of(&shown).is_empty());
}

#[test]
fn a_release_that_exports_it_or_cannot_be_read_is_not_spoken_about() {
    for tag in ["v0.10.0", "latest", "v0.99.0", "nightly"] {
        assert!(of(&release(super::FAILING, tag)).is_empty(), "{tag}");
    }
}

#[test]
fn a_release_that_does_not_export_it_yet_is_a_warning() {
    assert_eq!(brief(&of(&release(super::PASSING, "v0.6.6"))), WARN);
}

#[test]
fn an_update_of_the_autoscaler_is_a_warning() {
    let (deployment, hpa) = super::FAILING.split_once("---\n").unwrap();
    let view = view(deployment);
    let findings = only(admit(&view, hpa, None, &Configuration::default()));
    assert_eq!(brief(&findings), DENY);
    let old = hpa.replace("gpu_cache_usage_perc", "num_requests_running");
    let findings = only(admit(&view, hpa, Some(&old), &Configuration::default()));
    assert_eq!(brief(&findings), WARN);
}

#[test]
fn only_a_settled_rollout_proves_what_serves() {
    let status = |generation: u8, status: &str| {
        super::FAILING
            .replacen("  namespace: default\n", &format!("  namespace: default\n  generation: {generation}\n"), 1)
            .replacen("---\n", &format!("status: {status}\n---\n"), 1)
    };
    let complete = "{observedGeneration: 2, replicas: 1, updatedReplicas: 1, readyReplicas: 1}";
    assert_eq!(brief(&of(&status(2, complete))), DENY);
    let rolling = "{observedGeneration: 2, replicas: 2, updatedReplicas: 1, readyReplicas: 2}";
    assert_eq!(brief(&of(&status(2, rolling))), WARN);
    assert_eq!(brief(&of(&status(3, complete))), WARN, "the controller has not seen the change");
    assert_eq!(brief(&of(&status(1, "{}"))), WARN, "created a moment ago");
}

#[test]
fn an_alias_may_be_made_from_the_successor() {
    let alias = super::FAILING
        .replace("prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge", "vllm_gpu_cache_usage_perc");
    assert_eq!(brief(&of(&alias)), WARN);
}

#[test]
fn a_made_metric_is_judged_by_its_series() {
    let adapter = |series: &str| {
        format!(
            "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: adapter-config, namespace: monitoring}}
data:
  config.yaml: |
    rules:
    - seriesQuery: '{series}{{namespace!=\"\",pod!=\"\"}}'
      resources: {{overrides: {{namespace: {{resource: namespace}}, pod: {{resource: pod}}}}}}
      name: {{as: kv_use}}
      metricsQuery: 'sum(<<.Series>>{{<<.LabelMatchers>>}}) by (<<.GroupBy>>)'
"
        )
    };
    let yaml = super::FAILING.replace("prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge", "kv_use");
    assert_eq!(brief(&of(&format!("{yaml}{}", adapter("vllm:gpu_cache_usage_perc")))), DENY);
    assert!(of(&format!("{yaml}{}", adapter("vllm:kv_cache_usage_perc"))).is_empty());
}

fn scaled_object(query: &str) -> String {
    let (deployment, _) = super::FAILING.split_once("---\n").unwrap();
    format!(
        "{deployment}---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: s, namespace: default}}
spec:
  scaleTargetRef: {{name: vllm-gemma-deployment}}
  triggers:
  - type: prometheus
    metadata: {{serverAddress: 'http://p:9090', threshold: '1', query: '{query}'}}
"
    )
}

#[test]
fn queries_are_judged_unless_they_name_the_successor_too() {
    let findings = of(&scaled_object("max(vllm:gpu_cache_usage_perc)"));
    assert_eq!(brief(&findings), ["metric-removed deny spec.triggers[0].metadata.query"]);
    assert!(of(&scaled_object("max(vllm:kv_cache_usage_perc)")).is_empty());
    assert!(of(&scaled_object("max(vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc)")).is_empty());
}

#[test]
fn arguments_that_cannot_be_read_may_show_a_hidden_metric() {
    let with =
        |arguments: &str| of(&release(super::FAILING, "v0.11.0").replace("[--model=google/gemma-3-1b-it]", arguments));
    for arguments in [
        "[--model=m, --config=/etc/vllm/config.yaml]",
        "[--model=m, --show-hidden-metrics-for-version=$(VERSION)]",
        "[--model=m, $(EXTRA)]",
    ] {
        assert!(with(arguments).is_empty(), "{arguments}");
    }
    assert_eq!(
        brief(&with("[--model=m, --show-hidden-metrics-for-version=0.9]")),
        DENY,
        "only the release before counts"
    );
}

#[test]
fn a_candidate_lies_between_two_releases() {
    assert!(of(&release(super::FAILING, "v0.12.0rc1")).is_empty());
}

#[test]
fn external_metrics_may_be_of_other_servers() {
    let external = super::FAILING.replace("type: Pods\n    pods:", "type: External\n    external:");
    assert_ne!(external, super::FAILING);
    assert_eq!(brief(&of(&external)), ["metric-removed warn spec.metrics[0].external.metric.name"]);
}

fn query(query: &str) -> Vec<Finding> {
    let (deployment, _) = super::FAILING.split_once("---\n").unwrap();
    of(&format!(
        "{deployment}---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: so, namespace: default}}
spec:
  scaleTargetRef: {{name: vllm-gemma-deployment}}
  triggers:
  - type: prometheus
    metadata: {{serverAddress: 'http://prometheus', threshold: '5', query: '{query}'}}
"
    ))
}

#[test]
fn a_query_that_can_do_without_the_metric_is_not_refused() {
    let field = "spec.triggers[0].metadata.query";
    let refused = [format!("metric-removed deny {field}")];
    let warned = [format!("metric-removed warn {field}")];
    assert_eq!(brief(&query("avg(vllm:gpu_cache_usage_perc)")), refused);
    assert_eq!(brief(&query("avg(vllm:gpu_cache_usage_perc) or vector(0)")), refused, "nothing else is measured");
    let sum = "sum(vllm:num_requests_running) + (sum(vllm:num_requests_swapped) or vector(0))";
    assert_eq!(brief(&query(sum)), warned);
    assert_eq!(brief(&query("avg(vllm:gpu_cache_usage_perc{namespace=\"prefill\"})")), warned, "of other pods");
}

#[test]
fn where_nothing_replaces_a_metric_the_hint_says_so() {
    let findings = of(&super::FAILING.replace("gpu_cache_usage_perc", "num_requests_swapped"));
    assert!(findings[0].hint.as_deref().unwrap_or_default().contains("nothing replaces it"), "{findings:?}");
}
