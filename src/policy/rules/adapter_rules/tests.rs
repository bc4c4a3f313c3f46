use serde_json::json;

use super::RULE;
use crate::policy::configuration::{Backend, BackendKind, Configuration, Signal};
use crate::policy::finding::{Finding, Severity};
use crate::policy::render;
use crate::policy::rules::testing::{brief, review};

fn findings(yaml: &str) -> Vec<Finding> {
    let findings = review(yaml, &Configuration::default());
    findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
}

fn said(yaml: &str) -> Vec<String> {
    brief(&findings(yaml))
}

fn changed(this: &str, that: &str) -> String {
    let changed = RULE.passing.replace(this, that);
    assert_ne!(changed, RULE.passing, "{this}");
    changed
}

const DENIED: &str = "adapter-rules deny data[config.yaml]";

#[test]
fn the_examples_hold_and_the_name_at_fault_is_pointed_at() {
    let found = findings(RULE.failing);
    assert_eq!(brief(&found), [DENIED]);
    assert_eq!(found[0].inside, Some((9, 11)), "the value of `as`");
    assert_eq!(
        found[0].message,
        "rules[0] makes `vllm_running_requests` of `vllm:num_requests_running`, but HorizontalPodAutoscaler vllm asks for \
         `vllm_num_requests_running`"
    );
    assert_eq!(said(RULE.passing), [""; 0]);
}

#[test]
fn a_list_whose_second_item_stands_deeper_does_not_load() {
    let broken = changed(
        "        metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)\n",
        "        metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)\n          - seriesQuery: 'other'\n",
    );
    let found = findings(&broken);
    assert_eq!(brief(&found), [DENIED]);
    assert_eq!(found[0].inside.map(|(line, _)| line), Some(11), "{}", found[0].message);
    assert!(found[0].message.contains("prometheus-adapter cannot load its rules"), "{}", found[0].message);
}

#[test]
fn a_file_without_a_tie_to_inference_is_nobodys_business() {
    let of_others = "
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus-adapter, namespace: monitoring}
data:
  config.yaml: |
    rules:
    - seriesQuery: 'http_requests_total'
        - seriesQuery: 'other'
";
    assert_eq!(said(of_others), [""; 0]);
    assert_eq!(said(&of_others.replace("http_requests_total", "vllm:num_requests_running")), [DENIED]);
}

#[test]
fn a_form_that_is_only_not_read_here_is_a_note() {
    let rules = changed("matches: ^vllm:num_requests_running$", "matches: ^(?<!x)vllm:num_requests_running$");
    assert_eq!(said(&rules), ["adapter-rules note data[config.yaml]"]);
}

#[test]
fn a_name_that_another_autoscaler_asks_for_is_right() {
    let (map, hpa) = RULE.failing.split_once("---\n").unwrap();
    let other = hpa.replace("name: vllm\n  namespace", "name: other\n  namespace");
    let other = other.replace("name: vllm_num_requests_running", "name: vllm_running_requests");
    assert_eq!(said(&format!("{map}---\n{hpa}---\n{other}")), [""; 0]);
}

#[test]
fn where_the_autoscaler_has_the_odd_name_the_rule_is_not_at_fault() {
    // A near miss beside an alias, and two names that nobody knows.
    assert_eq!(
        said(&changed("          name: vllm_num_requests_running", "          name: vllm_num_request_runing")),
        [""; 0]
    );
    let two = RULE.failing.replace("          name: vllm_num_requests_running", "          name: inflight");
    assert_eq!(said(&two), [""; 0]);
}

#[test]
fn a_name_that_something_else_makes_is_made() {
    let pattern = RULE.failing.replace(
        "---\n",
        "      - seriesQuery: '{__name__=~\"^vllm:.*\"}'\n        resources: {template: <<.Resource>>}\n        name: {matches: '^vllm:(.*)$', as: 'vllm_$1'}\n---\n",
    );
    assert_ne!(pattern, RULE.failing);
    assert_eq!(said(&pattern), [""; 0]);
}

#[test]
fn an_expression_that_does_not_take_the_series_makes_nothing() {
    let found = findings(&changed("matches: ^vllm:num_requests_running$", "matches: ^vllm_num_requests_running$"));
    assert_eq!(brief(&found), [DENIED]);
    assert_eq!(found[0].inside, Some((8, 16)));
    assert!(found[0].message.contains("name.matches does not match it"), "{}", found[0].message);
    let filtered = changed("        name:\n", "        seriesFilters: [{isNot: ^vllm}]\n        name:\n");
    assert!(findings(&filtered)[0].message.contains("seriesFilters does not take it"));
}

#[test]
fn a_metric_that_is_tied_to_no_pod_is_no_metric_of_pods() {
    let found = findings(&changed("            pod: {resource: pod}\n", ""));
    assert_eq!(brief(&found), [DENIED]);
    assert!(found[0].message.contains("ties `vllm_num_requests_running` to no pod"), "{}", found[0].message);
    let template = changed(
        "          overrides:\n            namespace: {resource: namespace}\n            pod: {resource: pod}\n",
        "          template: <<.Resource>>\n",
    );
    assert_eq!(said(&template), [""; 0]);
    assert_eq!(said(&changed("{resource: pod}", "{resource: pods}")), [""; 0]);
}

#[test]
fn a_query_that_is_no_promql_is_warned_about() {
    let found = findings(&changed("by (<<.GroupBy>>)", "by (<<.GroupBy>>"));
    assert_eq!(brief(&found), ["adapter-rules warn data[config.yaml]"]);
    assert_eq!(found[0].inside.map(|(line, _)| line), Some(10));
}

#[test]
fn what_is_being_deleted_is_not_judged() {
    let going = RULE
        .failing
        .replace("name: prometheus-adapter", "name: prometheus-adapter\n  deletionTimestamp: '2026-01-01T00:00:00Z'");
    assert_eq!(said(&going), [""; 0]);
}

/// The adapter's ConfigMap with rules, as the configuration names it.
fn config_map(rules: &[serde_json::Value]) -> String {
    let rules = json!({ "rules": rules }).to_string();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prometheus-adapter", "namespace": "monitoring"},
        "data": {"config.yaml": rules}});
    format!("---\n{map}\n")
}

#[test]
fn the_rules_that_are_printed_make_what_the_label_asks_for() {
    for signal in [Signal::RequestsRunning, Signal::RequestsWaiting, Signal::KvCacheUsage, Signal::GpuUtilization] {
        let name = render::metric_name(signal, BackendKind::PrometheusOperator, None);
        let (_, hpa) = RULE.passing.split_once("---\n").unwrap();
        let hpa = hpa.replace("vllm_num_requests_running", &name);
        let text = format!("{}---\n{hpa}", config_map(&[render::adapter_rule(signal, None)]));
        let grave: Vec<Finding> = review(&text, &Configuration::default())
            .into_iter()
            .filter(|finding| finding.severity > Severity::Note)
            .collect();
        assert_eq!(grave, [], "{signal:?}");
    }
}

#[test]
fn a_labelled_workload_whose_metric_the_named_adapter_lacks_is_warned_about() {
    const LABELLED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: vllm, namespace: inference, labels: {scalegate.dev/autoscale: server-metrics}}
spec:
  selector: {matchLabels: {app: vllm}}
  template:
    metadata: {labels: {app: vllm}}
    spec:
      containers:
      - {name: server, image: 'vllm/vllm-openai:v0.11.0', args: [--port=8000], resources: {limits: {nvidia.com/gpu: 1}}}
";
    let configuration = |kind, name: Option<&str>| {
        let backend = Backend { kind, adapter_config_map: name.map(str::to_owned), ..Backend::default() };
        Configuration { backend, ..Configuration::default() }
    };
    let named = configuration(BackendKind::PrometheusOperator, Some("monitoring/prometheus-adapter"));
    let said = |rules: &[serde_json::Value], configuration: &Configuration| {
        let findings = review(&format!("{LABELLED}{}", config_map(rules)), configuration);
        findings.into_iter().filter(|finding| finding.rule == RULE.id).collect::<Vec<_>>()
    };
    let running = render::adapter_rule(Signal::RequestsRunning, None);
    let waiting = render::adapter_rule(Signal::RequestsWaiting, None);
    let found = said(std::slice::from_ref(&waiting), &named);
    assert_eq!(brief(&found), ["adapter-rules warn metadata.labels[scalegate.dev/autoscale]"]);
    let message = &found[0].message;
    assert!(
        message
            .starts_with("ConfigMap monitoring/prometheus-adapter has no rule that makes vllm_num_requests_running,")
            && message.ends_with(&format!("- {running}")),
        "{message}"
    );
    assert_eq!(said(std::slice::from_ref(&running), &named), []);
    let other = configuration(BackendKind::PrometheusOperator, Some("monitoring/another"));
    assert_eq!(said(std::slice::from_ref(&waiting), &other), [], "not in view");
    let unnamed = configuration(BackendKind::PrometheusOperator, None);
    assert_eq!(said(std::slice::from_ref(&waiting), &unnamed), []);
    let google = configuration(BackendKind::Gmp, Some("monitoring/prometheus-adapter"));
    assert_eq!(said(std::slice::from_ref(&waiting), &google), []);
}
