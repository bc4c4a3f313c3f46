//! scalegate installed by its chart: the chart's objects on the API server, its processes here, a balancer between.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use scalegate::tls::DevCa;
use serde_json::{Value, json};

use super::assets::{self, Binary};
use super::balancer::Balancer;
use super::chart::{Installed, RELEASE, install_chart, project};
use super::control_plane::{ControlPlane, Options};
use super::process::until;
use super::scalegate::{Launch, Scalegate};

/// Where it is installed.
pub const NAMESPACE: &str = "scalegate-system";

/// The Secret with the serving certificate in the mode `files`.
const SECRET: &str = "scalegate-serving";

const PATIENCE: Duration = Duration::from_secs(60);

/// One installation. Its configurations are cluster-scoped, so a control plane carries one at a time.
pub struct Installation<'a> {
    pub cluster: &'a ControlPlane,
    pub chart: Installed<'a>,
    pub balancer: Balancer,
    pub replicas: Vec<Scalegate>,
    /// Where the chart has one.
    pub controller: Option<Scalegate>,
}

impl<'a> Installation<'a> {
    /// The installation that tests share: two replicas under the default configuration, on a control plane of its own
    /// without controllers. Nothing when there are no binaries; the reason is printed.
    pub fn shared() -> Option<&'static Installation<'static>> {
        static SHARED: OnceLock<Option<Installation<'static>>> = OnceLock::new();
        if !assets::have(&[Binary::Helm]) {
            return None;
        }
        let start = || {
            let cluster = Box::leak(Box::new(ControlPlane::start(Options::default())?));
            Some(Installation::start(cluster, &json!({}), 2))
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// Installs the chart with certificates that the harness issues (`certificates.mode: files`) and `more` values, and
    /// waits until that many replicas are called. There is no controller, so that a label brings no objects.
    pub fn start(cluster: &'a ControlPlane, more: &Value, replicas: usize) -> Self {
        let mut values = json!({"controller": {"enabled": false}});
        merge(&mut values, more);
        Self::start_with_controller(cluster, &values, replicas)
    }

    /// As [`Installation::start`], with the controller that the chart has by default; it writes what a label brings, and
    /// does not rotate certificates.
    pub fn start_with_controller(cluster: &'a ControlPlane, more: &Value, replicas: usize) -> Self {
        let ca = DevCa::generate("scalegate test CA", Duration::from_secs(86_400)).expect("an authority");
        let issued = ca.issue(&[&format!("{RELEASE}.{NAMESPACE}.svc")]).expect("a certificate");
        create_namespace(cluster);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": {"tls.crt": issued.chain_pem, "tls.key": issued.key_pem},
        });
        cluster.kubectl_stdin(&["apply", "-f", "-"], &secret.to_string()).ok();
        let mut values = json!({
            "certificates": {"mode": "files", "secretName": SECRET, "caBundle": ca.certificate_pem()},
        });
        merge(&mut values, more);
        Self::with_values(cluster, &values, replicas)
    }

    /// Installs the chart as it is by default: the controller issues the certificates.
    pub fn start_self_managed(cluster: &'a ControlPlane, more: &Value, replicas: usize) -> Self {
        create_namespace(cluster);
        Self::with_values(cluster, more, replicas)
    }

    fn with_values(cluster: &'a ControlPlane, more: &Value, replicas: usize) -> Self {
        let balancer = Balancer::start();
        // The balancer knows within a moment who is draining; a cluster's proxies need longer.
        let mut values = json!({"webhook": {"quietPeriodSeconds": 1, "replicas": replicas}});
        merge(&mut values, more);
        let chart = install_chart(cluster, NAMESPACE, &values, balancer.port());
        let controller = format!("{RELEASE}-controller");
        let has_controller = chart
            .objects
            .iter()
            .any(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == controller.as_str());
        let launch = || chart.launch(&format!("{RELEASE}-webhook")).start_unready();
        // They wait for the controller's certificate.
        let mut replicas: Vec<Scalegate> = (0..replicas).map(|_| launch()).collect();
        let mut controller = has_controller.then(|| controller_launch(&chart, &replicas).start_unready());
        for replica in &mut replicas {
            replica.wait_ready();
            replica.join(&balancer);
        }
        balancer.wait_ready(replicas.len(), PATIENCE);
        wait_until_called(cluster);
        if let Some(controller) = &mut controller {
            controller.wait_ready();
        }
        Self { cluster, chart, balancer, replicas, controller }
    }

    /// Gives every replica, and the controller, another Configuration, as a kubelet changes the ConfigMap that is mounted, and waits until each
    /// has taken or refused it. `config` is as the value of the chart. A replica looks every `--config-poll`, so tests set
    /// `webhook.extraArgs` (and `controller.extraArgs`) to `["--config-poll=100ms"]`.
    pub fn configure(&self, config: &Value) {
        let mut document = json!({"apiVersion": "scalegate.dev/v1alpha1", "kind": "Configuration"});
        merge(&mut document, config);
        self.configure_by(&document.to_string());
    }

    /// As [`Installation::configure`], with any text in the place of the document.
    pub fn configure_by(&self, text: &str) {
        let ended = |replica: &Scalegate| {
            let metrics = replica.metrics();
            let of = |result| metrics.sum("scalegate_configuration_reloads_total", &[("result", result)]);
            of("applied") + of("refused")
        };
        for replica in self.replicas.iter().chain(&self.controller) {
            let file = Path::new(replica.flag("--config").expect("it has a configuration"));
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            if fs::read_to_string(file).is_ok_and(|before| before == text) {
                continue;
            }
            let before = ended(replica);
            project(file.parent().expect("a folder"), &[(name, text.as_bytes().to_vec())]);
            until("the configuration is looked at", PATIENCE, || (ended(replica) > before).then_some(()));
        }
    }

    /// How to start one more controller, which dials these replicas.
    pub fn launch_controller(&self) -> Launch {
        controller_launch(&self.chart, &self.replicas)
    }

    /// The replicas' logs, for messages of failed tests.
    pub fn logs(&self) -> String {
        self.replicas.iter().map(Scalegate::log).collect()
    }
}

/// Kubernetes refuses loopback in EndpointSlices, so a flag says where replicas are to the controller that rotates.
fn controller_launch(chart: &Installed<'_>, replicas: &[Scalegate]) -> Launch {
    let name = format!("{RELEASE}-controller");
    let launch = chart.launch(&name);
    let arguments = &chart.object("Deployment", &name)["spec"]["template"]["spec"]["containers"][0]["args"];
    if arguments.as_array().is_some_and(|arguments| arguments.iter().any(|flag| flag == "--no-certificates")) {
        return launch;
    }
    replicas.iter().fold(launch, |launch, replica| launch.args([format!("--endpoint={}", replica.address())]))
}

/// Makes [`NAMESPACE`], with the Pod Security that the chart promises.
pub fn create_namespace(cluster: &ControlPlane) {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            // The processes run here, so only rendered pods can show it.
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    });
    cluster.kubectl_stdin(&["apply", "-f", "-"], &namespace.to_string()).ok();
}

/// The API server hears of webhooks by a watch: waits until a Deployment that nobody else refuses is refused.
pub fn wait_until_called(cluster: &ControlPlane) {
    let probe = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "probe", "namespace": "default", "labels": {"scalegate.dev/autoscale": "no-such-profile"}},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {
                "metadata": {"labels": {"app": "probe"}},
                "spec": {"containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0"}]},
            },
        },
    })
    .to_string();
    until("the webhooks are called", PATIENCE, || {
        let ran = cluster.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &probe);
        ran.stderr.contains("validate.scalegate.dev").then_some(())
    });
}

/// Merges values as helm does: objects member by member, anything else as a whole.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
