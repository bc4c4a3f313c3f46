//! The command line as a person and a pipe meet it.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const HPA: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: NAME, namespace: ml}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm}
  maxReplicas: 3
  metrics:
  - type: Pods
    pods:
      metric: {name: \"prometheus.googleapis.com|vllm:num_requests_running|gauge\"}
      target: {type: AverageValue, averageValue: 4}
";

fn scalegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(&scalegate(arguments).output().unwrap())
}

fn finished(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn nothing_to_judge_is_no_success() {
    let chart =
        [("Chart.yaml", "apiVersion: v2\nname: x\nversion: 1.0.0\n"), ("templates/a.yaml", "a: {{ .Values.x }}\n")];
    for files in [&[][..], &[("notes.txt", "hello")], &[("a.yaml", "# nothing\n")], &chart] {
        let folder = folder(files);
        for command in ["review", "try", "render"] {
            let (code, _, stderr) = run(&[command, text(folder.path())]);
            assert_eq!(code, 2, "{command} {files:?}");
            assert!(stderr.contains("nothing to judge"), "{command} {files:?}: {stderr}");
        }
    }
    let (code, _, stderr) = run(&["review", "-"]);
    assert_eq!((code, stderr.contains("<stdin> holds no Kubernetes object")), (2, true), "{stderr}");
}

#[test]
fn a_lone_configuration_is_judged() {
    let folder = folder(&[("c.yaml", "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\n")]);
    assert_eq!(run(&["review", text(folder.path())]).0, 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_in_silence() {
    let folder = folder(&[("a.yaml", HPA)]);
    let certificates = folder.path().join("certificates");
    for arguments in [
        &["review", text(folder.path())][..],
        &["explain"],
        &["completions", "bash"],
        &["certs", "--dir", text(&certificates)],
        &["try", text(folder.path())],
    ] {
        let mut child = scalegate(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let (code, _, stderr) = finished(&child.wait_with_output().unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn help_fits_eighty_columns_and_has_examples() {
    for command in ["", "review", "try", "render", "explain", "certs", "webhook", "completions"] {
        let arguments: Vec<&str> = [command, "--help"].into_iter().filter(|argument| !argument.is_empty()).collect();
        let (_, help, _) = run(&arguments);
        assert!(help.contains("Example"), "{command}");
        let long = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{command}");
    }
}

#[test]
fn what_the_webhook_cannot_use_is_named_by_its_flag() {
    let folder = folder(&[("cluster.yaml", HPA), ("bad.yaml", "a: [")]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for dir in ["one", "two"] {
        assert_eq!(run(&["certs", "--dir", &path(dir)]).0, 0);
    }
    let cases = [
        (path("cluster.yaml"), path("one/tls.crt"), path("two/tls.key"), "--tls-key"),
        (path("cluster.yaml"), path("none"), path("one/tls.key"), "--tls-cert"),
        (path("none"), path("one/tls.crt"), path("one/tls.key"), "--cluster"),
        (path("bad.yaml"), path("one/tls.crt"), path("one/tls.key"), "--cluster"),
    ];
    for (cluster, certificate, key, flag) in cases {
        let arguments = [
            "webhook",
            "--admin-listen",
            "127.0.0.1:0",
            "--cluster",
            &cluster,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ];
        let (code, _, stderr) = run(&arguments);
        assert_eq!((code, stderr.contains(flag), stderr.contains('\u{1b}')), (2, true, false), "{flag}: {stderr}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (certificate, key) = (path("one/tls.crt"), path("one/tls.key"));
    let cluster = path("cluster.yaml");
    for (flag, other) in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")] {
        let arguments = [
            "webhook",
            flag,
            &address,
            other,
            "127.0.0.1:0",
            "--cluster",
            &cluster,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ];
        let (code, _, stderr) = run(&arguments);
        assert_eq!((code, stderr.contains(&format!("{flag} {address}"))), (2, true), "{stderr}");
    }
}

#[test]
fn try_knows_the_autoscalers_that_the_cluster_has() {
    let files = folder(&[("a.yaml", &HPA.replace("NAME", "second"))]);
    let same = folder(&[("a.yaml", &HPA.replace("NAME", "first"))]);
    let cluster = folder(&[("cluster.yaml", &HPA.replace("NAME", "first"))]);
    let cluster = cluster.path().join("cluster.yaml");
    let (code, stdout, _) = run(&["try", "--cluster", text(&cluster), text(files.path())]);
    assert_eq!((code, stdout.contains("[autoscaler-conflict]")), (1, true), "{stdout}");
    let (code, stdout, _) = run(&["try", "--cluster", text(&cluster), text(same.path())]);
    assert_eq!(code, 0, "{stdout}");
}

#[test]
fn an_empty_namespace_is_one_that_the_arguments_fill_in() {
    let hpa = HPA.replace("namespace: ml", "namespace: \"\"").replace("num_requests_running", "num_request_running");
    let mut child = scalegate(&["review", "-n", "web", "--output", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(hpa.as_bytes()).unwrap();
    let (_, stdout, _) = finished(&child.wait_with_output().unwrap());
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["findings"][0]["object"]["namespace"], "web", "{stdout}");
}

#[test]
fn explain_names_the_nearest_rule_and_none_for_nonsense() {
    assert!(run(&["explain", "metrc-exist"]).2.contains("did you mean metric-exists?"));
    assert!(!run(&["explain", "qqqqq"]).2.contains("did you mean"));
}
