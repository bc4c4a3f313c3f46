//! Warnings as kubectl prints them, and what the API server keeps for the audit log.

use scalegate::policy::configuration::Level;
use scalegate::policy::rules::{ALL, Rule};
use serde_json::{Value, json};

use crate::harness::process::until;
use crate::harness::values;
use crate::standing::{AUDITED, PATIENCE, Standing, hpa, roll_out, send, standing};

/// How the subject is sent after what is beneath it is stored.
struct Scene {
    beneath: Vec<Value>,
    /// Stored before, where the subject is an update.
    before: Option<Value>,
    subject: Value,
}

/// The scene in which a rule has something to say: its own example, where that is one for a live cluster.
fn scene(rule: &Rule) -> Scene {
    let mut documents = values(rule.failing);
    for document in &mut documents {
        document["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    match rule.id {
        // Said of a change of the workload.
        "metric-dropped" => {
            documents.reverse();
            let subject = documents.pop().unwrap();
            let mut before = subject.clone();
            before["spec"]["template"]["spec"]["containers"][0]["image"] = json!("vllm/vllm-openai:v0.10.0");
            Scene { beneath: documents, before: Some(before), subject }
        }
        // Said of an apply that would change the live number, to whoever has a word to us on the workload.
        "replicas-pinned" => {
            documents.reverse();
            let mut subject = documents.pop().unwrap();
            subject["metadata"]["labels"] = json!({"scalegate.dev/autoscale": "disabled"});
            let mut before = subject.clone();
            before["spec"]["replicas"] = json!(3);
            Scene { beneath: documents, before: Some(before), subject }
        }
        // Said of the workload; in a cluster that others share, nothing may scrape every namespace.
        "double-scrape" => {
            documents[2]["kind"] = json!("PodMonitoring");
            let subject = documents.remove(0);
            Scene { beneath: documents, before: None, subject }
        }
        _ => {
            let subject = documents.pop().unwrap();
            Scene { beneath: documents, before: None, subject }
        }
    }
}

fn warnings(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("Warning: ")).collect()
}

/// What kubectl prints when the scene's subject is sent, once what is beneath is in the webhook's view.
fn play(standing: &Standing, rule: &Rule) -> String {
    let (cluster, namespace) = (standing.cluster(), standing.cluster().namespace("warned"));
    let Scene { beneath, before, subject } = scene(rule);
    for object in beneath.iter().chain(&before) {
        send(cluster, &namespace, &["apply"], object).ok();
        if object["kind"] == "Deployment" {
            roll_out(cluster, &namespace, object["metadata"]["name"].as_str().unwrap());
        }
    }
    let begins = format!("[{}] ", rule.id);
    let dry_run = ["apply", "--dry-run=server"];
    until(&format!("{} warns; {}", rule.id, standing.installation.logs()), PATIENCE, || {
        let ran = send(cluster, &namespace, &dry_run, &subject);
        assert_eq!(ran.code, 0, "{}: {}", rule.id, ran.stderr);
        warnings(&ran.stderr).iter().any(|warning| warning.starts_with(&begins)).then_some(())
    });
    let ran = send(cluster, &namespace, &["apply"], &subject);
    assert_eq!(ran.code, 0, "{}: {}", rule.id, ran.stderr);
    ran.stderr
}

#[test]
fn kubectl_prints_the_warning_of_each_rule_that_warns() {
    let Some(standing) = standing() else { return };
    let mut printed = 0;
    for rule in ALL.iter().filter(|rule| rule.at_admission && rule.default == Level::Warn) {
        // The API server knows no such version any more, so kubectl has nowhere to send it.
        if rule.id == "api-version" {
            let refused = send(standing.cluster(), "default", &["create"], &values(rule.failing).remove(0)).refused();
            assert!(refused.contains("no matches for kind"), "{refused}");
            continue;
        }
        let said = play(standing, rule);
        let said = warnings(&said);
        let ours: Vec<&&str> = said.iter().filter(|warning| warning.starts_with('[')).collect();
        let begins = format!("[{}] ", rule.id);
        let own = ours.iter().find(|warning| warning.starts_with(&begins));
        let own = own.unwrap_or_else(|| panic!("{}: {said:?}", rule.id));
        // Whole, with what to do at its end, and said once.
        assert!(own.contains("; ") && !own.ends_with('…') && !own.ends_with("..."), "{own}");
        assert_eq!(ours.iter().filter(|warning| warning.starts_with(&begins)).count(), 1, "{said:?}");
        printed += 1;
    }
    assert!(printed >= 12, "only {printed}");
}

/// The API server cuts what is longer than its budget of 4096 characters, and drops the rest.
#[test]
fn many_warnings_stay_within_what_the_api_server_lets_through() {
    let Some(standing) = standing() else { return };
    let (cluster, namespace) = (standing.cluster(), standing.cluster().namespace("many"));
    let deployment = super::DEPLOYMENT.labelled("v0.11.0", 8_001);
    let mut deployment = deployment.clone();
    deployment["metadata"]["labels"] = json!({});
    send(cluster, &namespace, &["apply"], &deployment).ok();
    standing.wait_for_view(&namespace, "server");
    let mut subject = hpa("many", "server", "prometheus.googleapis.com|vllm:num_requests_running|gauge", "1000");
    let one = subject["spec"]["metrics"][0].clone();
    let metrics = (0..60).map(|index| {
        let mut metric = one.clone();
        metric["pods"]["target"]["averageValue"] = json!((1_000 + index).to_string());
        metric
    });
    subject["spec"]["metrics"] = metrics.collect();
    let ran = send(cluster, &namespace, &["create"], &subject);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = warnings(&ran.stderr);
    let length: usize = said.iter().map(|warning| warning.chars().count()).sum();
    assert!(length <= 4_096, "{length}");
    assert!(said.len() > 10, "{said:?}");
    let last = said.iter().find(|warning| warning.contains("more warnings; scalegate review shows them all"));
    let left_out: usize = last.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(said.len() - 1 + left_out, 60, "{said:?}");
}

#[test]
fn what_is_only_audited_is_in_the_audit_log_and_nowhere_else() {
    let Some(standing) = standing() else { return };
    let (cluster, namespace) = (standing.cluster(), standing.cluster().namespace("audited"));
    cluster.kubectl(&["label", "namespace", &namespace, &format!("{AUDITED}=true")]).ok();
    let bad = |name: &str| hpa(name, "nobody", "prometheus.googleapis.com|vllm:num_request_running|gauge", "4");
    // The label is known by a watch.
    until("the namespace is known as audited", PATIENCE, || {
        let ran = send(cluster, &namespace, &["create", "--dry-run=server"], &bad("probe"));
        (ran.code == 0).then_some(())
    });
    let ran = send(cluster, &namespace, &["create"], &bad("bad"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let findings = until("the event is written", PATIENCE, || {
        let events = standing.audited(&namespace);
        let event = events.iter().find(|event| event["objectRef"]["name"] == "bad" && event["verb"] == "create");
        event.map(|event| event["annotations"]["validate.scalegate.dev/findings"].clone())
    });
    assert_eq!(findings, "metric-exists");
}
