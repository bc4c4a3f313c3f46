//! A workload for tests: the published walkthrough's Deployment, as the workload reader sees it.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::engine::{Engine, Version};
use crate::policy::objects::{LabelSelector, ObjectMeta, WorkloadKind, WorkloadStatus};
use crate::policy::workload::{Port, Reading, Server, Workload};

pub(crate) fn workload() -> Workload {
    let labels = BTreeMap::from([("app".to_owned(), "gemma-server".to_owned())]);
    Workload {
        kind: WorkloadKind::Deployment,
        metadata: ObjectMeta {
            name: "vllm-gemma-deployment".to_owned(),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        replicas: Some(1),
        status: WorkloadStatus::default(),
        selector: LabelSelector { match_labels: labels.clone(), match_expressions: Vec::new() },
        pod_labels: labels,
        misplaced_keys: Vec::new(),
        template_path: "spec.template".to_owned(),
        server: Reading::Server(Server {
            engine: Engine::Vllm,
            version: Some(Version::new(0, 11, 0)),
            evidence: "image vllm/vllm-openai:v0.11.0".to_owned(),
            container: "inference-server".to_owned(),
            path: "spec.template.spec.containers[0]".to_owned(),
            port: Port::Explicit { number: 8081, source: "--port in args[3]".to_owned() },
            metrics_path: "/metrics".to_owned(),
            declared_ports: Vec::new(),
            arguments_complete: true,
            max_num_seqs: Some(64),
            data_parallel: 1,
            devices_used: Some(1),
            served_model: None,
            hidden_metrics_for: None,
            log_stats_disabled: false,
            use_v1: None,
            cpu: false,
            shutdown_timeout: None,
            pre_stop_seconds: None,
            several: false,
        }),
        pods: Vec::new(),
        config_maps: BTreeSet::new(),
        grace_seconds: 30,
        ready_since: None,
    }
}

pub(crate) fn server_mut(workload: &mut Workload) -> &mut Server {
    match &mut workload.server {
        Reading::Server(server) => server,
        other => panic!("{other:?}"),
    }
}
