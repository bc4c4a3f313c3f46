//! What does not name us.

use serde_json::{Value, json};

use super::{DEPLOYMENT, LEADER_WORKER_SET, STATEFUL_SET};
use crate::standing::{Pair, ours, send, standing, stored};

/// Objects of many kinds, none with a word to us: workloads of servers that we know, autoscalers on CPU, and kinds that we
/// are not registered for.
fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET]
        .map(|kind| {
            let mut object = kind.labelled("v0.11.0", 8_001);
            // A label of somebody with a name like ours.
            object["metadata"]["labels"] = json!({"app": "server", "notscalegate.dev/autoscale": "throughput"});
            object["metadata"]["annotations"] = json!({"example.com/scalegate.dev": "a"});
            object
        })
        .into();
    let web =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}});
    objects.extend([
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": web,
        }}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": web,
        }}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {
            "schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox:1"}],
            }}}},
        }}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}],
        }}),
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "old"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "database"},
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
        }}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "settings", "labels": {"scalegate.dev/autoscale": "no-such-profile"},
        }, "data": {"a": "b"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}],
        }}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"a": "b"}}),
        json!({"apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "endpoints": [{"port": 8080, "interval": "30s"}],
        }}),
    ]);
    objects
}

#[test]
fn what_has_no_word_to_us_is_stored_as_in_a_cluster_without_us() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("untouched");
    let write = |arguments: &[&str], object: &Value| {
        let [with, without] = [&pair.with, &pair.without].map(|namespace| {
            let ran = send(pair.cluster, namespace, arguments, object);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            format!("{}{}", ran.stdout, ran.stderr).replace(namespace, "NAMESPACE")
        });
        assert_eq!(with, without);
        assert!(!with.contains("Warning"), "{with}");
    };
    for mut object in objects() {
        write(&["apply"], &object);
        assert_equal(&pair, &object);
        object["metadata"]["annotations"]["example.com/changed"] = json!("yes");
        for way in [&["apply"][..], &["apply", "--server-side", "--force-conflicts"], &["replace"]] {
            write(way, &object);
            assert_equal(&pair, &object);
        }
    }
    // Not even asked about: by the audit log, no webhook of ours was called for a workload.
    for event in standing.audited(&pair.with) {
        let called = event["annotations"].as_object().into_iter().flatten();
        let called: Vec<&String> =
            called.map(|(key, _)| key).filter(|key| key.starts_with("mutation.webhook")).collect();
        assert!(called.is_empty(), "{event}");
    }
}

#[track_caller]
fn assert_equal(pair: &Pair, object: &Value) {
    let [with, without] = pair.plain(object);
    assert_eq!(with, without);
    let stored = stored(pair.cluster, &pair.with, object);
    assert!(ours(&stored).is_empty(), "{stored}");
}

#[test]
fn a_definition_of_a_new_kind_and_objects_of_it_are_none_of_our_business() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "things.scalegate.test", "labels": {"scalegate.dev/autoscale": "throughput"},
        },
        "spec": {
            "group": "scalegate.test", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    });
    let pair = standing.pair("definition");
    cluster.kubectl_stdin(&["apply", "-f", "-"], &definition.to_string()).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd/things.scalegate.test"]).ok();
    let thing = json!({
        "apiVersion": "scalegate.test/v1", "kind": "Thing",
        "metadata": {"name": "thing", "labels": {"scalegate.dev/autoscale": "throughput"}}, "spec": {"a": 1},
    });
    for namespace in [&pair.with, &pair.without] {
        send(cluster, namespace, &["apply"], &thing).ok();
    }
    let [with, without] = pair.plain(&thing);
    assert_eq!(with, without);
    cluster.kubectl(&["delete", "crd", "things.scalegate.test"]).ok();
}

#[test]
fn a_label_or_annotation_on_the_pod_template_alone_changes_nothing_and_is_warned_about() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("misplaced");
    for kind in [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET] {
        let mut object = kind.labelled("v0.11.0", 8_001);
        object["metadata"]["labels"] = json!({});
        object.pointer_mut(kind.template).unwrap()["metadata"]["labels"]["scalegate.dev/autoscale"] =
            json!("throughput");
        let [with, _] = [&pair.with, &pair.without].map(|namespace| {
            let ran = send(pair.cluster, namespace, &["apply"], &object);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            ran.stderr
        });
        assert!(with.contains("Warning: [label-misplaced]"), "{with}");
        let [with, without] = pair.plain(&object);
        assert_eq!(with, without);
    }
}
