//! `certs` and `webhook`: a server that a client with the authority's certificate can ask, until SIGTERM.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use scalegate::admission::Phase;
use scalegate::admission::oracle;
use serde_json::Value;

use super::{GOOD, MISSPELT, at, deployment, folder, hpa};
use crate::support::{envelope, run, scalegate, value};

/// Ends the server when a test fails before it does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request over TLS; the HTTP status and the body.
fn post(address: &str, ca: &Path, path: &str, body: &str) -> (u16, Vec<u8>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    // A server may close without TLS's own goodbye; what it said before counts.
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

#[test]
fn certs_writes_a_key_that_only_its_owner_reads_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made/here");
    let arguments = ["certs", "--dir", made.to_str().unwrap(), "webhook.example"];
    let ran = run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mode = |name: &str| fs::metadata(made.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("tls.key"), 0o600);
    assert!(made.join("ca.crt").exists() && made.join("tls.crt").exists());
    assert!(!ran.stdout.contains("PRIVATE") && !fs::read_to_string(made.join("ca.crt")).unwrap().contains("PRIVATE"));
    let before = fs::read(made.join("tls.key")).unwrap();
    let again = run(&arguments);
    assert!(again.code == 2 && again.stderr.contains("--force"), "{}", again.stderr);
    assert_eq!(fs::read(made.join("tls.key")).unwrap(), before);
    // A key that was readable before is not when it is written again.
    fs::set_permissions(made.join("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&["certs", "--force", "--dir", made.to_str().unwrap()]).code, 0);
    assert_eq!(mode("tls.key"), 0o600);
    assert_ne!(fs::read(made.join("tls.key")).unwrap(), before);
}

#[test]
fn webhook_serves_over_a_saved_cluster_and_ends_on_sigterm() {
    let files =
        folder(&[("cluster.yaml", &deployment(GOOD, &[]).replace("name: llm\n", "name: llm\n  namespace: ml\n"))]);
    let certs = at(&files, "certs");
    assert_eq!(run(&["certs", "--dir", &certs]).code, 0);
    let (certificate, key) = (format!("{certs}/tls.crt"), format!("{certs}/tls.key"));
    let cluster = at(&files, "cluster.yaml");
    let child = scalegate(&[
        "webhook",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--cluster",
        &cluster,
        "--quiet-period",
        "0",
    ])
    .stderr(Stdio::piped())
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let mut server = Server(child);
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = log.find(|line| line.contains(" serving address=127.0.0.1:")).expect("the address is logged");
    let port: String = line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let address = format!("127.0.0.1:{port}");
    let ca = files.path().join("certs/ca.crt");

    let mut workload = value(&deployment(GOOD, &[]));
    workload["metadata"]["namespace"] = "ml".into();
    let (status, body) = post(&address, &ca, "/mutate", &envelope("u1", "CREATE", &workload, &Value::Null).to_string());
    let accepted = oracle::judge(Phase::Mutating, "u1", &workload, status, &body).unwrap();
    assert_eq!(accepted.patched.unwrap()["metadata"]["annotations"]["status.scalegate.dev/engine"], "vllm");

    let mut refused = value(&hpa(MISSPELT));
    refused["metadata"]["namespace"] = "ml".into();
    let (status, body) =
        post(&address, &ca, "/validate", &envelope("u2", "CREATE", &refused, &Value::Null).to_string());
    let accepted = oracle::judge(Phase::Validating, "u2", &refused, status, &body).unwrap();
    assert!(accepted.denial.unwrap().message("w").contains("[metric-exists]"));

    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    assert!(log.any(|line| line.contains("draining")));
    assert!(TcpStream::connect(&address).is_err(), "the port is closed");
}

#[test]
fn webhook_refuses_to_start_on_what_it_cannot_use() {
    let files = folder(&[("cluster.yaml", "kind: ClusterSnapshot\nversion: 9\n"), ("none.yaml", ""), ("bad.crt", "x")]);
    let certs = at(&files, "certs");
    assert_eq!(run(&["certs", "--dir", &certs]).code, 0);
    let (certificate, key) = (format!("{certs}/tls.crt"), format!("{certs}/tls.key"));
    let start = |certificate: &str, key: &str, cluster: &str| {
        let cluster = at(&files, cluster);
        let arguments = [
            "webhook",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
            "--cluster",
            &cluster,
        ];
        let ran = run(&arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    assert!(start(&certificate, &key, "cluster.yaml").contains("version 9"));
    assert!(start(&certificate, &key, "missing.yaml").contains("missing.yaml"));
    assert!(start(&at(&files, "bad.crt"), &key, "none.yaml").contains("bad.crt"));
    assert!(start(&certificate, &at(&files, "missing.key"), "none.yaml").contains("missing.key"));
}

#[test]
fn serve_takes_the_flags_of_both_commands_and_says_which_it_cannot_use() {
    let serve = |arguments: &[&str]| {
        let ran = scalegate(&[&["serve", "--admin-listen=127.0.0.1:0", "--listen=127.0.0.1:0"], arguments].concat())
            .env("KUBECONFIG", "/nonexistent")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    let secret = "--tls-secret=scalegate-tls";
    for (arguments, named) in [
        (&[][..], "--tls-cert"),
        (&[secret, "--tls-cert=a", "--tls-key=b"], "--tls-secret"),
        // There is nothing to write to in a saved picture.
        (&[secret, "--cluster=cluster.yaml"], "--cluster"),
        (&[secret, "--ca-validity=100d"], "--ca-validity"),
        (&[secret, "--renew-before=90d"], "--renew-before"),
        (&[secret, "--max-in-flight=0"], "--max-in-flight"),
        (&["--tls-cert=/nonexistent/a", "--tls-key=/nonexistent/b"], "/nonexistent/a"),
        // Everything else is in order.
        (
            &[secret, "--no-certificates", "--lease=l", "--port-name=p", "--fail-closed", "--quiet-period=1"],
            "KUBECONFIG",
        ),
    ] {
        let said = serve(arguments);
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

/// One request to the admin port; the status and the answer.
fn admin(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn webhook_waits_for_a_valid_configuration_follows_it_and_says_at_once_that_it_ends() {
    let files = folder(&[("cluster.yaml", ""), ("config.yaml", "kind: Configuration\n")]);
    let certs = at(&files, "certs");
    assert_eq!(run(&["certs", "--dir", &certs]).code, 0);
    let (certificate, key) = (format!("{certs}/tls.crt"), format!("{certs}/tls.key"));
    let (cluster, config) = (at(&files, "cluster.yaml"), at(&files, "config.yaml"));
    let arguments = [
        "webhook",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--cluster",
        &cluster,
        "--config",
        &config,
        "--config-poll",
        "20ms",
        "--quiet-period",
        "1h",
        "--log-format",
        "json",
    ];
    let child = scalegate(&arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut server = Server(child);
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut logged = |message: &str| -> Value {
        let lines = log.by_ref().map(|line| serde_json::from_str::<Value>(&line).expect("every line is JSON"));
        let mut lines = lines.filter(|line| line["message"] == message);
        lines.next().unwrap_or_else(|| panic!("{message} is logged"))
    };
    let port = logged("admin port open")["address"].as_str().unwrap().to_owned();
    assert_eq!(logged("configuration refused")["field"], "apiVersion");
    let (status, answer) = admin(&port, "/readyz");
    assert!(status == 503 && answer.contains("a valid configuration"), "{answer}");
    assert_eq!(admin(&port, "/healthz").0, 200);

    fs::write(&config, "apiVersion: scalegate.dev/v1alpha1\nkind: Configuration\n").unwrap();
    let address = logged("serving")["address"].as_str().unwrap().to_owned();
    while admin(&port, "/readyz").0 != 200 {}
    fs::write(&config, "nonsense: 1\n").unwrap();
    logged("configuration refused");
    let mut refused = value(&hpa(MISSPELT));
    refused["metadata"]["namespace"] = "ml".into();
    let ca = files.path().join("certs/ca.crt");
    let review = envelope("u", "CREATE", &refused, &Value::Null).to_string();
    assert_eq!(post(&address, &ca, "/validate", &review).0, 200);
    assert_eq!(logged("denied")["rule"], "metric-exists");
    let (_, metrics) = admin(&port, "/metrics");
    for line in [
        "scalegate_configuration_reloads_total{result=\"applied\"} 1.0\n",
        "scalegate_configuration_reloads_total{result=\"refused\"} 2.0\n",
        "scalegate_admission_findings_total{rule=\"metric-exists\",severity=\"deny\"} 1.0\n",
        "kind=\"HorizontalPodAutoscaler\",operation=\"CREATE\",decision=\"denied\"} 1.0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }

    let signal = |pid: u32| assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    signal(server.0.id());
    logged("draining; a second signal stops at once");
    while admin(&port, "/readyz").0 != 503 {}
    assert_eq!(post(&address, &ca, "/validate", &review).0, 200, "the quiet period serves");
    signal(server.0.id());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}
