//! Shell scripts, wrappers, variables, and scripts that a ConfigMap brings.

use super::*;

#[test]
fn a_shell_string_ends_where_the_server_does() {
    for (script, expected) in [
        ("vllm serve m --port 9000", 9000),
        ("vllm serve m --port 9000 | tee /tmp/log --port 1", 9000),
        ("vllm serve m --port 9000; echo --port 1", 9000),
        ("vllm serve m --port 9000 && echo --port 1", 9000),
        ("vllm serve m --port 9000 2>&1 >/dev/null &", 9000),
        ("vllm serve m --port 9000 &> log", 9000),
        ("vllm serve m --port 9000 # --port 1", 9000),
        ("cd /srv && exec vllm serve m --port=9000", 9000),
        ("nohup vllm serve m --port 9000 &\nwait", 9000),
        ("HF_HOME=/data VLLM_LOGGING_LEVEL=DEBUG vllm serve m --port 9000", 9000),
        ("env A=b -u C vllm serve m --port 9000", 9000),
        ("vllm serve m \\\n  --max-num-seqs 4 \\\n  --port 9000\n", 9000),
        ("vllm serve m \\\r\n --port 9000\r\n", 9000),
        ("set -euo pipefail\n# start\nvllm serve 'm' \"--port\" '9000'", 9000),
        ("if true; then\n vllm serve m --port 9000\nfi", 9000),
        ("(vllm serve m --port 9000)", 9000),
        ("start() { vllm serve m --port 9000; }\nstart", 9000),
        ("cat <<EOF > /tmp/x\nvllm serve m --port 1\nEOF\nvllm serve m --port 9000", 9000),
        ("bash -c 'vllm serve m --port 9000'", 9000),
        ("python3 -u -m vllm.entrypoints.openai.api_server --model m --port 9000", 9000),
        ("python3 -mvllm.entrypoints.openai.api_server --port 9000", 9000),
        ("python3 /app/vllm/entrypoints/openai/api_server.py --port 9000", 9000),
        ("/opt/venv/bin/vllm serve m --port 9000", 9000),
        ("uv run --with x vllm serve m --port 9000", 9000),
        ("PORT=9000\nvllm serve m --port $PORT", 9000),
        ("export PORT=\"9000\"; vllm serve m --port ${PORT}", 9000),
        ("vllm serve m --port ${PORT:-9000}", 9000),
        ("vllm serve m --port ${PORT-9000}", 9000),
        ("vllm serve m --port ${PORT:-${OTHER:-9000}}", 9000),
        ("vllm serve m --port \"${PORT:-9000}\"", 9000),
        ("ARGS='--port 9000 --max-num-seqs 4'\nvllm serve m $ARGS", 9000),
        ("vllm serve m", 8000),
    ] {
        assert_eq!(number(&with_script(script)), Some(expected), "{script}");
    }
}

#[test]
fn the_last_server_of_a_script_counts() {
    let read =
        with_script("python -m vllm.entrypoints.api_server &\nvllm serve a --port 1\nvllm serve b --port 2\necho done");
    assert_eq!((number(&read), read.served_model.as_deref()), (Some(2), Some("b")));
}

#[test]
fn a_leaders_script_is_searched_for_the_server_at_its_end() {
    let read = with_script(
        "bash /vllm-workspace/examples/online_serving/multi-node-serving.sh leader --ray_cluster_size=$(LWS_GROUP_SIZE);\n\
         python3 -m vllm.entrypoints.openai.api_server --port 8080 --model m --tensor-parallel-size 8",
    );
    assert_eq!(number(&read), Some(8080));
}

#[test]
fn shells_are_read_with_their_options() {
    for command in [
        json!(["sh", "-c", "vllm serve m --port 9000"]),
        json!(["/bin/bash", "-lc", "vllm serve m --port 9000"]),
        json!(["/bin/sh", "-ec", "vllm serve m --port 9000"]),
        json!(["bash", "-euo", "pipefail", "-c", "vllm serve m --port 9000"]),
        json!(["bash", "-e", "-c", "vllm serve m --port 9000"]),
        json!(["bash", "-c", "exec vllm serve m \"$@\"", "--", "--port", "9000"]),
        json!(["bash", "-c", "exec vllm serve \"$1\" --port $2", "name", "m", "9000"]),
        json!(["tini", "--", "bash", "-c", "vllm serve m --port 9000"]),
        json!(["/usr/bin/env", "bash", "-c", "vllm serve m --port 9000"]),
    ] {
        let read = server(&json!({ "name": "main", "image": "ubuntu", "command": command }));
        assert_eq!(number(&read), Some(9000), "{command}");
    }
    // Command and arguments are one list.
    let read =
        server(&json!({ "image": "ubuntu", "command": ["/bin/sh", "-c"], "args": ["vllm serve m --port 9000"] }));
    assert_eq!(read.port, Port::Explicit { number: 9000, source: "--port in the start script".to_owned() });
    let read = server(&json!({ "image": "ubuntu", "command": ["vllm", "serve"], "args": ["m", "--port", "9000"] }));
    assert_eq!(read.port, Port::Explicit { number: 9000, source: "--port in args[1]".to_owned() });
    let read = server(&json!({ "image": "ubuntu", "command": ["vllm", "serve", "m", "--port", "9000"] }));
    assert_eq!(read.port, Port::Explicit { number: 9000, source: "--port in command[3]".to_owned() });
}

#[test]
fn what_a_shell_computes_is_unknown() {
    for script in [
        "vllm serve m --port $PORT",
        "vllm serve m --port $(cat /etc/port)",
        "vllm serve m --port `cat /etc/port`",
        "vllm serve m --port $((8000 + 1))",
        "vllm serve m --port ${PORT%x}",
        "read PORT; vllm serve m --port $PORT",
        "if x; then PORT=1; fi; vllm serve m --port $PORT",
        "for PORT in 1 2; do vllm serve m --port $PORT; done",
        "source /etc/environment; vllm serve m --port ${PORT:-8000}",
        "vllm serve m $EXTRA_ARGS",
        "vllm serve m ${EXTRA_ARGS}",
        "vllm serve m \"${ARGS[@]}\"",
        "vllm serve m --enforce-eager $EXTRA_ARGS",
        "vllm serve m --some-new-switch $EXTRA_ARGS",
        "bash /start.sh",
        "/opt/start.sh",
    ] {
        unknown(&with_script(script));
    }
}

#[test]
fn variables_come_from_the_pod_and_its_config_maps() {
    let container = |env: Value, from: Value, args: Value| {
        deployment(&json!({
            "name": "main", "image": "vllm/vllm-openai:v0.11.0", "env": env, "envFrom": from, "args": args,
        }))
    };
    let settings = [("settings", json!({ "PORT": "9000", "MODEL": "some/model" }))];
    let map = |name: &str| json!([{ "configMapRef": { "name": name } }]);
    let port = |object: &Value| workload_with(object, &settings).server().unwrap().port.number();

    let read =
        workload_with(&container(json!([]), map("settings"), json!(["--model=$(MODEL)", "--port=$(PORT)"])), &settings);
    assert_eq!(number(read.server().unwrap()), Some(9000));
    assert_eq!(read.server().unwrap().served_model.as_deref(), Some("some/model"));
    assert_eq!(read.config_maps, ["settings".to_owned()].into());

    let prefixed = json!([{ "prefix": "A_", "configMapRef": { "name": "settings" } }]);
    assert_eq!(port(&container(json!([]), prefixed.clone(), json!(["--port=$(A_PORT)"]))), Some(9000));
    assert_eq!(port(&container(json!([]), prefixed, json!(["--port=$(PORT)"]))), None);

    let key = |name: &str, key: &str| json!([{ "name": "P", "valueFrom": { "configMapKeyRef": { "name": name, "key": key } } }]);
    assert_eq!(port(&container(key("settings", "PORT"), json!([]), json!(["--port", "$(P)"]))), Some(9000));
    assert_eq!(port(&container(key("settings", "NONE"), json!([]), json!(["--port", "$(P)"]))), None);
    let unseen = workload_with(&container(key("elsewhere", "PORT"), json!([]), json!(["--port", "$(P)"])), &settings);
    unknown(unseen.server().unwrap());
    assert_eq!(unseen.config_maps, ["elsewhere".to_owned()].into(), "what is missing matters too");

    // env wins over envFrom, and sees what stands before it.
    let env = json!([{ "name": "BASE", "value": "90" }, { "name": "PORT", "value": "$(BASE)01" }]);
    assert_eq!(port(&container(env, map("settings"), json!(["--port=$(PORT)"]))), Some(9001));
    let late = json!([{ "name": "PORT", "value": "$(BASE)01" }, { "name": "BASE", "value": "90" }]);
    assert_eq!(port(&container(late, json!([]), json!(["--port=$(PORT)"]))), None);

    // A Secret may define anything that nothing else does, and a later source wins.
    let secret = json!([{ "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "s" } }]);
    assert_eq!(port(&container(json!([]), secret, json!(["--port=$(PORT)"]))), None);
}

#[test]
fn dollar_signs_are_escaped_as_the_kubelet_does() {
    let read = server(&json!({
        "image": "vllm/vllm-openai:v0.11.0",
        "env": [{ "name": "PORT", "value": "9000" }],
        "args": ["--port", "$$(PORT)"],
    }));
    unknown(&read);
    let script = json!({
        "image": "vllm/vllm-openai:v0.11.0",
        "env": [{ "name": "PORT", "value": "9000" }],
        "command": ["sh", "-c", "vllm serve m --port $$PORT --max-num-seqs $(PORT)"],
    });
    let read = server(&script);
    assert_eq!((number(&read), read.max_num_seqs), (Some(9000), Some(9000)));
}

#[test]
fn a_start_script_is_read_from_a_config_map_in_view() {
    let object = with_pod_spec(&json!({
        "volumes": [{ "name": "scripts", "configMap": { "name": "start" } }],
        "containers": [{
            "name": "main",
            "image": "vllm/vllm-openai:v0.11.0",
            "command": ["/bin/bash", "/scripts/run.sh", "9000"],
            "volumeMounts": [{ "name": "scripts", "mountPath": "/scripts" }],
        }],
    }));
    let seen = [("start", json!({ "run.sh": "#!/bin/bash\nexec vllm serve m --port $1\n" }))];
    let read = workload_with(&object, &seen);
    assert_eq!(number(read.server().unwrap()), Some(9000));
    assert_eq!(read.config_maps, ["start".to_owned()].into());

    let read = workload(&object);
    let server = read.server().expect("the image is evidence");
    assert_eq!(unknown(server), "the server is started by a script that is not in view");
    assert!(!server.arguments_complete);
    assert_eq!(read.config_maps, ["start".to_owned()].into());

    let mut direct = object.clone();
    direct["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/scripts/run.sh", "9000"]);
    assert_eq!(number(workload_with(&direct, &seen).server().unwrap()), Some(9000));

    let mut foreign = object;
    foreign["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ubuntu");
    let read = workload(&foreign);
    assert!(matches!(read.server, Reading::None { .. }));
    assert_eq!(read.config_maps, ["start".to_owned()].into(), "the script may start a server once it is seen");
}

#[test]
fn an_entrypoint_script_out_of_sight_passes_its_arguments_on() {
    for command in [
        json!(["/entrypoint.sh", "vllm", "serve", "m", "--port=9"]),
        json!(["sh", "/e.sh", "vllm", "serve", "--port=9"]),
    ] {
        let read = server(&json!({ "image": "ubuntu", "command": command }));
        assert_eq!(number(&read), Some(9), "{command}");
    }
}

#[test]
fn scripts_that_call_each_other_end() {
    let object = with_pod_spec(&json!({
        "volumes": [{ "name": "scripts", "configMap": { "name": "start" } }],
        "containers": [{
            "name": "main", "image": "ubuntu", "command": ["sh", "/s/a.sh"],
            "volumeMounts": [{ "name": "scripts", "mountPath": "/s/" }],
        }],
    }));
    let read = workload_with(&object, &[("start", json!({ "a.sh": "sh /s/a.sh; sh /s/a.sh" }))]);
    assert!(matches!(read.server, Reading::None { .. }));
}
