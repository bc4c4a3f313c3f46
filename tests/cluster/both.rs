//! `scalegate serve`: webhook and controller in one process, on a real control plane.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::{Binary, have};
use crate::harness::balancer::Balancer;
use crate::harness::chart::{Installed, install_chart};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::{NAMESPACE, create_namespace, wait_until_called};
use crate::harness::process::until;
use crate::harness::repository;
use crate::harness::scalegate::Scalegate;

const PATIENCE: Duration = Duration::from_secs(60);

fn deployment(namespace: &str) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "llm", "namespace": namespace, "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {
                "metadata": {"labels": {"app": "llm"}},
                "spec": {"containers": [{
                    "name": "vllm", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model=google/gemma-3-1b-it", "--port=8081"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
    .to_string()
}

fn hpa(namespace: &str, metric: &str) -> String {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-hand", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
            "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    })
    .to_string()
}

/// The chart's objects, self-managed, and one process of `serve` in place of both Deployments. It acts as the controller's
/// account, which may all that the webhook's may.
fn serve<'a>(cluster: &'a ControlPlane, balancer: &Balancer) -> (Installed<'a>, Scalegate) {
    create_namespace(cluster);
    let values = json!({"webhook": {"replicas": 1, "extraArgs": ["--quiet-period=1h"]}});
    let mut chart = install_chart(cluster, NAMESPACE, &values, balancer.port());
    for object in &mut chart.objects {
        if object["kind"] == "Deployment" && object["metadata"]["name"] == "scalegate-webhook" {
            let pod = &mut object["spec"]["template"]["spec"];
            pod["serviceAccountName"] = json!("scalegate-controller");
            let arguments = pod["containers"][0]["args"].as_array_mut().unwrap();
            arguments.retain(|argument| !argument.as_str().unwrap().starts_with("--quiet-period=15"));
            arguments[0] = json!("serve");
            arguments.push(json!("--lease=scalegate"));
            arguments.push(json!("--ca-secret=scalegate-ca"));
        }
    }
    let launch = chart.launch("scalegate-webhook");
    let endpoint = format!("--endpoint={}", launch.address());
    let mut served = launch.args([endpoint]).start_unready();
    served.wait_ready();
    served.join(balancer);
    balancer.wait_ready(1, PATIENCE);
    wait_until_called(cluster);
    (chart, served)
}

#[test]
fn serve_refuses_a_bad_autoscaler_generates_for_a_label_and_gives_up_the_lease_before_it_stops_answering() {
    if !have(&[Binary::Helm]) {
        return;
    }
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    let kinds = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", kinds.to_str().unwrap()]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    let balancer = Balancer::start();
    let (_chart, mut served) = serve(&cluster, &balancer);
    let team = cluster.namespace("team");

    let misspelt = hpa(&team, "prometheus.googleapis.com|vllm:num_request_running|gauge");
    let create = |text: &str| cluster.kubectl_stdin(&["create", "-f", "-"], text);
    let refused = create(&misspelt).refused();
    assert!(refused.contains("validate.scalegate.dev") && refused.contains("[metric-exists]"), "{refused}");

    create(&deployment(&team)).ok();
    let kinds = "horizontalpodautoscalers.autoscaling,podmonitorings.monitoring.googleapis.com";
    let made = until(&format!("both objects are there\n{}", served.log()), PATIENCE, || {
        let list = cluster.kubectl(&["get", kinds, "-n", &team, "-o", "json"]).json();
        list["items"].as_array().filter(|items| items.len() == 2).cloned()
    });
    let live = cluster.kubectl(&["get", "deployment", "llm", "-n", &team, "-o", "json"]).json();
    assert_eq!(live["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm", "{live:#}");
    for object in &made {
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!((&object["metadata"]["name"], &owner["uid"]), (&json!("llm"), &live["metadata"]["uid"]), "{owner}");
    }

    // One set of watches and probes, of which each family is told once.
    let metrics = served.metrics();
    let families: Vec<&str> = metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let once: BTreeSet<&str> = families.iter().copied().collect();
    assert_eq!(families.len(), once.len(), "{families:#?}");
    for (name, labels) in [
        ("scalegate_leader", &[][..]),
        ("scalegate_cache_objects", &[("kind", "Deployment")]),
        ("scalegate_rotation_steps_total", &[("step", "leaf")]),
        ("scalegate_admission_requests_total", &[("decision", "denied")]),
        ("scalegate_apply_total", &[("result", "created")]),
    ] {
        assert!(metrics.sum(name, labels) > 0.0, "{name} {labels:?}\n{}", metrics.text());
    }

    // Another process could write now, while calls that still come are answered.
    let holder = || -> Value {
        cluster.kubectl(&["get", "lease", "scalegate", "-n", NAMESPACE, "-o", "json"]).json()["spec"]["holderIdentity"]
            .clone()
    };
    assert!(holder().as_str().is_some_and(|holder| !holder.is_empty()));
    served.process().signal("TERM");
    until("the Lease is free", PATIENCE, || holder().as_str().is_none_or(str::is_empty).then_some(()));
    assert!(served.process().ended().is_none(), "it still answers");
    served.process().signal("TERM");
    assert!(served.process().wait(PATIENCE).success(), "{}", served.log());
}
