use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::configuration::{Backend, Profile, ProfileMetric};
use crate::policy::objects::Quantity;

fn metadata(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> ObjectMeta {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    ObjectMeta { labels: map(labels), annotations: map(annotations), ..ObjectMeta::default() }
}

fn enabled(label: &str, annotations: &[(&str, &str)]) -> Settings {
    let annotations: Vec<(String, &str)> =
        annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), *value)).collect();
    let annotations: Vec<(&str, &str)> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    match read(&metadata(&[(LABEL, label)], &annotations), &Configuration::default()).wish {
        Ok(Wish::Enabled(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn denied(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Finding {
    let mut findings = read(&metadata(labels, annotations), &Configuration::default()).wish.unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

#[test]
fn the_label_says_whether_and_how() {
    let read = |labels: &[(&str, &str)]| read(&metadata(labels, &[]), &Configuration::default()).wish;
    assert_eq!(read(&[]), Ok(Wish::Unlabelled));
    assert_eq!(read(&[(LABEL, "disabled")]), Ok(Wish::Disabled));
    let settings = enabled("server-metrics", &[]);
    assert_eq!((settings.min_replicas, settings.max_replicas, settings.max_explicit), (1, 5, false));
    assert_eq!(settings.metrics, [(Signal::RequestsRunning, ProfileTarget::Fixed(Quantity::from(4)))]);
    assert_eq!(settings.scrape_interval_seconds, 15);
    assert!(settings.generate && !settings.paused);
    let settings = enabled("enabled", &[]);
    assert_eq!((settings.profile.as_str(), settings.max_replicas), ("throughput", 2));
}

#[test]
fn annotations_go_before_the_profile() {
    let settings = enabled(
        "server-metrics",
        &[
            ("min-replicas", "2"),
            ("max-replicas", "8"),
            ("target-requests-running", "10"),
            ("target-kv-cache-usage", "0.8"),
            ("scale-up-stabilization", "1m"),
            ("scale-down-stabilization", "10m"),
            ("metrics-port", "9000"),
            ("metrics-path", "/stats"),
            ("scrape-interval", "30s"),
            ("container", "server"),
            ("engine", "vllm"),
            ("paused", "true"),
            ("generate", "false"),
        ],
    );
    assert_eq!((settings.min_replicas, settings.max_replicas, settings.max_explicit), (2, 8, true));
    assert_eq!(
        settings.metrics,
        [
            (Signal::RequestsRunning, ProfileTarget::Fixed(Quantity::new("10"))),
            (Signal::KvCacheUsage, ProfileTarget::Fixed(Quantity::new("0.8"))),
        ]
    );
    let windows = [&settings.behavior.scale_up, &settings.behavior.scale_down]
        .map(|rules| rules.as_ref().unwrap().stabilization_window_seconds);
    assert_eq!(windows, [Some(60), Some(600)]);
    assert_eq!(settings.behavior.scale_down.unwrap().policies.len(), 1, "the profile's policies stay");
    assert_eq!((settings.metrics_port, settings.metrics_path.as_deref()), (Some(9000), Some("/stats")));
    assert_eq!(settings.scrape_interval_seconds, 30);
    assert!(settings.paused && !settings.generate);
}

#[test]
fn a_misspelt_label_key_is_denied_and_the_key_that_is_meant_is_named() {
    for key in ["scalegate.dev/autoscle", "scalegate.dev/auto-scale", "scalegate.dev/autoscaling"] {
        let finding = denied(&[(key, "enabled")], &[]);
        assert_eq!(finding.field, format!("metadata.labels[{key}]"));
        assert!(finding.hint.as_deref().unwrap().contains(LABEL), "{finding:?}");
    }
    let finding = denied(&[(LABEL, "enabled")], &[("scalegate.dev/max-replica", "5")]);
    assert!(finding.hint.as_deref().unwrap().contains("scalegate.dev/max-replicas"), "{finding:?}");
}

#[test]
fn a_label_value_that_is_no_profile_is_denied_and_the_nearest_is_named() {
    let mut configuration = Configuration::default();
    configuration.profiles.insert("batch-jobs".to_owned(), Profile::default());
    for (value, meant) in [("server-metric", "server-metrics"), ("true", "enabled"), ("batch-job", "batch-jobs")] {
        let read = read(&metadata(&[(LABEL, value)], &[]), &configuration);
        let findings = read.wish.unwrap_err();
        assert_eq!(findings[0].field, "metadata.labels[scalegate.dev/autoscale]");
        assert_eq!(findings[0].value, value);
        assert!(findings[0].hint.as_deref().unwrap().contains(&format!("{meant:?}")), "{findings:?}");
    }
    assert!(denied(&[(LABEL, "banana")], &[]).hint.unwrap().starts_with("write one of server-metrics"));
    assert!(denied(&[(LABEL, "")], &[]).hint.unwrap().starts_with("write one of"));
}

#[test]
fn values_that_cannot_be_meant_are_denied_with_what_is_allowed() {
    for (name, value, hint) in [
        ("max-replicas", "abc", "from 1 to 2147483647"),
        ("max-replicas", "0", "from 1 to 2147483647"),
        ("max-replicas", "2147483648", "from 1 to 2147483647"),
        ("min-replicas", "-1", "from 0 to"),
        ("target-requests-running", "-4", "positive"),
        ("target-requests-running", "1e99", "positive"),
        ("target-requests-waiting", "0", "positive"),
        ("target-gpu-utilization", "101", "at most 100"),
        ("target-kv-cache-usage", "80", "at most 1"),
        ("target-gpu-utilization", "0.8", "per cent"),
        ("scale-down-stabilization", "30", "unit"),
        ("scale-up-stabilization", "2h", "3600s"),
        ("scrape-interval", "0s", "1s"),
        ("scrape-interval", "fast", "duration"),
        ("metrics-port", "0", "65535"),
        ("metrics-port", "65536", "65535"),
        ("metrics-path", "metrics", "/metrics"),
        ("container", "Server!", "lower-case"),
        ("engine", "vlm", "\"vllm\""),
        ("paused", "yes", "\"true\""),
        ("generate", "False", "\"false\""),
    ] {
        let key = format!("{PREFIX}{name}");
        let finding = denied(&[(LABEL, "server-metrics")], &[(&key, value)]);
        assert_eq!(finding.field, format!("metadata.annotations[{key}]"));
        assert_eq!(finding.value, value);
        assert!(finding.message.contains(&key), "{finding:?}");
        assert!(finding.hint.as_deref().unwrap().contains(hint), "{finding:?}");
    }
}

#[test]
fn fewest_and_most_replicas_must_fit() {
    let key = |name| format!("{PREFIX}{name}");
    let (min, max) = (key("min-replicas"), key("max-replicas"));
    let finding = denied(&[(LABEL, "latency")], &[(&min, "4"), (&max, "3")]);
    assert_eq!(finding.field, format!("metadata.annotations[{max}]"));
    let finding = denied(&[(LABEL, "latency")], &[(&min, "4")]);
    assert_eq!(finding.field, format!("metadata.annotations[{min}]"));
    assert!(finding.hint.unwrap().contains(&max));
}

#[test]
fn a_key_in_the_wrong_place_is_denied() {
    assert!(denied(&[], &[(LABEL, "enabled")]).hint.unwrap().contains("metadata.labels"));
    let finding = denied(&[(LABEL, "enabled"), ("scalegate.dev/max-replicas", "5")], &[]);
    assert!(finding.hint.unwrap().contains("metadata.annotations"));
    let both = read(&metadata(&[(LABEL, "enabled")], &[(LABEL, "enabled")]), &Configuration::default());
    assert!(both.wish.is_ok());
    assert_eq!(both.warnings.len(), 1);
}

#[test]
fn keys_that_nobody_reads_are_warned_about() {
    for (labels, annotations) in [
        (vec![], vec![("scalegate.dev/team", "blue")]),
        (vec![("scalegate.dev/cost-centre", "7")], vec![]),
        (vec![], vec![("scalgate.dev/max-replicas", "7")]),
        (vec![], vec![("scalegate.dev/adopt", "true")]),
        (vec![], vec![("scalegate.dev/max-replicas", "7")]),
    ] {
        let read = read(&metadata(&labels, &annotations), &Configuration::default());
        assert_eq!(read.wish, Ok(Wish::Unlabelled), "{labels:?} {annotations:?}");
        assert_eq!(read.warnings.len(), 1, "{labels:?} {annotations:?}: {:?}", read.warnings);
        assert!(read.warnings[0].hint.is_some());
    }
}

#[test]
fn our_own_annotations_and_other_peoples_keys_are_not_looked_at() {
    let others = [
        ("status.scalegate.dev/engine", "nonsense"),
        ("status.scalegate.dev/autoscale", "nonsense"),
        ("app.kubernetes.io/name", "x"),
        ("prometheus.io/scrape", "true"),
    ];
    let read = read(&metadata(&[("app", "x")], &others), &Configuration::default());
    assert_eq!(read, Read { wish: Ok(Wish::Unlabelled), warnings: Vec::new() });
}

#[test]
fn a_disabled_workload_is_not_judged_by_its_values() {
    let read =
        read(&metadata(&[(LABEL, "disabled")], &[("scalegate.dev/max-replicas", "abc")]), &Configuration::default());
    assert_eq!(read.wish, Ok(Wish::Disabled));
}

#[test]
fn only_allowed_rules_are_skipped() {
    let configuration = Configuration { allow_skip: vec!["capacity".to_owned()], ..Configuration::default() };
    let read = read(&metadata(&[(LABEL, "latency")], &[(SKIP, "capacity, capcity,,metric-exists")]), &configuration);
    let Ok(Wish::Enabled(settings)) = read.wish else { panic!("{read:?}") };
    assert_eq!(settings.skip, ["capacity"]);
    assert_eq!(read.warnings.len(), 2);
    assert!(read.warnings[0].hint.as_deref().unwrap().contains("\"capacity\""));
}

#[test]
fn profiles_of_the_configuration_are_used_by_name() {
    let mut configuration = Configuration::default();
    let metrics =
        vec![ProfileMetric { signal: Signal::KvCacheUsage, target: ProfileTarget::Fixed(Quantity::new("0.7")) }];
    let profile = Profile { metrics, min_replicas: Some(2), max_replicas: Some(9), ..Profile::default() };
    configuration.profiles.insert("batch".to_owned(), profile);
    configuration.default_profile = "batch".to_owned();
    for value in ["batch", "enabled"] {
        let Ok(Wish::Enabled(settings)) = read(&metadata(&[(LABEL, value)], &[]), &configuration).wish else {
            panic!("{value}")
        };
        assert_eq!((settings.profile.as_str(), settings.min_replicas, settings.max_replicas), ("batch", 2, 9));
    }
}

#[test]
fn scaling_to_zero_on_metrics_of_the_pods_is_denied() {
    let settings = enabled("latency", &[("min-replicas", "0")]);
    let findings = check(&settings, &crate::policy::render::testing::workload());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].field, "metadata.annotations[scalegate.dev/min-replicas]");
    assert_eq!(findings[0].value, "0");
}

#[test]
fn a_kv_target_over_several_ranks_is_denied_where_the_adapter_adds_them_up() {
    let mut workload = crate::policy::render::testing::workload();
    let mut settings = enabled("throughput", &[("target-kv-cache-usage", "0.8")]);
    assert!(check(&settings, &workload).is_empty());
    crate::policy::render::testing::server_mut(&mut workload).data_parallel = 2;
    let findings = check(&settings, &workload);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].field, "metadata.annotations[scalegate.dev/target-kv-cache-usage]");
    settings.backend = Backend { kind: BackendKind::PrometheusOperator, ..Backend::default() }.kind;
    assert!(check(&settings, &workload).is_empty());
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(LABEL.to_owned()),
        proptest::sample::select(keys::ANNOTATIONS.to_vec()).prop_map(|name| format!("{PREFIX}{name}")),
        "(status\\.)?scalegate\\.dev/[a-z-]{0,20}",
        ".{0,30}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec!["enabled", "throughput", "1e99", "-1", "30s", "99999999999999999999h", "1e-99"])
            .prop_map(str::to_owned),
        "[0-9.emsh+-]{0,12}",
        ".{0,30}",
    ]
}

proptest! {
    #[test]
    fn no_label_and_no_annotation_makes_it_panic(
        labels in proptest::collection::btree_map(key(), value(), 0..5),
        annotations in proptest::collection::btree_map(key(), value(), 0..8),
    ) {
        let metadata = ObjectMeta { labels, annotations, ..ObjectMeta::default() };
        let read = read(&metadata, &Configuration::default());
        if let Ok(Wish::Enabled(settings)) = &read.wish {
            prop_assert!(settings.min_replicas <= settings.max_replicas);
            check(settings, &crate::policy::render::testing::workload());
        }
        if let Err(findings) = &read.wish {
            prop_assert!(!findings.is_empty());
            prop_assert!(findings.iter().all(|finding| !finding.field.is_empty() && finding.hint.is_some()));
        }
    }
}
