use serde_json::{Value, json};

use super::testing::{server_mut, workload};
use super::*;
use crate::policy::configuration::Backend;
use crate::policy::engine::Version;
use crate::policy::objects::{Object, SelectorRequirement, WorkloadKind};
use crate::policy::settings::{self, LABEL, PREFIX, Wish};
use crate::policy::workload::{DeclaredPort, Port, Reading};

fn settings_of(workload: &Workload, configuration: &Configuration) -> Settings {
    match settings::read(&workload.metadata, configuration).wish {
        Ok(Wish::Enabled(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn labelled(profile: &str, annotations: &[(&str, &str)]) -> Workload {
    let mut workload = workload();
    workload.metadata.labels.insert(LABEL.to_owned(), profile.to_owned());
    for (name, value) in annotations {
        workload.metadata.annotations.insert(format!("{PREFIX}{name}"), (*value).to_owned());
    }
    workload
}

fn operator() -> Configuration {
    let monitor_labels = std::collections::BTreeMap::from([("release".to_owned(), "prometheus".to_owned())]);
    let backend = Backend { kind: BackendKind::PrometheusOperator, monitor_labels, ..Backend::default() };
    Configuration { backend, ..Configuration::default() }
}

fn rendered_with(workload: &Workload, configuration: &Configuration) -> Result<Rendered, CannotRender> {
    render(workload, &settings_of(workload, configuration), configuration, &|_| false)
}

fn rendered(workload: &Workload) -> Rendered {
    rendered_with(workload, &Configuration::default()).unwrap()
}

fn hpa_of(rendered: &Rendered) -> &Value {
    rendered.objects.iter().find(|object| object["kind"] == "HorizontalPodAutoscaler").unwrap()
}

fn targets(rendered: &Rendered) -> Vec<(String, String)> {
    let metrics = hpa_of(rendered)["spec"]["metrics"].as_array().unwrap();
    metrics
        .iter()
        .map(|metric| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&metric["pods"]["metric"]["name"]), text(&metric["pods"]["target"]["averageValue"]))
        })
        .collect()
}

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const WAITING: &str = "prometheus.googleapis.com|vllm:num_requests_waiting|gauge";

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn server_metrics_renders_a_pod_monitoring_and_an_hpa() {
    let rendered = rendered(&labelled("server-metrics", &[]));
    assert_eq!(
        json!(rendered.objects),
        json!([
            {
                "apiVersion": "monitoring.googleapis.com/v1",
                "kind": "PodMonitoring",
                "metadata": {
                    "name": "vllm-gemma-deployment",
                    "namespace": "default",
                    "labels": {
                        "app.kubernetes.io/managed-by": "scalegate", "scalegate.dev/profile": "server-metrics",
                    },
                },
                "spec": {
                    "selector": { "matchLabels": { "app": "gemma-server" } },
                    "endpoints": [{ "port": 8081, "path": "/metrics", "interval": "15s" }],
                },
            },
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {
                    "name": "vllm-gemma-deployment",
                    "namespace": "default",
                    "labels": {
                        "app.kubernetes.io/managed-by": "scalegate", "scalegate.dev/profile": "server-metrics",
                    },
                },
                "spec": {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm-gemma-deployment",
                    },
                    "minReplicas": 1,
                    "maxReplicas": 5,
                    "metrics": [{
                        "type": "Pods",
                        "pods": {
                            "metric": { "name": RUNNING },
                            "target": { "type": "AverageValue", "averageValue": "4" },
                        },
                    }],
                    "behavior": {
                        "scaleDown": {
                            "stabilizationWindowSeconds": 30,
                            "policies": [{ "type": "Percent", "value": 100, "periodSeconds": 15 }],
                        },
                    },
                },
            },
        ])
    );
    assert_eq!(rendered.notes, Vec::<String>::new());
}

#[test]
fn gpu_metrics_renders_the_hpa_alone() {
    let mut workload = labelled("gpu-metrics", &[]);
    server_mut(&mut workload).port = Port::Unknown { reason: "a script starts it".to_owned() };
    let rendered = rendered(&workload);
    assert_eq!(rendered.objects.len(), 1);
    assert_eq!(targets(&rendered), pairs(&[("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge", "20")]));
}

#[test]
fn throughput_scales_on_waiting_and_on_a_share_of_the_ceiling() {
    for value in ["throughput", "enabled"] {
        let rendered = rendered(&labelled(value, &[]));
        assert_eq!(targets(&rendered), pairs(&[(WAITING, "5"), (RUNNING, "51")]));
        let spec = &hpa_of(&rendered)["spec"];
        assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(1), &json!(2)));
        assert_eq!(
            spec["behavior"],
            json!({
                "scaleUp": { "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 60 }] },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 120 }],
                },
            })
        );
        assert_eq!(hpa_of(&rendered)["metadata"]["labels"][PROFILE_LABEL], "throughput");
    }
}

#[test]
fn an_unknown_ceiling_leaves_the_running_target_out_and_says_so() {
    let mut workload = labelled("throughput", &[]);
    server_mut(&mut workload).max_num_seqs = None;
    let rendered = rendered(&workload);
    assert_eq!(targets(&rendered), pairs(&[(WAITING, "5")]));
    assert_eq!(rendered.notes.len(), 1);
    assert!(rendered.notes[0].contains("--max-num-seqs"), "{:?}", rendered.notes);
}

#[test]
fn latency_takes_half_the_ceiling_over_all_ranks() {
    let mut workload = labelled("latency", &[]);
    server_mut(&mut workload).data_parallel = 2;
    assert_eq!(targets(&rendered(&workload)), pairs(&[(RUNNING, "64")]));
    server_mut(&mut workload).max_num_seqs = None;
    assert_eq!(targets(&rendered(&workload)), pairs(&[(RUNNING, "4")]));
}

#[test]
fn a_profile_that_has_nothing_left_renders_nothing() {
    let mut workload = labelled("latency", &[]);
    server_mut(&mut workload).max_num_seqs = Some(1);
    let CannotRender::Reason(reason) = rendered_with(&workload, &Configuration::default()).unwrap_err();
    assert!(reason.contains("latency") && reason.contains("below 1"), "{reason}");
}

#[test]
fn annotations_add_and_replace_targets() {
    let annotations = [
        ("target-requests-waiting", "2.5"),
        ("target-kv-cache-usage", "0.8"),
        ("target-gpu-utilization", "60"),
        ("max-replicas", "9"),
    ];
    let rendered = rendered(&labelled("throughput", &annotations));
    assert_eq!(
        targets(&rendered),
        pairs(&[
            (WAITING, "2500m"),
            (RUNNING, "51"),
            ("prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge", "800m"),
            ("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge", "60"),
        ])
    );
    assert_eq!(hpa_of(&rendered)["spec"]["maxReplicas"], 9);
}

#[test]
fn the_kv_metric_follows_release_and_engine_generation() {
    let mut workload = labelled("server-metrics", &[("target-kv-cache-usage", "0.8")]);
    let name = |workload: &Workload| targets(&rendered(workload)).remove(1).0;
    server_mut(&mut workload).version = Some(Version::new(0, 9, 1));
    assert!(name(&workload).contains("gpu_cache_usage_perc"));
    server_mut(&mut workload).version = Some(Version::new(0, 10, 0));
    assert!(name(&workload).contains("kv_cache_usage_perc"));
    server_mut(&mut workload).use_v1 = Some(false);
    assert!(name(&workload).contains("gpu_cache_usage_perc"));
}

#[test]
fn prometheus_operator_gets_a_pod_monitor_and_names_without_colons() {
    let workload = labelled("server-metrics", &[("scrape-interval", "1m"), ("metrics-path", "/stats")]);
    let rendered = rendered_with(&workload, &operator()).unwrap();
    assert_eq!(targets(&rendered), pairs(&[("vllm_num_requests_running", "4")]));
    let monitor = &rendered.objects[0];
    assert_eq!((&monitor["apiVersion"], &monitor["kind"]), (&json!("monitoring.coreos.com/v1"), &json!("PodMonitor")));
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["labels"][MANAGED_BY], MANAGER);
    assert_eq!(
        monitor["spec"],
        json!({
            "selector": { "matchLabels": { "app": "gemma-server" } },
            "podMetricsEndpoints": [{
                "relabelings": [
                    { "action": "keep", "sourceLabels": ["__meta_kubernetes_pod_container_name"], "regex": "inference-server" },
                    {
                        "action": "replace", "sourceLabels": ["__meta_kubernetes_pod_ip"], "regex": "([^:]+)",
                        "targetLabel": "__address__", "replacement": "$1:8081",
                    },
                    {
                        "action": "replace", "sourceLabels": ["__meta_kubernetes_pod_ip"], "regex": "(.+:.+)",
                        "targetLabel": "__address__", "replacement": "[$1]:8081",
                    },
                ],
                "path": "/stats", "interval": "60s",
            }],
        })
    );
    assert_eq!(rendered.notes, [""; 0], "no port is declared, and none needs to be");
    assert!(hpa_of(&rendered)["metadata"]["labels"].get("release").is_none());
}

#[test]
fn a_declared_port_is_a_number_and_without_a_container_the_owner_must_declare_it() {
    let mut workload = labelled("server-metrics", &[]);
    server_mut(&mut workload).declared_ports =
        vec![DeclaredPort { name: None, number: 8081, path: "spec.template.spec.containers[0].ports[0]".to_owned() }];
    let endpoint = |rendered: &Rendered| rendered.objects[0]["spec"]["podMetricsEndpoints"][0].clone();
    let rendered = rendered_with(&workload, &operator()).unwrap();
    assert_eq!(endpoint(&rendered), json!({ "portNumber": 8081, "path": "/metrics", "interval": "15s" }));
    let mut untold = labelled("server-metrics", &[("engine", "vllm"), ("metrics-port", "8081")]);
    untold.server = Reading::None { reason: String::new() };
    let rendered = rendered_with(&untold, &operator()).unwrap();
    assert_eq!(endpoint(&rendered)["portNumber"], 8081);
    assert!(rendered.notes[0].contains("containerPort 8081"), "{:?}", rendered.notes);
}

#[test]
fn backends_that_are_only_recognised_render_nothing() {
    for kind in [BackendKind::Keda, BackendKind::GkeManaged] {
        let configuration =
            Configuration { backend: Backend { kind, ..Backend::default() }, ..Configuration::default() };
        assert!(rendered_with(&labelled("server-metrics", &[]), &configuration).is_err());
    }
}

#[test]
fn the_port_must_be_known_and_can_be_given() {
    let mut workload = labelled("server-metrics", &[]);
    server_mut(&mut workload).port = Port::Unknown { reason: "a script starts it".to_owned() };
    let CannotRender::Reason(reason) = rendered_with(&workload, &Configuration::default()).unwrap_err();
    assert!(reason.contains("a script starts it") && reason.contains("scalegate.dev/metrics-port"), "{reason}");
    workload.metadata.annotations.insert(format!("{PREFIX}metrics-port"), "9000".to_owned());
    assert_eq!(rendered(&workload).objects[0]["spec"]["endpoints"][0]["port"], 9000);
}

#[test]
fn a_server_that_is_not_recognised_can_be_named() {
    let mut workload = labelled("server-metrics", &[]);
    workload.server = Reading::None { reason: "the image says nothing".to_owned() };
    let CannotRender::Reason(reason) = rendered_with(&workload, &Configuration::default()).unwrap_err();
    assert!(reason.contains("the image says nothing") && reason.contains("scalegate.dev/engine"), "{reason}");
    workload.metadata.annotations.insert(format!("{PREFIX}engine"), "vllm".to_owned());
    assert!(rendered_with(&workload, &Configuration::default()).is_err(), "the port is still unknown");
    workload.metadata.annotations.insert(format!("{PREFIX}metrics-port"), "8000".to_owned());
    assert_eq!(rendered(&workload).objects[0]["spec"]["endpoints"][0]["port"], 8000);
}

#[test]
fn another_container_than_the_one_that_was_read_is_not_guessed_at() {
    let workload = labelled("server-metrics", &[("container", "sidecar")]);
    let CannotRender::Reason(reason) = rendered_with(&workload, &Configuration::default()).unwrap_err();
    assert!(reason.contains("sidecar") && reason.contains("inference-server"), "{reason}");
}

#[test]
fn the_whole_selector_is_used_and_an_empty_one_is_refused() {
    let mut workload = labelled("server-metrics", &[]);
    workload.selector.match_expressions.push(SelectorRequirement {
        key: "tier".to_owned(),
        operator: "In".to_owned(),
        values: vec!["gpu".to_owned()],
    });
    assert_eq!(
        rendered(&workload).objects[0]["spec"]["selector"],
        json!({
            "matchLabels": { "app": "gemma-server" },
            "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["gpu"] }],
        })
    );
    workload.selector = crate::policy::objects::LabelSelector::default();
    assert!(rendered_with(&workload, &Configuration::default()).is_err());
}

#[test]
fn of_two_workloads_with_one_name_only_the_deployment_keeps_it() {
    let mut workload = labelled("server-metrics", &[]);
    workload.kind = WorkloadKind::LeaderWorkerSet;
    let configuration = Configuration::default();
    let rendered = render(&workload, &settings_of(&workload, &configuration), &configuration, &|_| true).unwrap();
    for object in &rendered.objects {
        assert_eq!(object["metadata"]["name"], "vllm-gemma-deployment-leaderworkerset");
    }
    assert_eq!(
        hpa_of(&rendered)["spec"]["scaleTargetRef"],
        json!({
            "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "vllm-gemma-deployment",
        })
    );
}

#[test]
fn nothing_of_the_workloads_labels_and_annotations_is_copied_and_replicas_are_never_set() {
    let mut workload = labelled("throughput", &[]);
    workload.metadata.labels.insert("argocd.argoproj.io/instance".to_owned(), "shop".to_owned());
    for object in rendered(&workload).objects {
        assert!(!object.to_string().contains("argocd"));
        assert!(object["spec"].get("replicas").is_none());
        assert!(object["metadata"].get("annotations").is_none());
    }
}

#[test]
fn what_is_rendered_is_what_our_own_reader_reads() {
    for configuration in [Configuration::default(), operator()] {
        for profile in profiles::BUILT_IN {
            for object in rendered_with(&labelled(profile, &[]), &configuration).unwrap().objects {
                let (of, read) = Object::from_value(&object).unwrap();
                assert!(!matches!(read, Object::Other(..)), "{of:?}");
            }
        }
        for object in shared_gpu_objects(configuration.backend.kind) {
            let (of, read) = Object::from_value(&object).unwrap();
            assert!(!matches!(read, Object::Other(..)), "{of:?}");
        }
    }
}

#[test]
fn each_metric_of_the_operators_hpa_is_made_by_a_printed_adapter_rule() {
    let workload = labelled("throughput", &[("target-kv-cache-usage", "0.8"), ("target-gpu-utilization", "60")]);
    let configuration = operator();
    let rules = adapter_rules(&workload, &settings_of(&workload, &configuration), &configuration);
    let made: Vec<String> = rules.iter().map(|rule| rule["name"]["as"].as_str().unwrap().to_owned()).collect();
    let named: Vec<String> =
        targets(&rendered_with(&workload, &configuration).unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(made, named);
    assert_eq!(
        rules[0],
        json!({
            "seriesQuery": "vllm:num_requests_waiting{namespace!=\"\",pod!=\"\"}",
            "resources": { "overrides": { "namespace": { "resource": "namespace" }, "pod": { "resource": "pod" } } },
            "name": { "matches": "^vllm:num_requests_waiting$", "as": "vllm_num_requests_waiting" },
            "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
        })
    );
    assert!(
        adapter_rules(&workload, &settings_of(&workload, &Configuration::default()), &Configuration::default())
            .is_empty()
    );
    assert_eq!(
        adapter_rule(Signal::KvCacheUsage, Some(Version::new(0, 9, 0)))["name"]["as"],
        "vllm_gpu_cache_usage_perc"
    );
}
