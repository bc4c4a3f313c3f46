//! The profiles `server-metrics` and `gpu-metrics` generate, field by field, what the published walkthroughs write by
//! hand for the same Deployment.

use scalegate::policy::configuration::{BackendKind, Configuration};
use scalegate::policy::objects::{Object, Quantity};
use scalegate::policy::render::{render, shared_gpu_objects};
use scalegate::policy::settings::{self, LABEL, Wish};
use scalegate::policy::workload::{self, Workload};
use serde_json::{Value, json};

use crate::reference;

/// The published Deployment with our label.
fn labelled(deployment: &Value, profile: &str) -> Workload {
    let mut deployment = deployment.clone();
    deployment["metadata"]["labels"] = json!({ LABEL: profile });
    let (_, object) = Object::from_value(&deployment).unwrap();
    let Object::Workload(object) = object else { panic!("not a workload") };
    workload::read(&object, &|_| None)
}

fn rendered(deployment: &Value, profile: &str) -> Vec<Value> {
    let workload = labelled(deployment, profile);
    let configuration = Configuration::default();
    let Ok(Wish::Enabled(settings)) = settings::read(&workload.metadata, &configuration).wish else {
        panic!("{profile} is not read")
    };
    render(&workload, &settings, &configuration, &|_| false).unwrap().objects
}

/// Equality of specs, where a quantity counts by its value: YAML writes 4 where the API server stores "4".
fn assert_same(ours: &Value, published: &Value, path: &str) {
    match (ours, published) {
        (Value::Object(ours), Value::Object(published)) => {
            let keys = |map: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(ours), keys(published), "{path}");
            for (key, value) in ours {
                assert_same(value, &published[key], &format!("{path}.{key}"));
            }
        }
        (Value::Array(ours), Value::Array(published)) => {
            assert_eq!(ours.len(), published.len(), "{path}");
            for (index, (ours, published)) in ours.iter().zip(published).enumerate() {
                assert_same(ours, published, &format!("{path}[{index}]"));
            }
        }
        _ if path.ends_with(".averageValue") => {
            let value = |value: &Value| {
                let quantity: Quantity = serde_json::from_value(value.clone()).unwrap();
                quantity.nanos().unwrap()
            };
            assert_eq!(value(ours), value(published), "{path}");
        }
        _ => assert_eq!(ours, published, "{path}"),
    }
}

#[test]
fn server_metrics_generates_the_published_pod_monitoring_and_hpa() {
    let Some(deployment) = reference::document("manifests/ai-on-gke/vllm-deployment.yaml") else { return };
    let objects = rendered(&deployment, "server-metrics");
    let files = ["pod-monitoring.yaml", "horizontal-pod-autoscaler.yaml"];
    assert_eq!(objects.len(), files.len());
    for (ours, file) in objects.iter().zip(files) {
        let published = reference::document(&format!("manifests/ai-on-gke/{file}")).unwrap();
        assert_eq!((&ours["apiVersion"], &ours["kind"]), (&published["apiVersion"], &published["kind"]));
        assert_same(&ours["spec"], &published["spec"], "spec");
    }
}

#[test]
fn gpu_metrics_generates_the_published_hpa() {
    let Some(deployment) = reference::document("manifests/ai-on-gke/vllm-deployment.yaml") else { return };
    let objects = rendered(&deployment, "gpu-metrics");
    assert_eq!(objects.len(), 1);
    let published = reference::document("manifests/ai-on-gke/gpu-horizontal-pod-autoscaler.yaml").unwrap();
    assert_same(&objects[0]["spec"], &published["spec"], "spec");
}

#[test]
fn the_shared_scrape_object_is_the_published_one_with_the_pods_own_labels_kept() {
    let Some(published) = reference::document("manifests/ai-on-gke/gpu-pod-monitoring.yaml") else { return };
    let mut ours = shared_gpu_objects(BackendKind::Gmp).remove(0);
    assert_eq!(ours["kind"], published["kind"]);
    let kept = ours["spec"].as_object_mut().unwrap().remove("targetLabels");
    assert_eq!(kept, Some(json!({ "metadata": [] })));
    assert_same(&ours["spec"], &published["spec"], "spec");
}

/// The documents that `render` prints for a folder of the walkthrough, by kind.
fn printed(folder: &str) -> std::collections::BTreeMap<String, Value> {
    let ran = crate::support::run(&["render", &format!("deploy/walkthrough/{folder}")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.stdout).unwrap();
    documents.into_iter().map(|document| (document["kind"].as_str().unwrap().to_owned(), document)).collect()
}

/// What the command prints beside what was published: the same but for names, our labels and the differences given.
#[test]
fn the_command_renders_the_walkthrough_as_it_was_published() {
    let published = |file: &str| reference::document(&format!("manifests/ai-on-gke/{file}"));
    for (folder, kind, file) in [
        ("server-metrics", "PodMonitoring", "pod-monitoring.yaml"),
        ("server-metrics", "HorizontalPodAutoscaler", "horizontal-pod-autoscaler.yaml"),
        ("gpu-metrics", "HorizontalPodAutoscaler", "gpu-horizontal-pod-autoscaler.yaml"),
        ("gpu-metrics", "ClusterPodMonitoring", "gpu-pod-monitoring.yaml"),
        ("gpu-metrics", "ClusterRules", "gpu-rules.yaml"),
    ] {
        let Some(mut theirs) = published(file) else { return };
        let mut ours = printed(folder).remove(kind).unwrap();
        println!("{kind}\n  ours      {}\n  published {}", ours["spec"], theirs["spec"]);
        if kind == "HorizontalPodAutoscaler" {
            theirs["spec"]["scaleTargetRef"]["name"] = ours["spec"]["scaleTargetRef"]["name"].clone();
        }
        if kind == "ClusterPodMonitoring" {
            assert_eq!(ours["spec"].as_object_mut().unwrap().remove("targetLabels"), Some(json!({ "metadata": [] })));
        }
        if kind == "ClusterRules" {
            // Cluster-wide instead of in `default`, and one number a pod instead of one a GPU and scraper.
            assert_eq!(theirs["kind"], "Rules");
            for document in [&mut ours, &mut theirs] {
                let group = document["spec"]["groups"][0].as_object_mut().unwrap();
                group.remove("name");
                assert!(group["rules"][0].as_object_mut().unwrap().remove("expr").is_some());
            }
        }
        assert_same(&ours["spec"], &theirs["spec"], &format!("{kind}.spec"));
    }
}
