//! What pods ask of nodes, and the shape of LeaderWorkerSets.

use super::*;

fn leader_worker_set(template: &Value) -> Value {
    json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": { "name": "big", "namespace": "default" },
        "spec": { "replicas": 2, "leaderWorkerTemplate": template },
    })
}

fn request(spec: &Value, name: &str) -> Option<String> {
    workload(&with_pod_spec(spec)).pods[0].requests.get(name).map(|quantity| quantity.text().to_owned())
}

#[test]
fn a_limit_stands_for_a_request_that_is_not_written() {
    let gpu = |resources: Value| request(&json!({ "containers": [{ "resources": resources }] }), "nvidia.com/gpu");
    assert_eq!(gpu(json!({ "limits": { "nvidia.com/gpu": 2 } })).as_deref(), Some("2"));
    assert_eq!(gpu(json!({ "limits": { "nvidia.com/gpu": "2" } })).as_deref(), Some("2"));
    assert_eq!(
        gpu(json!({ "requests": { "nvidia.com/gpu": "1" }, "limits": { "nvidia.com/gpu": "2" } })).as_deref(),
        Some("1")
    );
    assert_eq!(gpu(json!({ "requests": { "cpu": 1 } })), None);
    assert_eq!(gpu(json!({ "limits": { "nvidia.com/gpu": "many" } })).as_deref(), Some("many"));
}

#[test]
fn init_containers_and_sidecars_count_as_the_scheduler_counts_them() {
    let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let sidecar = |amount: &str| json!({ "restartPolicy": "Always", "resources": cpu(amount) });
    let init = |amount: &str| json!({ "resources": cpu(amount) });
    let one =
        |inits: Value| request(&json!({ "initContainers": inits, "containers": [init("2"), init("500m")] }), "cpu");
    assert_eq!(one(json!([])).as_deref(), Some("2500m"));
    assert_eq!(one(json!([init("1")])).as_deref(), Some("2500m"), "it has ended before the containers start");
    assert_eq!(one(json!([init("4")])).as_deref(), Some("4"));
    assert_eq!(one(json!([init("4"), init("5")])).as_deref(), Some("5"), "one after the other");
    assert_eq!(one(json!([sidecar("1")])).as_deref(), Some("3500m"), "it keeps running");
    assert_eq!(one(json!([sidecar("1"), init("4")])).as_deref(), Some("5"), "beside a sidecar that started before");
    assert_eq!(one(json!([init("4"), sidecar("1")])).as_deref(), Some("4"), "before the sidecar");
    let spec = json!({ "containers": [init("2")], "overhead": { "cpu": "250m", "memory": "1Mi" } });
    assert_eq!(request(&spec, "cpu").as_deref(), Some("2250m"));
    assert_eq!(request(&spec, "memory").as_deref(), Some("1Mi"));
}

#[test]
fn what_steers_scheduling_is_kept() {
    let read = workload(&with_pod_spec(&json!({
        "containers": [{ "resources": { "limits": { "google.com/tpu": 4 } } }],
        "nodeSelector": { "cloud.google.com/gke-tpu-topology": "2x2" },
        "tolerations": [{ "key": "google.com/tpu", "operator": "Exists" }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] },
        ] } } },
        "nodeName": "node-1",
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "schedulingGates": [{ "name": "kueue" }],
        "resourceClaims": [{ "name": "gpu" }],
        "enableServiceLinks": false,
        "volumes": [{ "name": "models", "persistentVolumeClaim": { "claimName": "models" } }, { "name": "shm", "emptyDir": {} }],
    })));
    let [pod] = read.pods.as_slice() else { panic!("one form of pod") };
    assert_eq!(pod.count, 1);
    assert_eq!(pod.path, "spec.template");
    assert_eq!(pod.requests["google.com/tpu"].text(), "4");
    assert_eq!(pod.node_selector["cloud.google.com/gke-tpu-topology"], "2x2");
    assert_eq!(pod.tolerations.len(), 1);
    assert_eq!(pod.affinity.as_ref().map(Vec::len), Some(1));
    assert_eq!(pod.node_name.as_deref(), Some("node-1"));
    assert_eq!(pod.runtime_class.as_deref(), Some("nvidia"));
    assert_eq!(pod.scheduler.as_deref(), Some("volcano"));
    assert!(pod.gated && pod.claims && !pod.service_links);
    assert_eq!(pod.volume_claims, ["models"]);
}

#[test]
fn the_defaults_of_a_pod_ask_for_nothing_special() {
    let read = workload(&with_pod_spec(&json!({ "containers": [{}], "schedulerName": "default-scheduler" })));
    let pod = &read.pods[0];
    assert!(!pod.gated && !pod.claims && pod.service_links);
    assert_eq!((&pod.scheduler, &pod.affinity), (&None, &None));
    let claims = json!({ "containers": [{ "resources": { "claims": [{ "name": "gpu" }] } }] });
    assert!(workload(&with_pod_spec(&claims)).pods[0].claims);
}

#[test]
fn the_leader_of_a_group_serves() {
    let container = |name: &str, gpus: u32, command: Value| {
        json!({
            "metadata": { "labels": { "role": name } },
            "spec": { "containers": [{
                "name": name, "image": "vllm/vllm-openai:v0.11.0", "command": command,
                "resources": { "limits": { "nvidia.com/gpu": gpus } },
            }] },
        })
    };
    let leader = container("leader", 8, json!(["sh", "-c", "ray start --head; vllm serve m --port 8080 -tp 8 -pp 2"]));
    let worker = container("worker", 4, json!(["sh", "-c", "ray start --block --address=$(LWS_LEADER_ADDRESS)"]));
    let read = workload(&leader_worker_set(&json!({ "size": 3, "leaderTemplate": leader, "workerTemplate": worker })));
    let server = read.server().unwrap();
    assert_eq!(server.path, "spec.leaderWorkerTemplate.leaderTemplate.spec.containers[0]");
    assert_eq!((number(server), server.devices_used), (Some(8080), None), "the devices are spread over the group");
    let forms: Vec<_> =
        read.pods.iter().map(|pod| (pod.count, pod.path.as_str(), pod.requests["nvidia.com/gpu"].text())).collect();
    assert_eq!(
        forms,
        [(1, "spec.leaderWorkerTemplate.leaderTemplate", "8"), (2, "spec.leaderWorkerTemplate.workerTemplate", "4"),]
    );
    assert_eq!(
        serde_json::to_value(&read.selector).unwrap(),
        json!({ "matchLabels": {
            "leaderworkerset.sigs.k8s.io/name": "big",
            "leaderworkerset.sigs.k8s.io/worker-index": "0",
        } })
    );
    assert!(read.selector.matches(&read.pod_labels));
    assert_eq!(read.pod_labels["role"], "leader");
}

#[test]
fn a_group_without_a_leader_template_is_one_form_of_pod() {
    let worker = json!({ "spec": { "containers": [{ "name": "w", "image": "vllm/vllm-openai:v0.11.0" }] } });
    let read = workload(&leader_worker_set(&json!({ "size": 4, "workerTemplate": worker })));
    assert_eq!((read.pods.len(), read.pods[0].count), (1, 4));
    assert_eq!(read.template_path, "spec.leaderWorkerTemplate.workerTemplate");
    let read = workload(&leader_worker_set(&json!({ "size": -1, "workerTemplate": {} })));
    assert_eq!(read.pods[0].count, 1);
}

#[test]
fn our_keys_on_the_pod_template_are_misplaced() {
    let mut object = deployment(&json!({ "image": "vllm/vllm-openai:v0.11.0" }));
    object["metadata"]["labels"] = json!({ "scalegate.dev/autoscale": "enabled" });
    object["spec"]["template"]["metadata"] = json!({
        "labels": { "scalegate.dev/autoscale": "enabled", "app": "demo" },
        "annotations": { "status.scalegate.dev/engine": "vllm", "scalegate.dev/max-replicas": "3" },
    });
    assert_eq!(workload(&object).misplaced_keys, ["scalegate.dev/autoscale", "scalegate.dev/max-replicas"]);
}

#[test]
fn grace_replicas_and_selector_are_carried_over() {
    let mut object = with_pod_spec(&json!({ "containers": [], "terminationGracePeriodSeconds": 120 }));
    object["spec"]["replicas"] = json!(0);
    let read = workload(&object);
    assert_eq!((read.grace_seconds, read.replicas), (120, Some(0)));
    assert_eq!(read.selector.match_labels["app"], "demo");
    assert!(matches!(read.server, Reading::None { .. }));
}
