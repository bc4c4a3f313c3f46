use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::engine::MetricKind;

fn makers(object: &Value) -> Makers {
    let (of, object) = Object::from_value(object).unwrap();
    makers_of(&of, &object)
}

fn view(objects: &[Value]) -> ClusterView {
    let mut view = ClusterView::default();
    for object in objects {
        let (of, object) = Object::from_value(object).unwrap();
        view.apply(&of, object);
    }
    view
}

fn names(makers: &Makers) -> Vec<&str> {
    makers.made.iter().map(|made| made.name.as_str()).collect()
}

fn adapter(configuration: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "adapter", "namespace": "monitoring"},
        "data": {"config.yaml": configuration}})
}

fn rules(api_version: &str, kind: &str, namespace: Option<&str>, record: &str, expr: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "r"},
        "spec": {"groups": [{"name": "g", "rules": [{"record": record, "expr": expr}, {"alert": "A", "expr": "x"}]}]}});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

const GMP: &str = "monitoring.googleapis.com/v1";
const OPERATOR: &str = "monitoring.coreos.com/v1";

#[test]
fn every_kind_of_recording_rule_makes_its_records() {
    for (api_version, kind) in
        [(GMP, "Rules"), (GMP, "ClusterRules"), (GMP, "GlobalRules"), (OPERATOR, "PrometheusRule")]
    {
        let made = makers(&rules(api_version, kind, Some("default"), "dcgm_fi_dev_gpu_util", "DCGM_FI_DEV_GPU_UTIL"));
        assert_eq!(made.made.len(), 1, "{kind}");
        let made = &made.made[0];
        assert_eq!(made.name, "dcgm_fi_dev_gpu_util");
        assert_eq!(made.by, MakerKind::RecordingRule);
        assert_eq!(made.from, ["DCGM_FI_DEV_GPU_UTIL"]);
        assert_eq!(made.kind, Some(MetricKind::Gauge));
        assert_eq!(made.object.kind, kind);
    }
}

#[test]
fn a_record_whose_expression_does_not_parse_is_made_all_the_same() {
    let made = makers(&rules(GMP, "Rules", None, "x", "sum("));
    assert_eq!(names(&made), ["x"]);
    assert!(made.made[0].from.is_empty() && made.made[0].kind.is_none());
}

#[test]
fn a_namespaced_rule_of_gmp_makes_its_names_for_its_own_namespace() {
    let table = [
        (GMP, "Rules", Some("default"), Some("default"), true),
        (GMP, "Rules", Some("default"), Some("vllm"), false),
        (GMP, "Rules", None, Some("vllm"), true),
        (GMP, "Rules", Some("default"), None, true),
        (GMP, "ClusterRules", None, Some("vllm"), true),
        (GMP, "GlobalRules", None, Some("vllm"), true),
        (OPERATOR, "PrometheusRule", Some("monitoring"), Some("vllm"), true),
    ];
    for (api_version, kind, at, namespace, expected) in table {
        let view = view(&[rules(api_version, kind, at, "made", "x")]);
        assert_eq!(makers_for(&view, "made", namespace).any(), expected, "{kind} {at:?} {namespace:?}");
        let spelt = spelling::gmp("made", "gauge");
        assert_eq!(makers_for(&view, &spelt, namespace).any(), expected, "{kind} {at:?} {namespace:?}");
        assert!(!makers_for(&view, "other", namespace).may());
    }
}

#[test]
fn renaming_by_relabelling_makes_names() {
    let rename = |rules: Value| {
        makers(&json!({"apiVersion": GMP, "kind": "ClusterPodMonitoring", "metadata": {"name": "m"},
            "spec": {"selector": {}, "endpoints": [{"port": "metrics", "interval": "15s", "metricRelabeling": rules}]}}))
    };
    let keep = json!({"action": "keep", "sourceLabels": ["__name__"], "regex": "DCGM_FI_DEV_GPU_UTIL"});
    let lower = json!({"action": "lowercase", "sourceLabels": ["__name__"], "targetLabel": "__name__"});

    let made = rename(json!([keep, lower]));
    assert_eq!(names(&made), ["dcgm_fi_dev_gpu_util"]);
    assert_eq!(made.made[0].from, ["DCGM_FI_DEV_GPU_UTIL"]);
    assert_eq!(made.made[0].by, MakerKind::Relabelling);
    assert_eq!(made.patterns, []);

    let made = rename(json!([lower]));
    assert!(names(&made).contains(&"dcgm_fi_dev_gpu_util"));
    assert!(made.patterns.iter().all(|pattern| pattern.passes_through));

    let made = rename(json!([
        {"sourceLabels": ["__name__"], "regex": "DCGM_FI_DEV_GPU_UTIL", "targetLabel": "__name__", "replacement": "gpu_util"}
    ]));
    assert_eq!(names(&made), ["gpu_util"]);
    assert_eq!(made.made[0].from, ["DCGM_FI_DEV_GPU_UTIL"]);

    let made = rename(json!([
        {"sourceLabels": ["__name__"], "regex": "vllm:(.*)", "targetLabel": "__name__", "replacement": "vllm_$1"}
    ]));
    assert!(names(&made).contains(&"vllm_num_requests_running"), "{:?}", names(&made));
    assert_eq!(made.patterns.len(), 1);
    assert_eq!(made.patterns[0].regex, "^vllm_.+$");

    // A rule that writes another label, or drops series, makes no name.
    let made = rename(json!([keep, {"sourceLabels": ["a"], "targetLabel": "b"}]));
    assert!(made.is_empty());
}

#[test]
fn a_monitor_of_the_operator_renames_where_it_scrapes() {
    let monitor = |kind: &str, endpoints: &str, selector: Value| {
        json!({"apiVersion": OPERATOR, "kind": kind, "metadata": {"name": "m", "namespace": "monitoring"},
            "spec": {"selector": {}, "namespaceSelector": selector, endpoints: [{"port": "http", "metricRelabelings": [
                {"sourceLabels": ["__name__"], "regex": "a", "targetLabel": "__name__", "replacement": "b"}]}]}})
    };
    for (kind, endpoints) in [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")] {
        let table = [
            (json!({}), "vllm", false),
            (json!({}), "monitoring", true),
            (json!({"any": true}), "vllm", true),
            (json!({"matchNames": ["vllm"]}), "vllm", true),
            (json!({"matchNames": ["vllm"]}), "monitoring", false),
        ];
        for (selector, namespace, expected) in table {
            let view = view(&[monitor(kind, endpoints, selector.clone())]);
            assert_eq!(makers_for(&view, "b", Some(namespace)).any(), expected, "{kind} {selector} {namespace}");
        }
    }
}

#[test]
fn an_autoscaling_metric_makes_names_under_its_own() {
    let object = json!({"apiVersion": "autoscaling.gke.io/v1beta1", "kind": "AutoscalingMetric",
    "metadata": {"name": "vllm", "namespace": "default"},
    "spec": {"metrics": [
        {"pod": {"selector": {"matchLabels": {"app": "vllm"}}, "containers": [{"endpoint": {"port": 8000, "path": "/metrics"},
            "metrics": [{"gauge": {"name": "running", "prometheusMetricName": "vllm:num_requests_running"}}]}]}},
        {"promql": {"name": "queue", "query": "sum(rate(vllm:prompt_tokens_total[1m]))"}},
    ]}});
    let made = makers(&object);
    assert_eq!(names(&made), ["autoscaling.gke.io|vllm|running", "autoscaling.gke.io|vllm|queue"]);
    assert_eq!(made.made[0].from, ["vllm:num_requests_running"]);
    assert_eq!(made.made[1].from, ["vllm:prompt_tokens_total"]);
    assert_eq!(made.made[1].kind, Some(MetricKind::Gauge));

    let view = view(&[object]);
    let any = |name: &str, namespace: &str| makers_for(&view, name, Some(namespace)).any();
    assert!(any("autoscaling.gke.io|vllm|running", "default"));
    assert!(!any("autoscaling.gke.io|vllm|running", "other"));
    assert!(!any("autoscaling.gke.io|other|running", "default"));
    assert!(!any("running", "default"));
    assert!(!any("prometheus.googleapis.com|running|gauge", "default"));
}

#[test]
fn an_adapter_rule_makes_the_name_that_as_says() {
    let made = makers(&adapter(
        r#"
rules:
- seriesQuery: 'vllm:num_requests_running'
  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
  name: {matches: "vllm:num_requests_running", as: "vllm_num_requests_running"}
  metricsQuery: 'sum(vllm:num_requests_running{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
- seriesQuery: 'vllm:prompt_tokens_total{namespace!="",pod!=""}'
  name: {matches: "^(.*)_total$", as: "${1}_per_second"}
  metricsQuery: 'sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)'
- seriesQuery: 'vllm:generation_tokens_total'
  name: {matches: "^(.*)_total$"}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
- seriesQuery: 'vllm:e2e_request_latency_seconds_sum'
  name: {as: "mean_latency"}
  metricsQuery: 'sum(vllm:e2e_request_latency_seconds_sum{<<.LabelMatchers>>}) by (<<.GroupBy>>) / sum(vllm:e2e_request_latency_seconds_count{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
- seriesQuery: 'dcgm_fi_dev_gpu_util_relabelled'
  name: {matches: "dcgm_fi_dev_gpu_util_relabelled", as: "gpu_utilization_percent"}
  metricsQuery: 'max(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
externalRules:
- seriesQuery: 'vllm:num_requests_waiting'
  name: {as: "vllm_waiting"}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>})'
"#,
    ));
    assert_eq!(made.unreadable, None);
    let table = [
        ("vllm_num_requests_running", "vllm:num_requests_running", Some(MetricKind::Gauge)),
        ("vllm:prompt_tokens_per_second", "vllm:prompt_tokens_total", Some(MetricKind::Gauge)),
        ("vllm:generation_tokens", "vllm:generation_tokens_total", Some(MetricKind::Counter)),
        ("mean_latency", "vllm:e2e_request_latency_seconds_sum", Some(MetricKind::Gauge)),
        ("gpu_utilization_percent", "dcgm_fi_dev_gpu_util_relabelled", None),
        ("vllm_waiting", "vllm:num_requests_waiting", Some(MetricKind::Gauge)),
    ];
    assert_eq!(made.made.len(), table.len());
    for (made, (name, from, kind)) in made.made.iter().zip(table) {
        assert_eq!(made.name, name);
        assert_eq!(made.from.first().map(String::as_str), Some(from), "{name}");
        assert_eq!(made.kind, kind, "{name}");
        let external = name == "vllm_waiting";
        assert_eq!(made.by == MakerKind::ExternalAdapterRule, external, "{name}");
    }
    assert_eq!(made.patterns, []);
}

#[test]
fn an_adapter_rule_over_an_expression_makes_catalogued_names_and_may_make_others() {
    let configuration = r#"
rules:
- seriesQuery: '{__name__=~"^vllm:.*",namespace!="",pod!=""}'
  seriesFilters: [{isNot: "_total$"}, {isNot: "^vllm:iteration"}]
  name: {matches: "^vllm:(.*)$", as: "vllm_$1"}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
"#;
    let made = makers(&adapter(configuration));
    assert!(names(&made).contains(&"vllm_num_requests_running"), "{:?}", names(&made));
    assert!(!names(&made).iter().any(|name| name.ends_with("_total")));
    assert!(!names(&made).iter().any(|name| name.to_lowercase().starts_with("dcgm")));
    assert_eq!(made.patterns.len(), 1);
    assert_eq!(made.patterns[0].regex, "^vllm_.+$");

    let view = view(&[adapter(configuration)]);
    let found = makers_for(&view, "vllm_num_requests_runing", Some("vllm"));
    assert!(!found.any() && found.may() && found.may_coin());
    assert!(!makers_for(&view, "vllm:num_requests_runing", Some("vllm")).may());
}

#[test]
fn an_adapter_rule_that_hands_series_on_coins_no_name() {
    let view = view(&[adapter(
        r#"
rules:
- seriesQuery: '{__name__=~"^vllm:.*",pod!=""}'
  resources: {template: "<<.Resource>>"}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
"#,
    )]);
    let served = makers_for(&view, "vllm:num_requests_running", None);
    assert!(served.any() && served.may_coin());
    let misspelt = makers_for(&view, "vllm:num_requests_runing", None);
    assert!(misspelt.may() && !misspelt.may_coin());
    assert!(!makers_for(&view, "other", None).may());
}

#[test]
fn an_adapter_configuration_that_does_not_parse_is_unreadable_and_says_where() {
    // The second rule is indented under the first one, as in a published walkthrough.
    let configuration = "\
rules:
- seriesQuery: 'a'
  name:
    as: \"b\"
  metricsQuery: 'sum(a{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
  - seriesQuery: 'c'
    name:
      as: \"d\"
    metricsQuery: 'sum(c) by (<<.GroupBy>>)'
";
    let made = makers(&adapter(configuration));
    assert_eq!(made.made, []);
    let reason = made.unreadable.unwrap();
    assert!(reason.starts_with("config.yaml, line 6: is not valid YAML"), "{reason}");
    let (_, object) = Object::from_value(&adapter(configuration)).unwrap();
    let Object::ConfigMap(config_map) = object else { panic!("a ConfigMap") };
    let fault = adapter_rule::fault(&config_map).unwrap();
    assert!(fault.proven && fault.key == "config.yaml" && fault.line == Some(6), "{fault:?}");
    assert!(adapter_rule::is_adapter_configuration(&config_map));

    let view = view(&[adapter(configuration)]);
    let found = makers_for(&view, "anything", Some("vllm"));
    assert!(!found.any() && found.may() && found.may_coin());
    assert_eq!(found.unreadable.len(), 1);
    assert_eq!(found.unreadable[0].0.name, "adapter");
}

#[test]
fn an_adapter_configuration_of_another_form_is_unreadable_without_quoting_it() {
    for configuration in [
        "rules:\n- seriesQuery: {hidden: 1}\n  name: x\n",
        "rules: {hidden: 1}\n# \n  # x\nother:\n- seriesQuery: x\n",
        "rules:\n- seriesQuery: x\n  name: {matches: '('}\n",
        "rules:\n- seriesQuery: x\n  name: {matches: '(a)(b)'}\n",
        "rules:\n- seriesQuery: x\n  seriesFilters: [{is: '['}]\n",
    ] {
        let (_, object) = Object::from_value(&adapter(configuration)).unwrap();
        let Object::ConfigMap(config_map) = object else { panic!("a ConfigMap") };
        let fault = adapter_rule::fault(&config_map).unwrap();
        assert!(!fault.message.contains("hidden"), "{fault}");
        // Go reads some scalars and expressions that Rust does not; only a missing `as` is wrong for both.
        assert_eq!(fault.proven, configuration.contains("(a)(b)"), "{fault}");
    }
}

#[test]
fn a_config_map_of_something_else_makes_nothing() {
    for value in [
        "",
        "rules:\n- apiGroups: ['']\n  verbs: [get]\n",
        "see seriesQuery in the documentation",
        "rules:\n- alert: x\n  annotations: {text: 'write a seriesQuery'}\n",
        "# how to write a seriesQuery\n\tnot: [yaml",
        "{\"seriesQuery\": \"x\"}",
    ] {
        assert!(makers(&adapter(value)).is_empty(), "{value}");
    }
}

#[test]
fn an_adapter_configuration_may_hold_long_comments() {
    let comments = "  # why this rule is here\n".repeat(200);
    let made = makers(&adapter(&format!("rules:\n{comments}- seriesQuery: a\n{comments}  name: {{as: b}}\n")));
    assert_eq!(names(&made), ["b"]);
}

#[test]
fn unknown_fields_and_nulls_of_an_adapter_configuration_are_skipped() {
    let made = makers(&adapter(
        "resourceRules: {cpu: {}}\nexternalRules:\nrules:\n- seriesQuery: a\n  future: 1\n  name:\n  metricsQuery:\n",
    ));
    assert_eq!(names(&made), ["a"]);
}

proptest! {
    #[test]
    fn no_config_map_makes_it_panic(value in ".*") {
        makers(&adapter(&value));
        makers(&adapter(&format!("rules:\n- seriesQuery: {value}\n")));
    }

    #[test]
    fn no_rule_makes_it_panic(query in ".*", matches in ".*", to in ".*", metrics in ".*") {
        let configuration = json!({"rules": [{"seriesQuery": query, "name": {"matches": matches, "as": to},
            "metricsQuery": metrics}]});
        makers(&adapter(&configuration.to_string()));
        makers(&rules(GMP, "Rules", None, &to, &query));
        let relabel = json!([{"sourceLabels": ["__name__"], "targetLabel": "__name__", "regex": matches, "replacement": to}]);
        makers(&json!({"apiVersion": GMP, "kind": "PodMonitoring", "metadata": {"name": "m"},
            "spec": {"endpoints": [{"metricRelabeling": relabel}]}}));
    }
}

#[test]
fn a_rule_with_one_name_for_several_series_reads_them_all() {
    let made = makers(&adapter(
        "rules:\n- seriesQuery: '{__name__=~\"vllm:(gpu|kv)_cache_usage_perc\"}'\n  name: {as: cache_usage}\n  \
         metricsQuery: max(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)\n",
    ));
    let mut from = made.made[0].from.clone();
    from.sort();
    assert_eq!(from, ["vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"]);
    assert_eq!(made.made[0].kind, Some(MetricKind::Gauge));
}
