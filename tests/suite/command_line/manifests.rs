//! `scalegate manifests`.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scalegate::admission::registration::{Installation, webhook_configurations};
use serde_json::Value;

use crate::support::run;

/// The documents that the command prints.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let ran = run(&[&["manifests"], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_saphyr::from_multiple(&ran.stdout).unwrap()
}

#[test]
fn manifests_prints_what_the_code_registers() {
    let (mutating, validating) = webhook_configurations(&Installation::default());
    assert_eq!(printed(&[]), [mutating, validating]);

    let folder = tempfile::tempdir().unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let file = folder.path().join("ca.crt");
    fs::write(&file, pem).unwrap();
    let wanted = Installation {
        name: "gate".to_owned(),
        namespace: "ops".to_owned(),
        service: "hook".to_owned(),
        port: 10_250,
        fail_closed: true,
        timeout_seconds: 3,
        ca_bundle: Some(STANDARD.encode(pem)),
        exclude_namespaces: vec!["a".to_owned(), "b".to_owned()],
        labels: [("team".to_owned(), "ml".to_owned())].into(),
        annotations: [("x/y".to_owned(), "a=b".to_owned())].into(),
    };
    let (mutating, validating) = webhook_configurations(&wanted);
    let flags = ["--name=gate", "--namespace=ops", "--service=hook", "--port=10250", "--fail-closed", "--timeout=3"];
    let more = ["--exclude-namespace=a", "--exclude-namespace=b", "--label=team=ml", "--annotation=x/y=a=b"];
    let ca = ["--ca-file", file.to_str().unwrap()];
    assert_eq!(printed(&[&flags[..], &more, &ca].concat()), [mutating, validating]);
}

#[test]
fn manifests_refuses_what_cannot_be_meant_and_never_prints_a_key() {
    for (flag, named) in [
        ("--timeout=31", "--timeout"),
        ("--timeout=0", "--timeout"),
        ("--port=0", "--port"),
        ("--label=team", "--label"),
        ("--ca-file=/nowhere/ca.crt", "/nowhere/ca.crt"),
    ] {
        let ran = run(&["manifests", flag]);
        assert_eq!(ran.code, 2, "{flag}: {}", ran.stdout);
        assert!(ran.stderr.contains(named), "{flag}: {}", ran.stderr);
    }
    let folder = tempfile::tempdir().unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n";
    let pem = format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{key}");
    for text in [key, &pem, ""] {
        let file = folder.path().join("ca.crt");
        fs::write(&file, text).unwrap();
        let ran = run(&["manifests", "--ca-file", file.to_str().unwrap()]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("PEM certificates and nothing else"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("BBBB"), "{}", ran.stderr);
    }
}
