//! Control planes without controllers but ours: no pods come, nothing is collected, and the status of a workload is what the
//! test says.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Ground, PATIENCE, define, deployment, is_as};
use crate::harness::block_on;
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::process::{Ran, folder, until};
use crate::harness::scalegate::{Launch, Scalegate};

/// Where the API server has the kinds that are generated, and those that ask for it.
pub const HPAS: (&str, &str, &str) = ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
pub const POD_MONITORINGS: (&str, &str, &str) = ("monitoring.googleapis.com/v1", "PodMonitoring", "podmonitorings");
pub const DEPLOYMENTS: (&str, &str, &str) = ("apps/v1", "Deployment", "deployments");

/// A control plane with the definitions of these groups.
pub fn cluster(options: Options, groups: &[&str]) -> Option<&'static ControlPlane> {
    let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(options)?));
    for group in groups {
        define(cluster, group);
    }
    cluster.kubectl(&["create", "namespace", "scalegate-system"]).ok();
    Some(cluster)
}

/// A control plane with a controller that is started like this.
pub fn ground(cluster: &'static ControlPlane, launch: Launch) -> Ground {
    Ground { cluster, controller: Mutex::new(launch.start()) }
}

/// The collection of a kind in a namespace.
pub fn path((version, _, plural): (&str, &str, &str), namespace: &str) -> String {
    format!("/apis/{version}/namespaces/{namespace}/{plural}")
}

/// Sends a document as it is, and gives the answer's code.
pub fn send(cluster: &ControlPlane, method: &str, path: &str, kind: &str, document: &Value) -> u16 {
    let request = http::Request::builder().method(method).uri(path).header("Content-Type", kind);
    let request = request.body(document.to_string().into_bytes()).expect("a path");
    match block_on(cluster.client().request::<Value>(request)) {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_) => 0,
    }
}

/// Creates an object.
pub fn create(cluster: &ControlPlane, of: (&str, &str, &str), document: &Value) -> u16 {
    let namespace = document["metadata"]["namespace"].as_str().expect("a namespace");
    send(cluster, "POST", &path(of, namespace), "application/json", document)
}

/// All objects of a kind in a namespace; none where the kind is not served.
pub fn list(cluster: &ControlPlane, of: (&str, &str, &str), namespace: &str) -> Vec<Value> {
    let Ok(text) = cluster.get(&path(of, namespace)) else { return Vec::new() };
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    for item in &mut items {
        (item["apiVersion"], item["kind"]) = (json!(of.0), json!(of.1));
    }
    items
}

/// Every HPA and PodMonitoring of a namespace.
pub fn made(cluster: &ControlPlane, namespace: &str) -> Vec<Value> {
    [HPAS, POD_MONITORINGS].into_iter().flat_map(|of| list(cluster, of, namespace)).collect()
}

/// UID and resource version of each HPA and PodMonitoring of a namespace, by kind and name.
pub fn versions(cluster: &ControlPlane, namespace: &str) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = made(cluster, namespace).into_iter().map(|object| {
        let metadata = &object["metadata"];
        let place = format!("{} {}", text(&object["kind"]), text(&metadata["name"]));
        (place, (text(&metadata["uid"]), text(&metadata["resourceVersion"])))
    });
    versions.collect()
}

/// What `scalegate render` prints for documents, without what all of a cluster share.
pub fn rendered(documents: &[Value], flags: &[&str]) -> Vec<Value> {
    let file = folder("render").join("workloads.yaml");
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    std::fs::write(&file, texts.join("\n---\n")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.arg("render").args(flags).arg(&file);
    let printed = crate::harness::values(&Ran::of(command, "").ok());
    printed.into_iter().filter(|object| !object["metadata"]["namespace"].is_null()).collect()
}

/// Waits until what is ours in a namespace is what `render` prints for its labelled Deployments, and nothing else is.
pub fn until_all_rendered(cluster: &ControlPlane, namespace: &str, within: Duration) {
    let mut workloads = list(cluster, DEPLOYMENTS, namespace);
    workloads.retain(|workload| workload["metadata"]["labels"]["scalegate.dev/autoscale"].is_string());
    let wanted = if workloads.is_empty() { Vec::new() } else { rendered(&workloads, &[]) };
    assert!(wanted.len() >= workloads.len(), "each is rendered");
    until(&format!("{namespace} has what render prints"), within, || {
        let ours: Vec<Value> = made(cluster, namespace)
            .into_iter()
            .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "scalegate")
            .collect();
        let each = wanted.iter().all(|wanted| ours.iter().any(|live| is_as(live, wanted)));
        (each && ours.len() == wanted.len()).then_some(())
    });
}

/// Waits until the controllers have seen all that was done in a namespace so far, and have nothing left to do: a workload that
/// comes after it has what it asks for, and each knows as many objects as there are.
pub fn looked(ground: &Ground, namespace: &str, controllers: &[&Scalegate]) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("canary-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    ground.apply(&deployment(namespace, &name));
    until(&format!("{name} has both objects"), PATIENCE, || {
        let made = made(ground.cluster, namespace);
        (made.iter().filter(|object| object["metadata"]["name"] == name.as_str()).count() == 2).then_some(())
    });
    let there = |(version, _, plural): (&str, &str, &str)| {
        let text = ground.cluster.get(&format!("/apis/{version}/{plural}")).expect("a list");
        let list: Value = serde_json::from_str(&text).expect("JSON");
        list["items"].as_array().map_or(0, Vec::len)
    };
    for controller in controllers {
        until("a controller has nothing left to do", PATIENCE, || {
            let metrics = controller.metrics();
            let knows = |of: (&str, &str, &str)| {
                let known = metrics.sum("scalegate_cache_objects", &[("kind", of.1)]);
                (known - f64::from(u32::try_from(there(of)).expect("a number"))).abs() < 0.5
            };
            let rests = metrics.sum("scalegate_reconcile_queue", &[]) < 0.5;
            (rests && [HPAS, POD_MONITORINGS].into_iter().all(knows)).then_some(())
        });
    }
}

/// Waits until a controller leads, or does not.
pub fn until_leads(controller: &Scalegate, leads: bool, within: Duration) {
    until(&format!("leading is {leads}"), within, || {
        ((controller.metrics().sum("scalegate_leader", &[]) > 0.5) == leads).then_some(())
    });
}

/// How often a controller's writes and removals ended like this.
pub fn ended(controller: &Scalegate, kind: &str, result: &str) -> f64 {
    controller.metrics().sum("scalegate_apply_total", &[("kind", kind), ("result", result)])
}

/// The Events of a namespace with that reason.
pub fn events(cluster: &ControlPlane, namespace: &str, reason: &str) -> Vec<Value> {
    let mut events = list(cluster, ("events.k8s.io/v1", "Event", "events"), namespace);
    events.retain(|event| event["reason"] == reason);
    events
}

/// Says what the Deployment controller would say of a rollout that it has seen: replicas, those of the new template, those ready.
pub fn status(ground: &Ground, namespace: &str, name: &str, [replicas, updated, ready]: [u32; 3]) {
    let live = ground.get(namespace, "deployment", name).expect("a Deployment");
    let status = json!({"status": {
        "observedGeneration": live["metadata"]["generation"], "replicas": replicas, "updatedReplicas": updated,
        "readyReplicas": ready, "availableReplicas": ready,
    }});
    let (object, patch) = (format!("deployment/{name}"), status.to_string());
    let arguments = ["-n", namespace, "patch", &object, "--subresource=status", "--type=merge", "-p", &patch];
    ground.cluster.kubectl(&arguments).ok();
}
