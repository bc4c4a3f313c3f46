use std::sync::Arc;

use super::RULE;
use crate::policy::configuration::{Backend, Configuration};
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::Finding;
use crate::policy::judge::judge;
use crate::policy::rules::testing::{admit, brief, objects, review, view};

use super::*;

fn by_operator() -> Configuration {
    Configuration {
        backend: Backend { kind: BackendKind::PrometheusOperator, ..Backend::default() },
        ..Configuration::default()
    }
}

fn of_rule(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
}

fn said(yaml: &str) -> Vec<String> {
    brief(&of_rule(review(yaml, &Configuration::default())))
}

fn changed(this: &str, that: &str) -> String {
    let changed = RULE.failing.replace(this, that);
    assert_ne!(changed, RULE.failing, "{this}");
    changed
}

fn server() -> &'static str {
    RULE.failing.split("---\n").next().unwrap()
}

const WARNED: &str = "double-scrape warn spec.template.metadata.labels";
const NOTED: &str = "double-scrape note spec.template.metadata.labels";

fn monitor(kind: &str, name: &str, labels: &str, rest: &str) -> String {
    format!(
        "---
apiVersion: monitoring.coreos.com/v1
kind: {kind}
metadata: {{name: {name}, namespace: inference, labels: {{{labels}}}}}
spec:
  selector: {{matchLabels: {{app: vllm}}}}
  {rest}
"
    )
}

#[test]
fn the_examples_hold_and_both_objects_are_named() {
    assert_eq!(said(RULE.failing), [WARNED]);
    assert_eq!(said(RULE.passing), [""; 0]);
    let findings = of_rule(review(RULE.failing, &Configuration::default()));
    assert!(
        findings[0].message.starts_with(
            "PodMonitoring vllm and ClusterPodMonitoring all-servers scrape Deployment vllm on port 8000: each series"
        ),
        "{}",
        findings[0].message
    );
}

#[test]
fn admission_says_the_same_of_the_workload() {
    let view = view(RULE.failing);
    let admitted = of_rule(admit(&view, server(), None, &Configuration::default()));
    assert_eq!(admitted, of_rule(review(RULE.failing, &Configuration::default())));
}

#[test]
fn another_port_path_namespace_or_selector_is_no_second_scrape() {
    for (this, that) in [
        ("port: http\n", "port: 9000\n"),
        ("port: http\n", "port: http\n      path: /other\n"),
        ("port: 8000\n      interval", "port: 8001\n      interval"),
        (
            "      interval: 15s",
            "      interval: 15s\n      metricRelabeling: [{sourceLabels: [__name__], action: keep, regex: 'python.*'}]",
        ),
    ] {
        assert_eq!(said(&changed(this, that)), [""; 0], "{that}");
    }
    let elsewhere = changed(
        "kind: PodMonitoring\nmetadata:\n  name: vllm\n  namespace: inference",
        "kind: PodMonitoring\nmetadata:\n  name: vllm\n  namespace: other",
    );
    assert_eq!(said(&elsewhere), [""; 0]);
}

#[test]
fn what_is_being_deleted_does_not_count() {
    let going = changed("name: all-servers", "name: all-servers\n  deletionTimestamp: '2026-01-01T00:00:00Z'");
    assert_eq!(said(&going), [""; 0]);
}

#[test]
fn our_own_object_is_withdrawn_and_so_no_second_one_unless_it_comes_from_git() {
    let ours = changed(
        "kind: PodMonitoring\nmetadata:\n",
        "kind: PodMonitoring\nmetadata:\n  labels: {scalegate.dev/profile: throughput}\n",
    );
    assert_eq!(said(&ours), [""; 0]);
    let from_git = ours.replacen(
        "  labels:\n    scalegate",
        "  annotations: {scalegate.dev/generate: 'false'}\n  labels:\n    scalegate",
        1,
    );
    assert_ne!(from_git, ours);
    assert_eq!(said(&from_git), [WARNED]);
}

#[test]
fn a_workload_that_nothing_scales_is_not_mentioned() {
    assert_eq!(said(&changed("  labels:\n    scalegate.dev/autoscale: throughput\n", "")), [""; 0]);
}

#[test]
fn two_collectors_are_not_added_up() {
    let both = format!("{}{}", RULE.passing, monitor("PodMonitor", "m", "", "podMetricsEndpoints: [{port: http}]"));
    assert_eq!(said(&both), [""; 0]);
}

#[test]
fn two_monitors_of_one_prometheus_scrape_twice_and_of_two_they_may() {
    let pair = |labels: &str| {
        let first = monitor("PodMonitor", "first", "release: prometheus", "podMetricsEndpoints: [{port: http}]");
        let second = monitor("PodMonitor", "second", labels, "podMetricsEndpoints: [{portNumber: 8000}]");
        said(&format!("{}{first}{second}", server()))
    };
    assert_eq!(pair("release: prometheus, app: x"), [WARNED]);
    assert_eq!(pair("release: other"), [NOTED]);
    assert_eq!(pair(""), [NOTED]);
}

#[test]
fn a_service_monitor_counts_by_its_service_and_twice_by_two_of_them() {
    let service = |name: &str| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: inference, labels: {{app: vllm}}}}
spec: {{selector: {{app: vllm}}, ports: [{{name: api, port: 80, targetPort: http}}]}}
"
        )
    };
    let of_service = monitor("ServiceMonitor", "s", "", "endpoints: [{port: api}]");
    let of_pods = monitor("PodMonitor", "p", "", "podMetricsEndpoints: [{port: http}]");
    let one = format!("{}{}{of_service}", server(), service("a"));
    assert_eq!(said(&one), [""; 0]);
    assert_eq!(said(&format!("{one}{of_pods}")), [WARNED]);
    let two = format!("{one}{}", service("b"));
    let findings = of_rule(review(&two, &Configuration::default()));
    assert_eq!(brief(&findings), [WARNED]);
    assert!(findings[0].message.contains("through the Services a and b"), "{}", findings[0].message);
}

#[test]
fn scrape_annotations_beside_a_monitor_are_suspected_on_the_operator_alone() {
    let annotated = server().replace(
        "    metadata:\n      labels:\n        app: vllm\n",
        "    metadata:\n      annotations: {prometheus.io/scrape: 'true', prometheus.io/port: '8000'}\n      labels:\n        app: vllm\n",
    );
    assert_ne!(annotated, server());
    let said = |yaml: &str, configuration: &Configuration| brief(&of_rule(review(yaml, configuration)));
    let suspected = ["double-scrape warn spec.template.metadata.annotations[prometheus.io/scrape]"];
    assert_eq!(said(&annotated, &by_operator()), suspected, "the label brings a PodMonitor");
    let theirs = format!("{annotated}{}", monitor("PodMonitor", "m", "", "podMetricsEndpoints: [{port: http}]"));
    assert_eq!(said(&theirs, &by_operator()), suspected);
    assert_eq!(said(&annotated, &Configuration::default()), [""; 0], "Google's collectors do not read them");
    assert_eq!(said(&annotated.replace("'8000'", "'9000'"), &by_operator()), [""; 0]);
    assert_eq!(said(&annotated.replace("'true'", "'false'"), &by_operator()), [""; 0]);
}

#[test]
fn over_a_cluster_the_new_scrape_object_bears_the_finding() {
    let cluster = view(RULE.passing);
    let added = RULE.failing.split("---\n").nth(1).unwrap();
    let mut over = cluster.clone();
    over.before = Some(Arc::new(cluster));
    let (of, object) = objects(added).remove(0);
    over.apply(&of, object.clone());
    let order = over.get(&object.key(&of)).map(|entry| entry.order);
    let configuration = Configuration::default();
    let context = Context { view: &over, configuration: &configuration, stage: Stage::Review, update: false };
    let findings = of_rule(judge(&of, &object, None, order, &context).findings);
    assert_eq!(brief(&findings), ["double-scrape warn spec.selector"]);
    assert!(
        findings[0]
            .message
            .starts_with("ClusterPodMonitoring all-servers scrapes Deployment vllm on port 8000 already")
    );
    let unchanged = &over.clone();
    let (of, object) = objects(RULE.passing).remove(1);
    let order = unchanged.get(&object.key(&of)).map(|entry| entry.order);
    assert_eq!(brief(&of_rule(judge(&of, &object, None, order, &context).findings)), [""; 0], "it stood before");
}
