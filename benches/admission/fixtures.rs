//! The requests that are measured, as an API server would send them.

use scalegate::admission::Counters;
use scalegate::admission::service::Service;
use scalegate::cluster::State;
use scalegate::policy::configuration::Configuration;
use scalegate::policy::objects::Object;
use scalegate::policy::view::ClusterView;
use serde_json::{Value, json};

use crate::Case;

/// Workloads in view when an HPA is judged; each has an HPA of its own.
const WORKLOADS: usize = 5_000;
/// Containers of the large Deployment.
const CONTAINERS: usize = 120;

/// A labelled Deployment of about 4 kB.
pub fn small() -> Case {
    sized(case(&deployment(2, 1), ClusterView::default()), 4_000)
}

/// A labelled Deployment of about 466 kB.
pub fn large() -> Case {
    sized(case(&deployment(CONTAINERS, 41), ClusterView::default()), 466_000)
}

/// The benchmarks' names tell sizes, so those must be true to a tenth.
fn sized(case: Case, bytes: usize) -> Case {
    let length = case.body.len();
    assert!(length.abs_diff(bytes) <= bytes / 10, "a request is {length} bytes long and should be about {bytes}");
    case
}

/// An HPA over a view of many workloads and autoscalers.
pub fn hpa() -> Case {
    let mut view = ClusterView::default();
    for index in 0..WORKLOADS {
        let name = format!("llm-{index}");
        let mut workload = deployment(1, 1);
        workload["metadata"]["name"] = json!(name);
        for object in [workload, autoscaler(&name)] {
            let (of, object) = Object::from_value(&object).expect("an object");
            view.apply(&of, object);
        }
    }
    case(&autoscaler(&format!("llm-{}", WORKLOADS / 2)), view)
}

fn case(object: &Value, view: ClusterView) -> Case {
    let (group, version) = object["apiVersion"].as_str().and_then(|text| text.split_once('/')).expect("a group");
    let body = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": version, "kind": object["kind"]},
            "name": object["metadata"]["name"], "namespace": "inference", "operation": "CREATE",
            "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
            "object": object, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    let body = serde_json::to_vec(&body).expect("JSON");
    Case { body, service: Service::new(State::new(view, Configuration::default())), counters: Counters::default() }
}

/// A labelled vLLM Deployment: the server, sidecars, and in each container `variables` groups of settings.
fn deployment(containers: usize, variables: usize) -> Value {
    let all: Vec<Value> = (0..containers).map(|index| container(index, variables)).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "llm", "namespace": "inference", "uid": "a3d2c9f0-7a51-4f0e-9d0e-0d7c4b1c7e11",
            "creationTimestamp": "2026-03-01T12:00:00Z", "generation": 1,
            "labels": {"app": "llm", "scalegate.dev/autoscale": "throughput"},
            "annotations": {"team": "inference", "scalegate.dev/max-replicas": "8"},
        },
        "spec": {
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "llm"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"creationTimestamp": null, "labels": {"app": "llm"}},
                "spec": {
                    "containers": all, "restartPolicy": "Always", "terminationGracePeriodSeconds": 60,
                    "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {},
                    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}],
                },
            },
        },
        "status": {},
    })
}

/// The first container is the server, the others stand beside it.
fn container(index: usize, variables: usize) -> Value {
    let server = index == 0;
    let env: Vec<Value> = (0..variables)
        .map(
            |n| json!({"name": format!("SETTING_{n}"), "value": format!("/srv/config/{index}/part-{n}/settings.json")}),
        )
        .collect();
    let resources = if server {
        json!({"requests": {"cpu": "6", "memory": "24Gi"}, "limits": {"memory": "24Gi", "nvidia.com/gpu": "1"}})
    } else {
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}})
    };
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5,
               "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    };
    json!({
        "name": if server { "server".to_owned() } else { format!("sidecar-{index}") },
        "image": if server { "vllm/vllm-openai:v0.11.0" } else { "envoyproxy/envoy:v1.31.2" },
        "args": if server {
            json!(["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64", "--gpu-memory-utilization=0.92"])
        } else {
            json!(["-c", "/etc/envoy/envoy.yaml", "--log-level", "warning"])
        },
        "env": env, "resources": resources,
        "ports": [{"name": "http", "containerPort": 8000 + index, "protocol": "TCP"}],
        "livenessProbe": probe("/health"), "readinessProbe": probe("/ready"), "startupProbe": probe("/health"),
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

fn autoscaler(name: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "inference"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1, "maxReplicas": 5,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "prometheus.googleapis.com|vllm:num_requests_waiting|gauge"},
                "target": {"type": "AverageValue", "averageValue": "5"}}}],
        },
        "status": {"currentMetrics": null, "desiredReplicas": 0},
    })
}
