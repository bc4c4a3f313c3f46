//! What breaks while the controller works: itself, another one of it, the API server, etcd, and who writes against it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::bare::{
    self, DEPLOYMENTS, HPAS, POD_MONITORINGS, create, ended, events, looked, made, path, send, until_all_rendered,
    until_leads, versions,
};
use super::{Ground, PATIENCE, deployment, foreign_hpa, launch};
use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::installation::Installation;
use crate::harness::process::until;

const GMP: &str = "monitoring.googleapis.com";

/// For what waits for pauses of ours: a Lease that ends, a gate that opens, patience with a contest.
const LONG: Duration = Duration::from_secs(240);

/// So many that it can be met at work.
const MANY: usize = 60;

/// A control plane for the tests of this file, one at a time.
fn alone() -> Option<(MutexGuard<'static, ()>, &'static ControlPlane)> {
    static CLUSTER: OnceLock<Option<&'static ControlPlane>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = *CLUSTER.get_or_init(|| bare::cluster(Options::default(), &[GMP]));
    Some((alone, cluster?))
}

fn create_many(cluster: &ControlPlane, namespace: &str) {
    for number in 0..MANY {
        create(cluster, DEPLOYMENTS, &deployment(namespace, &format!("llm-{number}")));
    }
}

/// Labels workloads, and does something as soon as a part of what they ask for is there. Returns their namespace, when it was a
/// part and not all.
fn in_the_midst(cluster: &'static ControlPlane, act: impl FnOnce()) -> Option<String> {
    let namespace = cluster.namespace("midst");
    let there = thread::scope(|scope| {
        scope.spawn(|| create_many(cluster, &namespace));
        until("it is at work", PATIENCE, || (made(cluster, &namespace).len() >= 10).then_some(()));
        let there = made(cluster, &namespace).len();
        act();
        there
    });
    // Those that were refused meanwhile.
    create_many(cluster, &namespace);
    assert_eq!(bare::list(cluster, DEPLOYMENTS, &namespace).len(), MANY);
    (there < 2 * MANY).then_some(namespace)
}

#[test]
fn a_leader_that_is_killed_at_work_goes_on_where_it_was_and_does_nothing_twice() {
    let Some((_alone, cluster)) = alone() else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let mut controller = ground.controller.lock().unwrap();
    until_leads(&controller, true, PATIENCE);
    let met = (0..5).find_map(|_| {
        let met = in_the_midst(cluster, || controller.kill());
        if met.is_none() {
            controller.start_again();
        }
        met
    });
    let namespace = met.expect("it is met at work");
    let before = versions(cluster, &namespace);
    controller.start_again();
    until_all_rendered(cluster, &namespace, LONG);
    looked(&ground, &namespace, &[&controller]);
    let after = versions(cluster, &namespace);
    assert_eq!(after.len(), 2 * MANY + 2);
    for (place, version) in &before {
        assert_eq!(after.get(place), Some(version), "{place} is written once");
    }
    for kind in [HPAS.1, POD_MONITORINGS.1] {
        for result in ["applied", "pruned", "refused", "failed"] {
            assert!(ended(&controller, kind, result) < 0.5, "{kind} {result}: {}", controller.log());
        }
    }
}

#[test]
fn two_that_lead_at_once_reach_one_end_and_then_are_quiet() {
    let Some((_alone, cluster)) = alone() else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let one = ground.controller.lock().unwrap();
    let other = launch(cluster).args(["--lease=other"]).env("POD_NAME", "other").start();
    until_leads(&one, true, PATIENCE);
    until_leads(&other, true, PATIENCE);
    let namespace = cluster.namespace("two");
    create_many(cluster, &namespace);
    until_all_rendered(cluster, &namespace, LONG);
    let merge = |of, name: &str, patch: &Value| {
        let path = format!("{}/{name}", path(of, &namespace));
        assert_eq!(send(cluster, "PATCH", &path, "application/merge-patch+json", patch), 200, "{name}");
    };
    let label = |value: Value| json!({"metadata": {"labels": {"scalegate.dev/autoscale": value}}});
    for number in 0..MANY / 6 {
        let name = |offset: usize| format!("llm-{}", 6 * number + offset);
        merge(DEPLOYMENTS, &name(0), &label(json!("gpu-metrics")));
        merge(DEPLOYMENTS, &name(1), &label(json!("latency")));
        merge(DEPLOYMENTS, &name(2), &label(json!(null)));
        merge(HPAS, &name(3), &json!({"spec": {"maxReplicas": 77}}));
        let gone = format!("{}/{}", path(POD_MONITORINGS, &namespace), name(4));
        assert_eq!(send(cluster, "DELETE", &gone, "application/json", &json!({})), 200);
        let annotation = json!({"metadata": {"annotations": {"scalegate.dev/max-replicas": "3"}}});
        merge(DEPLOYMENTS, &name(5), &annotation);
    }
    until_all_rendered(cluster, &namespace, LONG);
    looked(&ground, &namespace, &[&one, &other]);
    let before = versions(cluster, &namespace);
    looked(&ground, &namespace, &[&one, &other]);
    let after = versions(cluster, &namespace);
    assert!(before.iter().all(|(place, version)| after.get(place) == Some(version)), "{before:?} {after:?}");
    until_all_rendered(cluster, &namespace, PATIENCE);
    assert!(events(cluster, &namespace, "Contested").is_empty(), "neither takes the other for somebody else");
}

#[test]
fn a_leader_that_is_stopped_past_its_lease_leaves_the_same_end() {
    let Some((_alone, cluster)) = alone() else { return };
    let as_replica = |name: &str| launch(cluster).args(["--lease=stopped"]).env("POD_NAME", name);
    let ground = bare::ground(cluster, as_replica("first"));
    let mut first = ground.controller.lock().unwrap();
    until_leads(&first, true, LONG);
    let second = as_replica("second").start();
    let namespace = cluster.namespace("stopped");
    for name in ["a", "b", "c", "d"] {
        create(cluster, DEPLOYMENTS, &deployment(&namespace, name));
    }
    until_all_rendered(cluster, &namespace, PATIENCE);
    first.process().signal("STOP");
    let labels = |value: Value| json!({"metadata": {"labels": {"scalegate.dev/autoscale": value}}});
    let annotations = |value: Value| json!({"metadata": {"annotations": {"scalegate.dev/max-replicas": value}}});
    ground.patch(&namespace, "deployment/a", &labels(json!("gpu-metrics")));
    ground.patch(&namespace, "deployment/b", &labels(json!(null)));
    ground.patch(&namespace, "deployment/c", &annotations(json!("3")));
    ground.patch(&namespace, "hpa/d", &json!({"spec": {"maxReplicas": 77}}));
    until_leads(&second, true, LONG);
    until_all_rendered(cluster, &namespace, PATIENCE);
    // Back again, so that the first wakes to news that are old.
    ground.patch(&namespace, "deployment/a", &labels(json!("server-metrics")));
    ground.patch(&namespace, "deployment/b", &labels(json!("server-metrics")));
    ground.patch(&namespace, "deployment/c", &annotations(json!("4")));
    until_all_rendered(cluster, &namespace, PATIENCE);
    looked(&ground, &namespace, &[&second]);
    let before = versions(cluster, &namespace);
    first.process().signal("CONT");
    until_leads(&first, false, PATIENCE);
    assert!(second.metrics().sum("scalegate_leader", &[]) > 0.5);
    looked(&ground, &namespace, &[&first, &second]);
    let after = versions(cluster, &namespace);
    // What was on its way when it was stopped may still be written, by news that are old: once, and it is put right.
    let other = before.iter().filter(|(place, version)| after.get(*place) != Some(*version)).count();
    assert!(other <= 1, "{before:?} {after:?}");
    until_all_rendered(cluster, &namespace, PATIENCE);
    assert!(events(cluster, &namespace, "Contested").is_empty());
}

#[test]
fn an_api_server_or_an_etcd_that_is_killed_meanwhile_delays_the_same_end() {
    let Some((_alone, cluster)) = alone() else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let mut controller = ground.controller.lock().unwrap();
    until_leads(&controller, true, PATIENCE);
    let id = controller.process().id();
    let api_server = || {
        cluster.stop_apiserver("KILL");
        cluster.start_apiserver();
    };
    let etcd = || {
        cluster.stop_etcd("KILL");
        cluster.start_etcd();
    };
    for break_it in [&api_server as &dyn Fn(), &etcd] {
        let namespace = (0..5).find_map(|_| in_the_midst(cluster, break_it)).expect("it is met at work");
        until_all_rendered(cluster, &namespace, LONG);
        // And it still repairs.
        ground.patch(&namespace, "hpa/llm-7", &json!({"spec": {"maxReplicas": 77}}));
        until_all_rendered(cluster, &namespace, LONG);
        looked(&ground, &namespace, &[&controller]);
        assert_eq!(made(cluster, &namespace).len(), 2 * MANY + 2);
    }
    assert!(controller.process().ended().is_none() && controller.process().id() == id, "it lives on");
}

#[test]
fn who_writes_against_it_without_end_is_named_and_not_fought() {
    let Some((_alone, cluster)) = alone() else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let controller = ground.controller.lock().unwrap();
    let namespace = cluster.namespace("storm");
    ground.apply(&deployment(&namespace, "llm"));
    until_all_rendered(cluster, &namespace, PATIENCE);
    looked(&ground, &namespace, &[&controller]);
    let tries = || ["applied", "conflict", "refused", "failed"].map(|result| ended(&controller, HPAS.1, result));
    let before: f64 = tries().iter().sum();
    let (ends, edits) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let path = format!("{}/llm?fieldManager=storm", path(HPAS, &namespace));
            while !ends.load(Ordering::Relaxed) {
                let max = 50 + edits.fetch_add(1, Ordering::Relaxed) % 40;
                let patch = json!({"spec": {"maxReplicas": max}});
                assert_eq!(send(cluster, "PATCH", &path, "application/merge-patch+json", &patch), 200);
            }
        });
        until("it is told", LONG, || (!events(cluster, &namespace, "Contested").is_empty()).then_some(()));
        // It goes on, with nobody against it.
        let already = edits.load(Ordering::Relaxed);
        until("more edits", LONG, || (edits.load(Ordering::Relaxed) > already + 200).then_some(()));
        ends.store(true, Ordering::Relaxed);
    });
    let during = tries().iter().sum::<f64>() - before;
    assert!(during <= 12.0, "{during} tries against {edits:?} edits: {:?}", tries());
    let note = events(cluster, &namespace, "Contested")[0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("storm"), "it says who: {note}");
    until_all_rendered(cluster, &namespace, LONG);
    let all = tries().iter().sum::<f64>() - before;
    assert!(all <= during + 3.0, "{all} tries, {during} of them during the storm");
}

#[test]
fn a_foreign_hpa_that_comes_in_the_same_moment_is_never_touched() {
    let Some((_alone, cluster)) = alone() else { return };
    let ground = bare::ground(cluster, launch(cluster));
    let controller = ground.controller.lock().unwrap();
    until_leads(&controller, true, PATIENCE);
    let namespace = cluster.namespace("collide");
    let mut foreign = Vec::new();
    for number in 0..40_u64 {
        let name = format!("llm-{number}");
        // On the workload itself, or in the way by its name alone.
        let target = if number % 2 == 0 { name.clone() } else { "somebody-elses".to_owned() };
        create(cluster, DEPLOYMENTS, &deployment(&namespace, &name));
        // Now before, now after our own create of it.
        thread::sleep(Duration::from_millis(number / 4));
        foreign.push(create(cluster, HPAS, &foreign_hpa(&namespace, &name, &target)));
    }
    let theirs = foreign.iter().filter(|code| **code == 200).count();
    assert!(theirs > 0 && foreign.iter().all(|code| [200, 409].contains(code)), "{foreign:?}");
    looked(&ground, &namespace, &[&controller]);
    let hpas = bare::list(cluster, HPAS, &namespace);
    for (number, code) in foreign.iter().enumerate() {
        let name = format!("llm-{number}");
        let hpa = hpas.iter().find(|hpa| hpa["metadata"]["name"] == name.as_str());
        let hpa = hpa.unwrap_or_else(|| panic!("one of both made {name}"));
        let managers = hpa["metadata"]["managedFields"].as_array().unwrap();
        let ours = managers.iter().filter(|by| by["manager"] == "scalegate").count();
        if *code == 200 {
            assert_eq!((ours, managers.len()), (0, 1), "{name} is somebody's: {hpa:#}");
            assert!(hpa["metadata"]["ownerReferences"].is_null());
            assert_eq!(hpa["spec"]["maxReplicas"], 9);
        } else {
            assert_eq!((ours, managers.len()), (1, 1), "{name} is ours: {hpa:#}");
            assert_eq!(hpa["spec"]["maxReplicas"], 5);
        }
    }
    // Every one of those whose place was taken hears of it.
    until("each is told", PATIENCE, || {
        let told = events(cluster, &namespace, "NameTaken");
        let of = |name: &str| told.iter().any(|event| event["regarding"]["name"] == name);
        let theirs = foreign.iter().enumerate().filter(|(_, code)| **code == 200);
        theirs.into_iter().all(|(number, _)| of(&format!("llm-{number}"))).then_some(())
    });
}

#[test]
fn the_charts_account_may_name_owners_where_that_needs_rights() {
    if !assets::have(&[Binary::Helm]) {
        return;
    }
    let enforced = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned();
    let options = Options { apiserver_flags: vec![enforced], ..Options::default() };
    let Some(cluster) = bare::cluster(options, &[GMP, "leaderworkerset.x-k8s.io", "keda.sh"]) else { return };
    refuses_others(cluster);
    let mut installation = Installation::start_with_controller(cluster, &json!({}), 1);
    let controller = Mutex::new(installation.controller.take().expect("the chart has one"));
    let ground = Ground { cluster, controller };
    let namespace = cluster.namespace("enforced");
    for name in ["llm", "other"] {
        ground.apply(&deployment(&namespace, name));
    }
    until_all_rendered(cluster, &namespace, PATIENCE);
    ground.patch(&namespace, "hpa/llm", &json!({"spec": {"maxReplicas": 77}}));
    ground.cluster.kubectl(&["-n", &namespace, "delete", "hpa", "other"]).ok();
    ground.cluster.kubectl(&["-n", &namespace, "delete", "podmonitoring", "llm"]).ok();
    until_all_rendered(cluster, &namespace, PATIENCE);
    let label = json!({"metadata": {"labels": {"scalegate.dev/autoscale": null}}});
    ground.patch(&namespace, "deployment/llm", &label);
    ground.patch(&namespace, "deployment/other", &label);
    ground.until_nothing(&namespace);
    let controller = ground.controller.lock().unwrap();
    for kind in [HPAS.1, POD_MONITORINGS.1] {
        assert!(ended(&controller, kind, "refused") < 0.5, "{}", controller.log());
    }
    assert!(controller.metrics().sum("scalegate_events_failed_total", &[]) < 0.5, "{}", controller.log());
}

/// The plugin is on: who may create HPAs and not delete them may name no owner.
fn refuses_others(cluster: &'static ControlPlane) {
    let namespace = cluster.namespace("refused");
    let create =
        ["create", "role", "half", "--verb=create,get,patch", "--resource=horizontalpodautoscalers.autoscaling"];
    cluster.kubectl(&[&["-n", &namespace], create.as_slice()].concat()).ok();
    cluster.kubectl(&["-n", &namespace, "create", "rolebinding", "half", "--role=half", "--user=half"]).ok();
    let mut workload = deployment(&namespace, "owner");
    workload["metadata"]["labels"] = json!({});
    assert_eq!(bare::create(cluster, DEPLOYMENTS, &workload), 200);
    let uid = bare::list(cluster, DEPLOYMENTS, &namespace)[0]["metadata"]["uid"].clone();
    let mut hpa = foreign_hpa(&namespace, "theirs", "owner");
    let kubeconfig = cluster.kubeconfig_of(&cluster.user("half", &[]));
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "owner", "uid": uid, "controller": true});
    hpa["metadata"]["ownerReferences"] = json!([owner]);
    hpa["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
    let refused = cluster.kubectl_as(&kubeconfig, &["create", "-f", "-"], &hpa.to_string()).refused();
    assert!(refused.contains("cannot set blockOwnerDeletion"), "{refused}");
}
