//! The collector of Managed Prometheus, with a real Prometheus inside: what it scrapes and records is translated from the
//! monitoring objects in the API server, and from nothing else.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Api, list, text};
use crate::harness::assets::Binary;
use crate::harness::control_plane::{ControlPlane, command};
use crate::harness::{free_address, http, process};

/// How often the objects are looked at.
const LOOK: Duration = Duration::from_millis(500);

const START: Duration = Duration::from_secs(60);

/// The labels that Managed Prometheus adds to every series. On GKE they are the cluster's.
const PLACE: [(&str, &str); 3] = [("project_id", "demo"), ("location", "loopback"), ("cluster", "demo")];

/// A Prometheus that follows the monitoring objects until the process ends.
pub struct Collector {
    address: SocketAddr,
}

impl Collector {
    /// Starts Prometheus without anything to scrape, and follows the objects from then on.
    pub fn start(cluster: &'static ControlPlane) -> Self {
        let folder = process::folder("prometheus");
        let address = free_address();
        let kubeconfig = cluster.kubeconfig_path();
        write(&folder, &Objects::default(), &kubeconfig);
        let mut prometheus = command(Binary::Prometheus);
        prometheus.current_dir(&folder).args([
            "--config.file=prometheus.json",
            "--storage.tsdb.path=data",
            "--web.enable-lifecycle",
            "--log.level=warn",
            // Of a job that is taken out of its configuration, Prometheus does not mark the series as ended: they count
            // for this long, and by default for five minutes.
            "--query.lookback-delta=45s",
        ]);
        prometheus.arg(format!("--web.listen-address={address}"));
        let mut process = process::Process::spawn("prometheus", &folder.join("log"), prometheus);
        process.until("is ready", START, || http::is_ok(address, "/-/ready").then_some(()));
        let api = Api::of(cluster);
        thread::spawn(move || {
            // Ends with the process.
            let _prometheus = process;
            let mut before = Objects::default();
            loop {
                if let Some(now) = Objects::read(&api).filter(|now| *now != before) {
                    write(&folder, &now, &kubeconfig);
                    if http::post(address, "/-/reload").is_ok_and(|status| status == 200) {
                        before = now;
                    }
                }
                thread::sleep(LOOK);
            }
        });
        Self { address }
    }

    /// Where it serves its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of series that a query finds now; none when there is no answer.
    pub fn series(&self, query: &str) -> Option<usize> {
        let mut escaped = String::new();
        for byte in query.bytes() {
            let _ = write!(escaped, "%{byte:02X}");
        }
        let (_, body) = http::get(self.address, &format!("/api/v1/query?query={escaped}")).ok()?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"].as_array().map(Vec::len)
    }
}

/// The monitoring objects of a cluster.
#[derive(Debug, Default, PartialEq)]
struct Objects {
    pod_monitorings: Vec<Value>,
    cluster_pod_monitorings: Vec<Value>,
    rules: Vec<Value>,
    cluster_rules: Vec<Value>,
}

impl Objects {
    /// Nothing when the API server does not answer.
    fn read(api: &Api) -> Option<Self> {
        let read = |kind: &str| {
            let answer = api.get(&format!("/apis/monitoring.googleapis.com/v1/{kind}"))?;
            // Status and managed fields say nothing about what is wanted.
            let wanted = |object: &Value| {
                json!({
                    "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
                    "spec": object["spec"],
                })
            };
            Some(list(&answer["items"]).iter().map(wanted).collect())
        };
        Some(Self {
            pod_monitorings: read("podmonitorings")?,
            cluster_pod_monitorings: read("clusterpodmonitorings")?,
            rules: read("rules")?,
            cluster_rules: read("clusterrules")?,
        })
    }
}

/// Writes what Prometheus reads; JSON is YAML.
fn write(folder: &Path, objects: &Objects, kubeconfig: &PathBuf) {
    let cluster_wide = objects.cluster_pod_monitorings.iter().map(|object| ("ClusterPodMonitoring", object));
    let namespaced = objects.pod_monitorings.iter().map(|object| ("PodMonitoring", object));
    let jobs: Vec<Value> = cluster_wide
        .chain(namespaced)
        .flat_map(|(kind, object)| {
            list(&object["spec"]["endpoints"]).iter().map(move |endpoint| (kind, object, endpoint))
        })
        .map(|(kind, object, endpoint)| job(kind, object, endpoint, kubeconfig))
        .collect();
    let file = |name: &str, content: &Value| fs::write(folder.join(name), content.to_string()).expect("a file");
    file("rules.json", &json!({"groups": groups(objects)}));
    file("prometheus.json", &json!({"scrape_configs": jobs, "rule_files": ["rules.json"]}));
}

/// One endpoint of a PodMonitoring or ClusterPodMonitoring as a job of Prometheus.
fn job(kind: &str, object: &Value, endpoint: &Value, kubeconfig: &PathBuf) -> Value {
    let name = text(&object["name"]);
    let namespace = object["namespace"].as_str();
    let port = endpoint["port"].as_str().map_or_else(|| endpoint["port"].to_string(), str::to_owned);
    let mut discovery = json!({"role": "pod", "kubeconfig_file": kubeconfig});
    if let Some(namespace) = namespace {
        discovery["namespaces"] = json!({"names": [namespace]});
    }
    let mut rules = vec![
        keep("__meta_kubernetes_pod_ip", ".+"),
        drop_where("__meta_kubernetes_pod_container_init", "true"),
        drop_where("__meta_kubernetes_pod_phase", "Failed|Succeeded"),
    ];
    rules.extend(selector(&object["spec"]["selector"]));
    // A name is looked up among the declared ports; a number is scraped, declared or not.
    if endpoint["port"].is_number() {
        rules.push(copy(&["__meta_kubernetes_pod_ip"], "(.*)", &format!("$1:{port}"), "__address__"));
    } else {
        rules.push(keep("__meta_kubernetes_pod_container_port_name", &regex::escape(&port)));
    }
    rules.extend(PLACE.map(|(label, value)| set(label, value)));
    rules.push(set("job", name));
    let instance = format!("$1:{port}");
    rules.push(copy(&["__meta_kubernetes_pod_name"], "(.*)", &instance, "instance"));
    if let Some(namespace) = namespace {
        rules.push(set("namespace", namespace));
    }
    rules.extend(metadata_labels(kind, &object["spec"]["targetLabels"]["metadata"], endpoint["port"].is_string()));
    let relabeling: Vec<Value> = list(&endpoint["metricRelabeling"]).iter().map(relabel).collect();
    let or = |key: &str, default: Value| if endpoint[key].is_null() { default } else { endpoint[key].clone() };
    json!({
        "job_name": format!("{kind}/{}{name}/{port}", namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default()),
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": or("timeout", endpoint["interval"].clone()),
        "metrics_path": or("path", json!("/metrics")),
        "scheme": or("scheme", json!("http")),
        "params": or("params", json!({})),
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": rules,
        "metric_relabel_configs": relabeling,
    })
}

/// The labels that the object wants on its targets. What it leaves out stays free for the exporter's own.
fn metadata_labels(kind: &str, wanted: &Value, port_is_named: bool) -> Vec<Value> {
    let mut default = vec!["container", "pod", "top_level_controller_name", "top_level_controller_type"];
    if kind == "ClusterPodMonitoring" {
        default.push("namespace");
    }
    let wanted: Vec<&str> = wanted.as_array().map_or(default, |names| names.iter().filter_map(Value::as_str).collect());
    let controller = ["__meta_kubernetes_pod_controller_kind", "__meta_kubernetes_pod_controller_name"];
    let mut rules = Vec::new();
    for label in wanted {
        match label {
            "pod" => rules.push(copy(&["__meta_kubernetes_pod_name"], "(.+)", "$1", "pod")),
            "namespace" => rules.push(copy(&["__meta_kubernetes_namespace"], "(.+)", "$1", "namespace")),
            "node" => rules.push(copy(&["__meta_kubernetes_pod_node_name"], "(.+)", "$1", "node")),
            // The container of a numeric port is not known.
            "container" if port_is_named => {
                rules.push(copy(&["__meta_kubernetes_pod_container_name"], "(.+)", "$1", "container"));
            }
            "top_level_controller_name" => {
                rules.push(copy(&controller, "[^;]+;(.+)", "$1", label));
                rules.push(copy(&controller, "ReplicaSet;(.+)-[^-]+", "$1", label));
            }
            "top_level_controller_type" => {
                rules.push(copy(&controller, "([^;]+);.+", "$1", label));
                rules.push(copy(&controller, "ReplicaSet;.+", "Deployment", label));
            }
            _ => {}
        }
    }
    rules
}

/// A label selector as relabelling.
fn selector(selector: &Value) -> Vec<Value> {
    let label = |key: &str| format!("__meta_kubernetes_pod_label_{}", plain(key));
    let mut rules = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        rules.push(keep(&label(key), &regex::escape(text(value))));
    }
    for expression in list(&selector["matchExpressions"]) {
        let key = text(&expression["key"]);
        let values: Vec<String> = list(&expression["values"]).iter().map(|value| regex::escape(text(value))).collect();
        let values = values.join("|");
        let present = format!("__meta_kubernetes_pod_labelpresent_{}", plain(key));
        rules.push(match text(&expression["operator"]) {
            "In" => keep(&label(key), &values),
            "NotIn" => drop_where(&label(key), &values),
            "Exists" => keep(&present, "true"),
            _ => drop_where(&present, "true"),
        });
    }
    rules
}

/// A relabelling rule of an object as Prometheus spells it.
fn relabel(rule: &Value) -> Value {
    let names = [
        ("sourceLabels", "source_labels"),
        ("separator", "separator"),
        ("targetLabel", "target_label"),
        ("regex", "regex"),
        ("modulus", "modulus"),
        ("replacement", "replacement"),
        ("action", "action"),
    ];
    let given = names.into_iter().filter(|(ours, _)| !rule[*ours].is_null());
    given.map(|(ours, theirs)| (theirs.to_owned(), rule[ours].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// The groups of all rules. What a Rules object makes belongs to its namespace.
fn groups(objects: &Objects) -> Vec<Value> {
    let all = objects.cluster_rules.iter().chain(&objects.rules);
    let groups = all.flat_map(|object| list(&object["spec"]["groups"]).iter().map(move |group| (object, group)));
    groups
        .map(|(object, group)| {
            let mut group = group.clone();
            let owner = [object["namespace"].as_str().unwrap_or_default(), text(&object["name"])].join("/");
            group["name"] = json!(format!("{owner}/{}", text(&group["name"])));
            if let (Some(namespace), Some(rules)) = (object["namespace"].as_str(), group["rules"].as_array_mut()) {
                for rule in rules {
                    rule["labels"]["namespace"] = json!(namespace);
                }
            }
            group
        })
        .collect()
}

fn keep(label: &str, regex: &str) -> Value {
    json!({"source_labels": [label], "regex": regex, "action": "keep"})
}

fn drop_where(label: &str, regex: &str) -> Value {
    json!({"source_labels": [label], "regex": regex, "action": "drop"})
}

fn set(label: &str, value: &str) -> Value {
    json!({"target_label": label, "replacement": value})
}

fn copy(from: &[&str], regex: &str, replacement: &str, to: &str) -> Value {
    json!({"source_labels": from, "regex": regex, "replacement": replacement, "target_label": to})
}

/// The name that Prometheus' discovery gives a label.
fn plain(key: &str) -> String {
    key.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}
