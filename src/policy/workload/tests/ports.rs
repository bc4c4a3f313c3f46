//! Flags and the port.

use super::*;

#[test]
fn split_and_joined_values_are_the_same() {
    for args in [
        json!(["--port=9000"]),
        json!(["--port", "9000"]),
        json!(["--model", "m", "--port", "9000", "--enforce-eager"]),
    ] {
        assert_eq!(number(&with_args(args.clone())), Some(9000), "{args}");
    }
}

#[test]
fn without_the_flag_it_is_the_default_and_says_so() {
    assert_eq!(with_args(json!(["--model=m"])).port, Port::Default { number: 8000 });
}

#[test]
fn the_last_explicit_port_wins() {
    assert_eq!(number(&with_args(json!(["--port=1", "--port", "2"]))), Some(2));
    assert_eq!(number(&with_args(json!(["--port=$(X)", "--port", "2"]))), Some(2));
    unknown(&with_args(json!(["--port=1", "--port", "$(X)"])));
}

#[test]
fn underscores_and_unambiguous_abbreviations_are_flags() {
    for args in [json!(["--max_num_seqs=8"]), json!(["--max-num-seq", "8"]), json!(["--max_num_se=8"])] {
        assert_eq!(with_args(args.clone()).max_num_seqs, Some(8), "{args}");
    }
    assert_eq!(number(&with_args(json!(["--por", "9000"]))), Some(9000));
    // `--po` may mean `--pooler-config`, `--max-num-s` may mean `--max-num-scheduled-tokens`.
    unknown(&with_args(json!(["--po", "9000"])));
    assert_eq!(with_args(json!(["--max-num-s", "8"])).max_num_seqs, None);
    assert_eq!(with_args(json!(["--max-num-batched-tokens", "8"])).max_num_seqs, None);
}

#[test]
fn the_environment_variable_of_that_name_is_not_the_api_port() {
    let read = server(&json!({
        "image": "vllm/vllm-openai:v0.11.0",
        "env": [{ "name": "VLLM_PORT", "value": "9000" }, { "name": "PORT", "value": "9001" }],
    }));
    assert_eq!(read.port, Port::Default { number: 8000 });
}

#[test]
fn a_port_that_cannot_be_read_is_not_the_default() {
    for args in [
        json!(["--port=$(PORT)"]),
        json!(["--port", "$(PORT)"]),
        json!(["--port"]),
        json!(["--port", "0"]),
        json!(["--port", "70000"]),
        json!(["--port=http"]),
        json!(["--port 9000"]),
        json!(["--model=m", "$(ARGS)"]),
        json!(["$(ARGS)"]),
        json!(["--port=9000", "--grpc"]),
        json!(["--model", "m", "$(EXTRA)"]),
        json!(["--uds", "/tmp/socket", "--port", "9000"]),
        json!(["--config", "/config/vllm.yaml"]),
        json!(["--config", "$(FILE)"]),
    ] {
        unknown(&with_args(args));
    }
}

#[test]
fn a_config_file_in_view_is_read_and_flags_win_over_it() {
    let object = |args: Value| {
        with_pod_spec(&json!({
            "volumes": [{ "name": "config", "configMap": { "name": "vllm" } }],
            "containers": [{
                "name": "main", "image": "vllm/vllm-openai:v0.11.0", "args": args,
                "volumeMounts": [{ "name": "config", "mountPath": "/config" }],
            }],
        }))
    };
    let file = "model: some/model\nport: 9000\nmax-num-seqs: 32\ntensor-parallel-size: 2\ndisable-log-stats: true\n\
                enable-lora: false\nserved-model-name: [one, two]\n";
    let seen = [("vllm", json!({ "vllm.yaml": file, "bad.yaml": "[" }))];
    let read = workload_with(&object(json!(["--config", "/config/vllm.yaml"])), &seen);
    let server = read.server().unwrap();
    let source = "--port in ConfigMap vllm, which --config names".to_owned();
    assert_eq!(server.port, Port::Explicit { number: 9000, source });
    assert_eq!((server.max_num_seqs, server.devices_used), (Some(32), Some(2)));
    assert_eq!(server.served_model.as_deref(), Some("one"));
    assert!(server.log_stats_disabled && server.arguments_complete);
    assert_eq!(read.config_maps, ["vllm".to_owned()].into());

    let read = workload_with(&object(json!(["a/b", "--port=9001", "--config", "/config/vllm.yaml"])), &seen);
    let server = read.server().unwrap();
    assert_eq!(server.port, Port::Explicit { number: 9001, source: "--port in args[1]".to_owned() });
    assert_eq!(server.max_num_seqs, Some(32));

    let read = workload_with(&object(json!(["--port=9001", "--config=/config/vllm.yaml"])), &seen);
    let expected = Port::Explicit { number: 9001, source: "--port in args[0]".to_owned() };
    assert_eq!(read.server().unwrap().port, expected);

    for args in [json!(["--config", "/config/bad.yaml"]), json!(["--config", "/config/none.yaml"])] {
        let read = workload_with(&object(args), &seen);
        assert!(unknown(read.server().unwrap()).contains("--config"));
    }
}

#[test]
fn an_explicit_port_stands_beside_an_unseen_config_file() {
    let read = with_args(json!(["--config", "/config/vllm.yaml", "--port", "9000"]));
    assert_eq!(number(&read), Some(9000));
    assert!(!read.arguments_complete);
}

#[test]
fn the_served_name_is_the_first_one_given() {
    for (args, expected) in [
        (json!(["--model", "a/b"]), Some("a/b")),
        (json!(["--model", "a/b", "--served-model-name", "one", "two", "--port", "1"]), Some("one")),
        (json!(["--model", "a/b", "--served-model-name=one"]), Some("one")),
        (json!(["--model", "$(MODEL)"]), None),
        (json!(["--model", "a/b", "--served-model-name", "$(NAME)"]), None),
        (json!(["--port", "1"]), None),
    ] {
        assert_eq!(with_args(args.clone()).served_model.as_deref(), expected, "{args}");
    }
    assert_eq!(with_script("vllm serve --enforce-eager a/b --port 1").served_model.as_deref(), Some("a/b"));
    assert_eq!(with_script("vllm serve --max-model-len 4096 --port=1 a/b").served_model.as_deref(), Some("a/b"));
    assert_eq!(with_script("vllm serve $MODEL --port 1").served_model, None);
    assert!(with_script("vllm serve $MODEL --port 1").arguments_complete);
}

#[test]
fn ranks_and_devices_come_from_the_parallelism() {
    for (args, ranks, devices) in [
        (json!([]), 1, Some(1)),
        (json!(["-tp", "4"]), 1, Some(4)),
        (json!(["-tp=4", "-pp", "2"]), 1, Some(8)),
        (json!(["--data-parallel-size", "4", "--tensor-parallel-size=2"]), 4, Some(8)),
        (json!(["-dp", "8", "-dpl", "2", "--api-server-count", "2"]), 2, Some(2)),
        (json!(["--data-parallel-size=8", "--data-parallel-rank", "$(RANK)"]), 1, None),
        (json!(["--data-parallel-size=8", "--data-parallel-rank", "0"]), 1, Some(1)),
        (json!(["-tp", "$(TP)"]), 1, None),
        (json!(["-tp", "0"]), 1, None),
        (json!(["-tp", "16", "--nnodes", "2"]), 1, None),
        (json!(["-tp", "18446744073709551615", "-pp", "2"]), 1, None),
    ] {
        let read = with_args(args.clone());
        assert_eq!((read.data_parallel, read.devices_used), (ranks, devices), "{args}");
    }
    let read = with_args(json!(["--max-num-seqs=64", "--data-parallel-size=4"]));
    assert_eq!(read.ceiling(), Some(256));
    let read = with_args(json!(["--max-num-seqs=64", "--data-parallel-size=$(DP)"]));
    assert_eq!(read.ceiling(), None, "a ceiling that is too low would warn of what does not happen");
}

#[test]
fn only_the_right_flag_disables_the_statistics() {
    for (args, expected) in [
        (json!(["--disable-log-stats"]), true),
        (json!(["--disable_log_stats"]), true),
        (json!(["--disable-log-st"]), true),
        (json!(["--disable-log-requests"]), false),
        (json!(["--disable-log-req"]), false),
        (json!(["--disable-log"]), false),
        (json!(["--no-disable-log-stats"]), false),
        (json!(["--disable-log-stats", "--no-disable-log-stats"]), false),
        (json!(["--no-enable-log-requests"]), false),
    ] {
        assert_eq!(with_args(args.clone()).log_stats_disabled, expected, "{args}");
    }
}

#[test]
fn the_other_flags_are_read() {
    let read = server(&json!({
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--show-hidden-metrics-for-version=0.10", "--shutdown-timeout", "45"],
        "env": [{ "name": "VLLM_USE_V1", "value": "0" }],
    }));
    assert_eq!(read.hidden_metrics_for.as_deref(), Some("0.10"));
    assert_eq!((read.shutdown_timeout, read.use_v1), (Some(45), Some(false)));
}

#[test]
fn the_flag_is_trusted_over_the_first_declared_port() {
    let read = server(&json!({
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--port", "8200", "--kv-transfer-config", "{\"kv_port\": 5557}"],
        "ports": [{ "containerPort": 5557, "name": "kv" }, { "containerPort": 8200 }, { "containerPort": 70000 }, {}],
    }));
    assert_eq!(number(&read), Some(8200));
    let declared: Vec<_> =
        read.declared_ports.iter().map(|port| (port.name.as_deref(), port.number, port.path.as_str())).collect();
    assert_eq!(
        declared,
        [
            (Some("kv"), 5557, "spec.template.spec.containers[0].ports[0]"),
            (None, 8200, "spec.template.spec.containers[0].ports[1]"),
        ]
    );
}

#[test]
fn the_pre_stop_hook_sleeps() {
    for (hook, expected) in [
        (json!({ "sleep": { "seconds": 15 } }), Some(15)),
        (json!({ "exec": { "command": ["sleep", "15"] } }), Some(15)),
        (json!({ "exec": { "command": ["/bin/sleep", "1m"] } }), Some(60)),
        (json!({ "exec": { "command": ["/bin/sh", "-c", "sleep 15"] } }), Some(15)),
        (json!({ "exec": { "command": ["sh", "-c", "echo bye; sleep 5 && sleep 10"] } }), Some(15)),
        (json!({ "exec": { "command": ["sh", "-c", "sleep $WAIT"] } }), None),
        (json!({ "exec": { "command": ["/drain"] } }), None),
        (json!({ "httpGet": { "path": "/drain", "port": 1 } }), None),
        (json!("nonsense"), None),
    ] {
        let read = server(&json!({ "image": "vllm/vllm-openai:v0.11.0", "lifecycle": { "preStop": hook } }));
        assert_eq!(read.pre_stop_seconds, expected, "{hook}");
    }
}
