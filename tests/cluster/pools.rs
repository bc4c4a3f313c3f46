//! Node pools as they come and go in a live cluster, and the Configuration that says what they mean.

use std::fs;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::process::{Ran, until};
use crate::harness::{repository, values};

const PATIENCE: Duration = Duration::from_secs(60);

const RULE: &str = "[gpu-node-pool]";

/// A cluster whose two nodes have no GPU, and scalegate beside it. The tests take it one after the other, for the nodes
/// and the Configuration are of all of them.
struct World {
    cluster: &'static ControlPlane,
    installed: Installation<'static>,
}

/// The world with that configuration. Nothing when there are no binaries; the reason is printed.
fn world(config: &Value) -> Option<MutexGuard<'static, World>> {
    static WORLD: OnceLock<Option<Mutex<World>>> = OnceLock::new();
    if !assets::have(&[Binary::Helm, Binary::Kwok]) {
        return None;
    }
    let start = || {
        let cluster: &ControlPlane = Box::leak(Box::new(ControlPlane::start(Options::default())?));
        cluster.kwok();
        cluster.cpu_node("cpu-1", "cpu");
        cluster.cpu_node("cpu-2", "cpu");
        let values = json!({"webhook": {"extraArgs": ["--config-poll=100ms"]}});
        Some(Mutex::new(World { cluster, installed: Installation::start(cluster, &values, 1) }))
    };
    let world = WORLD.get_or_init(start).as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
    world.installed.configure(config);
    // What a test that failed left behind.
    world.cluster.kubectl(&["delete", "node", "gpu-1", "--ignore-not-found"]).ok();
    Some(world)
}

impl World {
    /// The walkthrough's server on a GPU in a namespace of its own, after `change`, and the autoscaler over it: on the
    /// GPU's utilisation, as the source document's second half has it.
    fn deploy(&self, topic: &str, change: impl FnOnce(&mut Value)) -> Value {
        let namespace = self.cluster.namespace(topic);
        let file = repository("deploy/walkthrough/gpu-metrics/deployment.yaml");
        let mut deployment = values(&fs::read_to_string(file).unwrap()).remove(0);
        change(&mut deployment);
        self.cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &deployment.to_string()).ok();
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "gemma-gpu", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gemma-gpu"},
                "minReplicas": 1, "maxReplicas": 5,
                "metrics": [{"type": "Pods", "pods": {
                    "metric": {"name": "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge"},
                    "target": {"type": "AverageValue", "averageValue": "20"},
                }}],
            },
        })
    }

    fn create(&self, hpa: &Value) -> Ran {
        self.cluster.kubectl_stdin(&["create", "-f", "-"], &hpa.to_string())
    }

    fn dry_run(&self, hpa: &Value) -> Ran {
        self.cluster.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &hpa.to_string())
    }

    /// Waits until it would be refused, for watches need a moment.
    fn until_refused(&self, what: &str, hpa: &Value) {
        until(what, PATIENCE, || self.dry_run(hpa).stderr.contains(RULE).then_some(()));
    }

    fn until_admitted(&self, what: &str, hpa: &Value) {
        until(what, PATIENCE, || (self.dry_run(hpa).code == 0).then_some(()));
    }
}

fn without_selector(deployment: &mut Value) {
    deployment["spec"]["template"]["spec"].as_object_mut().unwrap().remove("nodeSelector");
}

fn without_label(deployment: &mut Value) {
    deployment["metadata"]["labels"].as_object_mut().unwrap().remove("scalegate.dev/autoscale");
}

#[test]
fn complete_pools_refuse_while_no_node_has_a_gpu_and_follow_the_nodes() {
    let Some(mut world) = world(&json!({"pools": {"complete": true}})) else { return };
    let process = world.installed.replicas[0].process().id();
    // As it is, without our label, and without the selector by which GKE finds the accelerator.
    let autoscalers = [
        world.deploy("labelled", |_| {}),
        world.deploy("unlabelled", without_label),
        world.deploy("unpinned", |deployment| {
            without_label(deployment);
            without_selector(deployment);
        }),
    ];
    for hpa in &autoscalers {
        world.until_refused("refused without a GPU", hpa);
        let refused = world.create(hpa).refused();
        assert!(refused.contains("admission webhook \"validate.scalegate.dev\" denied the request"), "{refused}");
        assert!(refused.contains("nvidia.com/gpu") && refused.contains("Deployment/gemma-gpu"), "{refused}");
    }
    world.cluster.gpu_node("gpu-1", "l4", 1);
    for hpa in &autoscalers {
        world.until_admitted("admitted when a node with a GPU has joined", hpa);
        world.create(hpa).ok();
    }
    world.cluster.kubectl(&["delete", "node", "gpu-1"]).ok();
    for hpa in &autoscalers {
        world.until_refused("refused when the node has gone", hpa);
        // What was admitted stays as it is, and may still be changed where it is not worse.
        let namespace = hpa["metadata"]["namespace"].as_str().unwrap();
        world.cluster.kubectl(&["label", "hpa", "gemma-gpu", "-n", namespace, "team=ml"]).ok();
    }
    let replica = world.installed.replicas[0].process();
    assert_eq!((replica.id(), replica.ended()), (process, None), "it restarted");
    assert_every_call_was_answered(&world);
}

#[test]
fn by_default_a_cluster_without_gpus_admits_unless_the_pods_are_pinned_to_a_pool_without_them() {
    let Some(world) = world(&json!({})) else { return };
    let pin = |deployment: &mut Value| {
        deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"cloud.google.com/gke-nodepool": "cpu"});
    };
    let pinned = world.deploy("pinned", pin);
    let free = [world.deploy("default", |_| {}), world.deploy("free", without_selector)];
    // Refused first: then it is known that the webhook has the nodes and the Deployments in view.
    world.until_refused("refused, pinned", &pinned);
    let refused = world.create(&pinned).refused();
    assert!(refused.contains("cloud.google.com/gke-nodepool") && refused.contains("cpu"), "{refused}");
    for hpa in &free {
        world.create(hpa).ok();
    }
    assert_every_call_was_answered(&world);
}

#[test]
fn a_configuration_counts_as_soon_as_it_is_mounted_and_an_invalid_one_leaves_the_one_before() {
    let Some(mut world) = world(&json!({})) else { return };
    let process = world.installed.replicas[0].process().id();
    let hpa = world.deploy("configured", without_selector);
    let results = |world: &World, result: &str| {
        world.installed.replicas[0].metrics().sum("scalegate_configuration_reloads_total", &[("result", result)])
    };
    assert_eq!(world.dry_run(&hpa).code, 0, "by default");
    world.installed.configure(&json!({"pools": {"complete": true}}));
    world.until_refused("refused when the pools are complete", &hpa);
    let refused = results(&world, "refused");
    for invalid in [
        json!({"apiVersion": "scalegate.dev/v1alpha1", "kind": "Configuration", "pools": {"complete": "no"}})
            .to_string(),
        json!({"apiVersion": "scalegate.dev/v1alpha1", "kind": "Configuration", "polls": {}}).to_string(),
        "kind: ConfigMap\n".to_owned(),
        "a: [".to_owned(),
        String::new(),
    ] {
        world.installed.configure_by(&invalid);
        assert!(world.dry_run(&hpa).stderr.contains(RULE), "the one before holds after {invalid:?}");
    }
    assert!((results(&world, "refused") - refused - 5.0).abs() < f64::EPSILON, "{}", results(&world, "refused"));
    let log = world.installed.logs();
    assert!(log.contains("configuration refused") && log.contains("polls"), "{log}");
    world
        .installed
        .configure(&json!({"pools": {"complete": true}, "enforcement": {"rules": {"gpu-node-pool": "warn"}}}));
    let warned = world.create(&hpa);
    assert!(warned.code == 0 && warned.stderr.contains(RULE), "{}", warned.stderr);
    let replica = world.installed.replicas[0].process();
    assert_eq!((replica.id(), replica.ended()), (process, None), "it restarted");
}

fn assert_every_call_was_answered(world: &World) {
    let failed = world.cluster.metrics().failed_webhook_calls();
    assert!(failed < 0.5, "{failed} calls failed");
}
