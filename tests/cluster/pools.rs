//! Node pools as they come and go in a live cluster.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::process::until;

const PATIENCE: Duration = Duration::from_secs(60);

const RULE: &str = "[gpu-node-pool]";

/// A cluster with two nodes that have no GPU, and scalegate with that configuration.
fn cluster_without_gpus() -> Option<ControlPlane> {
    if !assets::have(&[Binary::Helm, Binary::Kwok]) {
        return None;
    }
    let cluster = ControlPlane::start(Options::default())?;
    cluster.kwok();
    cluster.cpu_node("cpu-1", "cpu");
    cluster.cpu_node("cpu-2", "cpu");
    Some(cluster)
}

/// A server that asks for a GPU, and the autoscaler over it.
fn deploy(cluster: &ControlPlane, namespace: &str, selector: &Value) -> String {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llm", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {
                "metadata": {"labels": {"app": "llm"}},
                "spec": {
                    "nodeSelector": selector,
                    "containers": [{
                        "name": "vllm", "image": "vllm/vllm-openai:v0.11.0",
                        "args": ["--model=google/gemma-3-1b-it", "--max-num-seqs=64"],
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }],
                },
            },
        },
    });
    cluster.kubectl_stdin(&["apply", "-f", "-"], &deployment.to_string()).ok();
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llm", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
            "minReplicas": 1, "maxReplicas": 2,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "prometheus.googleapis.com|vllm:num_requests_running|gauge"},
                "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    })
    .to_string()
}

#[test]
fn complete_pools_refuse_until_a_node_with_a_gpu_joins() {
    let Some(cluster) = cluster_without_gpus() else { return };
    let values = json!({"config": {"pools": {"complete": true, "provisioning": false}}});
    let mut installed = Installation::start(&cluster, &values, 1);
    let hpa = deploy(&cluster, "default", &json!({}));
    let create = ["create", "--dry-run=server", "-f", "-"];
    until("the autoscaler is refused", PATIENCE, || {
        cluster.kubectl_stdin(&create, &hpa).stderr.contains(RULE).then_some(())
    });
    let refused = cluster.kubectl_stdin(&["create", "-f", "-"], &hpa).refused();
    assert!(refused.contains(RULE), "{refused}");
    let process = installed.replicas[0].process().id();
    cluster.gpu_node("gpu-1", "l4", 1);
    until("the autoscaler is admitted", PATIENCE, || (cluster.kubectl_stdin(&create, &hpa).code == 0).then_some(()));
    cluster.kubectl_stdin(&["create", "-f", "-"], &hpa).ok();
    let replica = installed.replicas[0].process();
    assert_eq!((replica.id(), replica.ended()), (process, None), "it restarted");
}

#[test]
fn by_default_a_cluster_without_gpus_admits_unless_the_pods_are_pinned_to_a_pool_without_them() {
    let Some(cluster) = cluster_without_gpus() else { return };
    let _installed = Installation::start(&cluster, &json!({}), 1);
    let pinned = cluster.namespace("pinned");
    let free = cluster.namespace("free");
    let pinned = deploy(&cluster, &pinned, &json!({"cloud.google.com/gke-nodepool": "cpu"}));
    let free = deploy(&cluster, &free, &json!({}));
    let create = ["create", "--dry-run=server", "-f", "-"];
    // Refused first: then it is known that the webhook has the nodes and the Deployments in view.
    until("the pinned one is refused", PATIENCE, || {
        cluster.kubectl_stdin(&create, &pinned).stderr.contains(RULE).then_some(())
    });
    cluster.kubectl_stdin(&["create", "-f", "-"], &free).ok();
}
