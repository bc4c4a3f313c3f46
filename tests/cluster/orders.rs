//! The published walkthrough, whichever part comes first.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::control_plane::ControlPlane;
use crate::harness::installation::Installation;
use crate::harness::values;
use crate::reference;

/// Each half: the Deployment, the objects that make its metric where they are namespaced and their kinds are there,
/// and the autoscaler.
const HALVES: [[&str; 3]; 2] = [
    ["vllm-deployment.yaml", "vllm-service.yaml", "horizontal-pod-autoscaler.yaml"],
    ["vllm-deployment.yaml", "vllm-service.yaml", "gpu-horizontal-pod-autoscaler.yaml"],
];

fn read(folder: &Path, file: &str) -> Vec<Value> {
    let mut documents = values(&fs::read_to_string(folder.join(file)).unwrap());
    for document in &mut documents {
        document["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    documents
}

fn apply(cluster: &ControlPlane, namespace: &str, items: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let ran = cluster.kubectl_stdin(&["apply", "-n", namespace, "-f", "-"], &list);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn each_half_is_admitted_in_both_orders_and_each_object_alone() {
    let (Some(folder), Some(installed)) = (reference::path("manifests/ai-on-gke"), Installation::shared()) else {
        return;
    };
    let cluster = installed.cluster;
    for half in HALVES {
        let documents: Vec<Value> = half.iter().flat_map(|file| read(&folder, file)).collect();
        let namespace = cluster.namespace("forward");
        for document in &documents {
            apply(cluster, &namespace, std::slice::from_ref(document));
        }
        let namespace = cluster.namespace("backward");
        for document in documents.iter().rev() {
            apply(cluster, &namespace, std::slice::from_ref(document));
        }
        for document in &documents {
            let namespace = cluster.namespace("alone");
            apply(cluster, &namespace, std::slice::from_ref(document));
        }
    }
}

#[test]
fn an_image_and_its_autoscaler_move_together_and_back() {
    let (Some(folder), Some(installed)) = (reference::path("manifests/ai-on-gke"), Installation::shared()) else {
        return;
    };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("bump");
    // 0.11 renamed the gauge of the cache, so an upgrade moves both.
    let at = |image: &str, metric: &str| {
        let mut items: Vec<Value> = HALVES[0].iter().flat_map(|file| read(&folder, file)).collect();
        for item in &mut items {
            match item["kind"].as_str() {
                Some("Deployment") => {
                    item["spec"]["template"]["spec"]["containers"][0]["image"] =
                        json!(format!("vllm/vllm-openai:{image}"));
                }
                Some("HorizontalPodAutoscaler") => {
                    item["spec"]["metrics"] = json!([{"type": "Pods", "pods": {
                        "metric": {"name": format!("prometheus.googleapis.com|vllm:{metric}|gauge")},
                        "target": {"type": "AverageValue", "averageValue": "800m"},
                    }}]);
                }
                _ => {}
            }
        }
        items
    };
    let steps =
        [("v0.9.2", "gpu_cache_usage_perc"), ("v0.12.0", "kv_cache_usage_perc"), ("v0.9.2", "gpu_cache_usage_perc")];
    for reversed in [false, true] {
        for (image, metric) in steps {
            let mut items = at(image, metric);
            if reversed {
                items.reverse();
            }
            apply(cluster, &namespace, &items);
        }
    }
}
