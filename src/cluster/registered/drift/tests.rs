use super::*;

fn expected() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "scalegate"},
        "webhooks": [{
            "name": "validate.scalegate.dev",
            "clientConfig": {"service": {"namespace": "scalegate-system", "name": "scalegate", "path": "/validate"}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                       "resources": ["deployments", "statefulsets"]}],
            "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "matchConditions": [{"name": "ours", "expression": "true"}],
            "namespaceSelector": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["scalegate-system", "kube-system"]}]},
        }],
    })
}

/// As the API server gives it back: defaults filled in, lists in another order where order means nothing.
fn live() -> Value {
    let mut live = expected();
    live["metadata"] = json!({"name": "scalegate", "uid": "u", "labels": {"admissions.enforcer/disabled": "true"}});
    let webhook = &mut live["webhooks"][0];
    webhook["matchPolicy"] = json!("Equivalent");
    webhook["objectSelector"] = json!({});
    webhook["clientConfig"]["caBundle"] = json!("LS0t");
    webhook["clientConfig"]["service"]["port"] = json!(443);
    webhook["rules"][0]["scope"] = json!("*");
    webhook["rules"][0]["operations"] = json!(["UPDATE", "CREATE"]);
    webhook["namespaceSelector"]["matchExpressions"][0]["values"] = json!(["kube-system", "scalegate-system"]);
    live
}

#[test]
fn what_the_api_server_makes_of_it_is_no_drift() {
    assert_eq!(drift(&expected(), Some(&live())), Vec::<String>::new());
}

#[test]
fn what_is_missing_or_foreign_counts() {
    assert_eq!(drift(&expected(), None), ["<missing>"]);
    assert_eq!(drift(&expected(), Some(&json!({}))), ["webhooks[validate.scalegate.dev]"]);
    let mut more = live();
    let mut foreign = more["webhooks"][0].clone();
    foreign["name"] = json!("evil.example");
    more["webhooks"].as_array_mut().unwrap().push(foreign);
    assert_eq!(drift(&expected(), Some(&more)), ["webhooks[evil.example]"]);
}

#[test]
fn every_field_of_a_webhook_counts_when_it_changes() {
    for (pointer, value) in [
        ("/clientConfig/service/name", json!("other")),
        ("/clientConfig/service/namespace", json!("other")),
        ("/clientConfig/service/path", json!("/mutate")),
        ("/clientConfig/service/port", json!(8443)),
        ("/clientConfig/url", json!("https://evil.example")),
        ("/clientConfig/caBundle", json!("")),
        ("/failurePolicy", json!("Fail")),
        ("/sideEffects", json!("NoneOnDryRun")),
        ("/timeoutSeconds", json!(30)),
        ("/matchPolicy", json!("Exact")),
        ("/reinvocationPolicy", json!("IfNeeded")),
        ("/admissionReviewVersions", json!(["v1beta1"])),
        ("/matchConditions", json!([])),
        ("/objectSelector", json!({"matchLabels": {"a": "b"}})),
        ("/namespaceSelector", json!({})),
        ("/namespaceSelector", json!({"matchLabels": {"a": "b"}})),
        ("/rules", json!([])),
        ("/rules/0/operations", json!(["CREATE"])),
        ("/rules/0/resources", json!(["deployments"])),
        ("/rules/0/scope", json!("Cluster")),
        ("/someFieldOfLaterReleases", json!(true)),
    ] {
        let mut changed = live();
        let webhook = &mut changed["webhooks"][0];
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        webhook.pointer_mut(parent).unwrap()[field] = value;
        let fields = drift(&expected(), Some(&changed));
        let top = pointer.split('/').nth(1).unwrap();
        assert!(!fields.is_empty() && fields.iter().all(|found| found.contains(top)), "{pointer}: {fields:?}");
    }
}

#[test]
fn what_the_enforcer_of_aks_adds_is_tolerated_and_what_only_looks_like_it_is_not() {
    let with = |field: &str, key: &str, operator: &str| {
        let mut changed = live();
        let webhook = &mut changed["webhooks"][0];
        let added = json!({"key": key, "operator": operator, "values": ["aks"]});
        match webhook[field]["matchExpressions"].as_array_mut() {
            Some(expressions) => expressions.insert(0, added),
            None => webhook[field]["matchExpressions"] = json!([added]),
        }
        drift(&expected(), Some(&changed))
    };
    for key in ENFORCER_KEYS {
        for operator in ["NotIn", "DoesNotExist"] {
            assert_eq!(with("namespaceSelector", key, operator), Vec::<String>::new(), "{key} {operator}");
        }
        assert_eq!(with("namespaceSelector", key, "In").len(), 1, "{key}");
        // A label on the object is the tenant's to set.
        assert_eq!(with("objectSelector", key, "NotIn").len(), 1, "{key}");
    }
    assert_eq!(with("namespaceSelector", "team", "NotIn").len(), 1);
}

#[test]
fn an_expected_exclusion_under_the_enforcers_key_must_stay() {
    let mut wanted = expected();
    let own = json!({"key": "control-plane", "operator": "NotIn", "values": ["x"]});
    wanted["webhooks"][0]["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(own);
    assert_eq!(drift(&wanted, Some(&live())).len(), 1);
}

#[test]
fn nonsense_does_not_panic() {
    for nonsense in [
        json!(null),
        json!({"webhooks": 1}),
        json!({"webhooks": [1, {"name": 2}, {"name": "validate.scalegate.dev", "rules": 3, "clientConfig": 4}]}),
    ] {
        assert!(!drift(&expected(), Some(&nonsense)).is_empty());
    }
}
