use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::policy::objects::Written;

/// A cluster of one namespace, `ml`.
#[derive(Default)]
struct Cluster {
    view: ClusterView,
    configuration: Configuration,
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "llm", "namespace": "ml", "uid": "u1", "generation": 2,
            "labels": { "scalegate.dev/autoscale": "server-metrics" }, "annotations": {} },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "llm" } },
            "template": { "metadata": { "labels": { "app": "llm" } }, "spec": { "containers": [{
                "name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": ["--port=8000", "--max-num-seqs=64"],
                "resources": { "limits": { "nvidia.com/gpu": 1 } },
            }] } },
        },
        "status": { "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 },
    })
}

fn annotated(key: &str, value: &str) -> Value {
    let mut deployment = deployment();
    deployment["metadata"]["annotations"][format!("scalegate.dev/{key}")] = json!(value);
    deployment
}

fn labelled(value: &str) -> Value {
    let mut deployment = deployment();
    deployment["metadata"]["labels"]["scalegate.dev/autoscale"] = json!(value);
    deployment
}

fn foreign_hpa(name: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": name, "namespace": "ml", "uid": "foreign" },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm" }, "maxReplicas": 9 },
    })
}

fn foreign_monitoring(port: u16) -> Value {
    json!({
        "apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring",
        "metadata": { "name": "theirs", "namespace": "ml", "uid": "foreign" },
        "spec": { "selector": { "matchLabels": { "app": "llm" } }, "endpoints": [{ "port": port, "interval": "15s" }] },
    })
}

impl Cluster {
    fn of(objects: &[Value]) -> Self {
        let mut cluster = Self::default();
        for object in objects {
            cluster.put(object);
        }
        cluster
    }

    fn put(&mut self, value: &Value) {
        let (of, mut object) = Object::from_value(value).unwrap();
        object.metadata_mut().written = render::written(&of, &object, &value.to_string());
        self.view.apply(&of, object);
    }

    fn plan(&self) -> Plan {
        let mut plans = plans("ml", "llm", &self.view, &self.configuration);
        assert_eq!(plans.len(), 1);
        plans.remove(0)
    }

    /// Does what the plan says, as the API server would store it.
    fn carry_out(&mut self) -> Plan {
        let plan = self.plan();
        for prune in &plan.prune {
            self.view.delete(&prune.key);
        }
        for write in &plan.write {
            let mut object = write.object.clone();
            let uid = write.live.as_ref().map_or_else(|| format!("new-{}", write.key.kind), |live| live.uid.clone());
            object["metadata"]["uid"] = json!(uid);
            object["metadata"]["managedFields"] = json!([{ "manager": "scalegate" }]);
            if let Some(there) = self.view.get(&write.key) {
                object["metadata"]["annotations"] = json!(there.object.metadata().annotations);
            }
            self.put(&object);
        }
        plan
    }

    /// One that has reached its end.
    fn settled() -> Self {
        let mut cluster = Self::of(&[deployment()]);
        cluster.carry_out();
        assert_eq!(told(&cluster.plan()), "");
        cluster
    }
}

/// A plan in a line a step.
fn told(plan: &Plan) -> String {
    let mut text = String::new();
    for kind in &plan.waits_for {
        let _ = writeln!(text, "waits for {kind}");
    }
    for prune in &plan.prune {
        let _ = writeln!(text, "prune {} {}", prune.key.kind, prune.key.name);
    }
    for write in &plan.write {
        let verb = match &write.live {
            None => "create",
            Some(live) if live.adopted => "adopt",
            Some(_) => "apply",
        };
        let _ = writeln!(text, "{verb} {} {}", write.key.kind, write.key.name);
    }
    for say in &plan.says {
        let _ = writeln!(text, "say {}", say.reason);
    }
    text
}

const BOTH: &str = "create PodMonitoring llm\ncreate HorizontalPodAutoscaler llm\n";

#[test]
fn a_labelled_workload_gets_both_objects_with_their_owner_and_then_nothing_more() {
    let mut cluster = Cluster::of(&[deployment()]);
    let plan = cluster.carry_out();
    assert_eq!(told(&plan), BOTH);
    let owner = &plan.write[1].object["metadata"]["ownerReferences"][0];
    assert_eq!(
        owner,
        &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm", "uid": "u1",
        "controller": true, "blockOwnerDeletion": false })
    );
    assert_eq!(told(&cluster.plan()), "");
}

#[test]
fn what_is_changed_or_removed_by_others_is_written_again() {
    let mut cluster = Cluster::settled();
    let key = cluster.view.managed("u1").map(|(key, _)| key.clone()).find(|key| key.kind == HPA).unwrap();
    let mut entry = cluster.view.get(&key).unwrap().clone();
    entry.object.metadata_mut().written = Some(Written { fingerprint: 1, by_us: true });
    cluster.view.apply(&entry.of, entry.object.clone());
    assert_eq!(told(&cluster.plan()), "apply HorizontalPodAutoscaler llm\n");
    cluster.carry_out();
    let mut entry = cluster.view.get(&key).unwrap().clone();
    entry.object.metadata_mut().labels.remove(render::MANAGED_BY);
    cluster.view.apply(&entry.of, entry.object.clone());
    assert_eq!(told(&cluster.plan()), "apply HorizontalPodAutoscaler llm\n");
    cluster.view.delete(&key);
    assert_eq!(told(&cluster.plan()), "create HorizontalPodAutoscaler llm\n");
}

#[test]
fn without_the_label_what_is_ours_goes_and_nothing_else() {
    for change in ["disabled", "gone"] {
        let mut cluster = Cluster::settled();
        cluster.put(&foreign_monitoring(9000));
        let mut deployment = labelled("disabled");
        if change == "gone" {
            deployment["metadata"]["labels"] = json!({});
        }
        cluster.put(&deployment);
        let plan = cluster.carry_out();
        assert_eq!(told(&plan), "prune HorizontalPodAutoscaler llm\nprune PodMonitoring llm\n", "{change}");
        assert_eq!(told(&cluster.plan()), "");
    }
}

#[test]
fn another_profile_changes_one_object_and_removes_the_other() {
    let mut cluster = Cluster::settled();
    cluster.put(&labelled("gpu-metrics"));
    assert_eq!(told(&cluster.plan()), "prune PodMonitoring llm\napply HorizontalPodAutoscaler llm\n");
}

#[test]
fn pause_and_git_prune_and_write_nothing() {
    for (key, value) in [("paused", "true"), ("generate", "false")] {
        let mut cluster = Cluster::settled();
        let mut deployment = annotated(key, value);
        deployment["metadata"]["labels"]["scalegate.dev/autoscale"] = json!("gpu-metrics");
        cluster.put(&deployment);
        assert_eq!(told(&cluster.plan()), "", "{key}");
        assert_eq!(told(&Cluster::of(&[deployment]).plan()), "", "{key}");
    }
}

#[test]
fn a_paused_hpa_is_left_as_it_is() {
    let mut cluster = Cluster::settled();
    let key = cluster.view.managed("u1").map(|(key, _)| key.clone()).find(|key| key.kind == HPA).unwrap();
    let mut entry = cluster.view.get(&key).unwrap().clone();
    entry.object.metadata_mut().annotations.insert(PAUSED.to_owned(), "true".to_owned());
    entry.object.metadata_mut().written = Some(Written { fingerprint: 1, by_us: true });
    cluster.view.apply(&entry.of, entry.object);
    assert_eq!(told(&cluster.plan()), "");
    cluster.put(&labelled("disabled"));
    assert_eq!(told(&cluster.plan()), "prune PodMonitoring llm\n");
}

#[test]
fn settings_gone_bad_and_a_profile_that_vanished_keep_what_is_there() {
    for deployment in [annotated("max-replicas", "many"), labelled("no-such-profile")] {
        let mut cluster = Cluster::settled();
        cluster.put(&deployment);
        assert_eq!(told(&cluster.plan()), "say InvalidSetting\n");
        assert!(cluster.plan().labelled);
    }
}

#[test]
fn a_server_that_cannot_be_read_keeps_what_is_there() {
    let mut cluster = Cluster::settled();
    let mut deployment = deployment();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/own:1");
    deployment["spec"]["template"]["spec"]["containers"][0]["args"] = json!([]);
    cluster.put(&deployment);
    assert_eq!(told(&cluster.plan()), "say NothingGenerated\n");
    cluster.put(&foreign_hpa("theirs"));
    assert_eq!(
        told(&cluster.plan()),
        "prune HorizontalPodAutoscaler llm\nsay AnotherAutoscaler\nsay NothingGenerated\n"
    );
}

#[test]
fn beside_somebody_elses_autoscaler_there_is_none_of_ours_whatever_rules_are_off() {
    let scaled_object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": { "name": "theirs", "namespace": "ml", "uid": "foreign" },
        "spec": { "scaleTargetRef": { "name": "llm" }, "triggers": [] },
    });
    for other in [foreign_hpa("theirs"), foreign_hpa("llm"), scaled_object] {
        let mut cluster = Cluster::of(&[deployment(), other.clone()]);
        cluster.configuration.enforcement.mode = Some(crate::policy::configuration::Level::Off);
        let written = told(&cluster.plan());
        assert!(written.starts_with("create PodMonitoring llm\nsay "), "{written}");
    }
    let mut cluster = Cluster::settled();
    cluster.put(&foreign_hpa("theirs"));
    let plan = cluster.carry_out();
    assert_eq!(told(&plan), "prune HorizontalPodAutoscaler llm\nsay AnotherAutoscaler\n");
    cluster.view.delete(&Key { name: "theirs".to_owned(), ..plan.prune[0].key.clone() });
    assert_eq!(told(&cluster.plan()), "create HorizontalPodAutoscaler llm\n");
}

#[test]
fn a_foreign_object_of_our_name_is_left_alone_and_named() {
    let mut monitoring = foreign_monitoring(9000);
    monitoring["metadata"]["name"] = json!("llm");
    let plan = Cluster::of(&[deployment(), monitoring]).plan();
    assert_eq!(told(&plan), "create HorizontalPodAutoscaler llm\nsay NameTaken\n");
    let mut elsewhere = foreign_hpa("llm");
    elsewhere["spec"]["scaleTargetRef"]["name"] = json!("other");
    let plan = Cluster::of(&[deployment(), elsewhere]).plan();
    assert_eq!(told(&plan), "create PodMonitoring llm\nsay NameTaken\n");
    assert!(plan.says[0].note.contains("scalegate.dev/adopt"), "{:?}", plan.says);
}

#[test]
fn one_that_looks_like_ours_but_was_written_by_another_is_foreign() {
    let mut cluster = Cluster::settled();
    let key = cluster.view.managed("u1").map(|(key, _)| key.clone()).find(|key| key.kind == HPA).unwrap();
    let mut entry = cluster.view.get(&key).unwrap().clone();
    entry.object.metadata_mut().written = Some(Written { fingerprint: 1, by_us: false });
    cluster.view.apply(&entry.of, entry.object);
    assert_eq!(told(&cluster.plan()), "say NameTaken\n");
    cluster.put(&labelled("disabled"));
    assert_eq!(told(&cluster.plan()), "prune PodMonitoring llm\n");
}

#[test]
fn pods_that_are_scraped_already_are_not_scraped_twice() {
    let cluster = Cluster::of(&[deployment(), foreign_monitoring(8000)]);
    assert_eq!(told(&cluster.plan()), "create HorizontalPodAutoscaler llm\nsay ScrapedAlready\n");
    let mut cluster = Cluster::settled();
    cluster.put(&foreign_monitoring(8000));
    assert_eq!(told(&cluster.plan()), "prune PodMonitoring llm\nsay ScrapedAlready\n");
    assert_eq!(told(&Cluster::of(&[deployment(), foreign_monitoring(9000)]).plan()), BOTH);
}

#[test]
fn consent_on_an_hpa_hands_it_over_under_its_own_name() {
    let mut given = foreign_hpa("theirs");
    given["metadata"]["annotations"] = json!({ "scalegate.dev/adopt": "true" });
    let mut cluster = Cluster::of(&[deployment(), given.clone()]);
    let plan = cluster.carry_out();
    assert_eq!(told(&plan), "create PodMonitoring llm\nadopt HorizontalPodAutoscaler theirs\nsay Adopted\n");
    assert_eq!(plan.write[1].live.as_ref().map(|live| live.uid.as_str()), Some("foreign"));
    assert_eq!(told(&cluster.plan()), "");
    cluster.put(&labelled("disabled"));
    assert_eq!(told(&cluster.plan()), "prune HorizontalPodAutoscaler theirs\nprune PodMonitoring llm\n");
    // Somebody else's controller does not give it away.
    given["metadata"]["ownerReferences"] = json!([{ "kind": "X", "name": "x", "uid": "x", "controller": true }]);
    let cluster = Cluster::of(&[deployment(), given]);
    assert_eq!(told(&cluster.plan()), "create PodMonitoring llm\nsay AnotherAutoscaler\n");
}

#[test]
fn nothing_cuts_replicas_unless_the_maximum_is_explicit() {
    let many = |mut deployment: Value| {
        deployment["spec"]["replicas"] = json!(8);
        deployment["status"]["replicas"] = json!(8);
        deployment["status"]["updatedReplicas"] = json!(8);
        deployment
    };
    let plan = Cluster::of(&[many(deployment())]).plan();
    assert_eq!(told(&plan), "create PodMonitoring llm\nsay MaxBelowReplicas\n");
    let plan = Cluster::of(&[many(annotated("max-replicas", "6"))]).plan();
    assert_eq!(told(&plan), format!("{BOTH}say MaxBelowReplicas\n"));
    assert!(plan.says[0].note.contains("2 go at once"), "{:?}", plan.says);
    // An HPA of ours with that maximum is there already: it is what keeps the number down.
    let mut cluster = Cluster::settled();
    cluster.put(&many(deployment()));
    assert_eq!(told(&cluster.plan()), "");
    // A smaller maximum by another profile is not written.
    let mut three = labelled("throughput");
    three["spec"]["replicas"] = json!(3);
    cluster.put(&three);
    assert_eq!(told(&cluster.plan()), "apply PodMonitoring llm\nsay MaxBelowReplicas\n");
}

#[test]
fn port_and_targets_follow_the_pods_that_serve() {
    let changed = |ports: &str, updated: i64| {
        let mut deployment = labelled("latency");
        deployment["metadata"]["generation"] = json!(3);
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] = json!([ports, "--max-num-seqs=16"]);
        deployment["status"] =
            json!({ "observedGeneration": 3, "replicas": 2, "updatedReplicas": updated, "readyReplicas": 1 });
        deployment
    };
    let mut cluster = Cluster::of(&[labelled("latency")]);
    cluster.carry_out();
    cluster.put(&changed("--port=9000", 1));
    assert_eq!(told(&cluster.plan()), "", "the old pods still serve");
    // What is said by annotation holds at once, beside the old port.
    let mut more = changed("--port=9000", 1);
    more["metadata"]["annotations"]["scalegate.dev/max-replicas"] = json!("7");
    cluster.put(&more);
    let plan = cluster.plan();
    assert_eq!(told(&plan), "apply HorizontalPodAutoscaler llm\n");
    assert_eq!(plan.write[0].object["spec"]["metrics"][0]["pods"]["target"]["averageValue"], "32");
    cluster.put(&changed("--port=9000", 2));
    let plan = cluster.carry_out();
    assert_eq!(told(&plan), "apply PodMonitoring llm\napply HorizontalPodAutoscaler llm\n");
    assert_eq!(plan.write[0].object["spec"]["endpoints"][0]["port"], 9000);
    assert_eq!(plan.write[1].object["spec"]["metrics"][0]["pods"]["target"]["averageValue"], "8");
    // Labelled in the middle of one: which port the old pods serve is not known.
    let waiting = Cluster::of(&[changed("--port=9000", 1)]).plan();
    assert_eq!(told(&waiting), "say WaitsForRollout\nsay WaitsForRollout\n");
}

#[test]
fn of_two_workloads_of_one_name_the_deployment_keeps_it() {
    let mut stateful = deployment();
    stateful["kind"] = json!("StatefulSet");
    stateful["metadata"]["uid"] = json!("u2");
    stateful["spec"]["selector"] = json!({ "matchLabels": { "app": "stateful" } });
    stateful["spec"]["template"]["metadata"]["labels"] = json!({ "app": "stateful" });
    let mut cluster = Cluster::of(&[stateful]);
    assert_eq!(told(&cluster.carry_out()), BOTH);
    cluster.put(&deployment());
    let said: Vec<String> = plans("ml", "llm", &cluster.view, &cluster.configuration).iter().map(told).collect();
    assert_eq!(said[0], "", "what has its name is ours, and gives way");
    assert_eq!(
        said[1],
        "prune HorizontalPodAutoscaler llm\nprune PodMonitoring llm\n\
         create PodMonitoring llm-statefulset\ncreate HorizontalPodAutoscaler llm-statefulset\n"
    );
}

#[test]
fn selectors_that_overlap_bring_no_second_autoscaler() {
    let mut other = deployment();
    other["metadata"] = json!({ "name": "other", "namespace": "ml", "uid": "u2" });
    let mut scaled = foreign_hpa("theirs");
    scaled["spec"]["scaleTargetRef"]["name"] = json!("other");
    let cluster = Cluster::of(&[deployment(), other, scaled]);
    assert_eq!(told(&cluster.plan()), "create PodMonitoring llm\nsay SelectorsOverlap\n");
}

#[test]
fn what_is_left_of_a_workload_of_the_same_name_is_waited_for() {
    let mut cluster = Cluster::settled();
    let mut again = deployment();
    again["metadata"]["uid"] = json!("u9");
    cluster.put(&again);
    assert_eq!(told(&cluster.plan()), "");
}

#[test]
fn a_kind_that_is_not_served_is_said_and_the_rest_is_written() {
    let mut cluster = Cluster::of(&[deployment()]);
    cluster.view.absent.insert("PodMonitoring".to_owned());
    assert_eq!(told(&cluster.plan()), "create HorizontalPodAutoscaler llm\nsay KindNotServed\n");
}

#[test]
fn while_news_is_missing_nothing_is_done() {
    let mut cluster = Cluster::of(&[deployment()]);
    cluster.view.behind.insert("ScaledObject".to_owned());
    assert_eq!(told(&cluster.plan()), "waits for ScaledObject\n");
    cluster.view.behind.insert("Deployment".to_owned());
    assert_eq!(told(&cluster.plan()), "waits for Deployment\n");
}

#[test]
fn what_is_being_deleted_is_left_to_the_garbage_collector() {
    let mut cluster = Cluster::settled();
    let mut deployment = labelled("disabled");
    deployment["metadata"]["deletionTimestamp"] = json!("2026-01-31T12:00:00Z");
    cluster.put(&deployment);
    assert_eq!(told(&cluster.plan()), "");
}
