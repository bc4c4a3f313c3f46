//! Which fields of an object no supported API server knows, and which values have a type that every one refuses.
//!
//! The object is deserialised into the types of k8s-openapi through a deserialiser of our own, which is exactly as
//! strict as Go's: `null` stands for nothing everywhere, quantities may be numbers, and nothing is ever missing. It
//! sees which fields a type has, so it can name the one that was meant.

mod lenient;

use serde::Deserialize;
use serde_json::Value;

use k8s_openapi::api::{apps, autoscaling, batch, core, discovery, networking, policy, rbac, scheduling, storage};

/// A field that no supported API server knows. It is dropped, or refused under strict validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// As kubectl writes it: `spec.template.spec.containers[0].args:`.
    pub field: String,
    /// The field that was probably meant, such as `args`.
    pub nearest: Option<String>,
}

/// A value that cannot be what its field takes; the API server refuses the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeProblem {
    /// As kubectl writes it.
    pub field: String,
    /// What is expected and what was found. Never holds the value.
    pub message: String,
}

/// Compares an object with the types of its kind. A kind outside the table, such as a custom resource, has no findings.
///
/// After a shape problem the unknown fields before it are still given, those behind it are not.
pub fn check_shape(value: &Value) -> (Vec<UnknownField>, Option<ShapeProblem>) {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    checker(text("apiVersion"), text("kind")).map_or_else(Default::default, |check| check(value))
}

type Checker = fn(&Value) -> (Vec<UnknownField>, Option<ShapeProblem>);

fn checker(version: &str, kind: &str) -> Option<Checker> {
    Some(match (version, kind) {
        ("v1", "ConfigMap") => check::<core::v1::ConfigMap>,
        ("v1", "Endpoints") => check::<core::v1::Endpoints>,
        ("v1", "LimitRange") => check::<core::v1::LimitRange>,
        ("v1", "Namespace") => check::<core::v1::Namespace>,
        ("v1", "Node") => check::<core::v1::Node>,
        ("v1", "PersistentVolume") => check::<core::v1::PersistentVolume>,
        ("v1", "PersistentVolumeClaim") => check::<core::v1::PersistentVolumeClaim>,
        ("v1", "Pod") => check::<core::v1::Pod>,
        ("v1", "PodTemplate") => check::<core::v1::PodTemplate>,
        ("v1", "ReplicationController") => check::<core::v1::ReplicationController>,
        ("v1", "ResourceQuota") => check::<core::v1::ResourceQuota>,
        ("v1", "Secret") => check::<core::v1::Secret>,
        ("v1", "Service") => check::<core::v1::Service>,
        ("v1", "ServiceAccount") => check::<core::v1::ServiceAccount>,
        ("apps/v1", "DaemonSet") => check::<apps::v1::DaemonSet>,
        ("apps/v1", "Deployment") => check::<apps::v1::Deployment>,
        ("apps/v1", "ReplicaSet") => check::<apps::v1::ReplicaSet>,
        ("apps/v1", "StatefulSet") => check::<apps::v1::StatefulSet>,
        ("autoscaling/v1", "HorizontalPodAutoscaler") => check::<autoscaling::v1::HorizontalPodAutoscaler>,
        ("autoscaling/v2", "HorizontalPodAutoscaler") => check::<autoscaling::v2::HorizontalPodAutoscaler>,
        ("batch/v1", "CronJob") => check::<batch::v1::CronJob>,
        ("batch/v1", "Job") => check::<batch::v1::Job>,
        ("discovery.k8s.io/v1", "EndpointSlice") => check::<discovery::v1::EndpointSlice>,
        ("networking.k8s.io/v1", "Ingress") => check::<networking::v1::Ingress>,
        ("networking.k8s.io/v1", "NetworkPolicy") => check::<networking::v1::NetworkPolicy>,
        ("policy/v1", "PodDisruptionBudget") => check::<policy::v1::PodDisruptionBudget>,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => check::<rbac::v1::ClusterRole>,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => check::<rbac::v1::ClusterRoleBinding>,
        ("rbac.authorization.k8s.io/v1", "Role") => check::<rbac::v1::Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => check::<rbac::v1::RoleBinding>,
        ("scheduling.k8s.io/v1", "PriorityClass") => check::<scheduling::v1::PriorityClass>,
        ("storage.k8s.io/v1", "StorageClass") => check::<storage::v1::StorageClass>,
        _ => return None,
    })
}

fn check<T: for<'de> Deserialize<'de>>(value: &Value) -> (Vec<UnknownField>, Option<ShapeProblem>) {
    let unknown = lenient::Unknown::default();
    let result = lenient::read::<T>(value, &unknown);
    (unknown.into_fields(), result.err())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ShapeProblem, UnknownField, check_shape};

    fn yaml(text: &str) -> Value {
        let file = crate::manifest::read("test.yaml", text.as_bytes());
        assert!(file.problems.is_empty(), "{:?}", file.problems);
        file.documents.into_iter().next().unwrap().value
    }

    fn deployment(pod: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
               "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"spec": pod}}})
    }

    #[test]
    fn a_key_with_a_second_colon_is_named_with_the_field_that_was_meant() {
        let pod = json!({"containers": [{"name": "a", "args:": ["--model"]}]});
        let (unknown, problem) = check_shape(&deployment(&pod));
        let field = "spec.template.spec.containers[0].args:".to_owned();
        assert_eq!(unknown, [UnknownField { field, nearest: Some("args".to_owned()) }]);
        assert_eq!(problem, None);
    }

    #[test]
    fn wrong_case_is_close_and_a_foreign_word_is_not() {
        let mut object = deployment(&json!({"containers": [{"name": "a", "livenessprobe": {}, "sponge": 1}]}));
        object["metadata"]["Labels"] = json!({"a.b/c": "d"});
        let (unknown, _) = check_shape(&object);
        let found: Vec<_> = unknown.iter().map(|u| (u.field.as_str(), u.nearest.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("metadata.Labels", Some("labels")),
                ("spec.template.spec.containers[0].livenessprobe", Some("livenessProbe")),
                ("spec.template.spec.containers[0].sponge", None),
            ]
        );
    }

    #[test]
    fn types_that_go_refuses_are_a_shape_problem_that_does_not_show_the_value() {
        let cases = [
            (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": "abc"}}), "spec.replicas"),
            (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1.5}}), "spec.replicas"),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3_000_000_000_i64}}),
                "spec.replicas",
            ),
            (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": ["hunter2"]}), "spec"),
            (
                deployment(&json!({"containers": [{"name": "a", "args": ["--port", 8000]}]})),
                "spec.template.spec.containers[0].args[1]",
            ),
            (json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a.b": true}}), "data[a.b]"),
            (json!({"apiVersion": "v1", "kind": "Secret", "data": {"password": "hunter2 !"}}), "data.password"),
            (
                json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "hunter2"}]}}),
                "spec.ports[0].port",
            ),
            (json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": {"port": 1}}}), "spec.ports"),
            (json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}}}), "metadata.labels.a"),
            (json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": [4]}}}), "spec.hard.pods"),
        ];
        for (object, expected) in cases {
            let (_, problem) = check_shape(&object);
            let Some(ShapeProblem { field, message }) = problem else { panic!("{object} has no problem") };
            assert_eq!(field, expected, "{message}");
            assert!(!message.contains("hunter2") && !message.contains("abc"), "{message}");
            assert!(message.contains("found"), "{message}");
        }
    }

    #[test]
    fn what_the_api_server_accepts_has_no_findings() {
        let object = yaml(
            "apiVersion: apps/v1
kind: Deployment
metadata: {name: a, creationTimestamp: null, labels: null, annotations: {a: null}}
spec:
  replicas: null
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 25%}}
  selector: {}
  template:
    metadata: {creationTimestamp: }
    spec:
      volumes: [{name: m, emptyDir: {medium: Memory, sizeLimit: 1e9}}]
      containers:
      - name: a
        command: null
        args: [null]
        env: [{name: A, value: ~}]
        ports: [{containerPort: 8000.0}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1e1}
        livenessProbe: {httpGet: {path: /, port: 8000}}
        resources: {limits: {cpu: 1.5, memory: 8Gi, nvidia.com/gpu: 1}}
status: {}
",
        );
        assert_eq!(check_shape(&object), (Vec::new(), None));
        let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": 5}}}]}});
        assert_eq!(check_shape(&hpa), (Vec::new(), None));
        let custom = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {"anything": 1}});
        assert_eq!(check_shape(&custom), (Vec::new(), None));
    }

    #[test]
    fn what_kubectl_get_prints_has_no_findings_however_deep_its_managed_fields_are() {
        let mut fields = json!({});
        for _ in 0..400 {
            fields = json!({"f:a": fields});
        }
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": "a", "creationTimestamp": "2026-08-01T10:00:00Z", "resourceVersion": "1", "uid": "u", "generation": 2,
            "managedFields": [{"manager": "m", "operation": "Update", "time": "2026-08-01T10:00:00Z", "fieldsType": "FieldsV1",
                               "fieldsV1": fields}]},
            "spec": {"nodeName": "n", "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]},
            "status": {"phase": "Running", "startTime": "2026-08-01T10:00:00Z",
                       "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
                       "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "image": "i", "imageID": "d",
                                              "state": {"running": {"startedAt": "2026-08-01T10:00:00Z"}}}]}});
        assert_eq!(check_shape(&object), (Vec::new(), None));
    }

    #[test]
    fn every_checked_kind_accepts_an_object_of_its_own_name() {
        for (version, kind) in [
            ("v1", "Node"),
            ("v1", "Namespace"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("autoscaling/v1", "HorizontalPodAutoscaler"),
            ("batch/v1", "Job"),
            ("batch/v1", "CronJob"),
            ("networking.k8s.io/v1", "Ingress"),
            ("policy/v1", "PodDisruptionBudget"),
        ] {
            let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spce": {}});
            let (unknown, problem) = check_shape(&object);
            assert_eq!(problem, None, "{kind}");
            assert_eq!(unknown, [UnknownField { field: "spce".to_owned(), nearest: Some("spec".to_owned()) }]);
        }
    }
}
