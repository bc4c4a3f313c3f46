//! The installation that the tests of behaviour, of denials and of apply orders share: the chart with one replica, on a
//! control plane with an audit log, over objects that were stored before any webhook was registered.

use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::{Installation, merge};
use crate::harness::process::{Ran, until};
use crate::harness::{repository, values};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// The name of both webhook configurations.
pub const CONFIGURATION: &str = "scalegate";

/// Namespaces of which no object is sent to us; each is handed out once.
const UNREGISTERED: usize = 12;

/// Namespaces with this label have every rule at `audit`.
pub const AUDITED: &str = "scalegate.test/audited";

/// Requests for the kinds that we are registered for, with what each webhook added.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch]
  resources:
  - {group: apps}
  - {group: autoscaling}
  - {group: leaderworkerset.x-k8s.io}
- level: None
";

/// The installation and what is older than it.
pub struct Standing {
    pub installation: Installation<'static>,
    /// By folder of `deploy/broken/`: a namespace with its objects, stored before the webhooks were registered.
    old: BTreeMap<String, String>,
}

/// The installation, started once. Nothing when there are no binaries; the reason is printed.
pub fn standing() -> Option<&'static Standing> {
    static STANDING: OnceLock<Option<Standing>> = OnceLock::new();
    if !assets::have(&[Binary::Helm]) {
        return None;
    }
    STANDING.get_or_init(start).as_ref()
}

fn start() -> Option<Standing> {
    let options = Options { audit_policy: Some(AUDIT_POLICY.to_owned()), ..Options::default() };
    let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(options)?));
    for group in ["leaderworkerset.x-k8s.io", "monitoring.googleapis.com"] {
        let file = repository("tests/cluster/crds").join(format!("{group}.yaml"));
        // Server-side: large definitions do not fit into the annotation of the other way.
        cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]).ok();
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file.to_str().unwrap()]).ok();
    }
    let broken = Broken::all();
    let mut old = BTreeMap::new();
    for broken in &broken {
        let namespace = cluster.namespace("old");
        for document in &broken.documents {
            store(cluster, &namespace, document);
        }
        old.insert(broken.rule.clone(), namespace);
    }
    let names: Vec<String> = (0..UNREGISTERED).map(unregistered_name).collect();
    let mut more = json!({"config": configuration(&broken), "admission": {"excludeNamespaces": names}});
    // What is not ours to answer must fail loudly here.
    merge(&mut more, &json!({"admission": {"failurePolicy": "Fail", "timeoutSeconds": 20}}));
    Some(Standing { installation: Installation::start(cluster, &more, 1), old })
}

/// One configuration for everything: the walkthrough's, with the pools that the broken folders declare, which bear on
/// nobody else since pods are pinned to them by name.
fn configuration(broken: &[Broken]) -> Value {
    let text = fs::read_to_string(repository("deploy/walkthrough/configuration.yaml")).unwrap();
    let mut config = values(&text).remove(0);
    for broken in broken {
        let more = broken.configuration["pools"]["items"].as_array().into_iter().flatten();
        config["pools"]["items"].as_array_mut().unwrap().extend(more.cloned());
    }
    let fields = config.as_object_mut().unwrap();
    fields.remove("apiVersion");
    fields.remove("kind");
    config["enforcement"] =
        json!({"namespaces": [{"selector": {"matchLabels": {(AUDITED): "true"}}, "mode": "audit"}]});
    config
}

fn unregistered_name(index: usize) -> String {
    format!("unregistered-{index}")
}

impl Standing {
    pub fn cluster(&self) -> &'static ControlPlane {
        self.installation.cluster
    }

    /// The namespace with the objects of a broken folder that are older than the webhooks.
    pub fn old(&self, rule: &str) -> &str {
        &self.old[rule]
    }

    /// Two new namespaces: one whose objects we are sent, and one whose objects we are not.
    pub fn pair(&self, topic: &str) -> Pair {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let index = COUNT.fetch_add(1, Ordering::Relaxed);
        assert!(index < UNREGISTERED, "raise UNREGISTERED");
        let without = unregistered_name(index);
        self.cluster().kubectl(&["create", "namespace", &without]).ok();
        Pair { cluster: self.cluster(), with: self.cluster().namespace(topic), without }
    }

    /// The audit events of a namespace so far.
    pub fn audited(&self, namespace: &str) -> Vec<Value> {
        let mut events = self.cluster().audit_log();
        events.retain(|event| event["objectRef"]["namespace"] == namespace);
        events
    }

    /// Waits until a Deployment with `--max-num-seqs` is in the webhook's view, by the warning about an autoscaler whose
    /// target its pods never reach.
    pub fn wait_for_view(&self, namespace: &str, deployment: &str) {
        let probe =
            hpa("view-probe", deployment, "prometheus.googleapis.com|vllm:num_requests_running|gauge", "100000");
        until(&format!("{namespace}/{deployment} is in view; {}", self.installation.logs()), PATIENCE, || {
            let ran = send(self.cluster(), namespace, &["create", "--dry-run=server"], &probe);
            ran.stderr.contains("[target-unreachable]").then_some(())
        });
    }
}

/// Two namespaces of one API server; see [`Standing::pair`].
pub struct Pair {
    pub cluster: &'static ControlPlane,
    pub with: String,
    pub without: String,
}

impl Pair {
    /// The stored objects of both of this kind and name, without what differs from write to write whatever anybody does,
    /// and without what we may write.
    pub fn plain(&self, object: &Value) -> [Value; 2] {
        [&self.with, &self.without].map(|namespace| plain(&stored(self.cluster, namespace, object), namespace))
    }
}

/// What is stored under the kind and the name of this object, with managed fields.
pub fn stored(cluster: &ControlPlane, namespace: &str, object: &Value) -> Value {
    let of = |field: &Value| field.as_str().unwrap().to_owned();
    let version = of(&object["apiVersion"]);
    let api = if version.contains('/') { "apis" } else { "api" };
    let (plural, name) = (of(&object["kind"]).to_lowercase() + "s", of(&object["metadata"]["name"]));
    let path = format!("/{api}/{version}/namespaces/{namespace}/{plural}/{name}");
    serde_json::from_str(&cluster.get(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// The prefix of the annotations that we write.
pub const OURS: &str = "status.scalegate.dev/";

/// An object without our annotations, and without what time, place and chance put into it.
pub fn plain(object: &Value, namespace: &str) -> Value {
    let mut object: Value = serde_json::from_str(&object.to_string().replace(namespace, "NAMESPACE")).unwrap();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(metadata.remove(field).is_some(), "{field}");
    }
    // Of a Deployment the API server counts changes of annotations too, and so ours.
    metadata.remove("generation");
    let mut managers = metadata.remove("managedFields").unwrap_or_default();
    if let Some(managers) = managers.as_array_mut() {
        for manager in managers.iter_mut() {
            manager.as_object_mut().unwrap().remove("time");
        }
        // Entries of one second stand in the order of their names, others in that of their times.
        managers.sort_by_key(Value::to_string);
    }
    metadata.insert("managedFields".to_owned(), managers);
    strip(&mut object);
    object
}

/// Removes our annotations, their traces in field sets and the maps that they leave empty; blanks the time of a restart.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !key.trim_start_matches("f:").starts_with(OURS));
            if let Some(time) = members.get_mut("kubectl.kubernetes.io/restartedAt") {
                *time = json!("TIME");
            }
            members.values_mut().for_each(strip);
            // Who brings the map itself is whoever comes first, which may be us.
            if let Some(fields) = members.get_mut("f:annotations").and_then(Value::as_object_mut) {
                fields.remove(".");
            }
            for map in ["annotations", "f:annotations"] {
                if members.get(map).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
                    members.remove(map);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Our annotations on an object, without their prefix.
pub fn ours(object: &Value) -> BTreeMap<String, String> {
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let ours = annotations.filter_map(|(key, value)| Some((key.strip_prefix(OURS)?, value.as_str()?)));
    ours.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Runs kubectl with an object as its input.
pub fn send(cluster: &ControlPlane, namespace: &str, arguments: &[&str], object: &Value) -> Ran {
    cluster.kubectl_stdin(&[arguments, &["-n", namespace, "-f", "-"]].concat(), &object.to_string())
}

/// Applies an object; of a Deployment it then says that its rollout is complete, as its controller would.
pub fn store(cluster: &ControlPlane, namespace: &str, object: &Value) {
    send(cluster, namespace, &["apply"], object).ok();
    if object["kind"] == "Deployment" {
        roll_out(cluster, namespace, object["metadata"]["name"].as_str().unwrap());
    }
}

/// Says of a Deployment that its rollout is complete.
pub fn roll_out(cluster: &ControlPlane, namespace: &str, name: &str) {
    let stored = cluster.kubectl(&["get", "deployment", name, "-n", namespace, "-o", "json"]).json();
    let replicas = &stored["spec"]["replicas"];
    let status = json!({"status": {
        "observedGeneration": stored["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    }})
    .to_string();
    let patch = ["patch", "deployment", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &status];
    cluster.kubectl(&patch).ok();
}

/// An autoscaler on one metric of a Deployment's pods.
pub fn hpa(name: &str, deployment: &str, metric: &str, average: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": 1, "maxReplicas": 4,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": average},
            }}],
        },
    })
}

/// A folder of `deploy/broken/`.
pub struct Broken {
    pub rule: String,
    /// What is beneath first, the document that is refused last.
    pub documents: Vec<Value>,
    pub configuration: Value,
}

impl Broken {
    pub fn all() -> Vec<Self> {
        let mut folders: Vec<_> =
            fs::read_dir(repository("deploy/broken")).unwrap().map(|entry| entry.unwrap()).collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        let broken: Vec<Self> = folders.iter().map(Self::read).collect();
        assert!(broken.len() >= 10, "only {}", broken.len());
        broken
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

    /// The document that is refused, and those that it needs.
    pub fn split(&self) -> (&Value, &[Value]) {
        self.documents.split_last().unwrap()
    }
}
