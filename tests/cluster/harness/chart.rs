//! The chart: rendered by the real helm, applied by kubectl, its Deployments run as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::assets::Binary;
use super::control_plane::{ControlPlane, command};
use super::process::{self, Ran};
use super::scalegate::Launch;
use super::{repository, values};

/// The name of the release in tests.
pub const RELEASE: &str = "scalegate";

/// Runs helm with these arguments, without a cluster to talk to.
pub fn helm(arguments: &[&str]) -> Ran {
    run_helm(arguments, None)
}

/// Runs helm with these arguments against a cluster, as the harness.
pub fn helm_in(cluster: &ControlPlane, arguments: &[&str]) -> Ran {
    run_helm(arguments, Some(&cluster.kubeconfig_path()))
}

fn run_helm(arguments: &[&str], kubeconfig: Option<&Path>) -> Ran {
    let home = process::folder("helm");
    let mut command: Command = command(Binary::Helm);
    command.args(arguments).env("HOME", &home).env_remove("KUBECONFIG");
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.join(name));
    }
    Ran::of(command, "")
}

/// The chart's objects for a namespace, in helm's order.
pub fn render_chart(namespace: &str, chart_values: &Value) -> Vec<Value> {
    let file = process::folder("values").join("values.json");
    fs::write(&file, chart_values.to_string()).expect("a values file");
    let chart = repository("deploy/chart");
    let (chart, file) = (chart.to_str().expect("a UTF-8 path"), file.to_str().expect("a UTF-8 path"));
    values(&helm(&["template", RELEASE, chart, "--namespace", namespace, "--values", file]).ok())
}

/// A chart whose objects are applied.
pub struct Installed<'a> {
    cluster: &'a ControlPlane,
    namespace: String,
    /// Every object as helm rendered it, Deployments and the genuine Service included.
    pub objects: Vec<Value>,
}

/// Renders the chart and applies it in that namespace, which must be there. What stands for the cluster's network is
/// replaced: a Service that webhooks call becomes an `ExternalName` to `localhost`, and `service.port` the balancer's.
/// Deployments are left out; [`Installed::launch`] runs them.
pub fn install_chart<'a>(cluster: &'a ControlPlane, namespace: &str, chart_values: &Value, port: u16) -> Installed<'a> {
    let mut installed = Installed { cluster, namespace: namespace.to_owned(), objects: Vec::new() };
    installed.upgrade(chart_values, port);
    installed
}

impl<'a> Installed<'a> {
    /// Objects that are applied already, whoever did it and however they were rendered.
    pub fn of(cluster: &'a ControlPlane, namespace: &str, objects: Vec<Value>) -> Self {
        Self { cluster, namespace: namespace.to_owned(), objects }
    }
}

impl Installed<'_> {
    /// Renders it again with other values and applies that, as `helm upgrade` does, but removes nothing.
    pub fn upgrade(&mut self, chart_values: &Value, port: u16) {
        let mut chart_values = chart_values.clone();
        chart_values["service"]["port"] = json!(port);
        self.objects = render_chart(&self.namespace, &chart_values);
        let called = called_services(&self.objects);
        let mut items: Vec<Value> =
            self.objects.iter().filter(|object| object["kind"] != "Deployment").cloned().collect();
        for item in &mut items {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if item["kind"] == "Service" && called.iter().any(|called| called == name) {
                item["spec"] = json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]});
            }
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.cluster.kubectl_stdin(&["apply", "-f", "-"], &list.to_string()).ok();
    }

    /// The object of that kind and name.
    pub fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("the chart renders no {kind} {name}"))
    }

    /// How to start one replica of a Deployment: its container's arguments and environment, its service account by a
    /// token, free ports of loopback for `--listen` and `--admin-listen`, and folders for what it mounts.
    pub fn launch(&self, deployment: &str) -> Launch {
        let template = &self.object("Deployment", deployment)["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        assert!(container["command"].is_null(), "the image's entrypoint runs: {container}");
        let account = template["spec"]["serviceAccountName"].as_str().expect("a service account");
        let account = self.cluster.service_account(&self.namespace, account);
        let environment = environment(container, &self.namespace);
        let mounts = self.mounts(&template["spec"], container);
        let arguments = list(&container["args"]).iter().map(|argument| argument.as_str().expect("a text"));
        let arguments: Vec<String> = arguments.map(|argument| expand(argument, &environment)).collect();
        let (subcommand, arguments) = arguments.split_first().expect("a subcommand");
        let mut launch = Launch::new(subcommand).kubeconfig(&self.cluster.kubeconfig_of(&account));
        for (name, value) in &environment {
            launch = launch.env(name, value);
        }
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (flag, value) =
                argument.split_once('=').map_or((argument.as_str(), None), |(flag, value)| (flag, Some(value)));
            launch = match flag {
                "--listen" | "--admin-listen" => {
                    if value.is_none() {
                        arguments.next();
                    }
                    if flag == "--listen" { launch.listening() } else { launch.with_admin() }
                }
                _ => launch.args([relocate(argument, &mounts)]),
            };
        }
        launch
    }

    /// Mount path in the container -> folder here, filled from the ConfigMap or Secret that the volume names.
    fn mounts(&self, pod: &Value, container: &Value) -> Vec<(String, PathBuf)> {
        let mounts = list(&container["volumeMounts"]).iter().map(|mount| {
            let volume = list(&pod["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
            let folder = process::folder("mount");
            if let Some(name) = volume["configMap"]["name"].as_str() {
                let data = &self.object("ConfigMap", name)["data"];
                project(&folder, &entries(data, |text| text.as_bytes().to_vec()));
            } else if let Some(name) = volume["secret"]["secretName"].as_str() {
                let secret = self.cluster.kubectl(&["get", "secret", name, "-n", &self.namespace, "-o", "json"]).json();
                let decode = |text: &str| STANDARD.decode(text).expect("base64");
                project(&folder, &entries(&secret["data"], decode));
            } else {
                assert!(volume["emptyDir"].is_object(), "the harness cannot mount {volume}");
            }
            (mount["mountPath"].as_str().expect("a path").to_owned(), folder)
        });
        mounts.collect()
    }
}

/// Writes files as a kubelet does: into a new folder, to which the link `..data` is switched at once. Called again with
/// other files, it updates a mount under a process that reads it.
pub fn project(folder: &Path, files: &[(String, Vec<u8>)]) {
    let version = tempfile::Builder::new().prefix("..version-").tempdir_in(folder).expect("a folder").keep();
    for (name, bytes) in files {
        fs::write(version.join(name), bytes).expect("a file");
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).expect("a link");
        }
    }
    let (data, new) = (folder.join("..data"), folder.join("..data_new"));
    let old = fs::read_link(&data).ok();
    std::os::unix::fs::symlink(version.file_name().expect("a name"), &new).expect("a link");
    fs::rename(&new, &data).expect("the link is switched");
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).expect("the old files go");
    }
}

/// The Services that the webhook configurations call.
fn called_services(objects: &[Value]) -> Vec<String> {
    let webhooks = objects.iter().flat_map(|object| list(&object["webhooks"]));
    let names = webhooks.filter_map(|webhook| webhook["clientConfig"]["service"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// The container's environment with what the downward API would fill in.
fn environment(container: &Value, namespace: &str) -> Vec<(String, String)> {
    let variables = list(&container["env"]).iter().map(|variable| {
        let name = variable["name"].as_str().expect("a name").to_owned();
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => namespace.to_owned(),
            Some("metadata.name") => format!("pod-{}", super::free_port()),
            Some("status.podIP" | "status.hostIP") => "127.0.0.1".to_owned(),
            Some(other) => panic!("the harness does not know {other}"),
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        (name, value)
    });
    variables.collect()
}

/// `$(NAME)` as the kubelet expands it.
fn expand(argument: &str, environment: &[(String, String)]) -> String {
    environment.iter().fold(argument.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

/// An argument whose value lies in a mount, with the folder that stands for it.
fn relocate(argument: &str, mounts: &[(String, PathBuf)]) -> String {
    let (before, path) = argument.split_once('=').map_or(("", argument), |(flag, path)| (flag, path));
    for (mount, folder) in mounts {
        if let Some(rest) = path.strip_prefix(mount.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            let path = format!("{}{rest}", folder.display());
            return if before.is_empty() { path } else { format!("{before}={path}") };
        }
    }
    argument.to_owned()
}

fn entries(data: &Value, decode: impl Fn(&str) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let Some(data) = data.as_object() else { return Vec::new() };
    data.iter().map(|(name, value)| (name.clone(), decode(value.as_str().unwrap_or_default()))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn a_path_in_a_mount_is_found_where_the_mount_is() {
    let mounts = [("/certs".to_owned(), PathBuf::from("/tmp/x"))];
    assert_eq!(relocate("--tls-cert=/certs/tls.crt", &mounts), "--tls-cert=/tmp/x/tls.crt");
    assert_eq!(relocate("/certs/tls.crt", &mounts), "/tmp/x/tls.crt");
    assert_eq!(relocate("--other=/certificates/a", &mounts), "--other=/certificates/a");
}

#[test]
fn a_mount_changes_as_one_under_its_readers() {
    let folder = process::folder("mount");
    let file = |text: &str| vec![("tls.crt".to_owned(), text.as_bytes().to_vec())];
    for text in ["first", "second", "third"] {
        project(&folder, &file(text));
        assert_eq!(fs::read_to_string(folder.join("tls.crt")).unwrap(), text);
        let versions = fs::read_dir(&folder)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("..version-"));
        assert_eq!(versions.count(), 1);
    }
}
