//! A workload for every row of how servers look in real manifests.

mod command;
mod evidence;
mod ports;
mod resources;
mod robust;

use serde_json::{Value, json};

use super::super::objects::{ConfigMap, Object};
use super::{Port, Reading, Server, Workload, read};

/// A Deployment with one container, described as JSON.
fn deployment(container: &Value) -> Value {
    with_pod_spec(&json!({ "containers": [container] }))
}

fn with_pod_spec(spec: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "demo", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "demo" } },
            "template": { "metadata": { "labels": { "app": "demo" } }, "spec": spec },
        },
    })
}

fn workload_with(object: &Value, config_maps: &[(&str, Value)]) -> Workload {
    let config_maps: Vec<ConfigMap> = config_maps
        .iter()
        .map(|(name, data)| serde_json::from_value(json!({ "metadata": { "name": name }, "data": data })).unwrap())
        .collect();
    let (_, object) = Object::from_value(object).unwrap();
    let Object::Workload(object) = object else { panic!("no workload") };
    read(&object, &|name| config_maps.iter().find(|seen| seen.metadata.name == name))
}

fn workload(object: &Value) -> Workload {
    workload_with(object, &[])
}

fn reading(container: &Value) -> Reading {
    workload(&deployment(container)).server
}

#[track_caller]
fn server(container: &Value) -> Server {
    match reading(container) {
        Reading::Server(server) => server,
        other => panic!("no server: {other:?}"),
    }
}

/// A server of an image that starts vLLM, with these arguments.
#[track_caller]
#[allow(clippy::needless_pass_by_value)]
fn with_args(args: Value) -> Server {
    server(&json!({ "name": "main", "image": "vllm/vllm-openai:v0.11.0", "args": args }))
}

/// A server that this shell script starts.
#[track_caller]
fn with_script(script: &str) -> Server {
    server(&json!({ "name": "main", "image": "vllm/vllm-openai:v0.11.0", "command": ["/bin/sh", "-c", script] }))
}

fn number(server: &Server) -> Option<u16> {
    server.port.number()
}

#[track_caller]
fn unknown(server: &Server) -> &str {
    match &server.port {
        Port::Unknown { reason } => reason,
        other => panic!("known: {other:?}"),
    }
}
