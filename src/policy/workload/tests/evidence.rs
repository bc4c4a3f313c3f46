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
    let read = workload(&deployment(&walkthrough()));
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

#[test]
fn a_tag_tells_the_release_only_where_it_is_vllms_own() {
    let release = |image: &str| {
        let read = server(&json!({ "name": "main", "image": image, "command": ["vllm", "serve", "some/model"] }));
        read.version.map(|version| version.to_string())
    };
    for (image, expected) in [
        ("vllm/vllm-openai:v0.11.0", Some("0.11.0")),
        ("docker.io/vllm/vllm-openai:v0.9.2", Some("0.9.2")),
        ("vllm/vllm-openai:0.6.6.post1", Some("0.6.6")),
        ("registry:5000/vllm/vllm-openai:v0.11.0", Some("0.11.0")),
        ("registry.example.com/mirror/vllm-openai:v0.11.0-cu128", Some("0.11.0")),
        ("vllm/vllm-openai:v0.8.5.1", Some("0.8.5")),
        ("vllm/vllm-openai:v0.10.2rc1", None),
        ("vllm/vllm-openai-cpu:v0.25.1", Some("0.25.1")),
        ("vllm/vllm-tpu:v0.11.1", Some("0.11.1")),
        ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0", Some("0.11.0")),
        ("rocm/vllm:rocm6.4.1_vllm_0.9.1_20250702", None),
        ("someone/vllm-openai:0.5.4", Some("0.5.4")),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai:nightly", None),
        ("vllm/vllm-openai:nightly-0f7dc1a", None),
        ("vllm/vllm-openai", None),
        ("registry:5000/vllm/vllm-openai", None),
        ("vllm/vllm-openai@sha256:0123456789abcdef", None),
        ("registry.redhat.io/rhaiis/vllm-cuda-rhel9:3.2.1", None),
        ("nvcr.io/nvidia/vllm:26.02-py3", None),
        ("us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20250430_0916_RC00", None),
        ("lmcache/vllm-openai:v0.3.9", None),
        ("my-vllm-app:v0.11.0", None),
    ] {
        assert_eq!(release(image).as_deref(), expected, "{image}");
    }
}

#[test]
fn an_image_that_starts_the_server_is_evidence_enough() {
    for image in ["vllm/vllm-openai:v0.11.0", "registry.redhat.io/rhaiis/vllm-cuda-rhel9:3.2.1", "vllm/vllm-openai"] {
        let read =
            server(&json!({ "name": "main", "image": image, "args": ["--model", "some/model", "--port", "9000"] }));
        assert_eq!(read.evidence, format!("image {image}"));
        assert_eq!(read.port, Port::Explicit { number: 9000, source: "--port in args[2]".to_owned() });
        assert_eq!(read.served_model.as_deref(), Some("some/model"));
        assert_eq!(number(&server(&json!({ "name": "main", "image": image }))), Some(8000));
    }
    // Newer images start `vllm serve`, so a model may stand first.
    let read = with_args(json!(["some/model", "--max-num-seqs", "8"]));
    assert_eq!((read.served_model.as_deref(), read.max_num_seqs), (Some("some/model"), Some(8)));
}

#[test]
fn a_vendors_image_whose_arguments_name_the_program_is_a_server_of_unknown_release() {
    let read = server(&json!({
        "name": "main",
        "image": "nvcr.io/nvidia/vllm:26.02-py3",
        "args": ["python3", "-m", "vllm.entrypoints.openai.api_server", "--port=8000", "--max-num-seqs=4", "-tp", "4"],
    }));
    assert_eq!((read.version, read.ceiling(), read.devices_used), (None, Some(4), Some(4)));
    assert_eq!(number(&read), Some(8000));
}

#[test]
fn a_script_that_installs_vllm_on_a_plain_system_tells_the_release() {
    let read = server(&json!({
        "name": "main",
        "image": "ubuntu:22.04",
        "command": ["bash", "-c"],
        "args": ["apt-get update && apt-get install -y python3-pip\npip install 'vllm==0.9.2'\nexec vllm serve m --port 81"],
    }));
    assert_eq!(read.version, Some(Version::new(0, 9, 2)));
    assert_eq!(read.evidence, "vllm serve in its start script, which installs the release");
    assert_eq!(read.port, Port::Explicit { number: 81, source: "--port in the start script".to_owned() });
    // What an unpinned install brings is unknown, whatever the tag says.
    assert_eq!(with_script("pip install -U vllm && vllm serve m").version, None);
    assert_eq!(with_script("pip install vllm[audio]==0.10.0; vllm serve m").version, Some(Version::new(0, 10, 0)));
    assert_eq!(with_script("pip install pandas vllm-router==1.0; vllm serve m").version, Some(Version::new(0, 11, 0)));
}

#[test]
fn names_are_no_evidence() {
    for container in [
        json!({ "name": "vllm", "image": "my-vllm-app:v1", "ports": [{ "name": "vllm", "containerPort": 8000 }] }),
        json!({ "name": "vllm", "image": "python:3.12", "command": ["python", "app.py"] }),
        json!({ "name": "vllm", "image": "example.com/vllm/gateway:v0.11.0" }),
        json!({ "name": "vllm", "image": "busybox", "command": ["sh", "-c", "echo vllm serve m; sleep 3600"] }),
        json!({ "name": "vllm", "image": "" }),
        json!({ "name": "vllm" }),
    ] {
        assert!(matches!(reading(&container), Reading::None { .. }), "{container}");
    }
}

#[test]
fn an_image_of_vllm_that_runs_something_else_is_no_server() {
    for command in [
        json!(["python", "app.py"]),
        json!(["python3", "-m", "http.server"]),
        json!(["python3", "-c", "import vllm"]),
        json!(["sleep", "infinity"]),
        json!(["vllm", "bench", "serve"]),
        json!(["vllm", "complete"]),
        json!(["sh", "-c", "sleep infinity"]),
        json!(["ray", "start", "--head"]),
        json!(["grep", "vllm", "serve"]),
    ] {
        let read = reading(&json!({ "name": "main", "image": "vllm/vllm-openai:v0.11.0", "command": command }));
        let Reading::None { reason } = read else { panic!("{command}: {read:?}") };
        assert!(reason.starts_with("container main has an image of vLLM, but runs "), "{reason}");
    }
    let args = json!({ "name": "main", "image": "vllm/vllm-openai:v0.11.0", "args": ["python3", "app.py"] });
    assert!(matches!(reading(&args), Reading::None { .. }));
}

#[test]
fn the_demo_server_and_headless_engines_have_no_metrics() {
    for command in [
        json!(["python", "-m", "vllm.entrypoints.api_server", "--model", "m"]),
        json!(["vllm", "serve", "m", "--headless"]),
    ] {
        let read = reading(&json!({ "name": "main", "image": "pytorch-vllm-serve:20250430", "command": command }));
        assert!(matches!(read, Reading::WithoutMetrics { .. }), "{read:?}");
    }
    let Reading::WithoutMetrics { reason } = reading(&json!({
        "name": "main",
        "image": "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20250430_0916_RC00",
        "args": ["python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", "--tensor-parallel-size=2"],
    })) else {
        panic!("a demo server");
    };
    assert!(reason.contains("runs vllm.entrypoints.api_server, the demo server"), "{reason}");
}

#[test]
fn other_products_are_recognised() {
    for (image, command, product) in [
        ("ghcr.io/ggml-org/llama.cpp:server", json!([]), "llama.cpp"),
        ("ubuntu", json!(["/app/llama-server", "-m", "model.gguf"]), "llama.cpp"),
        ("lmsysorg/sglang:v0.5.3", json!(["python3", "-m", "sglang.launch_server"]), "SGLang"),
        ("ghcr.io/huggingface/text-generation-inference:3.3", json!([]), "Text Generation Inference"),
        ("nvcr.io/nvidia/tritonserver:25.01-py3", json!(["sh", "-c", "start"]), "Triton Inference Server"),
        ("pytorch/torchserve:latest-gpu", json!([]), "TorchServe"),
        ("nvcr.io/nim/meta/llama3-8b-instruct:1.0.0", json!([]), "NVIDIA NIM"),
        ("kserve/huggingfaceserver:v0.15.0-gpu", json!([]), "KServe"),
        ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.5.0", json!(["python3", "-m", "dynamo.vllm"]), "NVIDIA Dynamo"),
        ("ollama/ollama", json!([]), "Ollama"),
        ("rayproject/ray:2.40", json!(["serve", "run", "app:app"]), "Ray Serve"),
        // The image says vLLM, the command says otherwise.
        ("vllm/vllm-openai:v0.11.0", json!(["llama-server"]), "llama.cpp"),
    ] {
        let read = reading(&json!({ "name": "vllm", "image": image, "command": command }));
        let Reading::Recognised { product: found, .. } = &read else { panic!("{image}: {read:?}") };
        assert_eq!(found, product, "{image}");
    }
    // And the other way round.
    assert_eq!(number(&server(&json!({ "image": "rayproject/ray", "command": ["vllm", "serve", "m"] }))), Some(8000));
}

#[test]
fn the_server_is_the_container_with_evidence_not_the_first() {
    let read = workload(&with_pod_spec(&json!({
        "initContainers": [
            { "name": "fetch", "image": "vllm/vllm-openai:v0.9.0", "command": ["vllm", "serve", "never"] },
            { "name": "proxy", "image": "envoy", "restartPolicy": "Always" },
        ],
        "containers": [
            { "name": "router", "image": "nginx", "ports": [{ "containerPort": 8000 }] },
            { "name": "engine", "image": "vllm/vllm-openai:v0.11.0", "args": ["--port", "8200"] },
        ],
    })));
    let server = read.server().unwrap();
    assert_eq!((server.container.as_str(), number(server)), ("engine", Some(8200)));
    assert_eq!(server.path, "spec.template.spec.containers[1]");
    assert_eq!(server.version, Some(Version::new(0, 11, 0)));
}

#[test]
fn a_sidecar_that_starts_first_may_be_the_server() {
    let read = workload(&with_pod_spec(&json!({
        "initContainers": [{ "name": "engine", "image": "vllm/vllm-openai:v0.11.0", "restartPolicy": "Always" }],
        "containers": [{ "name": "app", "image": "python" }],
    })));
    assert_eq!(read.server().unwrap().path, "spec.template.spec.initContainers[0]");
}

#[test]
fn annotations_settle_what_cannot_be_told() {
    let mut object = with_pod_spec(&json!({ "containers": [
        { "name": "one", "image": "vllm/vllm-openai:v0.11.0", "args": ["--port", "1"] },
        { "name": "two", "image": "example.com/own-build:7", "args": ["--port", "2"] },
    ]}));
    object["metadata"]["annotations"] = json!({ "scalegate.dev/container": "two" });
    assert!(matches!(workload(&object).server, Reading::None { .. }));
    object["metadata"]["annotations"]["scalegate.dev/engine"] = json!("vllm");
    let read = workload(&object);
    let server = read.server().unwrap();
    assert_eq!((server.container.as_str(), number(server), server.version), ("two", Some(2), None));
    assert_eq!(server.evidence, "annotation scalegate.dev/engine");
    object["metadata"]["annotations"] = json!({ "scalegate.dev/container": "three" });
    let Reading::None { reason } = workload(&object).server else { panic!("no such container") };
    assert!(reason.contains("three"), "{reason}");
}

#[test]
fn a_processor_build_expects_no_accelerator() {
    for (image, args) in [
        ("vllm/vllm-openai-cpu:v0.25.1", json!([])),
        ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.9.0", json!([])),
        ("someone/vllm-openai:v0.9.0-cpu", json!([])),
        ("vllm/vllm-openai:v0.11.0", json!(["--device", "cpu"])),
        ("vllm/vllm-openai:v0.11.0", json!(["--device=cpu"])),
    ] {
        assert!(server(&json!({ "name": "main", "image": image, "args": args })).cpu, "{image} {args}");
    }
    assert!(!with_args(json!(["--device", "cuda"])).cpu);
    assert!(!server(&json!({ "image": "vllm/vllm-tpu:v0.11.1", "command": ["vllm", "serve", "m"] })).cpu);
}

#[test]
fn no_message_holds_a_value_of_the_environment_or_of_another_argument() {
    let object = deployment(&json!({
        "name": "main",
        "image": "vllm/vllm-openai:v0.11.0",
        "command": ["sh", "-c", "vllm serve m --api-key $API_KEY --port ${PORT} --served-model-name $HF_TOKEN"],
        "env": [
            { "name": "API_KEY", "value": "hunter2" },
            { "name": "HF_TOKEN", "value": "hunter2" },
            { "name": "PORT", "value": "9000" },
        ],
    }));
    let read = workload(&object);
    assert_eq!(read.server().unwrap().port.number(), Some(9000));
    assert!(!serde_json::to_string(&read).unwrap().contains("hunter2"));
}

#[test]
fn two_servers_in_a_pod_have_one_release_only_when_it_is_the_same() {
    let read = |second: &str| {
        workload(&with_pod_spec(&json!({ "containers": [
            { "name": "one", "image": "vllm/vllm-openai:v0.12.0" },
            { "name": "two", "image": second, "args": ["--port", "8001"] },
        ]})))
    };
    let of = |second: &str| {
        let read = read(second);
        let server = read.server().unwrap();
        (server.container.clone(), server.version.map(|version| version.to_string()), server.several)
    };
    assert_eq!(of("vllm/vllm-openai:v0.12.0"), ("one".to_owned(), Some("0.12.0".to_owned()), true));
    assert_eq!(of("vllm/vllm-openai:v0.10.0"), ("one".to_owned(), None, true));
    assert_eq!(of("envoyproxy/envoy:v1"), ("one".to_owned(), Some("0.12.0".to_owned()), false));
}
