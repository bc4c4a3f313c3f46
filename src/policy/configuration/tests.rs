use serde_json::{Value, json};

use super::*;

fn with(extra: &Value) -> Value {
    let mut document = json!({ "apiVersion": API_VERSION, "kind": KIND });
    for (key, value) in extra.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

/// The only problem of a document.
fn problem(extra: &Value) -> (String, String, String) {
    let rules = ["metric-exists", "capacity"];
    let mut problems = read_with(&with(extra), &rules).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let ConfigurationProblem { field, message, hint } = problems.remove(0);
    (field, message, hint.unwrap_or_default())
}

#[test]
fn an_empty_document_means_the_defaults() {
    assert_eq!(read(&with(&json!({}))), Ok(Configuration::default()));
    let nulls = json!({ "pools": null, "profiles": null, "maxReplicas": null, "backend": { "type": null } });
    assert_eq!(read(&with(&nulls)), Ok(Configuration::default()));
    let default = Configuration::default();
    assert_eq!((default.default_profile.as_str(), default.max_replicas), ("throughput", 2));
    assert_eq!((default.pools.complete, default.pools.provisioning), (false, false));
    assert_eq!((default.probes.settle_seconds, default.probes.look_milliseconds), (900, 300));
}

#[test]
fn every_field_is_read() {
    let read = read_with(
        &with(&json!({
            "metadata": { "name": "cluster" },
            "defaultProfile": "batch",
            "maxReplicas": 6,
            "backend": {
                "type": "prometheus-operator",
                "monitorLabels": { "release": "prometheus" },
                "adapterConfigMap": "monitoring/prometheus-adapter",
            },
            "scope": "all",
            "enforcement": {
                "mode": "warn",
                "rules": { "metric-exists": "deny", "capacity": false },
                "namespaces": [{
                    "selector": {
                        "matchLabels": { "kubernetes.io/metadata.name": "dev" },
                        "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["a"] }],
                    },
                    "mode": "off",
                    "rules": { "capacity": "audit" },
                }],
            },
            "allowSkip": ["capacity"],
            "makersFirst": true,
            "exempt": [{ "namespaces": ["kube-*"], "names": ["x"], "rules": ["capacity"] }],
            "pools": {
                "complete": true,
                "provisioning": false,
                "items": [{
                    "name": "l4",
                    "labels": { "cloud.google.com/gke-accelerator": "nvidia-l4" },
                    "taints": [{ "key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule" }],
                    "allocatable": { "nvidia.com/gpu": 1, "memory": "40Gi", "cpu": 7.5 },
                    "minNodes": 0,
                    "maxNodes": 4,
                }],
                "identityLabels": ["example.com/pool"],
            },
            "acceleratorResources": ["example.com/npu"],
            "profiles": { "batch": {
                "metrics": [
                    { "signal": "requestsRunning", "ceilingPercent": 70, "otherwise": 8 },
                    { "signal": "kvCacheUsage", "target": 0.9 },
                ],
                "minReplicas": 2,
                "maxReplicas": 8,
                "behavior": { "scaleUp": {
                    "stabilizationWindowSeconds": 10,
                    "selectPolicy": "Min",
                    "policies": [{ "type": "Pods", "value": 2, "periodSeconds": 30 }],
                    "tolerance": "0.05",
                } },
            } },
            "probes": {
                "interval": "30s", "settle": "20m", "staleAfter": "2m", "perMinute": 10, "look": "150ms",
                "control": "some_metric",
            },
        })),
        &["metric-exists", "capacity"],
    )
    .unwrap();
    assert_eq!(read.default_profile, "batch");
    assert_eq!((read.max_replicas, read.scope, read.makers_first), (6, Scope::All, true));
    assert_eq!(read.backend.kind, BackendKind::PrometheusOperator);
    assert_eq!(read.backend.adapter_config_map.as_deref(), Some("monitoring/prometheus-adapter"));
    assert_eq!(read.enforcement.mode, Some(Level::Warn));
    assert_eq!(read.enforcement.rules["capacity"], Level::Off, "YAML 1.1 reads a bare off as false");
    assert_eq!(read.enforcement.namespaces[0].mode, Some(Level::Off));
    assert_eq!(read.enforcement.namespaces[0].rules["capacity"], Level::Audit);
    assert_eq!(read.enforcement.namespaces[0].selector.match_expressions[0].values, ["a"]);
    assert_eq!(read.exempt[0].namespaces, ["kube-*"]);
    let pool = &read.pools.items[0];
    assert_eq!((pool.min_nodes, pool.max_nodes, pool.taints.len()), (Some(0), Some(4), 1));
    assert_eq!(pool.allocatable["nvidia.com/gpu"].units(), Some(1));
    assert_eq!(read.pools.identity_labels, ["example.com/pool"]);
    let profile = &read.profiles["batch"];
    assert_eq!(profile.metrics[0].target, ProfileTarget::OfCeiling { percent: 70, otherwise: Some(Quantity::from(8)) });
    assert_eq!((profile.min_replicas, profile.max_replicas), (Some(2), Some(8)));
    assert_eq!(profile.behavior.scale_up.as_ref().unwrap().policies[0].period_seconds, 30);
    assert_eq!(
        (read.probes.interval_seconds, read.probes.settle_seconds, read.probes.stale_after_seconds),
        (30, 1200, 120)
    );
    assert_eq!((read.probes.per_minute, read.probes.look_milliseconds), (10, 150));
}

#[test]
fn another_kind_or_version_is_refused_before_its_fields_are_read() {
    let fields = |document: Value| read(&document).unwrap_err().into_iter().map(|p| p.field).collect::<Vec<_>>();
    assert_eq!(fields(json!({ "nonsense": 1 })), ["apiVersion", "kind"]);
    assert_eq!(fields(json!({ "apiVersion": "scalegate.dev/v2", "kind": "Configuration", "x": 1 })), ["apiVersion"]);
    assert_eq!(fields(json!([])), [""]);
    assert_eq!(fields(json!("text")), [""]);
}

#[test]
fn unknown_keys_are_problems_that_name_the_nearest() {
    for (document, field, meant) in [
        (json!({ "maxReplica": 3 }), "maxReplica", "maxReplicas"),
        (json!({ "backend": { "typ": "gmp" } }), "backend.typ", "type"),
        (json!({ "pools": { "items": [{ "name": "a", "lables": {} }] } }), "pools.items[0].lables", "labels"),
        (
            json!({ "profiles": { "x": { "metrics": [{ "signal": "requestsWaiting", "targets": 1, "target": 1 }] } } }),
            "profiles.x.metrics[0].targets",
            "target",
        ),
        (json!({ "enforcement": { "modes": "warn" } }), "enforcement.modes", "mode"),
    ] {
        let (found, message, hint) = problem(&document);
        assert_eq!(found, field);
        assert!(message.starts_with("unknown key"), "{message}");
        assert_eq!(hint, format!("did you mean {meant:?}?"));
    }
    let (_, _, hint) = problem(&json!({ "inject": { "banana": 1 } }));
    assert_eq!(hint, "known here: podAnnotations");
}

#[test]
fn all_problems_are_reported_together() {
    let document =
        with(&json!({ "maxReplicas": 0, "defaultProfile": "none", "colour": "red", "probes": { "settle": "15" } }));
    let mut fields: Vec<String> = read(&document).unwrap_err().into_iter().map(|problem| problem.field).collect();
    fields.sort();
    assert_eq!(fields, ["colour", "defaultProfile", "maxReplicas", "probes.settle"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (document, field, said) in [
        (json!({ "maxReplicas": "many" }), "maxReplicas", "invalid type"),
        (json!({ "backend": { "type": "gpm" } }), "backend.type", "\"gmp\""),
        (json!({ "scope": "al" }), "scope", "\"all\""),
        (json!({ "enforcement": { "rules": { "capacity": "warm" } } }), "enforcement.rules.capacity", "\"warn\""),
        (
            json!({ "enforcement": { "rules": { "metric-exist": "warn" } } }),
            "enforcement.rules.metric-exist",
            "metric-exists",
        ),
        (json!({ "enforcement": { "mode": true } }), "enforcement.mode", "deny, warn, audit, off"),
        (json!({ "allowSkip": ["nonsense"] }), "allowSkip[0]", "is no rule"),
        (json!({ "exempt": [{}] }), "exempt[0]", "everything"),
        (json!({ "exempt": [{ "rules": ["capacty"] }] }), "exempt[0].rules[0]", "capacity"),
        (json!({ "defaultProfile": "thruput" }), "defaultProfile", "throughput"),
        (json!({ "defaultProfile": "enabled" }), "defaultProfile", "is no profile"),
        (json!({ "backend": { "adapterConfigMap": "adapter" } }), "backend.adapterConfigMap", "namespace/name"),
        (json!({ "backend": { "monitorLabels": { "a b": "c" } } }), "backend.monitorLabels[a b]", "label key"),
        (json!({ "inject": { "podAnnotations": true } }), "inject.podAnnotations", "scrape objects"),
        (json!({ "pools": { "items": [{ "name": "a" }, { "name": "a" }] } }), "pools.items[1].name", "twice"),
        (
            json!({ "pools": { "items": [{ "name": "a", "minNodes": 3, "maxNodes": 2 }] } }),
            "pools.items[0].minNodes",
            "above",
        ),
        (
            json!({ "pools": { "items": [{ "name": "a", "allocatable": { "nvidia.com/gpu": "one" } }] } }),
            "pools.items[0].allocatable[nvidia.com/gpu]",
            "not a quantity",
        ),
        (
            json!({ "pools": { "items": [{ "name": "a", "taints": [{ "key": "k", "effect": "NoSchedul" }] }] } }),
            "pools.items[0].taints[0].effect",
            "NoSchedule",
        ),
        (json!({ "acceleratorResources": ["a gpu"] }), "acceleratorResources[0]", "resource"),
        (json!({ "probes": { "look": "10s" } }), "probes.look", "2000ms"),
        (json!({ "probes": { "settle": 15 } }), "probes.settle", "invalid type"),
        (json!({ "probes": { "perMinute": 0 } }), "probes.perMinute", "1 or more"),
    ] {
        let (found, message, hint) = problem(&document);
        assert_eq!(found, field, "{message}");
        assert!(message.contains(said) || hint.contains(said), "{document}: {message} ({hint})");
    }
}

#[test]
fn profiles_are_checked_as_an_hpa_would_be() {
    let waiting = json!([{ "signal": "requestsWaiting", "target": 5 }]);
    for (profile, field, said) in [
        (json!({ "metrics": [] }), "profiles.p.metrics", "empty"),
        (json!({ "metrics": [{ "signal": "requestsWaiting" }] }), "profiles.p.metrics[0]", "target"),
        (
            json!({ "metrics": [{ "signal": "kvCacheUsage", "target": 80 }] }),
            "profiles.p.metrics[0].target",
            "at most 1",
        ),
        (json!({ "metrics": [{ "signal": "gpuUtilization", "target": 101 }] }), "profiles.p.metrics[0].target", "100"),
        (
            json!({ "metrics": [{ "signal": "requestsWaiting", "ceilingPercent": 80 }] }),
            "profiles.p.metrics[0].ceilingPercent",
            "requestsRunning",
        ),
        (
            json!({ "metrics": [{ "signal": "requestsRunning", "ceilingPercent": 180 }] }),
            "profiles.p.metrics[0].ceilingPercent",
            "out of range",
        ),
        (
            json!({ "metrics": [{ "signal": "waiting", "target": 1 }] }),
            "profiles.p.metrics[0].signal",
            "unknown variant",
        ),
        (json!({ "metrics": waiting, "minReplicas": 0 }), "profiles.p.minReplicas", "out of range"),
        (json!({ "metrics": waiting, "minReplicas": 3 }), "profiles.p", "above the most replicas"),
        (
            json!({ "metrics": waiting, "behavior": { "scaleUp": { "stabilizationWindowSeconds": 3601 } } }),
            "profiles.p.behavior.scaleUp.stabilizationWindowSeconds",
            "3600",
        ),
        (
            json!({ "metrics": waiting, "behavior": { "scaleUp": { "policies": [
                { "type": "Pod", "value": 1, "periodSeconds": 60 },
            ] } } }),
            "profiles.p.behavior.scaleUp.policies[0].type",
            "\"Pods\"",
        ),
    ] {
        let (found, message, hint) = problem(&json!({ "profiles": { "p": profile } }));
        assert_eq!(found, field, "{message}");
        assert!(message.contains(said) || hint.contains(said), "{message} ({hint})");
    }
}

#[test]
fn a_built_in_profile_cannot_be_redefined() {
    for name in ["throughput", "server-metrics", "enabled", "disabled"] {
        let metrics = json!([{ "signal": "requestsWaiting", "target": 5 }]);
        let (field, message, hint) = problem(&json!({ "profiles": { name: { "metrics": metrics } } }));
        assert_eq!(field, format!("profiles.{name}"));
        assert!(message.contains("built in") && hint.contains("another name"), "{message}");
    }
}

#[test]
fn pod_annotations_are_allowed_where_nothing_is_generated() {
    let document = with(&json!({ "inject": { "podAnnotations": true }, "backend": { "type": "keda" } }));
    assert!(read(&document).unwrap().inject_pod_annotations);
}

#[test]
fn the_schema_accepts_what_the_reader_accepts_and_refuses_unknown_keys() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = with(&json!({
        "enforcement": { "mode": "off", "rules": { "capacity": false } },
        "pools": { "items": [{ "name": "a", "allocatable": { "nvidia.com/gpu": 1, "memory": "40Gi" } }] },
        "profiles": { "p": { "metrics": [{ "signal": "requestsRunning", "ceilingPercent": 80 }] } },
        "scope": null,
    }));
    assert!(read(&good).is_ok());
    assert!(validator.is_valid(&good), "{:?}", validator.iter_errors(&good).map(|e| e.to_string()).collect::<Vec<_>>());
    for bad in [
        with(&json!({ "maxReplica": 3 })),
        with(&json!({ "pools": { "items": [{ "name": "a", "lables": {} }] } })),
        with(&json!({ "kind": "Config" })),
        with(&json!({ "backend": { "type": "gpm" } })),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}
