use crate::policy::configuration::{BackendKind, Configuration};
use crate::policy::finding::Finding;
use crate::policy::rules::testing::{admit, brief, review};
use crate::policy::view::ClusterView;

fn only(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == "metric-kind").collect()
}

fn of(yaml: &str, kind: BackendKind) -> Vec<String> {
    let mut configuration = Configuration::default();
    configuration.backend.kind = kind;
    let lines = brief(&only(review(yaml, &configuration)));
    lines.iter().map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

fn hpa(name: &str) -> String {
    super::PASSING.replace("prometheus.googleapis.com|vllm:num_requests_waiting|gauge", &format!("'{name}'"))
}

#[test]
fn histograms_and_infos_are_refused() {
    assert_eq!(
        brief(&only(review(super::FAILING, &Configuration::default()))),
        ["metric-kind deny spec.metrics[0].pods.metric.name"]
    );
    assert!(of(super::PASSING, BackendKind::Gmp).is_empty());
    for name in [
        "prometheus.googleapis.com|vllm:iteration_tokens_total|counter",
        "prometheus.googleapis.com|vllm:cache_config_info|gauge",
        "prometheus.googleapis.com|vllm:time_to_first_token_seconds_bucket|histogram",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:e2e_request_latency_seconds",
    ] {
        assert_eq!(of(&hpa(name), BackendKind::Gmp), ["deny"], "{name}");
    }
    let external = hpa("prometheus.googleapis.com|vllm:e2e_request_latency_seconds|histogram")
        .replace("type: Pods", "type: External")
        .replace("    pods:", "    external:");
    assert_eq!(of(&external, BackendKind::Gmp), ["deny"]);
}

#[test]
fn an_alias_of_a_histogram_may_be_what_a_rule_out_of_view_computes() {
    assert_eq!(of(&hpa("vllm_e2e_request_latency_seconds"), BackendKind::PrometheusOperator), ["warn"]);
}

#[test]
fn the_stackdriver_adapter_takes_the_rate_of_a_counter() {
    assert!(of(&hpa("prometheus.googleapis.com|vllm:generation_tokens_total|counter"), BackendKind::Gmp).is_empty());
    assert_eq!(of(&hpa("vllm:generation_tokens_total"), BackendKind::PrometheusOperator), ["note"]);
}

fn adapter(series: &str, query: &str) -> String {
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
      name: {{as: vllm_made}}
      metricsQuery: '{query}'
"
    )
}

#[test]
fn a_made_metric_is_what_its_rule_makes_of_it() {
    let made =
        |series: &str, query: &str| of(&format!("{}{}", hpa("vllm_made"), adapter(series, query)), BackendKind::Gmp);
    let sum = "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)";
    let rate = "sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)";
    let delta = "sum(delta(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)";
    let average = "sum(rate(vllm:e2e_request_latency_seconds_sum{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>) \
                   / sum(rate(vllm:e2e_request_latency_seconds_count{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)";
    assert_eq!(made("vllm:generation_tokens_total", sum), ["deny"]);
    assert!(made("vllm:generation_tokens_total", rate).is_empty());
    assert!(made("vllm:generation_tokens_total", delta).is_empty());
    assert!(made("vllm:e2e_request_latency_seconds_sum", average).is_empty());
    assert!(made("vllm:num_requests_running", sum).is_empty());
}

#[test]
fn a_recorded_quantile_of_a_histogram_is_a_gauge() {
    let rules = "---
apiVersion: monitoring.googleapis.com/v1
kind: Rules
metadata: {name: r, namespace: default}
spec:
  groups:
  - name: g
    interval: 15s
    rules:
    - record: vllm:time_to_first_token_seconds
      expr: histogram_quantile(0.95, sum by (le, pod) (rate(vllm:time_to_first_token_seconds_bucket[2m])))
";
    let yaml = format!("{}{rules}", hpa("prometheus.googleapis.com|vllm:time_to_first_token_seconds|gauge"));
    assert!(of(&yaml, BackendKind::Gmp).is_empty());
}

fn scaled_object(query: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: s, namespace: default}}
spec:
  scaleTargetRef: {{name: d}}
  triggers:
  - type: prometheus
    metadata: {{serverAddress: 'http://p:9090', threshold: '1', query: '{query}'}}
"
    )
}

#[test]
fn in_queries_the_bare_name_of_a_histogram_matches_nothing() {
    assert_eq!(of(&scaled_object("avg(vllm:time_to_first_token_seconds)"), BackendKind::Gmp), ["deny"]);
    let findings = admit(
        &ClusterView::default(),
        &scaled_object("avg(vllm:time_to_first_token_seconds)"),
        None,
        &Configuration::default(),
    );
    assert_eq!(brief(&only(findings)), ["metric-kind warn spec.triggers[0].metadata.query"]);
    let quantile = "histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[1m])))";
    assert!(of(&scaled_object(quantile), BackendKind::Gmp).is_empty());
}

#[test]
fn in_queries_a_counter_needs_a_rate() {
    assert_eq!(of(&scaled_object("sum(vllm:generation_tokens_total)"), BackendKind::Gmp), ["deny"]);
    assert!(of(&scaled_object("sum(rate(vllm:generation_tokens_total[1m]))"), BackendKind::Gmp).is_empty());
}
