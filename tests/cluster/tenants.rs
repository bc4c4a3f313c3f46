//! Who may ask for an autoscaler by our label, and that nobody else's work is hindered by asking who.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::control_plane::ControlPlane;
use crate::harness::process::{Ran, until};
use crate::rights::installation;

const PATIENCE: Duration = Duration::from_secs(60);

/// The words by which the policy refuses.
const REFUSAL: &str = "create horizontalpodautoscalers.autoscaling";

/// A namespace with its people: `tenant` may do anything with workloads, their status and scale, and nothing with HPAs;
/// `editor` and `boss` have the built-in roles `edit` and `admin`.
struct Team<'a> {
    cluster: &'a ControlPlane,
    namespace: String,
}

impl<'a> Team<'a> {
    fn new(cluster: &'a ControlPlane, topic: &str) -> Self {
        let namespace = cluster.namespace(topic);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "workloads", "namespace": namespace},
            "rules": [
                {"apiGroups": ["apps", "leaderworkerset.x-k8s.io"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
            ],
        });
        let bind = |name: &str, kind: &str, role: &str, users: &[&str]| {
            let subjects: Vec<Value> = users.iter().map(|user| json!({"kind": "User", "name": user})).collect();
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            })
        };
        // The built-in roles know nothing of LeaderWorkerSets and of status.
        let items = [
            role,
            bind("workloads", "Role", "workloads", &["tenant", "editor", "boss"]),
            bind("editors", "ClusterRole", "edit", &["editor"]),
            bind("bosses", "ClusterRole", "admin", &["boss"]),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        cluster.kubectl_stdin(&["apply", "-f", "-"], &list).ok();
        let ask = ["auth", "can-i", "create", "horizontalpodautoscalers", "-n", &namespace, "--as"];
        // The aggregated roles are filled in by a controller.
        for user in ["editor", "boss"] {
            until("the built-in roles are filled in", PATIENCE, || {
                (cluster.kubectl(&[&ask[..], &[user]].concat()).stdout.trim() == "yes").then_some(())
            });
        }
        assert_eq!(cluster.kubectl(&[&ask[..], &["tenant"]].concat()).stdout.trim(), "no");
        Self { cluster, namespace }
    }

    fn run(&self, user: &str, arguments: &[&str], text: &str) -> Ran {
        self.cluster.kubectl_stdin(&[arguments, &["-n", &self.namespace, "--as", user]].concat(), text)
    }

    fn create(&self, object: &Value) {
        self.cluster.kubectl_stdin(&["create", "-n", &self.namespace, "-f", "-"], &object.to_string()).ok();
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        self.cluster.kubectl(&["get", kind, name, "-n", &self.namespace, "-o", "json"]).json()
    }
}

/// A workload of one of the three kinds, with a template of its own.
fn workload(kind: &str, name: &str, labels: &Value, annotations: &Value) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{
            "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model=google/gemma-3-1b-it"],
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }]},
    });
    let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    if kind == "LeaderWorkerSet" {
        return json!({
            "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": kind, "metadata": metadata,
            "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
        });
    }
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "LeaderWorkerSet"];

fn label() -> Value {
    json!({"scalegate.dev/autoscale": "server-metrics"})
}

fn setting() -> Value {
    json!({"scalegate.dev/max-replicas": "3"})
}

#[test]
fn who_may_not_create_autoscalers_may_not_touch_our_words_in_any_way_of_writing() {
    let Some(installed) = installation() else { return };
    let team = Team::new(installed.cluster, "words");
    let mut wrong = Vec::new();
    let mut tried = 0;
    for kind in KINDS {
        let plural = format!("{}s", kind.to_lowercase());
        let named = |name: &str| format!("{plural}/{name}");
        team.create(&workload(kind, "plain", &json!({}), &json!({})));
        team.create(&workload(kind, "marked", &label(), &setting()));
        let (plain, marked) = (named("plain"), named("marked"));
        let text =
            |name: &str, labels: Value, annotations: Value| workload(kind, name, &labels, &annotations).to_string();
        let mut generated = workload(kind, "", &label(), &json!({}));
        generated["metadata"] = json!({"generateName": "new-", "labels": label()});
        let key = "scalegate.dev~1autoscale";
        let add = json!([{"op": "add", "path": "/metadata/labels", "value": label()}]).to_string();
        let replaced =
            json!([{"op": "replace", "path": format!("/metadata/labels/{key}"), "value": "latency"}]).to_string();
        let removed = json!([{"op": "remove", "path": format!("/metadata/labels/{key}")}]).to_string();
        let all_removed = json!([{"op": "remove", "path": "/metadata/annotations"}]).to_string();
        let nulled = json!({"metadata": {"labels": null}}).to_string();
        let merged = json!({"metadata": {"annotations": setting()}}).to_string();
        let paused = json!({"metadata": {"annotations": {"scalegate.dev/paused": "true"}}}).to_string();
        let json_patch = ["--type=json", "-p"];
        let merge_patch = ["--type=merge", "-p"];
        let file = ["-f", "-"];
        let server_side = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let ways: Vec<(Vec<&str>, String)> = vec![
            ([&["create"][..], &file].concat(), text("new", label(), json!({}))),
            ([&["create"][..], &file].concat(), text("new", json!({}), setting())),
            ([&["create"][..], &file].concat(), generated.to_string()),
            ([&["apply"][..], &file].concat(), text("new", label(), json!({}))),
            (server_side.to_vec(), text("new", label(), json!({}))),
            // Setting.
            (vec!["label", &plain, "scalegate.dev/autoscale=enabled"], String::new()),
            (vec!["annotate", &plain, "scalegate.dev/max-replicas=9"], String::new()),
            ([&["patch", &plain][..], &json_patch, &[&add]].concat(), String::new()),
            ([&["patch", &plain][..], &merge_patch, &[&merged]].concat(), String::new()),
            ([&["replace"][..], &file].concat(), text("plain", label(), json!({}))),
            ([&["apply"][..], &file].concat(), text("plain", label(), json!({}))),
            (server_side.to_vec(), text("plain", label(), json!({}))),
            // Changing.
            (vec!["label", "--overwrite", &marked, "scalegate.dev/autoscale=latency"], String::new()),
            (vec!["label", "--overwrite", &marked, "scalegate.dev/autoscale=disabled"], String::new()),
            (vec!["annotate", "--overwrite", &marked, "scalegate.dev/max-replicas=99"], String::new()),
            (vec!["label", "--overwrite", "--all", &plural, "scalegate.dev/autoscale=latency"], String::new()),
            ([&["patch", &marked][..], &json_patch, &[&replaced]].concat(), String::new()),
            ([&["patch", &marked][..], &merge_patch, &[&paused]].concat(), String::new()),
            ([&["replace"][..], &file].concat(), text("marked", label(), json!({"scalegate.dev/max-replicas": "4"}))),
            (server_side.to_vec(), text("marked", json!({"scalegate.dev/autoscale": "latency"}), json!({}))),
            // Removing.
            (vec!["label", &marked, "scalegate.dev/autoscale-"], String::new()),
            (vec!["annotate", &marked, "scalegate.dev/max-replicas-"], String::new()),
            ([&["patch", &marked][..], &json_patch, &[&removed]].concat(), String::new()),
            ([&["patch", &marked][..], &json_patch, &[&all_removed]].concat(), String::new()),
            ([&["patch", &marked][..], &merge_patch, &[&nulled]].concat(), String::new()),
            ([&["replace"][..], &file].concat(), text("marked", json!({}), json!({}))),
        ];
        for (way, text) in ways {
            let way = [&way[..], &["--dry-run=server"]].concat();
            let ran = team.run("tenant", &way, &text);
            if ran.code == 0 || !ran.stderr.contains(REFUSAL) {
                wrong.push(format!("tenant, {kind}: {way:?}\n{}{}", ran.stdout, ran.stderr));
            }
            // Of the built-in roles one for each kind; each way takes a kubectl.
            let user = if kind == "StatefulSet" { "boss" } else { "editor" };
            let ran = team.run(user, &way, &text);
            if ran.code != 0 {
                wrong.push(format!("{user}, {kind}: {way:?}\n{}", ran.stderr));
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {tried} ways: {}", wrong.len(), wrong.join("\n"));
}

#[test]
fn our_words_do_not_come_in_by_a_subresource() {
    let Some(installed) = installation() else { return };
    let team = Team::new(installed.cluster, "subresource");
    let words = json!({"metadata": {"labels": {"scalegate.dev/autoscale": "latency"},
                                    "annotations": {"scalegate.dev/max-replicas": "99"}}})
    .to_string();
    for kind in KINDS {
        team.create(&workload(kind, "plain", &json!({}), &json!({})));
        team.create(&workload(kind, "marked", &label(), &setting()));
        let ours = |name: &str| {
            let object = team.get(kind, name);
            let of = |field: &str, key: &str| object["metadata"][field][key].clone();
            (of("labels", "scalegate.dev/autoscale"), of("annotations", "scalegate.dev/max-replicas"))
        };
        for name in ["plain", "marked"] {
            let before = ours(name);
            for subresource in ["status", "scale"] {
                let patch = ["patch", kind, name, "--subresource", subresource, "--type=merge", "-p", &words];
                // Refused, or let through without effect: either will do.
                let ran = team.run("tenant", &patch, "");
                assert_eq!(ours(name), before, "{kind} {name} by {subresource}: {}{}", ran.stdout, ran.stderr);
            }
        }
    }
}

#[test]
fn a_word_on_the_pod_template_brings_nothing_and_a_right_elsewhere_is_none_here() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let team = Team::new(cluster, "template");
    let mut object = workload("Deployment", "template", &json!({}), &json!({}));
    object["spec"]["template"]["metadata"]["labels"]["scalegate.dev/autoscale"] = json!("latency");
    let ran = team.run("tenant", &["create", "-f", "-"], &object.to_string());
    assert!(ran.stderr.contains("[label-misplaced]"), "{}", ran.stderr);
    ran.ok();
    let stored = team.get("deployment", "template");
    assert_eq!(stored["metadata"]["annotations"]["status.scalegate.dev/engine"], Value::Null, "{stored}");

    // Who may create autoscalers in another namespace asks for one here.
    let elsewhere = cluster.namespace("elsewhere");
    let grant = ["create", "rolebinding", "edit", "-n", &elsewhere, "--clusterrole=edit", "--user=tenant"];
    cluster.kubectl(&grant).ok();
    let marked = workload("Deployment", "marked", &label(), &json!({})).to_string();
    assert!(team.run("tenant", &["create", "-f", "-"], &marked).refused().contains(REFUSAL));
    cluster.kubectl_stdin(&["create", "-n", &elsewhere, "--as=tenant", "-f", "-"], &marked).ok();
}

#[test]
fn whoever_does_not_touch_our_words_works_as_before() {
    let Some(installed) = installation() else { return };
    let team = Team::new(installed.cluster, "work");
    let create = |user: &str, object: &Value| team.run(user, &["create", "-f", "-"], &object.to_string()).ok();
    // The autoscaler of the workload's name is the editor's own here.
    create("editor", &workload("Deployment", "marked", &label(), &json!({"scalegate.dev/generate": "false"})));
    let described = team.get("deployment", "marked");
    assert_eq!(described["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm", "{described}");

    // The deployment controller: an annotation, and the status.
    let revision = |wanted: &str| {
        until(&format!("the deployment controller writes revision {wanted}"), PATIENCE, || {
            let now = team.get("deployment", "marked");
            let written = now["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == wanted;
            let observed = now["status"]["observedGeneration"] == now["metadata"]["generation"];
            (written && observed).then_some(())
        });
    };
    revision("1");
    team.run("editor", &["rollout", "restart", "deployment/marked"], "").ok();
    revision("2");
    // A tenant without the right to create autoscalers does everything else.
    for arguments in [
        &["set", "image", "deployment/marked", "server=vllm/vllm-openai:v0.11.1"][..],
        &["rollout", "restart", "deployment/marked"],
        &["rollout", "pause", "deployment/marked"],
        &["rollout", "resume", "deployment/marked"],
        &["rollout", "undo", "deployment/marked"],
        &["scale", "deployment/marked", "--replicas=2"],
        &["annotate", "deployment/marked", "example.com/team=a"],
        &["annotate", "--overwrite", "deployment/marked", "status.scalegate.dev/engine=forged"],
        &["label", "deployment/marked", "team=a"],
        &["patch", "deployment/marked", "--type=merge", "-p", r#"{"metadata":{"finalizers":["example.com/held"]}}"#],
        &["patch", "deployment/marked", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#],
    ] {
        // kubectl writes the time in seconds, so two restarts of one second are one.
        let ran = until("the next second", PATIENCE, || {
            let ran = team.run("tenant", arguments, "");
            (!ran.stderr.contains("within the past second")).then_some(ran)
        });
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(team.get("deployment", "marked")["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm");

    // The HPA controller, by the scale subresource. It needs no metrics to bring what is below the least up to it.
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "marked"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "marked"},
            "minReplicas": 4, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}],
        },
    });
    create("editor", &hpa);
    until("the HPA controller scales", PATIENCE, || {
        (team.get("deployment", "marked")["spec"]["replicas"] == 4).then_some(())
    });

    // The garbage collector: it takes an owner's name out of what is orphaned, and deletes what is not.
    let owner = |name: &str| {
        create("tenant", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}));
        let uid = team.get("configmap", name)["metadata"]["uid"].clone();
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}])
    };
    for (name, cascade) in [("orphaned", "orphan"), ("collected", "background")] {
        let mut object = workload("StatefulSet", name, &label(), &json!({}));
        object["metadata"]["ownerReferences"] = owner(name);
        create("editor", &object);
        team.run("tenant", &["delete", "configmap", name, &format!("--cascade={cascade}")], "").ok();
        until(&format!("{name}: the garbage collector is let"), PATIENCE, || {
            let ran = team.run("boss", &["get", "statefulset", name, "-o", "json", "--ignore-not-found"], "").ok();
            let Ok(object) = serde_json::from_str::<Value>(&ran) else { return (name == "collected").then_some(()) };
            (name == "orphaned" && object["metadata"]["ownerReferences"].is_null()).then_some(())
        });
    }

    // Who may delete a workload may delete one with our label, and a namespace goes with all of them.
    team.run("tenant", &["delete", "statefulset", "orphaned"], "").ok();
    team.cluster.kubectl(&["delete", "namespace", &team.namespace, "--timeout=60s"]).ok();
}
