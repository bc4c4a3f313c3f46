use crate::policy::configuration::{BackendKind, Configuration};
use crate::policy::finding::Finding;
use crate::policy::rules::testing::{admit, brief, review, view};
use crate::policy::view::{ClusterView, MetricApi, MetricKey, MetricObservation, MetricPresence};

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";

const API_SERVICE: &str = "
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta2.custom.metrics.k8s.io}
spec:
  group: custom.metrics.k8s.io
  version: v1beta2
  service: {namespace: custom-metrics, name: custom-metrics-stackdriver-adapter}
";

fn deployment(image: &str) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: vllm-gemma-deployment, namespace: default}}
spec:
  selector: {{matchLabels: {{app: gemma-server}}}}
  template:
    metadata: {{labels: {{app: gemma-server}}}}
    spec:
      containers:
      - name: inference-server
        image: {image}
        args: [--model=google/gemma-3-1b-it]
"
    )
}

fn hpa(name: &str) -> String {
    super::PASSING.replace(RUNNING, &format!("'{name}'"))
}

fn backend(kind: BackendKind) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend.kind = kind;
    configuration
}

fn only(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == "metric-exists").collect()
}

fn of(yaml: &str, configuration: &Configuration) -> Vec<Finding> {
    only(review(yaml, configuration))
}

/// The severity of the one finding on a metric of that name on GMP, or `none`.
fn on(name: &str, kind: BackendKind) -> String {
    severity(&of(&hpa(name), &backend(kind)))
}

fn gmp(name: &str) -> String {
    on(name, BackendKind::Gmp)
}

fn severity(findings: &[Finding]) -> String {
    match brief(findings).as_slice() {
        [] => "none".to_owned(),
        [one] => one.split(' ').nth(1).unwrap_or_default().to_owned(),
        several => format!("{several:?}"),
    }
}

fn hint(findings: &[Finding]) -> &str {
    findings.first().and_then(|finding| finding.hint.as_deref()).unwrap_or_default()
}

#[test]
fn one_edit_away_from_a_metric_is_refused_with_the_whole_name_to_write() {
    let findings = of(super::FAILING, &Configuration::default());
    assert_eq!(brief(&findings), ["metric-exists deny spec.metrics[0].pods.metric.name"]);
    assert_eq!(hint(&findings), format!("write `{RUNNING}`"));
    assert_eq!(findings[0].value, "prometheus.googleapis.com|vllm:num_request_running|gauge");
    assert!(of(super::PASSING, &Configuration::default()).is_empty());
    assert_eq!(gmp("prometheus.googleapis.com|vllm:num_requests_runnign|gauge"), "deny", "a transposition is one edit");
}

#[test]
fn two_edits_prove_something_only_for_a_known_release() {
    let name = "prometheus.googleapis.com|vllm:num_request_runing|gauge";
    assert_eq!(gmp(name), "warn");
    let with = |image: &str| severity(&of(&format!("{}{}", hpa(name), deployment(image)), &Configuration::default()));
    assert_eq!(with("vllm/vllm-openai:v0.11.0"), "deny");
    assert_eq!(with("vllm/vllm-openai:latest"), "warn");
    assert_eq!(with("vllm/vllm-openai:v0.99.0"), "warn", "a newer release may have it");
}

#[test]
fn other_separators_and_case_are_wrong_where_the_spelling_is_fixed() {
    let findings = of(&hpa("prometheus.googleapis.com|vllm_num_requests_running|gauge"), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), format!("write `{RUNNING}`"));
    assert_eq!(gmp("prometheus.googleapis.com|vllm:Num_Requests_Running|gauge"), "deny");
    assert_eq!(
        gmp("prometheus.googleapis.com|vllm_num_requests_running|unknown"),
        "warn",
        "unknown is what a rename out of view would give"
    );
}

#[test]
fn the_suffix_of_another_type_is_refused_and_unknown_proves_nothing() {
    let findings = of(&hpa("prometheus.googleapis.com|vllm:num_requests_running|counter"), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), format!("write `{RUNNING}`"));
    assert_eq!(gmp("prometheus.googleapis.com|vllm:num_requests_running|unknown"), "none");
    assert_eq!(gmp("prometheus.googleapis.com|vllm:num_preemptions_total|counter"), "none");
    assert_eq!(gmp("prometheus.googleapis.com|vllm:num_preemptions_total|gauge"), "deny");
    assert_eq!(gmp("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge"), "none", "recorded");
    assert_eq!(gmp("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|unknown"), "none", "relabelled");
    assert_eq!(gmp("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|counter"), "deny");
}

#[test]
fn a_missing_suffix_is_refused() {
    let findings = of(&hpa("prometheus.googleapis.com|vllm:num_requests_running"), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), format!("write `{RUNNING}`"));
}

#[test]
fn a_counter_has_total_in_its_name_unless_an_adapter_takes_it_away() {
    let findings = of(&hpa("prometheus.googleapis.com|vllm:request_success|counter"), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), "write `prometheus.googleapis.com|vllm:request_success_total|counter`");
    assert_eq!(on("vllm:request_success", BackendKind::PrometheusOperator), "none");
}

#[test]
fn aliases_are_never_refused_by_themselves() {
    for name in ["vllm_num_requests_waiting", "num_requests_running", "vllm.num_requests_waiting"] {
        assert_eq!(on(name, BackendKind::PrometheusOperator), "none", "{name}");
        assert_eq!(gmp(name), "note", "{name}: the configured backend alone is no evidence");
        let seen = of(&format!("{}{API_SERVICE}", hpa(name)), &Configuration::default());
        assert_eq!(severity(&seen), "warn", "{name}");
    }
    assert_eq!(gmp("prometheus.googleapis.com|num_requests_running|gauge"), "none", "NIM exports so");
}

#[test]
fn a_name_without_decoration_is_refused_where_the_stackdriver_adapter_is_seen() {
    let findings = of(&format!("{}{API_SERVICE}", hpa("vllm:num_requests_running")), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), format!("write `{RUNNING}`"));
    assert_eq!(gmp("vllm:num_requests_running"), "warn");
    assert_eq!(on("vllm:num_requests_running", BackendKind::PrometheusOperator), "none");
}

#[test]
fn other_words_under_a_prefix_are_suspicious_and_refused_where_all_makers_are_in_view() {
    for name in [
        "prometheus.googleapis.com|vllm:queue_depth_now|gauge",
        "prometheus.googleapis.com|vllm:time_to_first_token_seconds_p95|gauge",
        "vllm_queue_depth_now",
    ] {
        let yaml = hpa(name);
        assert_eq!(severity(&of(&yaml, &Configuration::default())), "warn", "{name}");
        let first = Configuration { makers_first: true, ..Configuration::default() };
        assert_eq!(severity(&only(admit(&ClusterView::default(), &yaml, None, &first))), "deny", "{name}");
        let newer = format!("{yaml}{}", deployment("vllm/vllm-openai:v0.99.0"));
        assert_eq!(severity(&of(&newer, &first)), "warn", "{name}: a newer release may have it");
    }
}

#[test]
fn optional_families_are_a_note() {
    assert_eq!(gmp("prometheus.googleapis.com|vllm:kv_offload_bytes|gauge"), "note");
    let admitted = only(admit(
        &ClusterView::default(),
        &hpa("prometheus.googleapis.com|vllm:kv_offload_bytes|gauge"),
        None,
        &Configuration::default(),
    ));
    assert!(admitted.is_empty(), "admission is silent about what cannot be told");
}

#[test]
fn names_without_any_tie_are_not_spoken_about() {
    for name in
        ["gpu_utilization_percent", "http_requests_per_second", "custom.googleapis.com|vllm:num_request_running"]
    {
        let yaml = format!("{}{}", hpa(name), deployment("vllm/vllm-openai:v0.11.0"));
        assert!(of(&yaml, &Configuration::default()).is_empty(), "{name}");
    }
}

#[test]
fn what_a_rule_in_view_makes_exists() {
    let rules = |record: &str| {
        format!(
            "---
apiVersion: monitoring.googleapis.com/v1
kind: Rules
metadata: {{name: r, namespace: default}}
spec:
  groups:
  - name: g
    interval: 15s
    rules:
    - record: {record}
      expr: sum by (pod) (vllm:num_requests_running)
"
        )
    };
    let name = "prometheus.googleapis.com|vllm:num_request_running|gauge";
    let made = format!("{}{}", hpa(name), rules("vllm:num_request_running"));
    assert_eq!(severity(&of(&made, &Configuration::default())), "none");
    let suffix =
        format!("{}{}", hpa("prometheus.googleapis.com|vllm:requests_average|counter"), rules("vllm:requests_average"));
    assert_eq!(severity(&of(&suffix, &Configuration::default())), "deny", "a recorded series is a gauge");
    let elsewhere = made.replace("name: r, namespace: default", "name: r, namespace: other");
    assert_eq!(
        severity(&of(&elsewhere, &Configuration::default())),
        "deny",
        "a Rules makes series of its own namespace"
    );
}

#[test]
fn of_two_names_of_their_own_the_autoscalers_is_at_fault() {
    let adapter = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: adapter-config, namespace: monitoring}
data:
  config.yaml: |
    rules:
    - seriesQuery: 'vllm:num_requests_running{namespace!=\"\",pod!=\"\"}'
      resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
      name: {as: inference_load}
      metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
";
    let yaml = |name: &str| format!("{}{adapter}{}", hpa(name), deployment("vllm/vllm-openai:v0.11.0"));
    assert_eq!(severity(&of(&yaml("inference_load"), &Configuration::default())), "none");
    let findings = of(&yaml("inference_laod"), &Configuration::default());
    assert_eq!(severity(&findings), "warn");
    assert_eq!(hint(&findings), "write `inference_load`");
    assert_eq!(
        severity(&of(&yaml("vllm_num_requests_running"), &Configuration::default())),
        "none",
        "an alias is right; the rule is at fault"
    );
}

#[test]
fn an_adapter_configuration_that_does_not_parse_makes_metrics_unknown() {
    let broken = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: adapter-config, namespace: monitoring}
data:
  config.yaml: |
    rules:
    - seriesQuery: 'a'
        - seriesQuery: 'b'
      name: {as: x}
      metricsQuery: 'c'
";
    let yaml = format!("{}{broken}", hpa("vllm_num_request_waiting"));
    assert_eq!(severity(&of(&yaml, &Configuration::default())), "none");
}

#[test]
fn an_autoscaling_metric_decides_about_its_own_names() {
    let object = "---
apiVersion: autoscaling.gke.io/v1beta1
kind: AutoscalingMetric
metadata: {name: vllm, namespace: default}
spec:
  metrics:
  - pod:
      selector: {matchLabels: {app: gemma-server}}
      containers:
      - endpoint: {port: 8000, path: /metrics}
        metrics:
        - gauge: {name: running, prometheusMetricName: 'vllm:num_requests_running'}
";
    let target = deployment("vllm/vllm-openai:v0.11.0");
    let with = |name: &str, more: &str| format!("{}{more}{target}", hpa(name));
    let gke = backend(BackendKind::GkeManaged);
    assert_eq!(severity(&of(&with("autoscaling.gke.io|vllm|running", object), &gke)), "none");
    assert_eq!(severity(&of(&with("autoscaling.gke.io|vllm|running", ""), &gke)), "note", "it may come later");
    let mut closed = view(&target);
    closed.closed.insert("AutoscalingMetric".to_owned());
    let findings = only(admit(&closed, &hpa("autoscaling.gke.io|vllm|running"), None, &gke));
    assert_eq!(severity(&findings), "warn", "it may be applied after the autoscaler");
    let makers_first = Configuration { makers_first: true, ..gke };
    let findings = only(admit(&closed, &hpa("autoscaling.gke.io|vllm|running"), None, &makers_first));
    assert_eq!(severity(&findings), "deny");
}

#[test]
fn a_maker_that_a_live_view_may_lack_leaves_a_near_miss_open() {
    let mut live = view(&deployment("vllm/vllm-openai:v0.11.0"));
    let near_miss = hpa("prometheus.googleapis.com|vllm:num_requests_runing|gauge");
    let said = |view: &_| severity(&only(admit(view, &near_miss, None, &Configuration::default())));
    assert_eq!(said(&live), "deny");
    live.partial.insert("Rules".to_owned());
    assert_eq!(said(&live), "warn");
    live.partial.clear();
    live.partial.insert("Node".to_owned());
    assert_eq!(said(&live), "deny", "a node makes no metric");
}

#[test]
fn kedas_own_autoscaler_and_datadog_are_judged_by_their_objects() {
    let owned = super::FAILING.replace(
        "  namespace: default\n",
        "  namespace: default\n  ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: s, uid: u, controller: true}]\n",
    );
    assert!(of(&owned, &Configuration::default()).is_empty());
    let target = deployment("vllm/vllm-openai:v0.11.0");
    for name in ["s0-prometheus", "datadogmetric@default:vllm-running"] {
        assert!(of(&format!("{}{target}", hpa(name)), &Configuration::default()).is_empty(), "{name}");
    }
}

#[test]
fn a_misspelt_external_name_in_upper_case_is_one_fault_not_two() {
    let yaml = hpa("prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge")
        .replace("type: Pods", "type: External")
        .replace("    pods:", "    external:");
    assert!(of(&yaml, &Configuration::default()).is_empty());
}

#[test]
fn an_external_name_in_upper_case_that_is_not_served_in_lower_case_either_is_refused() {
    let external =
        hpa("Team_Queue_Depth").replace("type: Pods", "type: External").replace("    pods:", "    external:");
    let said = |presence: Option<MetricPresence>, kind: BackendKind| {
        let mut view = view(&deployment("vllm/vllm-openai:v0.11.0"));
        view.now = 100_000;
        let (name, namespace) = ("team_queue_depth".to_owned(), "default".to_owned());
        if let Some(presence) = presence {
            let observed = MetricObservation { presence, observed_at: 99_990, ready_since: Some(0) };
            view.metrics.insert(MetricKey { api: MetricApi::External, name, namespace }, observed);
        }
        severity(&only(admit(&view, &external, None, &backend(kind))))
    };
    let prometheus = BackendKind::PrometheusOperator;
    assert_eq!(said(Some(MetricPresence::Absent), prometheus), "deny");
    assert_eq!(said(Some(MetricPresence::Unknown), prometheus), "none");
    assert_eq!(said(None, prometheus), "none");
    assert_eq!(said(Some(MetricPresence::Present), prometheus), "none");
    assert_eq!(said(Some(MetricPresence::Absent), BackendKind::Gmp), "none", "`external-metric-case` refuses it");
}

fn observed(name: &str, presence: MetricPresence, observed_at: i64, ready_since: Option<i64>) -> ClusterView {
    let mut view = view(&deployment("vllm/vllm-openai:v0.11.0"));
    view.now = 100_000;
    let key = MetricKey { api: MetricApi::Custom, name: name.to_owned(), namespace: "default".to_owned() };
    view.metrics.insert(key, MetricObservation { presence, observed_at, ready_since });
    view
}

#[test]
fn a_metric_that_a_settled_target_does_not_have_is_refused() {
    let judged = |view: &ClusterView| only(admit(view, super::PASSING, None, &Configuration::default()));
    let findings = judged(&observed(RUNNING, MetricPresence::Absent, 99_990, Some(99_100)));
    assert_eq!(severity(&findings), "deny");
    assert!(hint(&findings).contains("has to exist first"), "{}", hint(&findings));
    for (what, view) in [
        ("not settled", observed(RUNNING, MetricPresence::Absent, 99_990, Some(99_101))),
        ("readiness unknown", observed(RUNNING, MetricPresence::Absent, 99_990, None)),
        ("stale", observed(RUNNING, MetricPresence::Absent, 99_399, Some(0))),
        ("unknown", observed(RUNNING, MetricPresence::Unknown, 99_990, Some(0))),
        ("another name", observed("x", MetricPresence::Absent, 99_990, Some(0))),
    ] {
        assert!(judged(&view).is_empty(), "{what}");
    }
}

#[test]
fn a_metric_that_is_served_exists_whatever_it_is_called() {
    let name = "prometheus.googleapis.com|vllm:num_request_running|gauge";
    let view = observed(name, MetricPresence::Present, 99_990, None);
    assert!(only(admit(&view, super::FAILING, None, &Configuration::default())).is_empty());
}

fn scaled_object(query: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: s, namespace: default}}
spec:
  scaleTargetRef: {{name: vllm-gemma-deployment}}
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      threshold: '5'
      query: '{query}'
"
    )
}

#[test]
fn queries_are_refused_by_a_review_and_warned_about_at_admission() {
    let yaml = scaled_object("sum(vllm:num_request_waiting)");
    let findings = of(&yaml, &Configuration::default());
    assert_eq!(brief(&findings), ["metric-exists deny spec.triggers[0].metadata.query"]);
    let findings = only(admit(&ClusterView::default(), &yaml, None, &Configuration::default()));
    assert_eq!(brief(&findings), ["metric-exists warn spec.triggers[0].metadata.query"]);
}

#[test]
fn right_queries_pass() {
    for query in [
        "sum(vllm:num_requests_waiting{namespace=\"default\"})",
        "100 * avg(vllm:kv_cache_usage_perc)",
        "histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[1m])))",
        "avg(DCGM_FI_DEV_GPU_UTIL)",
        "sum(rate(vllm:request_success_total[1m]))",
        "sum(vllm_num_requests_waiting)",
        "sum(http_requests)",
    ] {
        let target = format!("---\n{}", deployment("vllm/vllm-openai:v0.11.0"));
        let findings = of(&format!("{}{target}", scaled_object(query)), &Configuration::default());
        assert!(findings.is_empty(), "{query}: {:?}", brief(&findings));
    }
}

#[test]
fn a_counter_in_a_query_has_total() {
    let findings = of(&scaled_object("sum(rate(vllm:request_success[1m]))"), &Configuration::default());
    assert_eq!(severity(&findings), "deny");
    assert_eq!(hint(&findings), "write `vllm:request_success_total`");
}

#[test]
fn numbered_engines_and_links_of_a_gpu_are_fields_of_their_own() {
    for name in ["DCGM_FI_PROF_NVDEC1_ACTIVE", "DCGM_FI_PROF_NVJPG7_ACTIVE", "DCGM_FI_DEV_NVLINK_BANDWIDTH_L3"] {
        let found = brief(&of(&hpa(name), &Configuration::default()));
        assert!(found.iter().all(|finding| finding.contains(" note ")), "{name}: {found:?}");
    }
}
