//! What was there until a moment ago, and is still in a view that follows by watches.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::typed;
use crate::harness::block_on;
use crate::harness::process::until;
use crate::standing::{PATIENCE, hpa, send, standing, store};

const TIMES: usize = 30;

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";

fn server(image: &str, selector: &serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llm"},
        "spec": {
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {"metadata": {"labels": {"app": "llm"}}, "spec": {
                "nodeSelector": selector,
                "containers": [{
                    "name": "vllm", "image": format!("vllm/vllm-openai:{image}"),
                    "args": ["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }],
            }},
        },
    })
}

#[test]
fn an_autoscaler_that_takes_the_place_of_a_deleted_one_is_never_a_second_one() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    let namespace = cluster.namespace("renamed");
    store(cluster, &namespace, &server("v0.11.0", &json!({})));
    standing.wait_for_view(&namespace, "llm");
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client(), &namespace);
    let create = |name: &str| {
        let object = typed(hpa(name, "llm", RUNNING, "4"));
        block_on(autoscalers.create(&PostParams::default(), &object))
    };
    create("hpa-0").unwrap();
    for time in 1..=TIMES {
        block_on(autoscalers.delete(&format!("hpa-{}", time - 1), &DeleteParams::default())).unwrap();
        if let Err(error) = create(&format!("hpa-{time}")) {
            panic!("the {time}th was refused: {error}");
        }
    }
    // One that stays is known, and refuses the next.
    until("the last one is in view", PATIENCE, || {
        let ran = send(cluster, &namespace, &["create", "--dry-run=server"], &hpa("second", "llm", RUNNING, "4"));
        ran.stderr.contains("[autoscaler-conflict]").then_some(())
    });
}

#[test]
fn an_autoscaler_on_a_server_that_was_just_mended_is_judged_by_the_mended_one() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    let namespace = cluster.namespace("mended");
    let pinned = json!({"cloud.google.com/gke-nodepool": "cpu-pool"});
    store(cluster, &namespace, &server("v0.11.0", &pinned));
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), &namespace);
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client(), &namespace);
    let pin = |pool: Option<&str>| {
        let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"cloud.google.com/gke-nodepool": pool}}}}});
        block_on(deployments.patch("llm", &PatchParams::default(), &Patch::Merge(patch))).unwrap();
    };
    for time in 0..TIMES / 3 {
        pin(Some("cpu-pool"));
        until("the pinned one is in view", PATIENCE, || {
            let ran = send(cluster, &namespace, &["create", "--dry-run=server"], &hpa("probe", "llm", RUNNING, "4"));
            ran.stderr.contains("[gpu-node-pool]").then_some(())
        });
        pin(None);
        let object = typed(hpa("hpa", "llm", RUNNING, "4"));
        if let Err(error) = block_on(autoscalers.create(&PostParams::default(), &object)) {
            panic!("the {time}th was refused: {error}");
        }
        block_on(autoscalers.delete("hpa", &DeleteParams::default())).unwrap();
    }
}
