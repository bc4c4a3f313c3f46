//! The harness itself: what other tests take for granted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use serde_json::json;

use crate::harness::assets::{self, Binary};
use crate::harness::block_on;
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::nodes::READY_AFTER;
use crate::harness::process::until;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_api_server_has_the_version_that_is_pinned_and_knows_users_and_service_accounts() {
    let Some(cluster) = ControlPlane::shared() else { return };
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        let version: serde_json::Value = serde_json::from_str(&cluster.get("/version").unwrap()).unwrap();
        assert_eq!(version["gitVersion"], assets::kubernetes_version());
    }
    let namespace = cluster.namespace("identity");
    cluster.kubectl(&["create", "serviceaccount", "reader", "-n", &namespace]).ok();
    let reader = cluster.service_account_client(&namespace, "reader");
    let alice = cluster.client_for("alice", &["team"]);
    let list =
        |client| block_on(Api::<ConfigMap>::namespaced(client, &namespace).list(&kube::api::ListParams::default()));
    for client in [reader.clone(), alice.clone()] {
        let refused = list(client).unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    }
    // A Role of our own: `view` is put together by a controller, which does not run here.
    let role = ["create", "role", "lists", "--verb=list", "--resource=configmaps", "-n", &namespace];
    cluster.kubectl(&role).ok();
    let subjects = [format!("--serviceaccount={namespace}:reader"), "--group=team".to_owned()];
    for (name, subject) in ["reader", "team"].iter().zip(&subjects) {
        cluster.kubectl(&["create", "rolebinding", name, "--role=lists", subject, "-n", &namespace]).ok();
    }
    // The authorizer hears of a binding by a watch.
    for client in [reader, alice] {
        until("the binding is seen", PATIENCE, || list(client.clone()).ok());
    }
}

#[test]
fn etcd_and_the_api_server_come_back_with_their_data() {
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]).ok();
    cluster.stop_apiserver("KILL");
    assert!(cluster.get("/readyz").is_err());
    cluster.stop_etcd("KILL");
    cluster.start_etcd();
    cluster.start_apiserver();
    assert_eq!(cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).ok(), "b");
}

#[test]
fn pods_are_scheduled_run_load_and_get_ready_on_nodes_without_machines() {
    if !assets::have(&[Binary::ControllerManager, Binary::Scheduler, Binary::Kwok]) {
        return;
    }
    let Some(cluster) = ControlPlane::start(Options::default()) else { return };
    cluster.controller_manager();
    cluster.scheduler();
    cluster.kwok();
    cluster.cpu_node("cpu-1", "default");
    cluster.gpu_node("gpu-1", "l4", 2);
    let nodes: Api<Node> = Api::all(cluster.client());
    let ready = |name: &str| {
        let status = block_on(nodes.get(name)).unwrap().status.unwrap();
        let conditions = status.conditions.unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True").then_some(())
    };
    until("the nodes are ready", PATIENCE, || ready("cpu-1").and(ready("gpu-1")));
    let deployment = |name: &str, after: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}, "annotations": {READY_AFTER: after}},
                    "spec": {
                        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                        "containers": [{
                            "name": "server", "image": "server:v1",
                            "resources": {"limits": {"nvidia.com/gpu": "1"}},
                        }],
                    },
                },
            },
        })
        .to_string()
    };
    for (name, after) in [("quick", "0s"), ("loading", "1h")] {
        cluster.kubectl_stdin(&["apply", "-f", "-"], &deployment(name, after)).ok();
    }
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let pods = |name: &str| cluster.kubectl(&["get", "pods", "-l", &format!("app={name}"), "-o", "json"]).json();
    until("the quick one is ready", PATIENCE, || {
        let status = block_on(deployments.get("quick")).unwrap().status.unwrap();
        (status.ready_replicas == Some(1)).then_some(())
    });
    until("the other one runs", PATIENCE, || {
        (pods("loading")["items"][0]["status"]["phase"] == "Running").then_some(())
    });
    assert_eq!(block_on(deployments.get("loading")).unwrap().status.unwrap().ready_replicas, None);
    let pod = &pods("quick")["items"][0];
    assert_eq!(pod["spec"]["nodeName"], "gpu-1");
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("127.64."), "{pod}");
}
