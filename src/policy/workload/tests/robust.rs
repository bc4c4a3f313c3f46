//! Nothing that anybody can write makes the reading panic, or take long.

use proptest::prelude::*;

use super::*;

/// JSON of any form, with the field names and words that matter among its strings.
fn json_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "\\PC{0,12}",
        "[-$(){}\\[\\]'\"`\\\\;&|<>#=:/@ \n\u{FDD0}a-z]{0,24}",
        prop::sample::select(vec![
            "vllm",
            "serve",
            "sh",
            "-c",
            "--port",
            "--port=$(A)",
            "$(A)",
            "$A",
            "${A:-${B:-1}}",
            "vllm serve m --port $A",
            "python3",
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--config",
            "/c/f",
            "vllm/vllm-openai:v0.11.0",
            "Always",
            "--max-num-seqs",
            "9999999999999999999999",
            "-tp",
            "1e9",
            "-1",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "annotations",
        "spec",
        "template",
        "containers",
        "initContainers",
        "image",
        "command",
        "args",
        "env",
        "value",
        "envFrom",
        "configMapRef",
        "ports",
        "containerPort",
        "resources",
        "requests",
        "limits",
        "volumes",
        "configMap",
        "volumeMounts",
        "mountPath",
        "lifecycle",
        "preStop",
        "exec",
        "sleep",
        "seconds",
        "size",
        "leaderWorkerTemplate",
        "leaderTemplate",
        "workerTemplate",
        "restartPolicy",
        "overhead",
        "nvidia.com/gpu",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![
        "[-$(){}\\[\\]'\"`\\\\;&|<>#=:/@ \n\u{FDD0}a-z0-9]{0,30}",
        prop::sample::select(vec![
            "sh", "-c", "vllm", "serve", "--port", "env", "python3", "-m", "--config", "/c/f", "-dp"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(word, 0..8)
}

fn never_panics(object: &Value) {
    if let Ok((_, Object::Workload(object))) = Object::from_value(object) {
        let seen = ConfigMap {
            data: [("f".to_owned(), "port: $(A)\nx: [1, {a: b}]".to_owned()), ("A".to_owned(), "1 2".to_owned())]
                .into(),
            ..ConfigMap::default()
        };
        let _ = read(&object, &|_| None);
        let _ = read(&object, &|_| Some(&seen));
    }
}

proptest! {
    #[test]
    fn arbitrary_json_is_read_without_a_panic(spec in json_value(), leader in any::<bool>()) {
        let (api, kind) = if leader {
            ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
        } else {
            ("apps/v1", "Deployment")
        };
        never_panics(&json!({ "apiVersion": api, "kind": kind, "spec": spec.clone() }));
        never_panics(&with_pod_spec(&spec));
        never_panics(&deployment(&spec));
    }

    #[test]
    fn arbitrary_commands_are_read_without_a_panic(command in words(), args in words(), value in "\\PC{0,20}") {
        never_panics(&with_pod_spec(&json!({
            "volumes": [{ "name": "c", "configMap": { "name": "c" } }],
            "containers": [{
                "image": "vllm/vllm-openai:v0.11.0", "command": command, "args": args,
                "env": [{ "name": "A", "value": value }, { "name": "B", "value": "$(A)$(A)" }],
                "volumeMounts": [{ "name": "c", "mountPath": "/c" }],
            }],
        })));
    }
}

#[test]
fn variables_that_name_each_other_do_not_grow_without_bound() {
    let mut env = vec![json!({ "name": "V0", "value": "x".repeat(64) })];
    for index in 1..60 {
        env.push(json!({ "name": format!("V{index}"), "value": format!("$(V{0})$(V{0})", index - 1) }));
    }
    let script =
        format!("{}\nvllm serve m --port 9000 {}", "A=$V12$V12$V12;A=$A$A;".repeat(2000), "$V12 ".repeat(2000));
    let read = server(&json!({
        "image": "vllm/vllm-openai:v0.11.0", "env": env, "command": ["sh", "-c", script, "$(V59)$(V12)"],
    }));
    assert_eq!(number(&read), Some(9000));
}

#[test]
fn what_costs_a_product_of_lengths_is_cut_short() {
    let references = "$(".repeat(100_000);
    let calls = "sh /c/f;".repeat(5_000);
    let object = with_pod_spec(&json!({
        "volumes": [{ "name": "c", "configMap": { "name": "c" } }],
        "containers": [{
            "image": "vllm/vllm-openai:v0.11.0", "command": ["sh", "/c/f"], "args": [references],
            "volumeMounts": [{ "name": "c", "mountPath": "/c" }],
        }],
    }));
    let read = workload_with(&object, &[("c", json!({ "f": calls }))]);
    unknown(read.server().expect("the image is evidence"));
    let defaults = format!("A={}\n{}", "x".repeat(100_000), "echo ${A:-$A}${A:+$A}$A;".repeat(5_000));
    let object = json!({ "image": "vllm/vllm-openai:v0.11.0", "command": ["sh", "-c", defaults] });
    assert!(matches!(reading(&object), Reading::None { .. }));
}

#[test]
fn deep_nesting_ends() {
    let nested = format!("{}vllm serve m{}", "${A:-".repeat(50_000), "}".repeat(50_000));
    let _ = reading(&json!({ "image": "vllm/vllm-openai:v0.11.0", "command": ["sh", "-c", nested] }));
    let _ = reading(&json!({ "image": "vllm/vllm-openai:v0.11.0", "command": ["sh", "-c", "$(".repeat(100_000)] }));
}
