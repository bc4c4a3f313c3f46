//! Each rule that denies: on a creation, on an update that makes things worse, and never on one that leaves them alone.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::process::{Ran, until};
use crate::harness::{assets, repository, values};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of `deploy/broken/`, its documents apart from the Configuration in the order of their files.
struct Broken {
    rule: String,
    documents: Vec<Value>,
    configuration: Value,
}

impl Broken {
    fn all() -> Vec<Self> {
        let mut folders: Vec<_> =
            fs::read_dir(repository("deploy/broken")).unwrap().map(|entry| entry.unwrap()).collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        folders.iter().map(Self::read).collect()
    }

    fn read(folder: &fs::DirEntry) -> Self {
        let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let documents = files.iter().flat_map(|file| values(&fs::read_to_string(file).unwrap()));
        let (configurations, mut documents): (Vec<_>, Vec<_>) =
            documents.partition(|document| document["kind"] == "Configuration");
        // What an autoscaler scales comes first.
        documents.sort_by_key(|document| document["kind"] == "HorizontalPodAutoscaler");
        let rule = folder.file_name().into_string().unwrap();
        Self { rule, documents, configuration: configurations.into_iter().next().unwrap() }
    }

    /// The document that is refused, which is the last, and those that it needs.
    fn split(&self) -> (&Value, &[Value]) {
        self.documents.split_last().unwrap()
    }

    /// The document that is refused, without what is wrong with it.
    fn harmless(&self) -> Value {
        let mut document = self.split().0.clone();
        if document["kind"] == "HorizontalPodAutoscaler" {
            document["spec"]["scaleTargetRef"]["name"] = json!("somebody-else");
            document["spec"]["metrics"] = json!([{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}]);
        } else {
            document["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        document
    }
}

fn send(cluster: &ControlPlane, namespace: &str, arguments: &[&str], object: &Value) -> Ran {
    cluster.kubectl_stdin(&[arguments, &["-n", namespace, "-f", "-"]].concat(), &object.to_string())
}

/// Says of a Deployment that its rollout is complete, as its controller would.
fn roll_out(cluster: &ControlPlane, namespace: &str, deployment: &Value) {
    let name = deployment["metadata"]["name"].as_str().unwrap();
    let stored = cluster.kubectl(&["get", "deployment", name, "-n", namespace, "-o", "json"]).json();
    let status = json!({"status": {
        "observedGeneration": stored["metadata"]["generation"], "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1,
    }})
    .to_string();
    let patch = ["patch", "deployment", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &status];
    cluster.kubectl(&patch).ok();
}

fn put_beneath(cluster: &ControlPlane, namespace: &str, needed: &[Value]) {
    for object in needed {
        send(cluster, namespace, &["apply"], object).ok();
        if object["kind"] == "Deployment" {
            roll_out(cluster, namespace, object);
        }
    }
}

#[test]
fn each_broken_manifest_is_refused_on_create_and_when_an_update_worsens_and_left_alone_otherwise() {
    if !assets::have(&[assets::Binary::Helm]) {
        return;
    }
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    let broken = Broken::all();
    assert!(broken.len() >= 10);
    // What was there before us.
    let old: Vec<String> = broken.iter().map(|_| cluster.namespace("old")).collect();
    for (broken, namespace) in broken.iter().zip(&old) {
        put_beneath(&cluster, namespace, &broken.documents);
    }
    // One configuration for all: the pools that a folder declares do not bear on the others.
    let mut config = json!({});
    for broken in &broken {
        let fields = broken.configuration.as_object().unwrap().iter();
        for (key, value) in fields.filter(|(key, _)| *key != "apiVersion" && *key != "kind") {
            assert!(config[key].is_null() || config[key] == *value, "{}: another {key}", broken.rule);
            config[key] = value.clone();
        }
    }
    let installed = Installation::start(&cluster, &json!({"config": config}), 1);

    for (broken, old) in broken.iter().zip(&old) {
        let rule = &broken.rule;
        let (bad, needed) = broken.split();
        let namespace = cluster.namespace("new");
        put_beneath(&cluster, &namespace, needed);
        let words = format!("[{rule}]");
        // The webhook hears of what is beneath by a watch.
        until(&format!("{rule}: refused on create; {}", installed.logs()), PATIENCE, || {
            let ran = send(&cluster, &namespace, &["create", "--dry-run=server"], bad);
            ran.stderr.contains(&words).then_some(())
        });
        let refused = send(&cluster, &namespace, &["create"], bad).refused();
        assert!(refused.contains("validate.scalegate.dev") && refused.contains(&words), "{rule}: {refused}");

        send(&cluster, &namespace, &["apply"], &broken.harmless()).ok();
        let worse = send(&cluster, &namespace, &["apply"], bad);
        if rule == "metric-removed" {
            // The image may be on its way back, so an update only warns.
            assert!(worse.stderr.contains(&words), "{rule}: {}", worse.stderr);
            worse.ok();
        } else {
            let refused = worse.refused();
            assert!(refused.contains(&words), "{rule}: {refused}");
        }

        // The same object, bad for a long time: touched beside its spec, and written again as it is.
        let kind = bad["kind"].as_str().unwrap().to_lowercase();
        let name = bad["metadata"]["name"].as_str().unwrap();
        cluster.kubectl(&["annotate", &kind, name, "-n", old, "example.com/touched=yes"]).ok();
        send(&cluster, old, &["apply"], bad).ok();
        send(&cluster, old, &["replace"], bad).ok();
        cluster.kubectl(&["delete", &kind, name, "-n", old]).ok();
    }
}
