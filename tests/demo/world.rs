//! The cluster of the demo: a control plane, two pools, a collector, an adapter, and scalegate as its chart installs it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::collector::Collector;
use crate::harness::adapter::{Adapter, Mode};
use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::{repository, values};
use crate::screen::Screen;

/// GPU nodes, with two L4 each: five replicas of either strategy, and the published walkthrough's.
const GPU_NODES: u32 = 6;

/// Time for a kind to be served after its definition.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs. It ends with the process.
pub struct World {
    pub cluster: &'static ControlPlane,
    pub collector: Collector,
    _adapter: Adapter<'static>,
    /// Until it is uninstalled.
    pub installation: Option<Installation<'static>>,
}

impl World {
    /// Starts everything; the binaries that are missing are built first.
    ///
    /// # Errors
    /// When there is no Go to build them with.
    pub fn start(screen: &Screen) -> Result<Self, String> {
        for binary in Binary::ALL.into_iter().chain([Binary::Prometheus]) {
            assets::find(binary)?;
        }
        screen.part("A cluster on this machine");
        // GKE switches it on: a pod that asks for a GPU tolerates the taint of GPU nodes.
        let flags = vec!["--enable-admission-plugins=ExtendedResourceToleration".to_owned()];
        let options = Options { apiserver_flags: flags, ..Options::default() };
        let cluster = ControlPlane::start(options).ok_or("the control plane could not start")?;
        let cluster: &'static ControlPlane = Box::leak(Box::new(cluster));
        cluster.controller_manager();
        cluster.scheduler();
        cluster.kwok();
        screen.step("etcd, kube-apiserver, kube-controller-manager and kube-scheduler run; KWOK plays the kubelets");
        for node in 1..=GPU_NODES {
            cluster.gpu_node(&format!("l4-{node}"), "l4", 2);
        }
        for node in 1..=2 {
            cluster.cpu_node(&format!("cpu-{node}"), "cpu");
        }
        screen.step("pool l4: 6 nodes with 2 GPUs each; pool cpu: 2 nodes without");
        let crds = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
        cluster.kubectl(&["apply", "--server-side", "-f", crds.to_str().expect("a UTF-8 path")]).ok();
        let established = format!("--timeout={}s", PATIENCE.as_secs());
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", &established]).ok();
        cluster.kubectl_stdin(&["apply", "-f", "-"], &manifest("dcgm-exporter.yaml")).ok();
        let collector = Collector::start(cluster);
        let adapter = Adapter::over_prometheus(cluster, Mode::Stackdriver, &collector.url());
        adapter.register();
        screen.step("Prometheus scrapes what PodMonitorings say; an adapter serves custom.metrics.k8s.io from it");
        let installation = Installation::start_self_managed(cluster, &chart_values(), 2);
        screen.step("scalegate is installed by its chart: two replicas of the webhook, and the controller");
        Ok(Self { cluster, collector, _adapter: adapter, installation: Some(installation) })
    }
}

/// What an administrator gives the chart: the walkthrough's Configuration, and the objects that all GPU metrics share.
fn chart_values() -> Value {
    let file = repository("deploy/walkthrough/configuration.yaml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut config = values(&text).remove(0);
    if let Some(fields) = config.as_object_mut() {
        fields.retain(|key, _| key != "apiVersion" && key != "kind");
    }
    json!({"config": config, "gpuMetrics": {"enabled": true}})
}

/// A file of `tests/demo/manifests/`.
pub fn manifest(name: &str) -> String {
    let file = repository("tests/demo/manifests").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
