//! What the API server sends us: the webhooks' names, which objects they are called for, and the two configurations that
//! say so. The chart, `scalegate manifests`, the drift metric and the tests all take them from here.
//!
//! The configurations write out every field that the API server would fill in, so that what it stores can be compared
//! with them field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::policy::objects::{Object, ObjectMeta, WorkloadKind};
use crate::policy::settings::{PREFIX, STATUS_PREFIX};

mod condition;
#[cfg(test)]
mod tests;

/// The name of the mutating webhook, which prefixes what the API server says about it.
pub const MUTATING_NAME: &str = "mutate.scalegate.dev";
/// The name of the validating webhook.
pub const VALIDATING_NAME: &str = "validate.scalegate.dev";
/// The path of the mutating webhook on our port.
pub const MUTATING_PATH: &str = "/mutate";
/// The path of the validating webhook on our port.
pub const VALIDATING_PATH: &str = "/validate";

/// Namespaces that belong to the control plane, where no webhook should stand in the way (GKE flags those that do).
const CONTROL_PLANE_NAMESPACES: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The label that the API server itself puts on every namespace, with its name: no tenant can move out of a selector on it.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One installation of scalegate in a cluster, as far as the API server must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Name of both webhook configurations.
    pub name: String,
    /// Namespace of the webhook's Service.
    pub namespace: String,
    /// Name of the webhook's Service.
    pub service: String,
    /// Port of the Service.
    pub port: u16,
    /// Whether validated objects are refused while no webhook answers. It leaves out our own namespace, which could else
    /// not be repaired. The mutating webhook always fails open: what it adds is information.
    pub fail_closed: bool,
    /// Seconds that the API server waits for an answer, 1 to 30.
    pub timeout_seconds: u32,
    /// The certificate authorities to trust, PEM in base64 as the API writes it. `None` leaves the field out, which is
    /// what a caBundle that somebody else fills in needs.
    pub ca_bundle: Option<String>,
    /// Further namespaces whose objects are never sent.
    pub exclude_namespaces: Vec<String>,
    /// Labels of both configurations.
    pub labels: BTreeMap<String, String>,
    /// Annotations of both configurations.
    pub annotations: BTreeMap<String, String>,
}

// === impl Installation ===

impl Default for Installation {
    fn default() -> Self {
        Self {
            name: "scalegate".to_owned(),
            namespace: "scalegate-system".to_owned(),
            service: "scalegate".to_owned(),
            port: 443,
            fail_closed: false,
            timeout_seconds: 5,
            ca_bundle: None,
            exclude_namespaces: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration of an installation.
pub fn webhook_configurations(installation: &Installation) -> (Value, Value) {
    let mut mutating = webhook(installation, MUTATING_NAME, MUTATING_PATH, false);
    mutating.insert("rules".to_owned(), Value::Array(workload_rules()));
    mutating.insert(
        "matchConditions".to_owned(),
        json!([{ "name": "addresses-scalegate", "expression": condition::workloads() }]),
    );
    // Another webhook may change what we read after we read it; answering again costs nothing, since we are idempotent.
    mutating.insert("reinvocationPolicy".to_owned(), json!("IfNeeded"));

    let mut validating = webhook(installation, VALIDATING_NAME, VALIDATING_PATH, installation.fail_closed);
    let rules = workload_rules().into_iter().chain(autoscaler_rules()).collect();
    validating.insert("rules".to_owned(), Value::Array(rules));
    validating.insert(
        "matchConditions".to_owned(),
        json!([{
            "name": "autoscaler-or-addresses-scalegate",
            "expression": condition::autoscalers_and_workloads(&AUTOSCALERS.map(|(_, _, resource)| resource)),
        }]),
    );
    (
        configuration(installation, "MutatingWebhookConfiguration", &mutating),
        configuration(installation, "ValidatingWebhookConfiguration", &validating),
    )
}

fn configuration(installation: &Installation, kind: &str, webhook: &Map<String, Value>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(installation.name));
    for (field, texts) in [("labels", &installation.labels), ("annotations", &installation.annotations)] {
        if !texts.is_empty() {
            metadata.insert(field.to_owned(), json!(texts));
        }
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "webhooks": [webhook],
    })
}

/// What both webhooks have.
fn webhook(installation: &Installation, name: &str, path: &str, closed: bool) -> Map<String, Value> {
    let mut client = Map::new();
    client.insert(
        "service".to_owned(),
        json!({
            "namespace": installation.namespace,
            "name": installation.service,
            "path": path,
            "port": installation.port,
        }),
    );
    if let Some(bundle) = &installation.ca_bundle {
        client.insert("caBundle".to_owned(), json!(bundle));
    }
    let own = closed.then_some(installation.namespace.as_str());
    let further = installation.exclude_namespaces.iter().map(String::as_str);
    let mut excluded: Vec<&str> = Vec::new();
    for namespace in CONTROL_PLANE_NAMESPACES.into_iter().chain(own).chain(further) {
        if !excluded.contains(&namespace) {
            excluded.push(namespace);
        }
    }
    let fields = json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client,
        "failurePolicy": if closed { "Fail" } else { "Ignore" },
        // A request in another served version is converted to the one that is registered, and reaches us.
        "matchPolicy": "Equivalent",
        "namespaceSelector": {
            "matchExpressions": [{ "key": NAMESPACE_NAME, "operator": "NotIn", "values": excluded }],
        },
        // Selected by matchConditions: an object selector would never see a typo in the key of our label.
        "objectSelector": {},
        "sideEffects": "None",
        "timeoutSeconds": installation.timeout_seconds,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Group, version and resource of the workloads.
const WORKLOADS: [(WorkloadKind, &str, &str); 3] = [
    (WorkloadKind::Deployment, "v1", "deployments"),
    (WorkloadKind::StatefulSet, "v1", "statefulsets"),
    (WorkloadKind::LeaderWorkerSet, "v1", "leaderworkersets"),
];

/// Group, version and resource of the autoscalers. An HPA of `autoscaling/v1` is converted to `v2`.
const AUTOSCALERS: [(&str, &str, &str); 2] =
    [("autoscaling", "v2", "horizontalpodautoscalers"), ("keda.sh", "v1alpha1", "scaledobjects")];

fn workload_rules() -> Vec<Value> {
    WORKLOADS.iter().map(|(kind, version, resource)| rule(kind.group(), version, resource)).collect()
}

fn autoscaler_rules() -> Vec<Value> {
    AUTOSCALERS.iter().map(|(group, version, resource)| rule(group, version, resource)).collect()
}

/// The object itself: no subresource, so that scaling and status updates never wait for us.
fn rule(group: &str, version: &str, resource: &str) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
        "scope": "Namespaced",
    })
}

/// Whether the validating webhook is registered for an object: autoscalers always, workloads with a word to us.
pub fn validates(object: &Object) -> bool {
    match object {
        Object::Hpa(_) | Object::ScaledObject(_) => true,
        Object::Workload(_) => mutates(object),
        _ => false,
    }
}

/// Whether the mutating webhook is registered for an object: workloads with a word to us. The API server also calls us
/// when only the object before an update had one.
pub fn mutates(object: &Object) -> bool {
    match object {
        Object::Workload(workload) => {
            addressed(&workload.metadata)
                || addressed(&workload.template.metadata)
                || workload.lws.as_ref().is_some_and(|lws| addressed(&lws.worker.metadata))
        }
        _ => false,
    }
}

/// A label or annotation under our prefix. Not an object selector, which would never see a typo in the label's key.
fn addressed(metadata: &ObjectMeta) -> bool {
    let ours = |key: &String| key.starts_with(PREFIX) || key.starts_with(STATUS_PREFIX);
    metadata.labels.keys().chain(metadata.annotations.keys()).any(ours)
}
