//! The recording rule is evaluated here, by an evaluator that knows only what the rule uses: a selector with equalities,
//! and `avg by` and `max by`.

use promql_parser::label::MatchOp;
use promql_parser::parser::token::{T_AVG, T_MAX};
use promql_parser::parser::{self, Expr, LabelModifier};

use super::*;

type Series = (BTreeMap<String, String>, f64);

fn series(labels: &[(&str, &str)], value: f64) -> Series {
    let mut all = BTreeMap::from([
        ("__name__".to_owned(), COUNTER.to_owned()),
        ("namespace".to_owned(), "models".to_owned()),
        ("job".to_owned(), "dcgm".to_owned()),
        ("instance".to_owned(), "10.0.0.1:9400".to_owned()),
        ("Hostname".to_owned(), "node-1".to_owned()),
        ("modelName".to_owned(), "NVIDIA L4".to_owned()),
        ("container".to_owned(), "server".to_owned()),
    ]);
    all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    (all, value)
}

fn evaluate(expression: &Expr, database: &[Series]) -> Vec<Series> {
    match expression {
        Expr::Paren(paren) => evaluate(&paren.expr, database),
        Expr::VectorSelector(selector) => {
            assert!(selector.matchers.or_matchers.is_empty());
            let name = selector.name.as_deref().unwrap();
            let matches = |labels: &BTreeMap<String, String>| {
                labels["__name__"] == name
                    && selector.matchers.matchers.iter().all(|matcher| {
                        let value = labels.get(&matcher.name).map_or("", String::as_str);
                        match matcher.op {
                            MatchOp::Equal => value == matcher.value,
                            MatchOp::NotEqual => value != matcher.value,
                            _ => panic!("not used by the rule"),
                        }
                    })
            };
            database.iter().filter(|(labels, _)| matches(labels)).cloned().collect()
        }
        Expr::Aggregate(aggregate) => {
            let Some(LabelModifier::Include(by)) = &aggregate.modifier else { panic!("not used by the rule") };
            let mut groups: BTreeMap<BTreeMap<String, String>, Vec<f64>> = BTreeMap::new();
            for (labels, value) in evaluate(&aggregate.expr, database) {
                // An absent label and an empty one are the same.
                let group = by.labels.iter().filter_map(|key| Some((key.clone(), labels.get(key)?.clone())));
                groups.entry(group.collect()).or_default().push(value);
            }
            #[allow(clippy::cast_precision_loss)]
            let combine = |values: Vec<f64>| match aggregate.op.id() {
                T_AVG => values.iter().sum::<f64>() / values.len() as f64,
                T_MAX => values.into_iter().fold(f64::MIN, f64::max),
                _ => panic!("not used by the rule"),
            };
            groups.into_iter().map(|(labels, values)| (labels, combine(values))).collect()
        }
        _ => panic!("not used by the rule"),
    }
}

/// The result by pod, of both backends' rules, which must agree on it.
fn by_pod(database: &[Series]) -> BTreeMap<String, f64> {
    let [gmp, operator] = [BackendKind::Gmp, BackendKind::PrometheusOperator].map(|backend| {
        let rule = shared_gpu_objects(backend).remove(1);
        let expression = rule["spec"]["groups"][0]["rules"][0]["expr"].as_str().unwrap().to_owned();
        let result = evaluate(&parser::parse(&expression).unwrap(), database);
        let count = result.len();
        let pods: BTreeMap<String, f64> =
            result.into_iter().map(|(labels, value)| (labels["pod"].clone(), value)).collect();
        assert_eq!(pods.len(), count, "one number a pod");
        pods
    });
    assert_eq!(gmp, operator);
    gmp
}

fn gpu(pod: &str, index: usize, value: f64) -> Series {
    series(&[("pod", pod), ("gpu", &index.to_string()), ("UUID", &format!("GPU-{pod}-{index}"))], value)
}

fn pods(expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    expected.iter().map(|(pod, value)| ((*pod).to_owned(), *value)).collect()
}

#[test]
fn eight_busy_gpus_give_100_and_not_800() {
    let database: Vec<Series> = (0..8).map(|index| gpu("a", index, 100.0)).collect();
    assert_eq!(by_pod(&database), pods(&[("a", 100.0)]));
}

#[test]
fn a_pod_is_the_mean_of_its_gpus() {
    assert_eq!(by_pod(&[gpu("a", 0, 100.0), gpu("a", 1, 0.0)]), pods(&[("a", 50.0)]));
}

#[test]
fn a_second_scraper_and_a_second_exporter_change_nothing() {
    let once: Vec<Series> =
        (0..4).map(|index| gpu("a", index, 20.0 * f64::from(u8::try_from(index).unwrap()))).collect();
    let mut twice = once.clone();
    for (labels, value) in &once {
        let mut other = labels.clone();
        other.insert("job".to_owned(), "another".to_owned());
        other.insert("instance".to_owned(), "10.0.0.1:9401".to_owned());
        other.insert("Hostname".to_owned(), "exporter-x7f2p".to_owned());
        twice.push((other, *value));
    }
    assert_eq!(by_pod(&once), pods(&[("a", 30.0)]));
    assert_eq!(by_pod(&twice), by_pod(&once));
}

#[test]
fn two_pods_stay_apart_even_on_one_node() {
    assert_eq!(by_pod(&[gpu("a", 0, 10.0), gpu("b", 1, 90.0)]), pods(&[("a", 10.0), ("b", 90.0)]));
}

#[test]
fn pods_of_one_name_in_two_namespaces_stay_apart() {
    let mut other = gpu("a", 1, 90.0);
    other.0.insert("namespace".to_owned(), "other".to_owned());
    let expression = parser::parse(&expression(PROMETHEUS_LABELS)).unwrap();
    assert_eq!(evaluate(&expression, &[gpu("a", 0, 10.0), other]).len(), 2);
}

#[test]
fn mig_instances_of_one_gpu_count_one_by_one() {
    let instance = |id: &str, value| {
        series(&[("pod", "a"), ("gpu", "0"), ("UUID", "GPU-1"), ("GPU_I_ID", id), ("GPU_I_PROFILE", "1g.5gb")], value)
    };
    assert_eq!(by_pod(&[instance("7", 100.0), instance("8", 0.0)]), pods(&[("a", 50.0)]));
}

#[test]
fn idle_gpus_and_series_under_the_exporters_own_pod_are_not_counted() {
    let idle = series(&[("pod", ""), ("namespace", ""), ("gpu", "1"), ("UUID", "GPU-2")], 0.0);
    let unattributed = series(&[("gpu", "2"), ("UUID", "GPU-3")], 0.0);
    let renamed = series(&[("pod", "dcgm-exporter-x"), ("exported_pod", "a"), ("gpu", "0"), ("UUID", "GPU-a-0")], 80.0);
    assert_eq!(by_pod(&[gpu("a", 0, 80.0), idle, unattributed, renamed]), pods(&[("a", 80.0)]));
}

#[test]
fn the_labels_that_the_stackdriver_adapter_filters_on_are_kept() {
    let located = |pod: &str, cluster: &str| {
        let mut series = gpu(pod, 0, 50.0);
        for (key, value) in [("project_id", "p"), ("location", "europe-west4"), ("cluster", cluster)] {
            series.0.insert(key.to_owned(), value.to_owned());
        }
        series
    };
    let expression = parser::parse(&expression(GMP_LABELS)).unwrap();
    let result = evaluate(&expression, &[located("a", "one"), located("a", "two")]);
    assert_eq!(result.len(), 2);
    let keys: Vec<&str> = result[0].0.keys().map(String::as_str).collect();
    assert_eq!(keys, ["cluster", "location", "namespace", "pod", "project_id"]);
}

#[test]
fn the_shared_objects_are_cluster_wide_on_gmp_and_select_the_exporter() {
    let [monitoring, rules] = shared_gpu_objects(BackendKind::Gmp).try_into().unwrap();
    assert_eq!(
        monitoring["spec"],
        json!({
            "selector": { "matchLabels": { "app.kubernetes.io/name": "gke-managed-dcgm-exporter" } },
            "endpoints": [{
                "port": "metrics",
                "interval": "15s",
                "metricRelabeling": [
                    { "sourceLabels": ["__name__"], "regex": "DCGM_FI_DEV_GPU_UTIL", "action": "keep" },
                ],
            }],
            "targetLabels": { "metadata": [] },
        })
    );
    assert_eq!((&monitoring["kind"], &rules["kind"]), (&json!("ClusterPodMonitoring"), &json!("ClusterRules")));
    assert_eq!(rules["spec"]["groups"][0]["rules"][0]["record"], GPU_SERIES);
    assert!(shared_gpu_objects(BackendKind::Keda).is_empty());
}

#[test]
fn monitor_labels_reach_both_operator_objects_and_replace_none_of_ours() {
    let labels = BTreeMap::from([
        ("release".to_owned(), "prometheus".to_owned()),
        (MANAGED_BY.to_owned(), "somebody".to_owned()),
    ]);
    for object in shared_gpu_objects_labelled(BackendKind::PrometheusOperator, &labels) {
        assert_eq!(object["metadata"]["labels"]["release"], "prometheus");
        assert_eq!(object["metadata"]["labels"][MANAGED_BY], MANAGER);
    }
}
