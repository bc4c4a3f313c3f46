use super::*;
use crate::policy::configuration::Configuration;
use crate::policy::facts::{Context, Stage};
use crate::policy::finding::Finding;
use crate::policy::judge::{judge, judge_workload};
use crate::policy::objects::Node;

const CANARY: &str = "c4n4ry";

fn view(objects: &[Value]) -> ClusterView {
    let mut view = ClusterView::default();
    view.now = 1_769_862_896;
    for object in objects {
        let (of, object) = Object::from_value(object).unwrap();
        view.apply(&of, object);
    }
    view
}

/// A pod template with the canary in every field that a snapshot has no need of.
fn template(server: &Value) -> Value {
    let probe = json!({ "httpGet": { "path": CANARY, "port": CANARY }, "exec": { "command": [CANARY] } });
    json!({
        "metadata": { "labels": { "app": "llm" }, "annotations": { "team": CANARY, "checksum/config": CANARY } },
        "spec": {
            "containers": [
                {
                    "name": "server", "image": "vllm/vllm-openai:v0.11.0", "command": ["vllm", "serve"], "args": server,
                    "workingDir": CANARY, "imagePullPolicy": CANARY, "terminationMessagePath": CANARY,
                    "env": [
                        { "name": "HF_TOKEN", "value": CANARY },
                        { "name": CANARY, "valueFrom": { "secretKeyRef": { "name": CANARY, "key": CANARY } } },
                        { "name": "B", "valueFrom": { "fieldRef": { "fieldPath": CANARY } } },
                    ],
                    "envFrom": [{ "prefix": CANARY, "secretRef": { "name": CANARY } }],
                    "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", format!("sleep 5; echo {CANARY}")] } } },
                    "readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe,
                    "volumeMounts": [{ "name": CANARY, "mountPath": CANARY, "subPath": CANARY }],
                    "volumeDevices": [{ "name": CANARY, "devicePath": CANARY }],
                    "securityContext": { "seLinuxOptions": { "user": CANARY } },
                    "resources": { "limits": { "nvidia.com/gpu": "1" }, "claims": [{ "name": CANARY }] },
                },
                { "name": CANARY, "image": CANARY, "command": [CANARY], "args": [CANARY] },
            ],
            "initContainers": [{ "name": CANARY, "image": CANARY, "command": ["sh", "-c", CANARY] }],
            "volumes": [
                { "name": CANARY, "secret": { "secretName": CANARY } },
                { "name": "files", "configMap": { "name": CANARY } },
            ],
            "imagePullSecrets": [{ "name": CANARY }], "serviceAccountName": CANARY, "hostname": CANARY,
            "hostAliases": [{ "ip": "127.0.0.1", "hostnames": [CANARY] }], "subdomain": CANARY,
            "priorityClassName": CANARY, "dnsConfig": { "searches": [CANARY] },
            "resourceClaims": [{ "name": CANARY, "resourceClaimName": CANARY }],
        },
    })
}

/// Annotations of strangers: kubectl's copy of the whole object among them.
fn strangers() -> Value {
    json!({
        "kubectl.kubernetes.io/last-applied-configuration": CANARY, "example.com/owner": CANARY,
        "scalegate.dev/max-replicas": "3",
    })
}

fn secretive() -> Vec<Value> {
    let meta = |name: &str| json!({ "name": name, "namespace": "ml", "annotations": strangers() });
    let arguments =
        json!(["some/model", "--port=8000", format!("--api-key={CANARY}"), format!("--chat-template={CANARY}")]);
    let script = json!([format!("--config=/etc/{CANARY}.yaml"), format!("--{CANARY}")]);
    let workload = |kind: &str, name: &str, template: Value| {
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": meta(name), "spec": {
            "selector": { "matchLabels": { "app": "llm" } }, "template": template } })
    };
    vec![
        workload("Deployment", "llm", template(&arguments)),
        workload("StatefulSet", "script", template(&script)),
        json!({ "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": meta("group"),
            "spec": { "leaderWorkerTemplate": {
                "size": 2, "leaderTemplate": template(&arguments), "workerTemplate": template(&script) } } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("files"), "data": { "start.sh": CANARY } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("adapter"), "data": {
            "config.yaml": "rules:\n- {seriesQuery: 'vllm:x', name: {as: made}}\n", "other": CANARY } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": meta(CANARY), "data": { "a": CANARY } }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta(CANARY), "spec": template(&json!([]))["spec"] }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta("llm"), "spec": {
            "selector": { "app": "llm" }, "externalName": CANARY, "ports": [{ "port": 80 }] } }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ml", "annotations": strangers() } }),
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": CANARY, "annotations": strangers(),
            "labels": { "kubernetes.io/hostname": CANARY, "pool": "gpu" } },
            "spec": { "providerID": CANARY }, "status": { "allocatable": { "nvidia.com/gpu": "1" } } }),
        json!({ "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta("llm"), "spec": {
            "scaleTargetRef": { "name": "llm", "envSourceContainerName": CANARY },
            "triggers": [
                { "type": "prometheus", "metadata": { "query": "vllm:num_requests_running", "threshold": "4",
                    "serverAddress": CANARY, "customHeaders": CANARY }, "authenticationRef": { "name": CANARY } },
                { "type": "postgresql", "metadata": { "connection": CANARY, "query": CANARY } },
            ],
            "advanced": { "horizontalPodAutoscalerConfig": { "name": "theirs" }, "scalingModifiers": { "formula": CANARY } },
        } }),
        json!({ "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "gpu", "annotations": strangers() },
            "spec": { "template": { "metadata": { "labels": { "a": "b" }, "annotations": strangers() } } } }),
        json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {
            "name": "devices", "labels": { "a": CANARY }, "annotations": strangers() }, "spec": { "driver": CANARY } }),
    ]
}

#[test]
fn no_secret_no_environment_value_no_argument_and_no_pod_spec_is_in_a_snapshot() {
    let written = write(&view(&secretive()), Some("v1.37.2")).unwrap();
    let text = serde_json::to_string_pretty(&written).unwrap();
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    // What it is for is there.
    assert_eq!(written["workloads"].as_array().unwrap().len(), 3, "{text}");
    assert_eq!(written["objects"].as_array().unwrap().len(), 6, "{text}");
    assert!(text.contains("scalegate.dev/max-replicas") && text.contains("seriesQuery"), "{text}");
}

fn said(view: &ClusterView) -> Vec<Finding> {
    let configuration = Configuration::default();
    let context = Context { view, configuration: &configuration, stage: Stage::Review, update: false };
    let objects = view.entries().filter(|(_, entry)| !matches!(entry.object, Object::Workload(_)));
    let mut said: Vec<Finding> = objects
        .flat_map(|(_, entry)| judge(&entry.of, &entry.object, None, Some(entry.order), &context).findings)
        .collect();
    said.extend(view.workloads().flat_map(|workload| judge_workload(workload, &context).findings));
    said
}

#[test]
fn what_is_read_back_is_the_same_and_is_judged_the_same() {
    let mut all = secretive();
    let hpa = |name: &str, created: &str, metric: &str| {
        json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": name, "namespace": "ml", "creationTimestamp": created },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm" }, "maxReplicas": 3,
                "metrics": [{ "type": "Pods", "pods": { "metric": { "name": metric },
                    "target": { "type": "AverageValue", "averageValue": "4" } } }] } })
    };
    all.push(hpa("younger", "2026-01-31T12:00:01Z", "prometheus.googleapis.com|vllm:num_requests_running|gauge"));
    all.push(hpa("a-older", "2026-01-31T12:00:00Z", "prometheus.googleapis.com|vllm:num_request_running|gauge"));
    let mut view = view(&all);
    view.closed.extend(["Node", "ScaledObject"].map(str::to_owned));
    view.partial.insert("PodMonitoring".to_owned());
    let again = reread(&view).unwrap();
    assert_eq!(write(&again, None).unwrap(), write(&view, None).unwrap());
    assert_eq!((again.now, &again.closed, &again.partial), (view.now, &view.closed, &view.partial));
    let rules = |view: &ClusterView| said(view).into_iter().map(|finding| finding.sentence()).collect::<Vec<_>>();
    let mut live = rules(&reread(&view).unwrap());
    let mut read = rules(&reread(&again).unwrap());
    live.sort();
    read.sort();
    assert_eq!(live, read);
    let denied = live.join("\n");
    assert!(denied.contains("[metric-exists]") && denied.contains("[autoscaler-conflict]"), "{denied}");
}

#[test]
fn of_two_autoscalers_the_younger_comes_later_whatever_the_order_of_the_list() {
    let service = |name: &str, created: Option<&str>| {
        json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": "ml", "creationTimestamp": created }, "spec": {} })
    };
    let names = |objects: &[Value]| -> Vec<String> {
        let written = write(&view(objects), None).unwrap();
        let objects = written["objects"].as_array().unwrap().iter();
        objects.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (first, second) = ("2026-01-31T12:00:00Z", "2026-01-31T12:00:01Z");
    let dated = [service("c", Some(second)), service("b", Some(first)), service("a", Some(first))];
    assert_eq!(names(&dated), ["a", "b", "c"]);
    assert_eq!(names(&[service("z", None), service("y", None)]), ["z", "y"], "documents keep their order");
}

#[test]
fn nodes_alike_are_one_shape_and_none_is_found_by_its_name() {
    let node = |name: &str, gpus: &str| {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "pool": "x" } },
            "status": { "allocatable": { "nvidia.com/gpu": gpus } } })
    };
    let nodes = [node("a", "1"), node("b", "8"), node("c", "8")];
    let mut seen = view(&nodes);
    let read: Node = serde_json::from_value(node("d", "8")).unwrap();
    seen.apply_shape(NodeShape::of(&read));
    let written = write(&seen, None).unwrap();
    let counts: Vec<_> = written["nodeShapes"].as_array().unwrap().iter().map(|shape| shape["count"].clone()).collect();
    assert_eq!(counts, [3, 1], "{written}");
    let again = reread(&seen).unwrap();
    assert!(again.has_nameless_nodes() && again.node("a").is_none() && again.has_nodes());
}

#[test]
fn who_wrote_an_object_is_read_back_and_our_label_tells_it_where_managers_are_left_out() {
    let hpa = |name: &str, metadata: &Value| {
        let mut object = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": name, "namespace": "ml", "uid": name, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm", "uid": "u-1", "controller": true }] },
            "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm" }, "maxReplicas": 3 } });
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        object
    };
    let ours = json!([{ "manager": "scalegate", "operation": "Apply", "fieldsV1": { "f:spec": {} } }]);
    let labelled = json!({ "scalegate.dev/profile": "throughput" });
    let mut view = ClusterView::default();
    for object in [
        hpa("ours", &json!({ "managedFields": ours })),
        hpa("forged", &json!({ "managedFields": [{ "manager": "kubectl" }], "labels": labelled })),
        hpa("printed", &json!({ "labels": labelled })),
        hpa("theirs", &json!({})),
    ] {
        super::super::apply(&mut view, &object).unwrap();
    }
    let by_us = |view: &ClusterView| -> Vec<String> {
        let managed = view.managed("u-1").map(|(key, entry)| (key, entry.object.metadata().written.unwrap().by_us));
        managed.filter(|(_, by_us)| *by_us).map(|(key, _)| key.name.clone()).collect()
    };
    assert_eq!(by_us(&view), ["ours", "printed"]);
    assert_eq!(by_us(&reread(&view).unwrap()), ["ours", "printed"]);
    assert_eq!(reread(&view).unwrap().managed("u-1").count(), 4);
}
