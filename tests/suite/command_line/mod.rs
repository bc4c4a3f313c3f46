//! The command as a person meets it: what it prints and its exit status, for good input and for every kind of bad one.

mod auditing;
mod bad_input;
mod manifests;
mod secrets;
mod serving;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use scalegate::policy::rules;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ran, ran, run, scalegate};

/// A labelled vLLM server; the label and the annotations are lines of the block mappings that they stand in.
fn deployment(label: &str, annotations: &[&str]) -> String {
    let annotations: String = annotations.iter().flat_map(|line| ["    ", line, "\n"]).collect();
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: llm
  labels:
    {label}
  annotations:
    team: a
{annotations}spec:
  selector: {{matchLabels: {{app: llm}}}}
  template:
    metadata: {{labels: {{app: llm}}}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai:v0.12.0
        args: [--model=google/gemma-3-1b-it]
        resources: {{limits: {{nvidia.com/gpu: 1}}}}
"
    )
}

const GOOD: &str = "scalegate.dev/autoscale: throughput";

/// An HPA on that metric.
fn hpa(metric: &str) -> String {
    format!(
        "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: llm
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: llm}}
  maxReplicas: 3
  metrics:
  - type: Pods
    pods:
      metric:
        name: {metric}
      target: {{type: AverageValue, averageValue: 4}}
"
    )
}

const MISSPELT: &str = "prometheus.googleapis.com|vllm:num_request_running|gauge";

/// A folder with files in it.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The path of a file in a folder, as an argument.
fn at(folder: &TempDir, name: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    path.to_str().unwrap().to_owned()
}

/// Runs with text on standard input.
fn run_with(input: &str, arguments: &[&str]) -> Ran {
    let mut child =
        scalegate(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ran(&child.wait_with_output().unwrap())
}

#[test]
fn exit_status_says_whether_anything_is_denied() {
    let misspelt = hpa(MISSPELT);
    let warned = deployment("scalegate.dev/autoscale: throughput", &["scalegate.dev/of-another-tool: x"]);
    let folder = folder(&[("good.yaml", &deployment(GOOD, &[])), ("bad.yaml", &misspelt), ("warned.yaml", &warned)]);
    let code = |arguments: &[&str]| run(arguments).code;
    assert_eq!(code(&["review", &at(&folder, "good.yaml")]), 0);
    assert_eq!(code(&["review", &at(&folder, "bad.yaml")]), 1);
    let warned = run(&["review", &at(&folder, "warned.yaml")]);
    assert!(warned.code == 0 && warned.stdout.contains("warning[invalid-setting]"), "{}", warned.stdout);
    assert_eq!(code(&["review", "--fail-on", "warn", &at(&folder, "warned.yaml")]), 1);
    assert_eq!(code(&["review", "--fail-on", "warn", &at(&folder, "good.yaml")]), 0);
    for wrong in [
        &["review"][..],
        &["review", "--output", "xml", "x"],
        &["review", "--fail-on", "note", "x"],
        &["review", "--no-such-flag", "x"],
        &["explain", "no-such-rule"],
        &["no-such-command"],
    ] {
        let ran = run(wrong);
        assert!(ran.code == 2 && !ran.stderr.is_empty() && ran.stdout.is_empty(), "{wrong:?}: {}", ran.stdout);
    }
}

#[test]
fn text_shows_the_line_at_fault_and_what_to_write() {
    let folder = folder(&[("bad.yaml", &hpa(MISSPELT))]);
    let path = at(&folder, "bad.yaml");
    let Ran { stdout, .. } = run(&["review", &path]);
    for part in [
        "denied[metric-exists]: ",
        &format!("--> {path}:12:15"),
        "        name: prometheus.googleapis.com|vllm:num_request_running|gauge",
        "^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ spec.metrics[0].pods.metric.name",
        "prometheus.googleapis.com|vllm:num_requests_running|gauge",
        "1 object: 1 denied, 0 warnings, 0 notes",
    ] {
        assert!(stdout.contains(part), "{part}\n{stdout}");
    }
    assert!(!stdout.contains('\x1b'), "no colour in a pipe");
    assert!(run(&["review", "--color", "always", &path]).stdout.contains('\x1b'));
    let no_color = scalegate(&["review", &path]).env("NO_COLOR", "1").output().unwrap();
    assert!(!no_color.stdout.contains(&0x1b));
}

#[test]
fn json_is_one_object_of_the_documented_form() {
    let folder = folder(&[("bad.yaml", &hpa(MISSPELT)), ("broken.yaml", "a: [1,2\n")]);
    let ran = run(&["review", "--output", "json", folder.path().to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["findings", "deny", "warn", "note"]);
    assert_eq!((&report["deny"], &report["warn"], &report["note"]), (&2.into(), &0.into(), &0.into()));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{}", ran.stdout);
    for finding in findings {
        assert_eq!(
            keys(finding),
            ["rule", "severity", "certainty", "object", "field", "file", "line", "column", "message", "hint"]
        );
        assert_eq!(keys(&finding["object"]), ["apiVersion", "kind", "namespace", "name"]);
        assert!(["deny", "warn", "note"].contains(&finding["severity"].as_str().unwrap()));
        assert!(["proven", "unknown"].contains(&finding["certainty"].as_str().unwrap()));
        assert!(finding["line"].as_u64().is_some_and(|line| line >= 1), "{finding}");
    }
    let finding = &findings[0];
    assert_eq!(finding["rule"], "metric-exists");
    assert_eq!(finding["field"], "spec.metrics[0].pods.metric.name");
    assert_eq!(finding["file"], at(&folder, "bad.yaml"));
    assert_eq!((&finding["line"], &finding["column"]), (&12.into(), &15.into()));
    assert_eq!(finding["object"]["namespace"], Value::Null);
    // Also where there is nothing to say.
    let silent = run_with(&deployment(GOOD, &[]), &["review", "--output", "json", "-"]);
    let report: Value = serde_json::from_str(&silent.stdout).unwrap();
    assert_eq!(report["findings"], Value::Array(Vec::new()));
}

#[test]
fn a_dash_reads_standard_input_and_n_fills_in_the_namespace() {
    let ran = run_with(&hpa(MISSPELT), &["review", "-n", "ml", "--output", "json", "-"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 1);
    assert_eq!(report["findings"][0]["line"], 12, "{report}");
    // With a namespace, an autoscaler of another namespace does not meet the Deployment; without one it may.
    let pair = |namespace: &str| {
        let named = hpa("prometheus.googleapis.com|vllm:num_requests_running|gauge")
            .replace("name: llm\nspec", &format!("name: llm\n  namespace: {namespace}\nspec"));
        format!("{}---\n{named}", deployment(GOOD, &[]))
    };
    let conflicts = |namespace: &str, arguments: &[&str]| {
        let ran = run_with(&pair(namespace), arguments);
        assert_ne!(ran.code, 2, "{}", ran.stderr);
        ran.stdout.contains("[autoscaler-conflict]")
    };
    assert!(conflicts("ml", &["review", "-"]));
    assert!(conflicts("ml", &["review", "-n", "ml", "-"]));
    assert!(!conflicts("other", &["review", "-n", "ml", "-"]));
}

#[test]
fn every_rule_can_be_explained_by_its_id() {
    let table = run(&["explain"]);
    assert_eq!(table.code, 0);
    for rule in rules::ALL {
        let ran = run(&["explain", rule.id]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(rule.id) && ran.stdout.contains(rule.summary), "{}", ran.stdout);
        assert!(table.stdout.contains(rule.id) && table.stdout.contains(rule.summary), "{}", rule.id);
    }
    let ran = run(&["explain", "metric-exist"]);
    assert!(ran.code == 2 && ran.stderr.contains("did you mean metric-exists?"), "{}", ran.stderr);
}

#[test]
fn there_is_a_completion_script_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("review"), "{shell}: {}", ran.stderr);
    }
}

#[test]
fn every_help_has_examples() {
    let help = run(&["--help"]).stdout;
    let commands = ["review", "try", "render", "explain", "certs", "webhook", "controller", "completions"];
    assert!(help.contains("Examples:"));
    for command in commands {
        assert!(help.contains(command));
        let help = run(&[command, "--help"]).stdout;
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn a_reader_that_goes_away_is_nobodys_fault() {
    let folder = folder(&[("bad.yaml", &hpa(MISSPELT))]);
    let mut child =
        scalegate(&["review", &at(&folder, "bad.yaml")]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(&child.wait_with_output().unwrap());
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
}
