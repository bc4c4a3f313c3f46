//! Each rule that denies, by its folder in `deploy/broken/`: on a creation, on an update that makes things worse, and
//! never on one that leaves them alone or mends them.

use serde_json::{Value, json};

use crate::harness::control_plane::ControlPlane;
use crate::harness::process::until;
use crate::standing::{Broken, PATIENCE, Standing, send, standing, store};

/// An update of the autoscaler only warns: the image may be on its way back.
const WARNS_ON_UPDATE: &str = "metric-removed";

/// What every refusal begins with.
fn refusal(rule: &str) -> String {
    format!("admission webhook \"validate.scalegate.dev\" denied the request: [{rule}] ")
}

impl Broken {
    /// The document that is refused, without what is wrong with it.
    fn mended(&self) -> Value {
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

    /// Kind and name of the document that is refused, as kubectl takes them.
    fn target(&self) -> String {
        let (bad, _) = self.split();
        format!("{}/{}", bad["kind"].as_str().unwrap().to_lowercase(), bad["metadata"]["name"].as_str().unwrap())
    }

    /// A new namespace with what the document needs, all of it in the webhook's view.
    fn scene(&self, standing: &Standing) -> String {
        let (bad, needed) = self.split();
        let cluster = standing.cluster();
        let namespace = cluster.namespace("broken");
        for object in needed {
            store(cluster, &namespace, object);
        }
        let begins = refusal(&self.rule);
        until(&format!("{} denies; {}", self.rule, standing.installation.logs()), PATIENCE, || {
            let ran = send(cluster, &namespace, &["create", "--dry-run=server"], bad);
            ran.stderr.contains(&begins).then_some(())
        });
        namespace
    }
}

fn stored_names(cluster: &ControlPlane, namespace: &str, kind: &str) -> String {
    cluster.kubectl(&["get", kind, "-n", namespace, "-o", "name"]).ok()
}

#[test]
fn each_is_refused_on_creation_however_it_is_created_and_nothing_is_stored() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for broken in Broken::all() {
        let namespace = broken.scene(standing);
        let (bad, _) = broken.split();
        let kind = bad["kind"].as_str().unwrap();
        let before = stored_names(cluster, &namespace, kind);
        for way in [&["create"][..], &["apply"], &["apply", "--server-side"]] {
            let refused = send(cluster, &namespace, way, bad).refused();
            let begins = refusal(&broken.rule);
            let (_, said) = refused.split_once(&begins).unwrap_or_else(|| panic!("{}: {refused}", broken.rule));
            // The field, what is wrong with it, and what to do.
            let place = if broken.rule == "invalid-setting" { "metadata.annotations" } else { "spec." };
            assert!(said.starts_with(place) && said.contains(": ") && said.contains("; "), "{refused}");
            // This rule and no other.
            assert!(!said.contains("\n["), "{refused}");
        }
        assert_eq!(stored_names(cluster, &namespace, kind), before, "{}", broken.rule);
    }
}

#[test]
fn each_is_refused_when_an_update_makes_it_of_something_good() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for broken in Broken::all() {
        let namespace = broken.scene(standing);
        let (bad, _) = broken.split();
        let target = broken.target();
        send(cluster, &namespace, &["apply"], &broken.mended()).ok();
        let get = ["get", &target, "-n", &namespace, "-o", "json"];
        let before = cluster.kubectl(&get).json();
        let patch = json!({"metadata": bad["metadata"], "spec": bad["spec"]}).to_string();
        let patch = ["patch", &target, "-n", &namespace, "--type=merge", "-p", &patch];
        if broken.rule == WARNS_ON_UPDATE {
            let ran = cluster.kubectl(&patch);
            assert!(ran.stderr.contains(&format!("Warning: [{}] ", broken.rule)), "{}", ran.stderr);
            ran.ok();
            continue;
        }
        let ways = [
            send(cluster, &namespace, &["apply"], bad),
            send(cluster, &namespace, &["apply", "--server-side", "--force-conflicts"], bad),
            send(cluster, &namespace, &["replace"], bad),
            cluster.kubectl(&patch),
        ];
        for ran in ways {
            let refused = ran.refused();
            assert!(refused.contains(&refusal(&broken.rule)), "{}: {refused}", broken.rule);
        }
        assert_eq!(cluster.kubectl(&get).json(), before, "{}", broken.rule);
    }
}

#[test]
fn what_was_bad_before_us_may_be_touched_changed_elsewhere_mended_and_deleted() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for broken in Broken::all() {
        let (rule, namespace, target) = (&broken.rule, standing.old(&broken.rule), broken.target());
        let (bad, _) = broken.split();
        let kubectl = |arguments: &[&str]| {
            let ran = cluster.kubectl(&[arguments, &["-n", namespace]].concat());
            assert_eq!(ran.code, 0, "{rule}: {arguments:?}: {}", ran.stderr);
        };
        let write = |way: &[&str], object: &Value| {
            let ran = send(cluster, namespace, way, object);
            assert_eq!(ran.code, 0, "{rule}: {way:?}: {}", ran.stderr);
        };
        // Beside its spec.
        kubectl(&["label", &target, "team=a"]);
        kubectl(&["annotate", &target, "example.com/touched=yes"]);
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}}).to_string();
        kubectl(&["patch", &target, "--type=merge", "-p", &finalizers(json!(["example.com/waits"]))]);
        kubectl(&["patch", &target, "--type=merge", "-p", &finalizers(json!([]))]);
        let status = match bad["kind"].as_str() {
            Some("HorizontalPodAutoscaler") => json!({"desiredReplicas": 2, "currentReplicas": 2, "conditions": []}),
            _ => json!({"observedGeneration": 1}),
        };
        let status = json!({"status": status}).to_string();
        kubectl(&["patch", &target, "--subresource=status", "--type=merge", "-p", &status]);
        // As it is, again.
        write(&["apply"], bad);
        write(&["replace"], bad);
        write(&["apply", "--server-side", "--force-conflicts", "--field-manager=second"], bad);
        // Elsewhere in its spec, with the fault left: the warning stays, the denial does not come.
        let elsewhere = match bad["kind"].as_str() {
            Some("HorizontalPodAutoscaler") => json!({"spec": {"maxReplicas": 3}}),
            _ => json!({"spec": {"template": {"metadata": {"labels": {"changed": "yes"}}}}}),
        };
        let ran = cluster.kubectl(&["patch", &target, "-n", namespace, "--type=merge", "-p", &elsewhere.to_string()]);
        assert_eq!(ran.code, 0, "{rule}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("Warning: [{rule}] ")), "{rule}: {}", ran.stderr);
        // Mended; made bad again, it is refused, so that all of the above was judged indeed.
        write(&["apply", "--server-side", "--force-conflicts"], &broken.mended());
        let again = send(cluster, namespace, &["replace"], &broken.mended());
        assert_eq!(again.code, 0, "{rule}: {}", again.stderr);
        let worse = send(cluster, namespace, &["replace"], bad);
        if rule == WARNS_ON_UPDATE {
            worse.ok();
        } else {
            let refused = worse.refused();
            assert!(refused.contains(&refusal(rule)), "{rule}: {refused}");
        }
    }
}

#[test]
fn what_is_bad_can_be_deleted_with_and_without_a_finalizer() {
    let Some(standing) = standing() else { return };
    let cluster = standing.cluster();
    for broken in Broken::all() {
        // Stored where the API server sends us nothing, and deleted where it does: in a namespace at `audit`, then not.
        let namespace = broken.scene(standing);
        let (bad, _) = broken.split();
        let target = broken.target();
        let label = |value: &str| {
            let label = format!("{}{value}", crate::standing::AUDITED);
            cluster.kubectl(&["label", "namespace", &namespace, &label]).ok();
        };
        let refused = || send(cluster, &namespace, &["create", "--dry-run=server"], &renamed(bad)).code != 0;
        label("=true");
        until("the namespace is audited only", PATIENCE, || (!refused()).then_some(()));
        send(cluster, &namespace, &["apply"], bad).ok();
        label("-");
        until("the namespace is enforced", PATIENCE, || refused().then_some(()));
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}}).to_string();
        let patch = |list: Value| {
            let patch = finalizers(list);
            let ran = cluster.kubectl(&["patch", &target, "-n", &namespace, "--type=merge", "-p", &patch]);
            assert_eq!(ran.code, 0, "{}: {}", broken.rule, ran.stderr);
        };
        patch(json!(["example.com/waits"]));
        cluster.kubectl(&["delete", &target, "-n", &namespace, "--wait=false"]).ok();
        // Being deleted, it may even be changed.
        cluster.kubectl(&["annotate", &target, "-n", &namespace, "example.com/going=yes"]).ok();
        patch(json!([]));
        until("it is gone", PATIENCE, || {
            (cluster.kubectl(&["get", &target, "-n", &namespace]).code != 0).then_some(())
        });
    }
}

/// The API server converts what is written in another version to the one that we are registered for.
#[test]
fn an_autoscaler_of_the_first_version_is_judged_as_one_of_the_second() {
    let Some(standing) = standing() else { return };
    let namespace = standing.cluster().namespace("first-version");
    let of = |metric: &str| {
        let metrics = json!([{"type": "Pods", "pods": {
            "metricName": format!("prometheus.googleapis.com|vllm:{metric}|gauge"), "targetAverageValue": "4",
        }}]);
        json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {
                "name": "hpa", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": metrics.to_string()},
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"}, "maxReplicas": 3,
            },
        })
    };
    let create = |metric: &str| send(standing.cluster(), &namespace, &["create"], &of(metric));
    let refused = create("num_request_running").refused();
    assert!(refused.contains(&refusal("metric-exists")), "{refused}");
    assert!(refused.contains("num_requests_running"), "{refused}");
    create("num_requests_running").ok();
}

/// The same fault in an object of another name.
fn renamed(bad: &Value) -> Value {
    let mut object = bad.clone();
    object["metadata"]["name"] = json!("probe");
    object
}
