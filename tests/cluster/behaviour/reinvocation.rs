//! A second mutating webhook, which changes the image after we have looked at it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scalegate::tls::{DevCa, LiveCertificate, Pair as Certificate, ServeSettings, serve, server_config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{DEPLOYMENT, LEADER_WORKER_SET, STATEFUL_SET};
use crate::harness::process::until;
use crate::harness::{free_address, runtime};
use crate::standing::{PATIENCE, ours, send, standing};

/// Answers every review with the image that a registry mirror would put there.
async fn mirror(body: String) -> String {
    let review: Value = serde_json::from_str(&body).unwrap_or_default();
    let request = &review["request"];
    let templates = ["/spec/template", "/spec/leaderWorkerTemplate/workerTemplate"];
    let operations: Vec<Value> = templates
        .iter()
        .map(|template| format!("{template}/spec/containers/0/image"))
        .filter(|path| request["object"].pointer(path).is_some_and(|image| image == "vllm/vllm-openai:v0.11.0"))
        .map(|path| json!({"op": "replace", "path": path, "value": "mirror.example.com/vllm/vllm-openai:v0.10.2"}))
        .collect();
    let patch = STANDARD.encode(Value::Array(operations).to_string());
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch},
    })
    .to_string()
}

#[test]
fn annotations_fit_the_image_that_a_later_webhook_put_there() {
    let Some(standing) = standing() else { return };
    let (cluster, namespace) = (standing.cluster(), standing.cluster().namespace("reinvoked"));
    let ca = DevCa::generate("second webhook", Duration::from_secs(86_400)).unwrap();
    let issued = ca.issue(&["127.0.0.1"]).unwrap();
    let pair = Certificate::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
    let address = free_address();
    let tls = server_config(LiveCertificate::new(pair), None).unwrap();
    let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, address.port()))).unwrap();
    let router = Router::new().route("/", post(mirror));
    runtime().spawn(serve(listener, Arc::clone(&tls), router, ServeSettings::default(), std::future::pending::<()>()));
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        // Webhooks are called in the order of their configurations' names.
        "metadata": {"name": "zz-after-scalegate"},
        "webhooks": [{
            "name": "mirror.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "clientConfig": {
                "url": format!("https://{address}/"), "caBundle": STANDARD.encode(ca.certificate_pem()),
            },
            "rules": [{
                "apiGroups": ["apps", "leaderworkerset.x-k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments", "statefulsets", "leaderworkersets"],
            }],
        }],
    });
    cluster.kubectl_stdin(&["apply", "-f", "-"], &configuration.to_string()).ok();
    let image = |object: &Value| object.to_string().contains("mirror.example.com/vllm/vllm-openai:v0.10.2");
    until("the second webhook is called", PATIENCE, || {
        let create = ["create", "--dry-run=server", "-o", "json"];
        image(&send(cluster, &namespace, &create, &DEPLOYMENT.labelled("v0.11.0", 8_001)).json()).then_some(())
    });
    for kind in [DEPLOYMENT, STATEFUL_SET, LEADER_WORKER_SET] {
        for (way, port) in
            [(&["create"][..], 8_001), (&["apply"], 8_002), (&["apply", "--server-side", "--force-conflicts"], 8_003)]
        {
            let ran = send(cluster, &namespace, way, &kind.labelled("v0.11.0", port));
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let stored = cluster.kubectl(&["get", kind.name, kind.workload, "-n", &namespace, "-o", "json"]).json();
            let ours = ours(&stored);
            assert!(image(&stored), "{stored}");
            assert_eq!(ours["engine-version"], "0.10.2", "{way:?} {stored}");
            assert_eq!(ours["metrics-port"], port.to_string(), "{way:?} {stored}");
        }
    }
    cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "zz-after-scalegate"]).ok();
}
