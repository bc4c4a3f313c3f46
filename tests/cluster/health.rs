//! The health of chains over a real API server and a metrics adapter: numbers and Events turn when a metric goes and when it
//! comes back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::adapter::{Adapter, Mode};
use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::{folder, until};
use crate::harness::repository;
use crate::harness::scalegate::{Launch, Scalegate};

/// A link is told to be broken after half a minute, and found so at the next look.
const PATIENCE: Duration = Duration::from_secs(120);
const CONTROL: &str = "kubernetes.io|container|uptime";
/// A metric that somebody's own HPA names.
const THEIRS: &str = "prometheus.googleapis.com|vllm:num_requests_waiting|gauge";
const LONG_AGO: &str = "2025-01-01T00:00:00Z";
const NAMESPACE: &str = "chains";

struct World {
    cluster: ControlPlane,
    controller: Scalegate,
}

/// A server whose pods have been Ready for long, before anybody watches: `llm` with our label, `spare` without.
fn put_server(cluster: &ControlPlane, name: &str, labels: &Value) {
    let server = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model=google/gemma-3-1b-it", "--port=8000", "--max-num-seqs=64"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{name}-0"), "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0"}]},
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [server, pod]});
    cluster.kubectl_stdin(&["create", "-f", "-"], &list.to_string()).ok();
    let condition = |kind: &str, reason: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "lastTransitionTime": LONG_AGO, "lastUpdateTime": LONG_AGO,
        })
    };
    let status = json!({"status": {
        "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
        "conditions": [
            condition("Available", "MinimumReplicasAvailable"),
            condition("Progressing", "NewReplicaSetAvailable"),
        ],
    }});
    let arguments = ["-n", NAMESPACE, "patch", "deployment", name, "--subresource=status", "--type=merge", "-p"];
    cluster.kubectl(&[&arguments[..], &[&status.to_string()]].concat()).ok();
}

impl World {
    fn start() -> Option<Self> {
        if !assets::have(&[Binary::Adapter]) {
            return None;
        }
        let cluster = ControlPlane::start(Options::default())?;
        let kinds = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
        cluster.kubectl(&["apply", "--server-side", "-f", kinds.to_str().unwrap()]).ok();
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
        for namespace in ["scalegate-system", NAMESPACE] {
            cluster.kubectl(&["create", "namespace", namespace]).ok();
        }
        cluster.kubectl(&["-n", NAMESPACE, "create", "serviceaccount", "default"]).ok();
        put_server(&cluster, "llm", &json!({"scalegate.dev/autoscale": "server-metrics"}));
        put_server(&cluster, "spare", &json!({}));
        let configuration = folder("controller").join("config.yaml");
        let text = json!({
            "apiVersion": "scalegate.dev/v1alpha1", "kind": "Configuration",
            "probes": {"interval": "1s", "perMinute": 6000, "control": CONTROL},
        });
        std::fs::write(&configuration, text.to_string()).unwrap();
        let controller = Launch::new("controller")
            .args(["--namespace=scalegate-system", "--no-certificates", "--config", configuration.to_str().unwrap()])
            .kubeconfig(&cluster.kubeconfig_path())
            .with_admin()
            .start();
        Some(Self { cluster, controller })
    }

    fn get(&self, object: &[&str]) -> Option<Value> {
        let arguments = [&["-n", NAMESPACE, "get", "--ignore-not-found", "-o", "json"], object].concat();
        serde_json::from_str(&self.cluster.kubectl(&arguments).ok()).ok()
    }

    /// Waits until a link has these rows: one of that value, or none.
    fn until_link(&self, link: &str, rows: &[f64]) {
        until(&format!("the link {link} has {rows:?}"), PATIENCE, || {
            let labels = [("namespace", NAMESPACE), ("name", "llm"), ("link", link)];
            let found = self.controller.metrics().series("scalegate_workload_healthy", &labels);
            let same =
                found.len() == rows.len() && found.iter().zip(rows).all(|(one, other)| (one - other).abs() < 0.1);
            same.then_some(())
        });
    }

    /// Waits for an Event on an object, and gives its type and note.
    fn until_event(&self, name: &str, reason: &str) -> (String, String) {
        until(&format!("an Event {reason} on {name}"), PATIENCE, || self.events(name, reason).pop())
    }

    fn events(&self, name: &str, reason: &str) -> Vec<(String, String)> {
        let selector = format!("--field-selector=involvedObject.name={name},reason={reason}");
        // Of no Events kubectl prints nothing.
        let list = self.get(&["events", &selector]).unwrap_or_default();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = list["items"].as_array().into_iter().flatten();
        events.map(|event| (text(event, "type"), text(event, "message"))).collect()
    }

    fn set_condition(&self, status: &str, reason: &str, message: &str) {
        let condition = json!({"type": "ScalingActive", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": LONG_AGO});
        let patch = json!({"status": {"currentReplicas": 1, "desiredReplicas": 1, "conditions": [condition]}});
        let arguments = ["-n", NAMESPACE, "patch", "hpa", "llm", "--subresource=status", "--type=merge", "-p"];
        self.cluster.kubectl(&[&arguments[..], &[&patch.to_string()]].concat()).ok();
    }
}

fn metrics(names: &[String]) -> Value {
    let served = names.iter().map(String::as_str).chain([CONTROL]).map(|name| json!({"name": name, "value": "4"}));
    json!({"metrics": served.collect::<Vec<_>>()})
}

#[test]
fn numbers_and_events_turn_when_a_metric_goes_and_when_it_comes_back() {
    let Some(world) = World::start() else { return };
    let hpa = until("the label brings an HPA", PATIENCE, || world.get(&["hpa", "llm"]));
    let uses = hpa["spec"]["metrics"].as_array().unwrap().iter();
    let mut names: Vec<String> =
        uses.map(|usage| usage["pods"]["metric"]["name"].as_str().unwrap().to_owned()).collect();
    names.push(THEIRS.to_owned());
    let adapter = Adapter::start(&world.cluster, Mode::Stackdriver, &metrics(&names));
    adapter.register();
    let theirs = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "spare"}, "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": THEIRS}, "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    });
    world.cluster.kubectl_stdin(&["create", "-f", "-"], &theirs.to_string()).ok();

    for link in ["server", "scrape", "metric", "capacity"] {
        world.until_link(link, &[1.0]);
    }
    // GMP's operator and the HPA controller, which would tell of these, do not run here.
    world.until_link("targets", &[]);
    world.until_link("active", &[]);
    world.set_condition("True", "ValidMetricFound", "");
    world.until_link("active", &[1.0]);

    adapter.serve(&metrics(&[]));
    world.set_condition("False", "FailedGetPodsMetric", "unable to get metric from the test");
    world.until_link("metric", &[0.0]);
    world.until_link("active", &[0.0]);
    world.until_link("scrape", &[1.0]);
    let broken = |words: &str| {
        until(&format!("an Event tells of {words}"), PATIENCE, || {
            let events = world.events("llm", "ChainBroken");
            events.into_iter().find(|(_, note)| note.starts_with(words))
        })
    };
    let (kind, note) = broken("metric: ");
    assert!(kind == "Warning" && note.contains("does not serve") && note.contains(&names[0]), "{kind} {note}");
    let (_, note) = broken("active: ");
    assert!(note.contains("FailedGetPodsMetric: unable to get metric from the test"), "{note}");
    assert_eq!(world.events("llm", "ChainHealthy"), []);
    // What admission would refuse now is told on the object, and counted.
    let (kind, note) = world.until_event("theirs", "MetricExists");
    assert!(kind == "Warning" && note.contains(THEIRS), "{kind} {note}");
    let standing = [("rule", "metric-exists"), ("severity", "deny")];
    assert!((world.controller.metrics().sum("scalegate_findings", &standing) - 1.0).abs() < 0.1);

    adapter.serve(&metrics(&names));
    world.set_condition("True", "ValidMetricFound", "");
    world.until_link("metric", &[1.0]);
    world.until_link("active", &[1.0]);
    let (kind, note) = world.until_event("llm", "ChainHealthy");
    assert!(kind == "Normal" && note.contains("it holds again"), "{kind} {note}");
    assert_eq!(world.events("llm", "ChainBroken").len(), 2, "each change is told once");
    until("nothing stands against theirs", PATIENCE, || {
        (world.controller.metrics().sum("scalegate_findings", &standing) < 0.1).then_some(())
    });

    world.cluster.kubectl(&["-n", NAMESPACE, "label", "deployment", "llm", "scalegate.dev/autoscale-"]).ok();
    world.until_link("server", &[]);
}
