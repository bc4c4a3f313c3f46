//! Every kind of bad input: the error names file, line, field and what to write, and the exit status is the documented one.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::{GOOD, MISSPELT, at, deployment, folder, hpa};
use crate::support::{Ran, run};

/// Reviews one file, which is denied, and asks where and what to write.
fn denied(text: &str, line: u64, field: &str, parts: &[&str]) {
    let folder = folder(&[("input.yaml", text)]);
    let path = at(&folder, "input.yaml");
    let ran = run(&["review", "--output", "json", &path]);
    assert_eq!(ran.code, 1, "{field}: {}{}", ran.stdout, ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let denied: Vec<&Value> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "deny").collect();
    let [finding] = denied.as_slice() else { panic!("one denial expected: {}", ran.stdout) };
    assert_eq!(finding["file"], path);
    assert_eq!((&finding["line"], &finding["field"]), (&line.into(), &field.into()), "{}", ran.stdout);
    let said = format!("{} {}", finding["message"], finding["hint"]);
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The same for people.
    let text = run(&["review", &path]).stdout;
    assert!(text.contains(&format!("--> {path}:{line}:")) && text.contains('^'), "{text}");
}

/// The annotation's value is refused.
fn annotation(key: &str, value: &str, parts: &[&str]) {
    let line = format!("scalegate.dev/{key}: {value}");
    denied(&deployment(GOOD, &[&line]), 9, &format!("metadata.annotations[scalegate.dev/{key}]"), parts);
}

/// Arguments that end with status 2, what is printed on standard error, and nothing on standard output.
fn unusable(arguments: &[&str], parts: &[&str]) {
    let Ran { code, stdout, stderr } = run(arguments);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn a_typo_in_the_labels_key() {
    let field = "metadata.labels[scalegate.dev/autoscal]";
    denied(
        &deployment("scalegate.dev/autoscal: throughput", &[]),
        6,
        field,
        &["unknown label", "did you mean the label scalegate.dev/autoscale?"],
    );
}

#[test]
fn a_label_value_that_is_no_profile() {
    let field = "metadata.labels[scalegate.dev/autoscale]";
    denied(
        &deployment("scalegate.dev/autoscale: thoughput", &[]),
        6,
        field,
        &["thoughput", "no profile", "throughput", "server-metrics"],
    );
}

#[test]
fn annotations_that_cannot_be_meant() {
    annotation("max-replicas", "abc", &["abc", "whole number"]);
    annotation("max-replicas", "\"0\"", &["write a whole number from 1"]);
    annotation("max-replicas", "\"3000000000\"", &["2147483647"]);
    annotation("target-requests-waiting", "\"-5\"", &["negative", "write a positive"]);
    annotation("target-requests-running", "99999999999999999999E", &["99999999999999999999E"]);
    annotation("target-requests-running", "1e400", &["1e400"]);
    annotation("target-kv-cache-usage", "\"80\"", &["0.8"]);
    annotation("scale-down-stabilization", "forever", &["forever"]);
    annotation("metrics-port", "\"70000\"", &["65535"]);
    annotation("paused", "maybe", &["true"]);
}

#[test]
fn a_maximum_below_the_minimum() {
    let text = deployment(GOOD, &["scalegate.dev/min-replicas: \"5\"", "scalegate.dev/max-replicas: \"3\""]);
    let field = "metadata.annotations[scalegate.dev/max-replicas]";
    denied(&text, 10, field, &["3 is below", "min-replicas, 5", "write 5 or more"]);
}

#[test]
fn targets_of_an_autoscaler_that_no_quantity_is() {
    let running = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
    let with = |value: &str| hpa(running).replace("averageValue: 4", &format!("averageValue: {value}"));
    for (value, part) in [("-5", "not positive"), ("0", "not positive"), ("1..5", "not a quantity")] {
        denied(&with(value), 13, "spec.metrics[0].pods.target.averageValue", &[value, part]);
    }
    // The API server takes it, as the greatest that it knows.
    let folder = folder(&[("input.yaml", &with("99999999999999999999E"))]);
    assert_eq!(run(&["review", &at(&folder, "input.yaml")]).code, 0);
}

#[test]
fn an_unknown_key_of_the_configuration() {
    let configuration = "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\nmaxReplica: 3\n";
    let folder = folder(&[("configuration.yaml", configuration), ("k8s/hpa.yaml", &hpa(MISSPELT))]);
    let path = at(&folder, "configuration.yaml");
    let where_and_what = [&format!("{path}:3:13: maxReplica: "), "did you mean \"maxReplicas\"?"];
    unusable(&["review", "--config", &path, &at(&folder, "k8s")], &where_and_what);
    // In a folder it is a document as any other.
    denied(configuration, 3, "maxReplica", &["unknown key", "maxReplicas"]);
}

#[test]
fn a_snapshot_of_a_newer_version() {
    let snapshot = "kind: ClusterSnapshot\nversion: 7\n";
    let folder = folder(&[("cluster.yaml", snapshot), ("hpa.yaml", &hpa(MISSPELT))]);
    let path = at(&folder, "cluster.yaml");
    let parts = [&format!("{path}:2:10: version: "), "version 7", "reads version 1", "take it again"];
    unusable(&["review", "--cluster", &path, &at(&folder, "hpa.yaml")], &parts);
}

#[test]
fn paths_that_cannot_be_read() {
    let folder = folder(&[("a/hpa.yaml", &hpa(MISSPELT))]);
    let missing = at(&folder, "missing.yaml");
    for command in ["review", "render", "try"] {
        unusable(&[command, &missing], &[&missing]);
    }
    unusable(&["review", "--cluster", &missing, &at(&folder, "a")], &[&missing]);
    unusable(&["review", "--config", &missing, &at(&folder, "a")], &[&missing]);
    std::os::unix::fs::symlink("../a", folder.path().join("a/again")).unwrap();
    unusable(&["review", &at(&folder, "a")], &["again", "no end"]);
}

#[test]
fn data_that_is_no_text() {
    let folder = folder(&[("good.yaml", &hpa(MISSPELT))]);
    let path = at(&folder, "binary.yaml");
    fs::write(&path, b"a: 1\nb: \x00\x01\xfe").unwrap();
    let ran = run(&["review", folder.path().to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains(&path) && ran.stdout.contains("NUL byte at offset 8, line 2"), "{}", ran.stdout);
    assert!(ran.stdout.contains("[metric-exists]"), "the other file is judged: {}", ran.stdout);
}

#[test]
fn documents_that_are_made_to_cost() {
    let mut bomb = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", [alias.as_str(); 9].join(",")).unwrap();
    }
    let deep = format!("apiVersion: v1\nkind: ConfigMap\ndata: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let deep_blocks: String = (0..10_000).map(|_| "- ").collect::<String>() + "x\n";
    let deep_json =
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"X\",\"data\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for (name, text, part) in [
        ("bomb.yaml", bomb, "aliases"),
        ("deep.yaml", deep, "recursion limit"),
        ("blocks.yaml", deep_blocks, ""),
        ("deep.json", deep_json, "more than 500"),
    ] {
        let folder = folder(&[(name, &text), ("hpa.yaml", &hpa(MISSPELT))]);
        let ran = run(&["review", folder.path().to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        assert!(ran.stdout.contains("denied[invalid-document]") && ran.stdout.contains(part), "{name}: {}", ran.stdout);
        assert!(ran.stdout.contains(&format!("{name}:")), "{name}: {}", ran.stdout);
        assert!(ran.stdout.contains("[metric-exists]"), "the other file is judged: {}", ran.stdout);
        assert!(ran.stdout.len() < 20_000, "{name}: {} bytes are printed", ran.stdout.len());
    }
}

#[test]
fn an_invalid_document_among_good_ones() {
    let text = format!("{}---\na: [1,2\n---\n{}", deployment("scalegate.dev/autoscale: nope", &[]), hpa(MISSPELT));
    let folder = folder(&[("input.yaml", &text)]);
    let ran = run(&["review", "--output", "json", &at(&folder, "input.yaml")]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let rules: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["rule"].as_str().unwrap()).collect();
    assert_eq!(ran.code, 1);
    for rule in ["invalid-setting", "invalid-document", "metric-exists"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
}
