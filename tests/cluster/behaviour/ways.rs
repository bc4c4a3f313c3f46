//! The table of ways to write a workload.

use serde_json::{Value, json};

use super::{DEPLOYMENT, Kind, LEADER_WORKER_SET, STATEFUL_SET, assert_described, container, edit, stored};
use crate::standing::{CONFIGURATION, PATIENCE, Pair, Standing, ours, send, standing};

/// What a way does.
enum Act {
    /// `kubectl ARGUMENTS -f -` with that object as input.
    Send(Vec<String>, Value),
    /// `kubectl ARGUMENTS`.
    Run(Vec<String>),
    /// `kubectl edit` with that `sed` expression for an editor.
    Edit(&'static str),
}

/// One line of the table.
struct Way {
    name: &'static str,
    act: Act,
    /// Release and port that our annotations name afterwards; `None`: there are none.
    then: Option<(&'static str, &'static str)>,
    /// Words that refuse it, with us and without us alike.
    refused: Option<&'static str>,
    /// Nothing is written at all.
    no_op: bool,
    /// The rules that warn.
    warned: &'static [&'static str],
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn send_way(name: &'static str, arguments: &str, object: Value, then: (&'static str, &'static str)) -> Way {
    Way { name, act: Act::Send(words(arguments), object), then: Some(then), refused: None, no_op: false, warned: &[] }
}

fn run_way(name: &'static str, arguments: Vec<String>, then: (&'static str, &'static str)) -> Way {
    Way { name, act: Act::Run(arguments), then: Some(then), refused: None, no_op: false, warned: &[] }
}

/// The table. In this order: a line begins with what the line before left.
fn ways(kind: Kind) -> Vec<Way> {
    let of = |image: &str, port: u16| kind.labelled(image, port);
    let target = format!("{}/{}", kind.name, kind.workload);
    let run = |text: &str| words(&text.replace("TARGET", &target));
    let patch = |flag: &str, patch: &Value| {
        let mut arguments = run(&format!("patch TARGET {flag} -p"));
        arguments.push(patch.to_string());
        arguments
    };
    let partial = |spec: Value| {
        let whole = of("v0.11.0", 8_001);
        json!({
            "apiVersion": whole["apiVersion"], "kind": whole["kind"], "metadata": {"name": kind.workload}, "spec": spec,
        })
    };
    let mut unlabelled = of("v0.10.2", 8_009);
    unlabelled["metadata"]["labels"] = json!({"team": "a"});
    let image_pointer = format!("{}/spec/containers/0/image", kind.template);
    let mut merged = json!({"spec": {"containers": [container("v0.10.2", 8_005)]}});
    for step in kind.template.rsplit('/').filter(|step| !step.is_empty()) {
        merged = json!({(step): merged});
    }
    let is_custom = kind.name == "leaderworkerset";

    let mut all = vec![
        send_way("apply, new", "apply", of("v0.11.0", 8_001), ("0.11.0", "8001")),
        Way { no_op: true, ..send_way("apply again", "apply", of("v0.11.0", 8_001), ("0.11.0", "8001")) },
        send_way("apply of another image and port", "apply", of("v0.10.2", 8_002), ("0.10.2", "8002")),
        send_way(
            "server-side apply over a client-side one",
            "apply --server-side --force-conflicts",
            of("v0.11.0", 8_003),
            ("0.11.0", "8003"),
        ),
        Way {
            no_op: true,
            ..send_way("server-side apply again", "apply --server-side", of("v0.11.0", 8_003), ("0.11.0", "8003"))
        },
        send_way(
            "server-side apply by a second manager of another field",
            "apply --server-side --field-manager=second",
            partial(json!({"minReadySeconds": 5})),
            ("0.11.0", "8003"),
        ),
        Way {
            refused: Some("conflict"),
            ..send_way(
                "server-side apply by a second manager of the same fields",
                "apply --server-side --field-manager=second",
                of("v0.10.2", 8_003),
                ("0.11.0", "8003"),
            )
        },
        send_way(
            "server-side apply by a second manager by force",
            "apply --server-side --field-manager=second --force-conflicts",
            of("v0.10.2", 8_003),
            ("0.10.2", "8003"),
        ),
        send_way(
            "server-side apply of what the second manager forced",
            "apply --server-side",
            of("v0.10.2", 8_003),
            ("0.10.2", "8003"),
        ),
        send_way("replace", "replace", of("v0.11.0", 8_004), ("0.11.0", "8004")),
        run_way(
            "JSON patch",
            patch(
                "--type=json",
                &json!([{"op": "replace", "path": image_pointer, "value": "vllm/vllm-openai:v0.10.2"}]),
            ),
            ("0.10.2", "8004"),
        ),
        run_way("merge patch", patch("--type=merge", &merged), ("0.10.2", "8005")),
        run_way("scale", run("scale TARGET --replicas=3"), ("0.10.2", "8005")),
        run_way("annotate", run("annotate TARGET example.com/team=a"), ("0.10.2", "8005")),
        run_way("label", run("label TARGET example.com/team=a"), ("0.10.2", "8005")),
        run_way(
            "annotate, one of ours",
            run("annotate --overwrite TARGET status.scalegate.dev/engine=forged status.scalegate.dev/metrics-port=1"),
            ("0.10.2", "8005"),
        ),
        run_way("annotate, one of ours away", run("annotate TARGET status.scalegate.dev/engine-"), ("0.10.2", "8005")),
        Way {
            name: "edit",
            act: Act::Edit("s/--port=8005/--port=8006/"),
            then: Some(("0.10.2", "8006")),
            refused: None,
            no_op: false,
            warned: &[],
        },
        Way { then: None, ..run_way("label taken away", run("label TARGET scalegate.dev/autoscale-"), ("", "")) },
        run_way("label put on", run("label TARGET scalegate.dev/autoscale=throughput"), ("0.10.2", "8006")),
        Way {
            then: None,
            ..run_way("label disabled", run("label --overwrite TARGET scalegate.dev/autoscale=disabled"), ("", ""))
        },
        send_way("replace by force", "replace --force", of("v0.11.0", 8_007), ("0.11.0", "8007")),
        send_way("apply over a replace", "apply", of("v0.11.0", 8_008), ("0.11.0", "8008")),
        Way { then: None, ..send_way("apply without the label", "apply", unlabelled, ("", "")) },
        send_way("apply with the label again", "apply", of("v0.10.2", 8_009), ("0.10.2", "8009")),
    ];
    if !is_custom {
        let strategic = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "vllm", "args": ["--model=google/gemma-3-1b-it", "--port=8010"]},
        ]}}}});
        all.extend([
            run_way("strategic patch", patch("--type=strategic", &strategic), ("0.10.2", "8010")),
            run_way("set image", run("set image TARGET vllm=vllm/vllm-openai:v0.11.0"), ("0.11.0", "8010")),
            run_way("set env", run("set env TARGET A=b"), ("0.11.0", "8010")),
            run_way("rollout restart", run("rollout restart TARGET"), ("0.11.0", "8010")),
        ]);
    }
    all
}

/// Runs one line in one namespace, and returns what it printed on standard error.
fn run(pair: &Pair, kind: Kind, way: &Way, namespace: &str) -> String {
    let ran = match &way.act {
        Act::Send(arguments, object) => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            send(pair.cluster, namespace, &arguments, object)
        }
        Act::Run(arguments) => {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.extend(["-n", namespace]);
            pair.cluster.kubectl(&arguments)
        }
        Act::Edit(expression) => {
            edit(pair, namespace, &format!("{}/{}", kind.name, kind.workload), &format!("sed -i {expression}"))
        }
    };
    let said = format!("{}{}", ran.stdout, ran.stderr);
    match way.refused {
        Some(words) => {
            let refused = ran.refused();
            assert!(refused.contains(words), "{}: {refused}", way.name);
            assert!(!refused.contains("status.scalegate.dev"), "{}: {refused}", way.name);
        }
        None => drop(ran.ok()),
    }
    said.replace(namespace, "NAMESPACE")
}

fn the_table_holds_for(standing: &Standing, kind: Kind) {
    let pair = standing.pair("ways");
    let mut before = Value::Null;
    for way in ways(kind) {
        let [with, without] = [&pair.with, &pair.without].map(|namespace| run(&pair, kind, &way, namespace));
        // Everything that kubectl says but for our own words.
        let (ours_said, rest): (Vec<&str>, Vec<&str>) = with.lines().partition(|line| line.starts_with("Warning: ["));
        assert_eq!(rest, without.lines().collect::<Vec<_>>(), "{} of a {}", way.name, kind.name);
        let rules = ours_said.iter().filter_map(|line| line.strip_prefix("Warning: [")?.split_once(']'));
        let rules: Vec<&str> = rules.map(|(rule, _)| rule).collect();
        assert_eq!(rules, way.warned, "{} of a {}: {with}", way.name, kind.name);
        assert_described(&pair, kind, way.name, way.then);
        let after = stored(&pair, kind);
        let same = after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"];
        // Who forged an annotation owns it until it is taken away, which is a change that this table leaves out.
        if way.name != "annotate, one of ours away" {
            assert_eq!(same, way.no_op || way.refused.is_some(), "{}: {before} {after}", way.name);
        }
        let template = after.pointer(kind.template).unwrap();
        let keys = template["metadata"]["annotations"].as_object().into_iter().flatten().map(|(key, _)| key);
        let restarted = "kubectl.kubernetes.io/restartedAt";
        assert!(keys.into_iter().all(|key| key == restarted), "{}: the template is not ours: {template}", way.name);
        before = after;
    }
    assert_called_for_writes_of_the_object_alone(standing, &pair, kind);
}

/// By the audit log: each write of the object itself came to our mutating webhook once, or again when it had to; no
/// write of a subresource did, and none from the other namespace.
fn assert_called_for_writes_of_the_object_alone(standing: &Standing, pair: &Pair, kind: Kind) {
    let is_called = |event: &Value| {
        let annotations = event["annotations"].as_object().into_iter().flatten();
        annotations.into_iter().any(|(key, value)| {
            key.starts_with("mutation.webhook.admission.k8s.io/")
                && value.as_str().is_some_and(|text| text.contains(&format!("\"configuration\":\"{CONFIGURATION}\"")))
        })
    };
    let of_kind = |event: &Value| event["objectRef"]["resource"] == format!("{}s", kind.name);
    let is_scaling = |event: &Value| event["objectRef"]["subresource"] == "scale" && event["verb"] != "get";
    crate::harness::process::until("the scaling is in the audit log", PATIENCE, || {
        standing.audited(&pair.with).iter().any(|event| of_kind(event) && is_scaling(event)).then_some(())
    });
    let (mut writes, mut scalings) = (0, 0);
    for event in standing.audited(&pair.with).iter().filter(|event| of_kind(event)) {
        if is_scaling(event) {
            scalings += 1;
            assert!(!is_called(event), "{event}");
        } else if event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300) {
            writes += 1;
            // Of an object without our label before and after there is nothing to say.
            assert!(is_called(event), "{event}");
        }
    }
    assert_eq!(scalings, 1);
    assert!(writes > 15, "only {writes}");
    for event in standing.audited(&pair.without) {
        assert!(!is_called(&event), "{event}");
    }
}

#[test]
fn each_way_to_write_a_deployment_does_what_it_does_without_us_and_our_annotations_follow() {
    let Some(standing) = standing() else { return };
    the_table_holds_for(standing, DEPLOYMENT);
}

#[test]
fn each_way_to_write_a_stateful_set_does_what_it_does_without_us_and_our_annotations_follow() {
    let Some(standing) = standing() else { return };
    the_table_holds_for(standing, STATEFUL_SET);
}

#[test]
fn each_way_to_write_a_leader_worker_set_does_what_it_does_without_us_and_our_annotations_follow() {
    let Some(standing) = standing() else { return };
    the_table_holds_for(standing, LEADER_WORKER_SET);
}

/// The deployment controller does not run here, so the ReplicaSets that it would leave are written by hand.
#[test]
fn a_rollout_that_is_undone_is_described_as_what_it_goes_back_to() {
    let Some(standing) = standing() else { return };
    let pair = standing.pair("undo");
    for namespace in [&pair.with, &pair.without] {
        for (revision, image, port) in [(1, "v0.10.2", 8_001), (2, "v0.11.0", 8_002)] {
            let mut deployment = DEPLOYMENT.labelled(image, port);
            deployment["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision.to_string()});
            send(pair.cluster, namespace, &["apply"], &deployment).ok();
            let get = ["get", "deployment", "server", "-n", namespace, "-o", "json"];
            let stored = pair.cluster.kubectl(&get).json();
            let mut template = deployment["spec"]["template"].clone();
            let hash = format!("revision-{revision}");
            template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
            let replica_set = json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {
                    "name": format!("server-{revision}"), "labels": template["metadata"]["labels"],
                    "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "Deployment", "name": "server", "controller": true,
                        "uid": stored["metadata"]["uid"],
                    }],
                },
                "spec": {
                    "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template,
                },
            });
            send(pair.cluster, namespace, &["create"], &replica_set).ok();
        }
        pair.cluster.kubectl(&["rollout", "undo", "deployment/server", "-n", namespace]).ok();
    }
    assert_described(&pair, DEPLOYMENT, "rollout undo", Some(("0.10.2", "8001")));
    assert_eq!(ours(&stored(&pair, DEPLOYMENT))["metrics-port"], "8001");
}
