//! What a workload and its settings make of the generated objects over time: settings that go bad, rollouts, bounds, kinds that
//! come and go.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::bare::{self, HPAS, POD_MONITORINGS, looked, status, until_all_rendered, until_leads, versions};
use super::{Ground, HPA, PATIENCE, POD_MONITORING, define, deployment, is_as, launch};
use crate::harness::control_plane::Options;
use crate::harness::process::{folder, until};

const GMP: &str = "monitoring.googleapis.com";
const LWS: &str = "leaderworkerset.x-k8s.io";

/// Which kinds are served is asked every 30 s, give or take a half.
const DISCOVERY: Duration = Duration::from_secs(180);

/// A control plane without controllers, one of ours, and its Configuration; the tests of this file share them.
fn shared() -> Option<&'static (Ground, PathBuf)> {
    static SHARED: OnceLock<Option<(Ground, PathBuf)>> = OnceLock::new();
    let start = || {
        let cluster = bare::cluster(Options::default(), &[GMP, LWS])?;
        let file = folder("configuration").join("configuration.yaml");
        write(&file, &json!({}));
        let config = format!("--config={}", file.display());
        Some((bare::ground(cluster, launch(cluster).args([config.as_str(), "--config-poll=100ms"])), file))
    };
    SHARED.get_or_init(start).as_ref()
}

fn ground() -> Option<&'static Ground> {
    shared().map(|(ground, _)| ground)
}

fn write(file: &Path, profiles: &Value) {
    let document = json!({"apiVersion": "scalegate.dev/v1alpha1", "kind": "Configuration", "profiles": profiles});
    let new = file.with_extension("new");
    std::fs::write(&new, document.to_string()).expect("a file");
    std::fs::rename(new, file).expect("a file");
}

/// Waits until the one shared controller has seen what was done.
fn seen(ground: &Ground, namespace: &str) {
    looked(ground, namespace, &[]);
}

fn annotate(ground: &Ground, namespace: &str, key: &str, value: &Value) {
    let key = format!("scalegate.dev/{key}");
    ground.patch(namespace, "deployment/llm", &json!({"metadata": {"annotations": {key: value}}}));
}

fn label(ground: &Ground, namespace: &str, value: &Value) {
    ground.patch(namespace, "deployment/llm", &json!({"metadata": {"labels": {"scalegate.dev/autoscale": value}}}));
}

/// A server of `replicas`, at that port.
fn server(namespace: &str, port: u16, replicas: u32) -> Value {
    let mut server = deployment(namespace, "llm");
    server["spec"]["replicas"] = json!(replicas);
    server["spec"]["template"]["spec"]["containers"][0]["args"][1] = json!(format!("--port={port}"));
    server
}

/// A Deployment that was rolled out as asked and then asked for another port.
fn rolling(ground: &Ground, namespace: &str, labelled: bool) {
    let as_asked = |port| {
        let mut server = server(namespace, port, 2);
        if !labelled {
            server["metadata"]["labels"] = json!({});
        }
        server
    };
    ground.apply(&as_asked(8000));
    status(ground, namespace, "llm", [2, 2, 2]);
    if labelled {
        ground.until_rendered(namespace, "deployment/llm");
    }
    ground.apply(&as_asked(9000));
}

fn port(ground: &Ground, namespace: &str) -> Value {
    let monitoring = ground.get(namespace, POD_MONITORING, "llm").expect("a PodMonitoring");
    monitoring["spec"]["endpoints"][0]["port"].clone()
}

fn max(ground: &Ground, namespace: &str) -> Value {
    ground.get(namespace, HPA, "llm").expect("an HPA")["spec"]["maxReplicas"].clone()
}

/// The versions of what is generated for `llm`.
fn of_llm(ground: &Ground, namespace: &str) -> Vec<(String, String)> {
    let mut versions = versions(ground.cluster, namespace);
    versions.retain(|place, _| place.ends_with(" llm"));
    versions.into_values().collect()
}

#[test]
fn while_a_setting_is_invalid_nothing_changes_and_its_owner_is_told() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("invalid");
    ground.apply(&deployment(&namespace, "llm"));
    ground.until_rendered(&namespace, "deployment/llm");
    let before = of_llm(ground, &namespace);
    annotate(ground, &namespace, "max-replicas", &json!("lots"));
    let note = ground.until_event(&namespace, "llm", "InvalidSetting");
    assert!(note.contains("max-replicas") && note.contains("lots"), "{note}");
    // Nor does another setting take effect, that is valid.
    annotate(ground, &namespace, "min-replicas", &json!("2"));
    seen(ground, &namespace);
    assert_eq!(of_llm(ground, &namespace), before);
    annotate(ground, &namespace, "max-replicas", &json!("7"));
    ground.until_rendered(&namespace, "deployment/llm");
    assert_eq!(max(ground, &namespace), 7);
    // A label that is no profile removes nothing either.
    let before = of_llm(ground, &namespace);
    label(ground, &namespace, &json!("sever-metrics"));
    until("it is told", PATIENCE, || {
        let told = bare::events(ground.cluster, &namespace, "InvalidSetting");
        told.iter().any(|event| event["note"].as_str().is_some_and(|note| note.contains("sever-metrics"))).then_some(())
    });
    seen(ground, &namespace);
    assert_eq!(of_llm(ground, &namespace), before);
}

#[test]
fn a_profile_that_vanishes_leaves_what_was_good_until_it_is_back() {
    let Some((ground, file)) = shared() else { return };
    let profile =
        |target: u32| json!({"chat": {"metrics": [{"signal": "requestsWaiting", "target": target}], "maxReplicas": 6}});
    let namespace = ground.cluster.namespace("profile");
    let mut workload = deployment(&namespace, "llm");
    workload["metadata"]["labels"]["scalegate.dev/autoscale"] = json!("chat");
    write(file, &profile(3));
    ground.apply(&workload);
    let until_as_configured = || {
        let config = format!("--config={}", file.display());
        let wanted = bare::rendered(&[workload.clone()], &[&config]);
        assert_eq!(wanted.len(), 2);
        until("it is as the profile says", PATIENCE, || {
            let live = bare::made(ground.cluster, &namespace);
            wanted.iter().all(|wanted| live.iter().any(|live| is_as(live, wanted))).then_some(())
        });
    };
    until_as_configured();
    let before = of_llm(ground, &namespace);
    write(file, &json!({}));
    let note = ground.until_event(&namespace, "llm", "InvalidSetting");
    assert!(note.contains("chat"), "{note}");
    seen(ground, &namespace);
    assert_eq!(of_llm(ground, &namespace), before);
    write(file, &profile(4));
    until_as_configured();
}

#[test]
fn under_a_slow_rollout_the_old_port_is_scraped_until_the_last_old_pod_is_gone() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("port");
    rolling(ground, &namespace, true);
    // Not seen by its controller yet; one new pod beside the old; the last old one going.
    for stage in [None, Some([3, 1, 2]), Some([3, 2, 3])] {
        if let Some(stage) = stage {
            status(ground, &namespace, "llm", stage);
        }
        seen(ground, &namespace);
        assert_eq!(port(ground, &namespace), 8000, "{stage:?}");
    }
    // What an annotation says holds at once.
    annotate(ground, &namespace, "max-replicas", &json!("7"));
    until("the bound is written", PATIENCE, || (max(ground, &namespace) == 7).then_some(()));
    assert_eq!(port(ground, &namespace), 8000);
    status(ground, &namespace, "llm", [2, 2, 1]);
    ground.until_rendered(&namespace, "deployment/llm");
    assert_eq!(port(ground, &namespace), 9000);
}

#[test]
fn a_label_that_is_put_during_a_rollout_waits_for_its_end() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("rollout");
    rolling(ground, &namespace, false);
    status(ground, &namespace, "llm", [3, 1, 2]);
    seen(ground, &namespace);
    label(ground, &namespace, &json!("server-metrics"));
    ground.until_event(&namespace, "llm", "WaitsForRollout");
    seen(ground, &namespace);
    assert_eq!(of_llm(ground, &namespace), []);
    status(ground, &namespace, "llm", [2, 2, 2]);
    ground.until_rendered(&namespace, "deployment/llm");
    assert_eq!(port(ground, &namespace), 9000);
}

#[test]
fn without_its_label_during_a_rollout_a_workload_loses_what_is_ours_at_once() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("unroll");
    rolling(ground, &namespace, true);
    status(ground, &namespace, "llm", [3, 1, 2]);
    label(ground, &namespace, &json!(null));
    ground.until_nothing(&namespace);
}

#[test]
fn a_rollout_that_is_stuck_keeps_the_old_form_which_is_repaired_too() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("stuck");
    rolling(ground, &namespace, true);
    status(ground, &namespace, "llm", [3, 1, 2]);
    let stuck = json!({"status": {"conditions": [{
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out",
        "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let patch = stuck.to_string();
    let arguments = ["-n", &namespace, "patch", "deployment/llm", "--subresource=status", "--type=merge", "-p", &patch];
    ground.cluster.kubectl(&arguments).ok();
    seen(ground, &namespace);
    ground.patch(&namespace, &format!("{HPA}/llm"), &json!({"spec": {"maxReplicas": 50}}));
    ground.patch(&namespace, &format!("{POD_MONITORING}/llm"), &json!({"spec": {"limits": {"samples": 1}}}));
    let limits = || ground.get(&namespace, POD_MONITORING, "llm").expect("one")["spec"]["limits"]["samples"].clone();
    until("both are repaired", PATIENCE, || (max(ground, &namespace) == 5 && limits() != 1).then_some(()));
    assert_eq!(port(ground, &namespace), 8000);
    // Taken back, it is as before the rollout.
    ground.apply(&server(&namespace, 8000, 2));
    status(ground, &namespace, "llm", [2, 2, 2]);
    ground.until_rendered(&namespace, "deployment/llm");
    assert_eq!(port(ground, &namespace), 8000);
}

#[test]
fn no_replicas_go_by_a_bound_that_nobody_named() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("max");
    ground.apply(&server(&namespace, 8000, 8));
    let note = ground.until_event(&namespace, "llm", "MaxBelowReplicas");
    assert!(note.contains("8 replicas run") && note.contains("maxReplicas 5") && note.contains('3'), "{note}");
    seen(ground, &namespace);
    assert!(ground.get(&namespace, HPA, "llm").is_none());
    // Enough room, named.
    annotate(ground, &namespace, "max-replicas", &json!("9"));
    ground.until_rendered(&namespace, "deployment/llm");
    let before = of_llm(ground, &namespace);
    // Named no more: the last good bound stays.
    annotate(ground, &namespace, "max-replicas", &json!(null));
    seen(ground, &namespace);
    assert_eq!(of_llm(ground, &namespace), before);
    assert_eq!(max(ground, &namespace), 9);
}

#[test]
fn a_bound_that_is_named_below_the_replicas_is_written_and_says_how_many_go() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("named");
    let mut workload = server(&namespace, 8000, 8);
    workload["metadata"]["annotations"] = json!({"scalegate.dev/max-replicas": "3"});
    ground.apply(&workload);
    ground.until_rendered(&namespace, "deployment/llm");
    assert_eq!(max(ground, &namespace), 3);
    let note = ground.until_event(&namespace, "llm", "MaxBelowReplicas");
    assert!(note.contains("8 replicas run") && note.contains("5 go at once"), "{note}");
}

#[test]
fn statefulsets_and_leaderworkersets_have_what_render_prints() {
    let Some(ground) = ground() else { return };
    let namespace = ground.cluster.namespace("kinds");
    let mut set = deployment(&namespace, "set");
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("set");
    let pod = set["spec"]["template"]["spec"].clone();
    let group = json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"name": "group", "namespace": namespace, "labels": {"scalegate.dev/autoscale": "server-metrics"}},
        "spec": {"replicas": 1, "leaderWorkerTemplate": {
            "size": 2,
            "leaderTemplate": {"metadata": {"labels": {"role": "leader"}}, "spec": pod},
            "workerTemplate": {"spec": {"containers": [{
                "name": "worker", "image": "vllm/vllm-openai:v0.11.0",
                "command": ["sh", "-c", "ray start --address=$(LWS_LEADER_ADDRESS):6379 --block"],
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }]}},
        }},
    });
    ground.apply(&set);
    ground.apply(&group);
    ground.until_rendered(&namespace, "statefulset/set");
    ground.until_rendered(&namespace, "leaderworkerset/group");
    let monitoring = ground.get(&namespace, POD_MONITORING, "group").expect("one");
    assert_eq!(monitoring["spec"]["selector"]["matchLabels"]["leaderworkerset.sigs.k8s.io/worker-index"], "0");
    for object in ["statefulset/set", "leaderworkerset/group"] {
        ground.patch(&namespace, object, &json!({"metadata": {"labels": {"scalegate.dev/autoscale": null}}}));
    }
    ground.until_nothing(&namespace);
}

#[test]
fn a_kind_that_is_installed_late_is_written_then_and_one_that_goes_takes_nothing_else_along() {
    let Some(cluster) = bare::cluster(Options::default(), &[]) else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let mut controller = ground.controller.lock().unwrap();
    until_leads(&controller, true, PATIENCE);
    let id = controller.process().id();
    let namespace = cluster.namespace("late");
    ground.apply(&deployment(&namespace, "llm"));
    let hpa = until("the HPA is written", PATIENCE, || ground.get(&namespace, HPA, "llm"));
    let note = ground.until_event(&namespace, "llm", "KindNotServed");
    assert!(note.contains("PodMonitoring") && note.contains("monitoring.googleapis.com"), "{note}");
    define(cluster, GMP);
    until_all_rendered(cluster, &namespace, DISCOVERY);

    cluster.kubectl(&["delete", "crd", "podmonitorings.monitoring.googleapis.com", "--timeout=60s"]).ok();
    until("the kind is gone", PATIENCE, || bare::list(cluster, POD_MONITORINGS, &namespace).is_empty().then_some(()));
    ground.apply(&deployment(&namespace, "later"));
    until("others are still looked after", DISCOVERY, || ground.get(&namespace, HPA, "later"));
    ground.until_event(&namespace, "later", "KindNotServed");
    let same = bare::list(cluster, HPAS, &namespace).into_iter().find(|hpa| hpa["metadata"]["name"] == "llm");
    let same = same.expect("the HPA stays");
    for field in ["uid", "resourceVersion"] {
        assert_eq!(same["metadata"][field], hpa["metadata"][field]);
    }

    define(cluster, GMP);
    until_all_rendered(cluster, &namespace, DISCOVERY);
    assert!(controller.process().ended().is_none() && controller.process().id() == id, "it was not started again");
}
