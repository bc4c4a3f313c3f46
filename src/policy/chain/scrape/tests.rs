use super::*;
use crate::policy::rules::testing::view;

const SERVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm, namespace: ml}
spec:
  selector: {matchLabels: {app: llm}}
  template:
    metadata: {labels: {app: llm, tier: gpu}}
    spec:
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        args: [--port=8000]
        ports: [{name: http, containerPort: 8000}, {name: debug, containerPort: 9000}]
";

const RUNNING: &str = "vllm:num_requests_running";

/// How well the objects of a text cover the server's port 8000 and `/metrics`, the best of them.
fn covered(server: &str, text: &str) -> Coverage {
    let view = view(&format!("{server}---{text}"));
    let workload = view.workloads().next().unwrap();
    best(
        objects(&view, workload.metadata.namespace.as_deref())
            .map(|entry| coverage(&entry.object, workload, 8000, "/metrics", RUNNING, &view)),
    )
}

fn pod_monitoring(head: &str, endpoint: &str) -> String {
    format!(
        "
apiVersion: monitoring.googleapis.com/v1
{head}
spec:
  selector: {{matchLabels: {{app: llm}}}}
  endpoints: [{{interval: 15s, {endpoint}}}]
"
    )
}

fn pod_monitor(endpoint: &str) -> String {
    format!(
        "
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {{name: m, namespace: ml}}
spec:
  selector: {{matchLabels: {{app: llm}}}}
  podMetricsEndpoints: [{{{endpoint}}}]
"
    )
}

fn service_monitor(service_port: &str, endpoint: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: llm, namespace: ml, labels: {{app: llm}}}}
spec: {{selector: {{app: llm}}, ports: [{{{service_port}}}]}}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{name: m, namespace: monitoring}}
spec:
  namespaceSelector: {{matchNames: [ml]}}
  selector: {{matchLabels: {{app: llm}}}}
  endpoints: [{{{endpoint}}}]
"
    )
}

const OWN: &str = "kind: PodMonitoring\nmetadata: {name: m, namespace: ml}";

#[test]
fn a_port_is_the_same_by_name_and_by_number() {
    for (endpoint, expected) in [
        ("port: 8000", Coverage::Certain),
        ("port: http", Coverage::Certain),
        ("port: debug", Coverage::No),
        ("port: 9000", Coverage::No),
        ("port: '8000'", Coverage::No),
        ("port: 8000, path: /metrics", Coverage::Certain),
        ("port: 8000, path: /other", Coverage::No),
    ] {
        assert_eq!(covered(SERVER, &pod_monitoring(OWN, endpoint)), expected, "{endpoint}");
    }
}

#[test]
fn a_number_that_no_container_declares_is_scraped_by_google_and_dropped_by_the_operator() {
    let bare =
        SERVER.replace("        ports: [{name: http, containerPort: 8000}, {name: debug, containerPort: 9000}]\n", "");
    assert_ne!(bare, SERVER);
    assert_eq!(covered(&bare, &pod_monitoring(OWN, "port: 8000")), Coverage::Certain);
    assert_eq!(covered(&bare, &pod_monitor("portNumber: 8000")), Coverage::Perhaps);
    assert_eq!(covered(SERVER, &pod_monitor("portNumber: 8000")), Coverage::Certain);
    assert_eq!(
        covered(&bare, &service_monitor("name: api, port: 80, targetPort: 8000", "port: api")),
        Coverage::Certain
    );
}

#[test]
fn namespaces_count_as_each_kind_takes_them() {
    for (head, expected) in [
        (OWN, Coverage::Certain),
        ("kind: PodMonitoring\nmetadata: {name: m, namespace: other}", Coverage::No),
        ("kind: PodMonitoring\nmetadata: {name: m}", Coverage::Perhaps),
        ("kind: ClusterPodMonitoring\nmetadata: {name: m}", Coverage::Certain),
    ] {
        assert_eq!(covered(SERVER, &pod_monitoring(head, "port: 8000")), expected, "{head}");
    }
    let monitor = pod_monitor("port: http");
    for (selector, expected) in [
        ("any: true", Coverage::Certain),
        ("matchNames: [ml]", Coverage::Certain),
        ("matchNames: [other]", Coverage::No),
    ] {
        let elsewhere = monitor
            .replace("namespace: ml}\nspec:", &format!("namespace: x}}\nspec:\n  namespaceSelector: {{{selector}}}"));
        assert_ne!(elsewhere, monitor);
        assert_eq!(covered(SERVER, &elsewhere), expected, "{selector}");
    }
}

#[test]
fn a_service_monitor_goes_through_a_service_that_has_the_port() {
    for (port, endpoint, expected) in [
        ("name: api, port: 80, targetPort: 8000", "port: api", Coverage::Certain),
        ("name: api, port: 80, targetPort: http", "port: api", Coverage::Certain),
        ("name: api, port: 8000", "port: api", Coverage::Certain),
        ("name: api, port: 80", "port: api", Coverage::No),
        ("port: 8000", "port: http", Coverage::No),
        ("name: api, port: 80, targetPort: 9000", "port: api", Coverage::No),
        ("name: api, port: 80, targetPort: 9000", "targetPort: 8000", Coverage::Certain),
        ("name: api, port: 80, targetPort: 9000", "targetPort: 9000", Coverage::No),
    ] {
        assert_eq!(covered(SERVER, &service_monitor(port, endpoint)), expected, "{port}; {endpoint}");
    }
    let of_others =
        service_monitor("name: api, port: 8000", "port: api").replace("selector: {app: llm}", "selector: {app: x}");
    assert_eq!(covered(SERVER, &of_others), Coverage::No);
    let of_none = service_monitor("name: api, port: 8000", "port: api").replace("selector: {app: llm}, ", "");
    assert_eq!(covered(SERVER, &of_none), Coverage::No, "a Service without a selector leads nowhere by itself");
}

#[test]
fn what_relabelling_leaves_out_is_not_collected() {
    let rules = |rule: &str| {
        let of_google = covered(SERVER, &pod_monitoring(OWN, &format!("port: 8000, metricRelabeling: [{{{rule}}}]")));
        let of_operator = covered(SERVER, &pod_monitor(&format!("port: http, metricRelabelings: [{{{rule}}}]")));
        assert_eq!(of_google, of_operator, "{rule}");
        of_google
    };
    for (rule, expected) in [
        ("sourceLabels: [__name__], action: keep, regex: 'vllm:.*'", Coverage::Certain),
        ("sourceLabels: [__name__], action: keep, regex: 'vllm:request.*'", Coverage::No),
        ("sourceLabels: [__name__], action: drop, regex: 'vllm:num_.*'", Coverage::No),
        ("sourceLabels: [__name__], action: drop, regex: 'python_.*'", Coverage::Certain),
        ("sourceLabels: [model_name], action: keep, regex: 'gemma'", Coverage::Perhaps),
        ("sourceLabels: [__name__], action: keep, regex: '('", Coverage::Perhaps),
        ("sourceLabels: [__name__], targetLabel: __name__, regex: 'vllm:(.*)', replacement: 'x_$1'", Coverage::Perhaps),
        ("action: labeldrop, regex: engine", Coverage::Certain),
    ] {
        assert_eq!(rules(rule), expected, "{rule}");
    }
    let targets =
        "port: http, relabelings: [{sourceLabels: [__meta_kubernetes_pod_node_name], action: keep, regex: a}]";
    assert_eq!(covered(SERVER, &pod_monitor(targets)), Coverage::Perhaps);
}

#[test]
fn an_endpoint_without_a_port_takes_the_declared_ones_or_a_written_address() {
    assert_eq!(covered(SERVER, &pod_monitor("path: /metrics")), Coverage::Certain);
    let address = |port: u16| {
        pod_monitor(&format!(
            "relabelings: [{{sourceLabels: [__meta_kubernetes_pod_ip], targetLabel: __address__, replacement: '$1:{port}'}}]"
        ))
    };
    assert_eq!(covered(SERVER, &address(8000)), Coverage::Perhaps);
    assert_eq!(covered(SERVER, &address(9000)), Coverage::No);
}

#[test]
fn an_object_that_is_being_deleted_covers_nothing() {
    let going = pod_monitoring(
        "kind: PodMonitoring\nmetadata: {name: m, namespace: ml, deletionTimestamp: '2026-01-01T00:00:00Z'}",
        "port: 8000",
    );
    assert_eq!(covered(SERVER, &going), Coverage::No);
}

#[test]
fn each_service_between_makes_a_target_of_its_own() {
    let text = service_monitor("name: api, port: 8000", "port: api");
    let second = text.replace("name: llm,", "name: llm-headless,").split("---").next().unwrap().to_owned();
    let view = view(&format!("{SERVER}---{text}---{second}"));
    let workload = view.workloads().next().unwrap();
    let monitor = view.operator_monitors().next().unwrap();
    let names: Vec<&str> = services_between(monitor, workload, 8000, "/metrics", RUNNING, &view)
        .map(|service| service.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["llm", "llm-headless"]);
}
