//! What somebody gains who merely reaches the two ports, and what a tenant's words do in logs and messages.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

use crate::harness::http;
use crate::harness::installation::{Installation, NAMESPACE};
use crate::harness::process::until;
use crate::rights::installation;

const PATIENCE: Duration = Duration::from_secs(60);

/// The name that the certificate is for.
const SERVICE: &str = "scalegate.scalegate-system.svc";

/// A deadline for one exchange, not a measurement.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Connects as the API server does, or without a server name.
fn connect(installed: &Installation<'_>, server_name: bool) -> StreamOwned<ClientConnection, TcpStream> {
    static TRUSTED: OnceLock<RootCertStore> = OnceLock::new();
    let roots = TRUSTED.get_or_init(|| trusted(installed)).clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.enable_sni = server_name;
    let name = ServerName::try_from(SERVICE).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(installed.replicas[0].address()))
}

/// The authorities of the live registration.
fn trusted(installed: &Installation<'_>) -> RootCertStore {
    let live = installed.cluster.kubectl(&["get", "validatingwebhookconfiguration", "scalegate", "-o", "json"]).json();
    let bundle = STANDARD.decode(live["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&bundle) {
        roots.add(authority.unwrap()).unwrap();
    }
    roots
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(EXCHANGE)).unwrap();
    stream.set_write_timeout(Some(EXCHANGE)).unwrap();
    stream
}

/// Sends bytes and reads to the end, or for as long as an answer keeps its promise of a length: the status, 0 where the
/// connection just ended, and everything that came.
fn exchange(mut stream: impl io::Read + Write, sent: &[u8]) -> (u16, String) {
    let _ = stream.write_all(sent).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) => {
                let waits = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                assert!(!waits, "no answer and no end: {:?}", String::from_utf8_lossy(sent).chars().take(80));
                break;
            }
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    (status.unwrap_or(0), answer)
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// A review as it is sent over the wire.
fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn review(kind: [&str; 4], namespace: &str, name: &str, object: &Value) -> String {
    let [group, version, kind, resource] = kind;
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "forged", "operation": "CREATE", "namespace": namespace, "name": name, "object": object,
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": resource},
        "userInfo": {"username": "system:admin", "groups": ["system:masters"]},
    }})
    .to_string()
}

const DEPLOYMENT: [&str; 4] = ["apps", "v1", "Deployment", "deployments"];
const HPA: [&str; 4] = ["autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"];

/// What tenants put where only they should see it. None of these may appear anywhere.
const CANARIES: [&str; 8] = [
    "canary-environment-value",
    "canary-argument-value",
    "canary-command-value",
    "canary-annotation-value",
    "canary-template-annotation",
    "canary-volume-path",
    "canary-hpa-annotation",
    "canary-selector-value",
];

/// A workload with canaries, and an HPA with some.
fn precious(name: &str, label: &str) -> [Value; 2] {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "labels": {"scalegate.dev/autoscale": label},
            "annotations": {"example.com/secret": "canary-annotation-value"},
        },
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"example.com/secret": "canary-template-annotation"}},
                "spec": {
                    "volumes": [{"name": "models", "hostPath": {"path": "/canary-volume-path"}}],
                    "containers": [{
                        "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                        "command": ["sh", "-c", "vllm serve google/gemma-3-1b-it --download-dir canary-command-value $@", "vllm"],
                        "args": ["--model=google/gemma-3-1b-it", "--api-key=canary-argument-value",
                                 "--api-key", "canary-argument-value", "--no-such-flag=canary-argument-value"],
                        "env": [{"name": "HF_TOKEN", "value": "canary-environment-value"},
                                {"name": "VLLM_API_KEY", "value": "canary-environment-value"}],
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }],
                },
            },
        },
    });
    let hpa = hpa("theirs", name, "prometheus.googleapis.com|vllm:num_requests_running|gauge");
    let mut hpa = hpa;
    hpa["metadata"]["annotations"] = json!({"example.com/secret": "canary-hpa-annotation"});
    hpa["spec"]["metrics"][0]["pods"]["metric"]["selector"] =
        json!({"matchLabels": {"metric.labels.key": "canary-selector-value"}});
    [deployment, hpa]
}

fn hpa(name: &str, target: &str, metric: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "maxReplicas": 5,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
        },
    })
}

/// Fails when one of the canaries stands in a text.
#[track_caller]
fn holds_no_canary(what: &str, text: &str) {
    for canary in CANARIES {
        let place = text.find(canary).map(|at| text[..at].chars().rev().take(200).collect::<Vec<_>>());
        let before = place.map(|reversed| reversed.into_iter().rev().collect::<String>());
        assert!(before.is_none(), "{what} holds {canary}, after: {}", before.unwrap_or_default());
    }
}

/// After whatever was tried, the API server's calls are answered.
fn still_serves(installed: &Installation<'_>) {
    let body =
        review(DEPLOYMENT, "default", "x", &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}));
    assert_eq!(exchange(connect(installed, true), &post("/validate", &body)).0, 200);
    assert!(installed.replicas[0].is_ready());
}

#[test]
fn nothing_but_a_review_is_answered_on_the_webhooks_port() {
    let Some(installed) = installation() else { return };
    let mut wrong = Vec::new();
    let mut expect = |what: &str, (status, answer): (u16, String), wanted: &[u16]| {
        if !wanted.contains(&status) {
            wrong.push(format!("{what}: {status}, not {wanted:?}: {}", answer.chars().take(300).collect::<String>()));
        }
        // What a refusal says comes from us, not from the cluster.
        holds_no_canary(what, &answer);
    };
    let request = |method: &str, path: &str, head: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n");
    for path in [
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/debug/pprof/",
        "/config",
        "/mutate/",
        "/validate/../metrics",
        "/MUTATE",
        "//mutate",
        "/%6dutate",
        "/mutate%00",
        "/.git/config",
        "/api/v1/secrets",
        "/validate/x",
        "*",
        "/\u{e9}",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            let text = request(method, path, "Content-Length: 0\r\n");
            expect(
                &format!("{method} {path}"),
                exchange(connect(installed, true), text.as_bytes()),
                &[400, 404, 405, 415],
            );
        }
    }
    for path in ["/mutate", "/validate"] {
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT"] {
            let text = request(method, path, "Content-Length: 0\r\nConnection: close\r\n");
            expect(&format!("{method} {path}"), exchange(connect(installed, true), text.as_bytes()), &[400, 404, 405]);
        }
        for (what, body) in [
            ("nothing", ""),
            ("no JSON", "canary"),
            ("an empty object", "{}"),
            ("a list", "[]"),
            ("a deep list", &"[".repeat(100_000)),
            ("no request", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#),
            (
                "an old version",
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"a"}}"#,
            ),
            (
                "two requests",
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{},"request":{}}"#,
            ),
        ] {
            expect(&format!("{path}: {what}"), exchange(connect(installed, true), &post(path, body)), &[400]);
        }
        let huge = request("POST", path, &format!("X: {}\r\nContent-Length: 0\r\n", "a".repeat(1 << 20)));
        expect("a huge header", exchange(connect(installed, true), huge.as_bytes()), &[0, 400, 431]);
        let many = request("POST", path, &"a: b\r\n".repeat(50_000));
        expect("many headers", exchange(connect(installed, true), many.as_bytes()), &[0, 400, 431]);
        let long = request("POST", &format!("{path}?{}", "a".repeat(1 << 20)), "Content-Length: 0\r\n");
        expect("a long query", exchange(connect(installed, true), long.as_bytes()), &[0, 400, 414, 431]);
        let large = request("POST", path, "Content-Type: application/json\r\nContent-Length: 99999999999\r\n");
        expect("a body too large", exchange(connect(installed, true), large.as_bytes()), &[413]);
        let slow = request("POST", path, "Content-Type: application/json\r\nContent-Length: 10\r\n");
        expect("a body that does not come", exchange(connect(installed, true), slow.as_bytes()), &[408]);
        let half = format!("POST {path} HTTP/1.1\r\nHost: x\r\n");
        expect("a head that does not end", exchange(connect(installed, true), half.as_bytes()), &[0, 408]);
    }
    expect("no server name", exchange(connect(installed, false), &post("/validate", "{}")), &[400]);
    let plain = tcp(installed.replicas[0].address());
    expect("plain text on the TLS port", exchange(plain, &post("/validate", "{}")), &[0]);
    still_serves(installed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_admin_port_tells_numbers_and_takes_nothing() {
    let Some(installed) = installation() else { return };
    let namespace = installed.cluster.namespace("metered");
    for object in precious("metered-workload", "latency") {
        installed.cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &object.to_string()).ok();
    }
    let controller = installed.controller.as_ref().unwrap();
    for admin in [installed.replicas[0].admin(), controller.admin()] {
        for path in ["/", "/debug/pprof/", "/config", "/mutate", "/validate", "/metrics/x", "/../etc/passwd", "/flags"]
        {
            let (status, answer) = exchange(tcp(admin), format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            assert_eq!(status, 404, "{path}: {answer}");
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
                assert_eq!(exchange(tcp(admin), text.as_bytes()).0, 405, "{method} {path}");
            }
        }
        let (_, page) = http::get(admin, "/metrics").unwrap();
        holds_no_canary("/metrics", &page);
        // The controller's alert has to name the labelled workload that does not scale; nothing else names anybody.
        let counts = |line: &&str| !line.starts_with("scalegate_workload_healthy{");
        let page: String = page.lines().filter(counts).collect::<Vec<_>>().join("\n");
        for name in [namespace.as_str(), "metered-workload", "theirs", "gemma"] {
            assert!(!page.contains(name), "{name} of a tenant is in {page}");
        }
        let garbage = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        assert!([0, 400].contains(&exchange(tcp(admin), garbage).0), "TLS on the plain port");
    }
    still_serves(installed);
}

#[test]
fn a_forged_review_decides_nothing_stores_nothing_and_tells_what_messages_name_at_most() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("victim");
    let [deployment, theirs] = precious("server", "disabled");
    for object in [&deployment, &theirs] {
        cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &object.to_string()).ok();
    }
    let send = |path: &str, body: &str| exchange(connect(installed, true), &post(path, body));
    let running = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
    let forged = |target: &str, metric: &str| review(HPA, &namespace, "mine", &hpa("mine", target, metric));
    let all = || cluster.kubectl(&["get", "deployments,hpa", "-n", &namespace, "-o", "json"]).json();
    // The webhook hears of the two by a watch.
    until("a rival is refused", PATIENCE, || {
        send("/validate", &forged("server", running)).1.contains("autoscaler-conflict").then_some(())
    });
    let before = all();

    // Everything that makes a rule look at the victim's objects.
    let mut answers = String::new();
    let mut bad = hpa("mine", "server", "prometheus.googleapis.com|vllm:gpu_cache_usage_perc|gauge");
    bad["spec"]["maxReplicas"] = json!(1);
    let mut scaled = deployment.clone();
    scaled["metadata"]["annotations"] = json!({"scalegate.dev/max-replicas": "1"});
    scaled["metadata"]["labels"] = json!({"scalegate.dev/autoscale": "latency"});
    scaled["spec"] = json!({"selector": {"matchLabels": {"app": "server"}}, "template": {"metadata": {"labels": {"app": "server"}},
        "spec": {"containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0", "envFrom": [
            {"configMapRef": {"name": "kube-root-ca.crt"}}, {"secretRef": {"name": "scalegate-tls"}}]}]}}});
    let scaled_object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "mine"},
        "spec": {"scaleTargetRef": {"name": "server"}, "triggers": [{"type": "prometheus", "metadata": {
            "serverAddress": "http://x", "query": "sum(vllm:num_requests_running)", "threshold": "4"}}]}});
    let keda = ["keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"];
    for body in [
        forged("server", running),
        forged("server", "kubernetes.io|container|accelerator|duty_cycle"),
        forged("server", "vllm:no_such_metric"),
        forged("absent", running),
        review(HPA, &namespace, "theirs", &hpa("theirs", "server", running)),
        review(HPA, &namespace, "mine", &bad),
        review(HPA, NAMESPACE, "mine", &hpa("mine", "scalegate-webhook", running)),
        review(HPA, "kube-system", "mine", &hpa("mine", "server", running)),
        review(DEPLOYMENT, &namespace, "server", &scaled),
        review(keda, &namespace, "mine", &scaled_object),
    ] {
        for path in ["/validate", "/mutate"] {
            let (status, answer) = send(path, &body);
            assert_eq!(status, 200, "{path} {body}: {answer}");
            holds_no_canary(&format!("the answer to {body}"), &answer);
            answers.push_str(&answer);
        }
    }
    // A namespace that the review only claims is believed: this is what comes out, as the chart's README says.
    for told in ["HorizontalPodAutoscaler/theirs", "Deployment server runs vLLM 0.11.0", "has 3 replicas"] {
        assert!(answers.contains(told), "{told}: {answers}");
    }
    for hidden in ["PRIVATE KEY", "BEGIN CERTIFICATE", "example.com/secret", "HF_TOKEN", "VLLM_API_KEY", "no-such-flag"]
    {
        assert!(!answers.contains(hidden), "{hidden}: {answers}");
    }
    let spec = |list: &Value| list["items"].as_array().unwrap().iter().map(|it| it["spec"].clone()).collect::<Vec<_>>();
    assert_eq!(spec(&all()), spec(&before), "nothing was stored");
    // Nor was anything learnt: the real API server is answered as before.
    let third = hpa("third", "another", running).to_string();
    cluster.kubectl_stdin(&["create", "-n", &namespace, "--dry-run=server", "-f", "-"], &third).ok();
    still_serves(installed);
}

#[test]
fn secrets_in_environment_and_arguments_come_out_nowhere() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("secrets");
    let mut said = String::new();
    // Created, each under another name: of a patch that is refused kubectl prints all that its own user wrote.
    let mut count = 0;
    let mut apply = |what: &str, object: &Value| {
        let mut object = object.clone();
        if object["kind"] == "HorizontalPodAutoscaler" {
            count += 1;
            object["metadata"]["name"] = json!(format!("autoscaler-{count}"));
        }
        let ran = cluster.kubectl_stdin(&["create", "-n", &namespace, "-f", "-"], &object.to_string());
        said.extend([what, ": ", &ran.stdout, &ran.stderr, "\n"]);
        ran.code
    };
    // In order, then with each setting wrong, then with flags that cannot be read.
    for (name, label) in [("good", "latency"), ("off", "disabled")] {
        for object in precious(name, label) {
            assert_eq!(apply("good", &object), 0);
        }
    }
    // What is there already comes in as an old object, too.
    for arguments in [&["rollout", "restart", "deployment/good"][..], &["annotate", "deployment/good", "a=b"]] {
        cluster.kubectl(&[arguments, &["-n", &namespace]].concat()).ok();
    }
    let [mut bad, bad_hpa] = precious("bad", "no-such-profile");
    assert_ne!(apply("a wrong profile", &bad), 0);
    bad["metadata"]["labels"] = json!({"scalegate.dev/autoscale": "latency"});
    bad["metadata"]["annotations"]["scalegate.dev/max-replicas"] = json!("many");
    assert_ne!(apply("a wrong setting", &bad), 0);
    bad["metadata"]["annotations"].as_object_mut().unwrap().remove("scalegate.dev/max-replicas");
    bad["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 1234}]);
    bad["spec"]["template"]["spec"]["containers"][0]["args"] = json!([
        "--max-num-seqs=canary-argument-value",
        "--port=canary-argument-value",
        "--api-key",
        "canary-argument-value"
    ]);
    apply("flags that do not read", &bad);
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = json!("python:3.12");
    bad["metadata"]["name"] = json!("no-server");
    apply("not a server", &bad);
    let mut unknown = bad_hpa;
    unknown["spec"]["metrics"][0]["pods"]["metric"]["name"] =
        json!("prometheus.googleapis.com|vllm:num_request_running|gauge");
    apply("a wrong metric", &unknown);
    apply("a rival", &hpa("rival", "good", "prometheus.googleapis.com|vllm:num_requests_waiting|gauge"));

    assert!(
        said.contains("Warning") && said.contains("[invalid-setting]") && said.contains("[autoscaler-conflict]"),
        "{said}"
    );
    holds_no_canary("what kubectl prints", &said);
    let log = installed.logs();
    assert!(log.contains("\"DEBUG\""), "the log is to talk: {log}");
    assert!(log.contains("denied"), "{log}");
    holds_no_canary("the log", &log);
    holds_no_canary("the controller's log", &installed.controller.as_ref().unwrap().log());
    holds_no_canary("/metrics", installed.replicas[0].metrics().text());
}

#[test]
fn what_a_tenant_writes_steers_no_terminal_and_forges_no_line_of_the_log() {
    let Some(installed) = installation() else { return };
    let cluster = installed.cluster;
    let namespace = cluster.namespace("controls");
    // What the API server lets through in an annotation's value, a flag, an environment's name and a metric's name.
    let hostile =
        "x\u{1b}[31mred\u{7}\r\n{\"level\":\"ERROR\",\"message\":\"forged-line\"}\nforged-line\u{202e}\u{200b}";
    let long = "y".repeat(4096);
    let mut printed = String::new();
    for (n, value) in [hostile, long.as_str()].into_iter().enumerate() {
        let mut deployment = precious("loud", "latency")[0].clone();
        deployment["metadata"]["name"] = json!(format!("loud-{n}"));
        for setting in ["max-replicas", "container", "engine", "metrics-path", "scale-up-stabilization", "skip"] {
            deployment["metadata"]["annotations"][format!("scalegate.dev/{setting}")] = json!(value);
        }
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] =
            json!([format!("--max-num-seqs={value}"), format!("--served-model-name={value}"), value]);
        let metric = format!("prometheus.googleapis.com|vllm:num_requests_runing{value}|gauge");
        for object in [deployment, hpa(&format!("loud-{n}"), "loud", &metric), hpa(&format!("t-{n}"), "loud", value)] {
            let ran = cluster.kubectl_stdin(&["create", "-n", &namespace, "-f", "-"], &object.to_string());
            printed.push_str(&ran.stderr);
        }
        // Straight to the port, where no API server checks names first.
        let name = format!("n{value}");
        for object in [hpa(&name, &name, &metric), json!({"metadata": {"labels": {"scalegate.dev/autoscale": value}}})]
        {
            let kind = if object["kind"].is_null() { DEPLOYMENT } else { HPA };
            let (status, answer) =
                exchange(connect(installed, true), &post("/validate", &review(kind, &name, &name, &object)));
            assert_eq!(status, 200, "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let answer: Value = serde_json::from_str(body).unwrap();
            let response = &answer["response"];
            let warnings = response["warnings"].as_array().into_iter().flatten();
            for text in warnings.chain([&response["status"]["message"]]).filter_map(Value::as_str) {
                let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || ['\u{202e}', '\u{200b}'].contains(c));
                assert_eq!(bad, None, "{text:?}");
            }
            assert!(body.len() < 64 << 10, "{} bytes", body.len());
        }
    }
    assert!(printed.contains("scale-up-stabilization"), "{printed}");
    assert!(!printed.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{200b}']), "{printed:?}");
    let log = installed.logs();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not a line of ours: {error}: {line:?}"));
        assert_ne!(event["message"], "forged-line");
        assert!(line.len() < 32 << 10, "{} bytes of log", line.len());
    }
    assert!(!log.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "the log is plain text");
}
