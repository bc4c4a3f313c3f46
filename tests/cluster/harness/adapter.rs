//! The metrics adapter of `tests/adapter/` as a process, and its registration with the API server.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::assets::Binary;
use super::control_plane::{ControlPlane, command};
use super::process::{self, Process};
use super::{free_port, repository, values};

const START: Duration = Duration::from_secs(60);

/// Whose answers it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Stackdriver,
    PrometheusAdapter,
}

impl Mode {
    /// As the flag and the files of the registration name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stackdriver => "stackdriver",
            Self::PrometheusAdapter => "prometheus-adapter",
        }
    }

    /// The Services and APIServices that lead the API server to that port of this machine, under the names by which the
    /// genuine adapter is recognised.
    pub fn registration(self, port: u16) -> Vec<Value> {
        let file = repository("tests/adapter/registration").join(format!("{}.yaml", self.name()));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        values(&text.replace("ADAPTER_PORT", &port.to_string()))
    }
}

/// One adapter. It is killed when dropped; its registration stays.
pub struct Adapter<'a> {
    cluster: &'a ControlPlane,
    mode: Mode,
    port: u16,
    folder: PathBuf,
    process: Process,
}

impl<'a> Adapter<'a> {
    /// Starts it with these metrics (`tests/adapter/README.md` describes the document), and waits until it listens.
    pub fn start(cluster: &'a ControlPlane, mode: Mode, metrics: &Value) -> Self {
        let folder = process::folder("adapter");
        write(&folder, "metrics.yaml", &metrics.to_string());
        Self::start_with(cluster, mode, folder, "--metrics=metrics.yaml")
    }

    /// Starts it over the Prometheus at that URL, and waits until it listens.
    pub fn over_prometheus(cluster: &'a ControlPlane, mode: Mode, url: &str) -> Self {
        Self::start_with(cluster, mode, process::folder("adapter"), &format!("--prometheus-url={url}"))
    }

    fn start_with(cluster: &'a ControlPlane, mode: Mode, folder: PathBuf, source: &str) -> Self {
        let port = free_port();
        let mut command: Command = command(Binary::Adapter);
        command.args([format!("--mode={}", mode.name()), format!("--secure-port={port}")]);
        command.args(["--bind-address=127.0.0.1", "--cert-dir=certificates"]).current_dir(&folder);
        command.args([source, "--faults=faults.txt"]);
        let kubeconfig = cluster.kubeconfig_path();
        for flag in ["lister", "authentication", "authorization"] {
            command.arg(format!("--{flag}-kubeconfig={}", kubeconfig.display()));
        }
        let mut process = Process::spawn("the metrics adapter", &folder.join("log"), command);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        process.until("listens", START, || TcpStream::connect(address).is_ok().then_some(()));
        Self { cluster, mode, port, folder, process }
    }

    /// Registers it, and waits until the API server reaches it.
    pub fn register(&self) {
        register(self.cluster, self.mode, self.port);
        for service in api_services(self.mode) {
            self.cluster.kubectl(&["wait", "--for=condition=Available", "--timeout=60s", "apiservice", &service]).ok();
        }
    }

    /// What it serves from now on.
    pub fn serve(&self, metrics: &Value) {
        write(&self.folder, "metrics.yaml", &metrics.to_string());
    }

    /// How it fails from now on, one fault a line; nothing heals it.
    pub fn fail(&self, faults: &str) {
        write(&self.folder, "faults.txt", faults);
    }

    /// SIGKILL; the registration stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Registers whatever listens on that port as the adapter of that mode, and waits for nothing.
pub fn register(cluster: &ControlPlane, mode: Mode, port: u16) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": mode.registration(port)});
    cluster.kubectl_stdin(&["apply", "-f", "-"], &list.to_string()).ok();
}

/// Takes the APIServices of that mode away.
pub fn unregister(cluster: &ControlPlane, mode: Mode) {
    let services = api_services(mode);
    let mut arguments = vec!["delete", "apiservice", "--ignore-not-found"];
    arguments.extend(services.iter().map(String::as_str));
    cluster.kubectl(&arguments).ok();
}

/// The names of the APIServices of that mode.
pub fn api_services(mode: Mode) -> Vec<String> {
    let objects = mode.registration(0);
    let services = objects.iter().filter(|object| object["kind"] == "APIService");
    services.map(|service| service["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

/// Replaces a file at once, for the adapter reads it at any time.
fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).expect("a file");
    fs::rename(new, folder.join(name)).expect("a file");
}
