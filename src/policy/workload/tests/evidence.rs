//! Which engine and release, and what told it.

use super::super::super::engine::{Engine, Version};
use super::*;

/// The published walkthrough's Deployment, as far as it matters.
fn walkthrough() -> Value {
    json!({
        "name": "inference-server",
        "image": "vllm/vllm-openai:v0.11.0",
        "resources": {
            "requests": { "cpu": "2", "memory": "10Gi", "nvidia.com/gpu": "1" },
            "limits": { "cpu": "2", "memory": "10Gi", "nvidia.com/gpu": "1" },
        },
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [
            "--model=$(MODEL_ID)", "--tensor-parallel-size=1", "--host=0.0.0.0", "--port=8080",
            "--gpu-memory-utilization=0.85", "--max-num-seqs=64",
        ],
        "env": [
            { "name": "MODEL_ID", "value": "google/gemma-3-1b-it" },
            { "name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": { "secretKeyRef": { "name": "hf", "key": "token" } } },
        ],
    })
}

#[test]
fn the_walkthrough_is_read_whole() {
    let read = workload(&deployment(walkthrough()));
    let server = read.server().unwrap();
    assert_eq!(server.engine, Engine::Vllm);
    assert_eq!(server.version, Some(Version::new(0, 11, 0)));
    assert_eq!(server.evidence, "image vllm/vllm-openai:v0.11.0 and vllm.entrypoints.openai.api_server in its command");
    assert_eq!(server.container, "inference-server");
    assert_eq!(server.path, "spec.template.spec.containers[0]");
    assert_eq!(server.port, Port::Explicit { number: 8080, source: "--port in args[3]".to_owned() });
    assert_eq!(server.metrics_path, "/metrics");
    assert!(server.arguments_complete);
    assert_eq!((server.max_num_seqs, server.data_parallel, server.devices_used), (Some(64), 1, Some(1)));
    assert_eq!(server.ceiling(), Some(64));
    assert_eq!(server.served_model.as_deref(), Some("google/gemma-3-1b-it"));
    assert!(!server.cpu && !server.log_stats_disabled);
    assert_eq!(read.grace_seconds, 30);
    assert_eq!(read.pods[0].requests["nvidia.com/gpu"].text(), "1");
    assert!(read.config_maps.is_empty());
}
