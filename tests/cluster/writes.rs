//! Every way in which people write a workload, and what becomes of our annotations.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::chart::helm_in;
use crate::harness::control_plane::ControlPlane;
use crate::harness::installation::Installation;
use crate::harness::{assets, process, repository};

const OURS: &str = "status.scalegate.dev/";

/// A vLLM Deployment that asks for an autoscaler.
fn labelled(image: &str, port: u16) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "server", "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {
            "selector": {"matchLabels": {"app": "server"}},
            "template": {
                "metadata": {"labels": {"app": "server"}},
                "spec": {"containers": [{
                    "name": "vllm", "image": format!("vllm/vllm-openai:{image}"),
                    "args": ["--model=google/gemma-3-1b-it", format!("--port={port}")],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
}

/// The Deployment as it is stored.
fn stored(cluster: &ControlPlane, namespace: &str) -> Value {
    cluster.kubectl(&["get", "deployment", "server", "-n", namespace, "-o", "json", "--show-managed-fields"]).json()
}

/// Our annotations, without their prefix.
fn ours(object: &Value) -> BTreeMap<String, String> {
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let ours = annotations.filter_map(|(key, value)| Some((key.strip_prefix(OURS)?, value.as_str()?)));
    ours.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What differs from write to write whatever anybody does, and our annotations.
fn without_ours(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["resourceVersion", "generation", "managedFields", "uid", "creationTimestamp", "namespace"] {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations
            .retain(|key, _| !key.starts_with(OURS) && key != "kubectl.kubernetes.io/last-applied-configuration");
    }
    object
}

/// Asserts that the stored Deployment is described as that release on that port.
#[track_caller]
fn assert_described(way: &str, object: &Value, version: &str, port: &str) {
    let ours = ours(object);
    let found = ["engine", "engine-version", "metrics-port"].map(|key| ours.get(key).map_or("", String::as_str));
    assert_eq!(found, ["vllm", version, port], "after {way}: {object}");
}

#[test]
fn each_way_to_write_leaves_the_annotations_that_describe_what_is_written() {
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("ways");
    let kubectl = |arguments: &[&str], text: &Value| {
        let arguments = [arguments, &["-n", namespace.as_str()]].concat();
        cluster.kubectl_stdin(&arguments, &text.to_string()).ok()
    };
    let image_patch = json!([{
        "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "vllm/vllm-openai:v0.10.2",
    }])
    .to_string();
    let port_patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "vllm", "args": ["--model=google/gemma-3-1b-it", "--port=8004"]},
    ]}}}})
    .to_string();
    let (none, first) = (json!(null), labelled("v0.11.0", 8_001));
    let file = ["-f", "-"];
    let target = "deployment/server";
    // A way, the text it sends, and the release and port that are described afterwards.
    let ways: &[(&[&str], &Value, &str, &str)] = &[
        (&["apply"], &first, "0.11.0", "8001"),
        (&["apply"], &labelled("v0.11.1", 8_001), "0.11.1", "8001"),
        (&["apply", "--server-side", "--force-conflicts"], &labelled("v0.11.0", 8_002), "0.11.0", "8002"),
        (&["replace"], &labelled("v0.11.2", 8_003), "0.11.2", "8003"),
        (&["patch", target, "--type=json", "-p", &image_patch], &none, "0.10.2", "8003"),
        (&["patch", target, "-p", &port_patch], &none, "0.10.2", "8004"),
        (&["scale", target, "--replicas=3"], &none, "0.10.2", "8004"),
        (&["set", "image", target, "vllm=vllm/vllm-openai:v0.11.0"], &none, "0.11.0", "8004"),
        (&["rollout", "restart", target], &none, "0.11.0", "8004"),
        (&["annotate", target, "example.com/team=a"], &none, "0.11.0", "8004"),
        (&["annotate", target, "--overwrite", "status.scalegate.dev/engine=forged"], &none, "0.11.0", "8004"),
        (&["replace", "--force"], &labelled("v0.10.2", 8_005), "0.10.2", "8005"),
    ];
    for (way, text, version, port) in ways {
        let with_file = if text.is_null() { way.to_vec() } else { [*way, &file].concat() };
        kubectl(&with_file, text);
        assert_described(&way.join(" "), &stored(cluster, &namespace), version, port);
    }
    assert_eq!(stored(cluster, &namespace)["spec"]["template"]["metadata"]["annotations"], json!(null));
}

#[test]
fn a_second_apply_changes_nothing() {
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    for flags in [&[][..], &["--server-side"]] {
        let namespace = cluster.namespace("again");
        let folder = repository("deploy/walkthrough/server-metrics");
        let arguments = [&["apply", "-n", &namespace, "-f", folder.to_str().unwrap()], flags].concat();
        cluster.kubectl(&arguments).ok();
        let get = ["get", "deployment", "gemma-server", "-n", &namespace, "-o", "json"];
        let before = cluster.kubectl(&get).json();
        assert_eq!(ours(&before).get("engine").map(String::as_str), Some("vllm"), "{flags:?}: {before}");
        cluster.kubectl(&arguments).ok();
        let after = cluster.kubectl(&get).json();
        assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "{flags:?}");
    }
}

#[test]
fn a_new_port_and_image_change_our_annotations_and_nothing_else() {
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("changes");
    let apply = |text: &Value| {
        cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &text.to_string()).ok();
        stored(cluster, &namespace)
    };
    let before = apply(&labelled("v0.11.0", 8_001));
    let after = apply(&labelled("v0.10.2", 8_002));
    let mut expected = without_ours(&before);
    let container = &mut expected["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!("vllm/vllm-openai:v0.10.2");
    container["args"][1] = json!("--port=8002");
    assert_eq!(without_ours(&after), expected);
    assert_described("apply", &after, "0.10.2", "8002");
    let (before, after) = (ours(&before), ours(&after));
    let changed: Vec<&String> = after.keys().filter(|key| before.get(*key) != after.get(*key)).collect();
    assert_eq!(changed, ["engine-version", "metrics-port"]);
    assert_eq!(before.len(), after.len());
}

#[test]
fn with_the_label_our_annotations_go() {
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("unlabelled");
    let mut deployment = labelled("v0.11.0", 8_001);
    let apply = |text: &Value| {
        cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &text.to_string()).ok();
        stored(cluster, &namespace)
    };
    let before = apply(&deployment);
    assert!(!ours(&before).is_empty(), "{before}");
    deployment["metadata"]["labels"] = json!({});
    let after = apply(&deployment);
    assert!(ours(&after).is_empty(), "{after}");
    let mut expected = without_ours(&before);
    expected["metadata"].as_object_mut().unwrap().remove("labels");
    assert_eq!(without_ours(&after), expected);
}

#[test]
fn a_dry_run_comes_back_annotated_and_stores_nothing() {
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("dry-run");
    for flags in [&[][..], &["--server-side"]] {
        let arguments = [&["apply", "-n", &namespace, "--dry-run=server", "-o", "json", "-f", "-"], flags].concat();
        let answer = cluster.kubectl_stdin(&arguments, &labelled("v0.11.0", 8_001).to_string()).json();
        assert_described("a dry run", &answer, "0.11.0", "8001");
    }
    assert_eq!(cluster.kubectl(&["get", "deployments", "-n", &namespace, "-o", "name"]).ok(), "");
}

#[test]
fn what_does_not_name_us_is_stored_as_in_a_cluster_without_us() {
    let (Some(installed), Some(plain)) = (Installation::shared(), ControlPlane::shared()) else { return };
    let mut deployment = labelled("v0.11.0", 8_001);
    deployment["metadata"]["labels"] = json!({"app": "server"});
    let objects = [
        deployment,
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "server"}, "spec": {
            "serviceName": "server", "selector": {"matchLabels": {"app": "server"}}, "template": {
                "metadata": {"labels": {"app": "server"}}, "spec": {"containers": [{"name": "a", "image": "postgres:18"}]},
            },
        }}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "server"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}],
        }}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": {
            "clusterIP": "None", "selector": {"app": "server"}, "ports": [{"port": 80}],
        }}),
    ];
    let store = |cluster: &ControlPlane| {
        let namespace = cluster.namespace("plain");
        let create = ["create", "-n", &namespace, "-o", "json", "-f", "-"];
        objects.each_ref().map(|object| {
            let ran = cluster.kubectl_stdin(&create, &object.to_string());
            assert_eq!(ran.stderr, "", "{object}");
            without_ours(&ran.json())
        })
    };
    assert_eq!(store(installed.cluster), store(plain));
}

#[test]
fn helm_upgrades_and_rolls_back_and_our_annotations_follow() {
    if !assets::have(&[assets::Binary::Helm]) {
        return;
    }
    let Some(installed) = Installation::shared() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("helm");
    let chart = process::folder("chart");
    let mut template = labelled("IMAGE", 8_001).to_string();
    template = template.replace("IMAGE", "{{ .Values.image }}");
    fs::create_dir(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: server\nversion: 1.0.0\n").unwrap();
    fs::write(chart.join("templates/server.yaml"), template).unwrap();
    let chart = chart.to_str().unwrap();
    let steps: [(&[&str], &str); 3] = [
        (&["install", "server", chart, "--set", "image=v0.11.0"], "0.11.0"),
        (&["upgrade", "server", chart, "--set", "image=v0.10.2"], "0.10.2"),
        (&["rollback", "server", "1"], "0.11.0"),
    ];
    for (step, version) in steps {
        helm_in(cluster, &[step, &["-n", &namespace]].concat()).ok();
        assert_described(step[0], &stored(cluster, &namespace), version, "8001");
    }
}
