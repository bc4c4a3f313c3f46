use serde_json::{Value, json};

use super::*;
use crate::policy::objects::TypeMeta;

/// What the API server makes of a condition for a request.
fn selected(program: &cel::Program, resource: &str, object: &Value, old: &Value) -> bool {
    let mut context = cel::Context::default();
    let request = json!({ "resource": { "resource": resource } });
    for (name, value) in [("request", &request), ("object", object), ("oldObject", old)] {
        context.add_variable(name, value).expect("JSON is data of CEL");
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(selected)) => selected,
        other => panic!("{other:?} for {object} before {old}"),
    }
}

/// The conditions of both webhooks: mutating, then validating.
fn conditions() -> [cel::Program; 2] {
    let (mutating, validating) = webhook_configurations(&Installation::default());
    [mutating, validating].map(|configuration| {
        let conditions = configuration["webhooks"][0]["matchConditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 1);
        cel::Program::compile(conditions[0]["expression"].as_str().unwrap()).expect("the condition parses")
    })
}

/// A workload with that metadata at each place in turn.
fn placed(metadata: &Value) -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let deployment = |own: &Value, template: &Value| {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": own,
                "spec": { "template": { "metadata": template, "spec": { "containers": [] } } } })
    };
    let set = |own: &Value, leader: Option<&Value>, worker: &Value| {
        let mut lws = json!({ "workerTemplate": { "metadata": worker, "spec": { "containers": [] } }, "size": 2 });
        if let Some(leader) = leader {
            lws["leaderTemplate"] = json!({ "metadata": leader, "spec": { "containers": [] } });
        }
        json!({ "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": own,
                "spec": { "leaderWorkerTemplate": lws } })
    };
    let plain = json!({ "name": "x" });
    let none = json!({});
    let mut stateful = deployment(metadata, &none);
    stateful["kind"] = json!("StatefulSet");
    let lws = "leaderworkerset.x-k8s.io/v1";
    vec![
        ("apps/v1", "Deployment", "deployments", deployment(metadata, &none)),
        ("apps/v1", "Deployment", "deployments", deployment(&plain, metadata)),
        ("apps/v1", "StatefulSet", "statefulsets", stateful),
        (lws, "LeaderWorkerSet", "leaderworkersets", set(metadata, None, &none)),
        (lws, "LeaderWorkerSet", "leaderworkersets", set(&plain, Some(metadata), &none)),
        (lws, "LeaderWorkerSet", "leaderworkersets", set(&plain, Some(&none), metadata)),
        (lws, "LeaderWorkerSet", "leaderworkersets", set(&plain, None, metadata)),
    ]
}

#[test]
fn the_conditions_choose_the_workloads_that_the_code_chooses() {
    let [mutating, validating] = conditions();
    let addressed = [
        json!({ "name": "x", "labels": { "scalegate.dev/autoscale": "enabled" } }),
        json!({ "name": "x", "labels": { "a": "b", "scalegate.dev/autoscal": "typo" } }),
        json!({ "name": "x", "annotations": { "scalegate.dev/max-replicas": "8" } }),
        json!({ "name": "x", "labels": {}, "annotations": { "status.scalegate.dev/engine": "vllm" } }),
    ];
    let others = [
        json!({ "name": "x" }),
        json!({ "name": "x", "labels": {}, "annotations": {} }),
        json!({ "name": "scalegate.dev/", "labels": { "app": "scalegate.dev/autoscale" } }),
        json!({ "name": "x", "labels": { "not-scalegate.dev/autoscale": "enabled", "scalegate.dev": "x" } }),
        json!({ "name": "x", "annotations": { "x.status.scalegate.dev/engine": "vllm", "Scalegate.dev/a": "" } }),
    ];
    let cases = addressed.iter().map(|metadata| (metadata, true)).chain(others.iter().map(|other| (other, false)));
    for (metadata, wanted) in cases {
        for (api_version, kind, resource, value) in placed(metadata) {
            let of = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
            let object = Object::read(&of, &value).unwrap();
            assert_eq!((mutates(&object), validates(&object)), (wanted, wanted), "{value}");
            let null = Value::Null;
            for condition in [&mutating, &validating] {
                assert_eq!(selected(condition, resource, &value, &null), wanted, "CREATE {value}");
                // The word that goes must reach us, so that what we wrote goes too.
                let silent = json!({ "metadata": { "name": "x" } });
                assert_eq!(selected(condition, resource, &silent, &value), wanted, "UPDATE from {value}");
                assert_eq!(selected(condition, resource, &value, &silent), wanted, "UPDATE to {value}");
            }
        }
    }
}

#[test]
fn the_conditions_never_fail_on_an_object_with_nothing_in_it() {
    let [mutating, validating] = conditions();
    let shapes = [
        json!({}),
        json!({ "metadata": {} }),
        json!({ "metadata": {}, "spec": {} }),
        json!({ "metadata": {}, "spec": { "template": {} } }),
        json!({ "metadata": {}, "spec": { "leaderWorkerTemplate": {} } }),
        json!({ "metadata": {}, "spec": { "leaderWorkerTemplate": { "leaderTemplate": {}, "workerTemplate": {} } } }),
    ];
    for object in &shapes {
        for old in shapes.iter().chain([&Value::Null]) {
            assert!(!selected(&mutating, "deployments", object, old), "{object}");
            assert!(!selected(&validating, "deployments", object, old), "{object}");
        }
    }
}

#[test]
fn autoscalers_are_always_validated_and_never_mutated() {
    let (mutating, validating) = webhook_configurations(&Installation::default());
    let resources = |configuration: &Value| -> Vec<String> {
        let rules = configuration["webhooks"][0]["rules"].as_array().unwrap();
        rules.iter().map(|rule| format!("{}/{}", rule["apiGroups"][0], rule["resources"][0]).replace('"', "")).collect()
    };
    let workloads = ["apps/deployments", "apps/statefulsets", "leaderworkerset.x-k8s.io/leaderworkersets"];
    assert_eq!(resources(&mutating), workloads);
    let autoscalers = ["autoscaling/horizontalpodautoscalers", "keda.sh/scaledobjects"];
    assert_eq!(resources(&validating), [&workloads[..], &autoscalers[..]].concat());
    let [_, condition] = conditions();
    for resource in ["horizontalpodautoscalers", "scaledobjects"] {
        let plain = json!({ "metadata": { "name": "x" }, "spec": {} });
        assert!(selected(&condition, resource, &plain, &Value::Null));
        assert!(selected(&condition, resource, &plain, &plain));
    }
}

#[test]
fn both_fail_open_and_spare_the_control_planes_namespaces() {
    let (mutating, validating) = webhook_configurations(&Installation::default());
    for configuration in [mutating, validating] {
        let webhook = &configuration["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["clientConfig"].get("caBundle"), None);
        let expression = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(expression["key"], "kubernetes.io/metadata.name");
        assert_eq!(expression["operator"], "NotIn");
        assert_eq!(expression["values"], json!(["kube-system", "kube-node-lease"]));
        for rule in webhook["rules"].as_array().unwrap() {
            assert_eq!(rule["scope"], "Namespaced");
            assert_eq!(rule["operations"], json!(["CREATE", "UPDATE"]));
            assert!(!rule["resources"].to_string().contains(['*', '/']), "{rule}");
        }
    }
}

#[test]
fn fail_closed_is_for_validation_alone_and_leaves_our_namespace_out() {
    let installation = Installation {
        fail_closed: true,
        exclude_namespaces: vec!["legacy".to_owned(), "kube-system".to_owned()],
        ..Installation::default()
    };
    let (mutating, validating) = webhook_configurations(&installation);
    let facts = |configuration: &Value| {
        let webhook = &configuration["webhooks"][0];
        (webhook["failurePolicy"].clone(), webhook["namespaceSelector"]["matchExpressions"][0]["values"].clone())
    };
    assert_eq!(facts(&mutating), (json!("Ignore"), json!(["kube-system", "kube-node-lease", "legacy"])));
    let spared = json!(["kube-system", "kube-node-lease", "scalegate-system", "legacy"]);
    assert_eq!(facts(&validating), (json!("Fail"), spared));
}

#[test]
fn an_installation_shows_in_both_configurations() {
    let installation = Installation {
        name: "gate".to_owned(),
        namespace: "ops".to_owned(),
        service: "gate-webhook".to_owned(),
        port: 10_250,
        timeout_seconds: 3,
        ca_bundle: Some("UEVN".to_owned()),
        labels: [("team".to_owned(), "ml".to_owned())].into(),
        annotations: [("note".to_owned(), "x".to_owned())].into(),
        ..Installation::default()
    };
    let (mutating, validating) = webhook_configurations(&installation);
    for (configuration, path) in [(mutating, "/mutate"), (validating, "/validate")] {
        let metadata = json!({ "name": "gate", "labels": { "team": "ml" }, "annotations": { "note": "x" } });
        assert_eq!(configuration["metadata"], metadata);
        let webhook = &configuration["webhooks"][0];
        assert_eq!(webhook["timeoutSeconds"], 3);
        let service = json!({ "namespace": "ops", "name": "gate-webhook", "path": path, "port": 10_250 });
        assert_eq!(webhook["clientConfig"], json!({ "service": service, "caBundle": "UEVN" }));
    }
}
