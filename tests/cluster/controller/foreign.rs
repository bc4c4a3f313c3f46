//! What belongs to others: it is never touched, and nothing of ours stands beside it where both would do harm.

use serde_json::{Value, json};

use super::{HPA, PATIENCE, POD_MONITORING, deployment, foreign_hpa, ground};
use crate::harness::process::until;

/// What must not change of somebody's object.
fn kept(object: &Value) -> Value {
    json!([
        object["metadata"]["uid"],
        object["spec"],
        object["metadata"]["labels"],
        object["metadata"]["ownerReferences"]
    ])
}

#[test]
fn a_foreign_hpa_keeps_the_workload_whatever_its_name() {
    let Some(ground) = ground() else { return };
    for (name, reason) in [("llm", "NameTaken"), ("theirs", "AnotherAutoscaler")] {
        let namespace = ground.cluster.namespace("foreign");
        ground.apply(&foreign_hpa(&namespace, name, "llm"));
        let before = ground.get(&namespace, HPA, name).map(|object| kept(&object));
        ground.apply(&deployment(&namespace, "llm"));
        let note = ground.until_event(&namespace, "llm", reason);
        assert!(note.contains(name), "{note}");
        ground.until_seen(&namespace);
        assert_eq!(ground.get(&namespace, HPA, name).map(|object| kept(&object)), before, "{name}");
        let objects = ground.objects(&namespace);
        assert_eq!(objects.len(), 2, "ours scrapes, theirs scales: {objects:?}");
        assert!(ground.get(&namespace, POD_MONITORING, "llm").is_some());
        // Without it the label brings one.
        ground.cluster.kubectl(&["-n", &namespace, "delete", HPA, name]).ok();
        ground.until_rendered(&namespace, "deployment/llm");
    }
}

#[test]
fn ours_is_withdrawn_when_somebody_else_scales_the_workload_and_comes_back_after() {
    let Some(ground) = ground() else { return };
    let scaled_object = |namespace: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "theirs", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"name": "llm"}, "maxReplicaCount": 4,
                "triggers": [{"type": "prometheus", "metadata": {
                    "serverAddress": "http://prometheus:9090", "query": "sum(vllm:num_requests_running)", "threshold": "4",
                }}],
            },
        })
    };
    for kind in ["hpa", "scaledobject"] {
        let namespace = ground.cluster.namespace("withdraw");
        ground.apply(&deployment(&namespace, "llm"));
        ground.until_rendered(&namespace, "deployment/llm");
        let theirs = if kind == "hpa" { foreign_hpa(&namespace, "theirs", "llm") } else { scaled_object(&namespace) };
        ground.apply(&theirs);
        until("ours is withdrawn", PATIENCE, || ground.get(&namespace, HPA, "llm").is_none().then_some(()));
        let note = ground.until_event(&namespace, "llm", "AnotherAutoscaler");
        assert!(note.contains("theirs"), "{note}");
        assert!(ground.get(&namespace, kind, "theirs").is_some());
        ground.cluster.kubectl(&["-n", &namespace, "delete", kind, "theirs"]).ok();
        ground.until_rendered(&namespace, "deployment/llm");
    }
}

#[test]
fn pods_that_somebody_scrapes_already_are_not_scraped_twice() {
    let Some(ground) = ground() else { return };
    let theirs = |namespace: &str, port: u16| {
        json!({
            "apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring",
            "metadata": {"name": "theirs", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "llm"}}, "endpoints": [{"port": port, "interval": "15s"}]},
        })
    };
    let namespace = ground.cluster.namespace("scraped");
    ground.apply(&theirs(&namespace, 8000));
    let before = ground.get(&namespace, POD_MONITORING, "theirs").map(|object| kept(&object));
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_event(&namespace, "llm", "ScrapedAlready");
    until("the HPA is there", PATIENCE, || ground.get(&namespace, HPA, "llm"));
    ground.until_seen(&namespace);
    assert!(ground.get(&namespace, POD_MONITORING, "llm").is_none());
    assert_eq!(ground.get(&namespace, POD_MONITORING, "theirs").map(|object| kept(&object)), before);
    // On another port it is another matter.
    ground.apply(&theirs(&namespace, 9000));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.apply(&theirs(&namespace, 8000));
    until("ours goes", PATIENCE, || ground.get(&namespace, POD_MONITORING, "llm").is_none().then_some(()));
}

#[test]
fn consent_hands_an_hpa_over_and_the_workload_is_never_without_one() {
    let Some(ground) = ground() else { return };
    for name in ["llm", "theirs"] {
        let namespace = ground.cluster.namespace("adopt");
        ground.apply(&deployment(&namespace, "llm"));
        ground.until_rendered(&namespace, "deployment/llm");
        ground.cluster.kubectl(&["-n", &namespace, "delete", "deployment", "llm"]).ok();
        ground.until_nothing(&namespace);
        ground.apply(&foreign_hpa(&namespace, name, "llm"));
        ground.apply(&deployment(&namespace, "llm"));
        ground.until_event(&namespace, "llm", if name == "llm" { "NameTaken" } else { "AnotherAutoscaler" });
        let uid = ground.uid(&namespace, &format!("{HPA}/{name}"));
        ground.patch(
            &namespace,
            &format!("{HPA}/{name}"),
            &json!({"metadata": {"annotations": {"scalegate.dev/adopt": "true"}}}),
        );
        let mut wanted = ground.rendered(&namespace, "deployment/llm");
        for object in &mut wanted {
            if object["kind"] == "HorizontalPodAutoscaler" {
                object["metadata"]["name"] = json!(name);
            }
        }
        ground.until_are(&namespace, "deployment/llm", &wanted);
        assert_eq!(ground.uid(&namespace, &format!("{HPA}/{name}")), uid, "it is the same object");
        ground.until_seen(&namespace);
        let hpas = ground.objects(&namespace).into_iter().filter(|object| object["kind"] == "HorizontalPodAutoscaler");
        assert_eq!(hpas.count(), 1);
        ground.patch(&namespace, "deployment/llm", &json!({"metadata": {"labels": {"scalegate.dev/autoscale": null}}}));
        ground.until_nothing(&namespace);
    }
}

#[test]
fn what_is_paused_or_comes_from_git_is_left_as_it_is() {
    let Some(ground) = ground() else { return };
    for (key, value) in [("scalegate.dev/paused", "true"), ("scalegate.dev/generate", "false")] {
        let namespace = ground.cluster.namespace("paused");
        let mut fresh = deployment(&namespace, "fresh");
        fresh["metadata"]["annotations"] = json!({ (key): value });
        ground.apply(&fresh);
        ground.apply(&deployment(&namespace, "llm"));
        ground.until_rendered(&namespace, "deployment/llm");
        ground.patch(&namespace, "deployment/llm", &json!({"metadata": {"annotations": { (key): value }}}));
        let changed = json!({"spec": {"maxReplicas": 33}});
        ground.patch(&namespace, &format!("{HPA}/llm"), &changed);
        ground.patch(
            &namespace,
            "deployment/llm",
            &json!({"metadata": {"labels": {"scalegate.dev/autoscale": "gpu-metrics"}}}),
        );
        ground.until_seen(&namespace);
        assert_eq!(ground.get(&namespace, HPA, "llm").unwrap()["spec"]["maxReplicas"], 33, "{key}");
        assert!(ground.get(&namespace, POD_MONITORING, "llm").is_some(), "{key}");
        assert!(ground.get(&namespace, HPA, "fresh").is_none(), "{key}");
        ground.patch(&namespace, "deployment/llm", &json!({"metadata": {"annotations": { (key): null }}}));
        ground.until_rendered(&namespace, "deployment/llm");
    }
    // On the HPA alone.
    let namespace = ground.cluster.namespace("paused");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    ground.patch(
        &namespace,
        &format!("{HPA}/llm"),
        &json!({"metadata": {"annotations": {"scalegate.dev/paused": "true"}}, "spec": {"maxReplicas": 33}}),
    );
    ground.until_seen(&namespace);
    assert_eq!(ground.get(&namespace, HPA, "llm").unwrap()["spec"]["maxReplicas"], 33);
}
