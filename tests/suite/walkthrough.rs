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
