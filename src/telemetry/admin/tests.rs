use super::*;
use crate::admission::counters::{Outcome, Subject};
use crate::admission::{Counters, Decide, FindingCounts, Limits, Request, Verdict, router_counting};
use crate::telemetry::openmetrics::{FamilyRead, parse};
use crate::telemetry::prometheus::{Family, row};
use crate::tls::tests::{Server, patient};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Port {
    address: SocketAddr,
    ending: CancellationToken,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

async fn port() -> Port {
    let (ending, stop) = (CancellationToken::new(), CancellationToken::new());
    let (readiness, metrics) = (Readiness::new(ending.clone()), Metrics::new());
    readiness.require(Vec::new);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopped = stop.clone();
    let router = router(readiness, Arc::clone(&metrics));
    let task = tokio::spawn(async move { serve(listener, router, stopped.cancelled_owned()).await });
    Port { address, ending, stop, metrics, task }
}

async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asking).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
}

fn families(metrics: &Metrics) -> BTreeMap<String, FamilyRead> {
    let text = metrics.text().unwrap();
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[tokio::test]
async fn it_answers_the_three_questions_and_nothing_else() {
    let port = port().await;
    assert!(get(port.address, "/healthz").await.1.ends_with("\r\n\r\nok\n"));
    assert_eq!(get(port.address, "/readyz").await.0, 200);
    let (status, answer) = get(port.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    parse(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    for path in
        ["/", "/debug/pprof/", "/mutate", "/validate", "/config", "/metrics/", "/readyz/caches", "/..%2fhealthz"]
    {
        let (status, answer) = get(port.address, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(answer.ends_with("\r\n\r\n"), "{path}: no body");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let request = format!("{method} /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(ask(port.address, &request).await.0, 405, "{method}");
    }
    assert_eq!(ask(port.address, "nonsense\r\n\r\n").await.0, 400);
}

#[tokio::test]
async fn once_the_process_ends_it_is_alive_and_not_ready_until_the_port_closes() {
    let port = port().await;
    port.ending.cancel();
    let (status, answer) = get(port.address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(answer.ends_with("waiting for:\nthe process is ending\n"), "{answer}");
    assert_eq!(get(port.address, "/healthz").await.0, 200);
    port.stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), port.task).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn every_metric_reads_as_openmetrics_with_its_type_unit_and_labels() {
    let port = port().await;
    let (counters, findings) = (Arc::new(Counters::default()), Arc::new(FindingCounts::default()));
    let connections = Arc::new(ConnectionCounters::default());
    port.metrics.admission(&counters, &findings);
    port.metrics.panics(&counters, &connections);
    port.metrics.connections(&connections);
    let expiry = Family { name: "certificate_not_after", help: "When", labels: &[], seconds: true };
    port.metrics.gauges(expiry, || vec![row(&[], 1_800_000_000)]);
    let odd = Family { name: "odd", help: "Odd", labels: &["text"], seconds: false };
    port.metrics.gauges(odd, || vec![row(&["a\"b\\c\nd"], 1)]);
    counters.requests.increment(Subject::UNREAD, Outcome::Shed);
    counters.panics.increment();
    connections.panics.fetch_add(2, Ordering::Relaxed);
    connections.open.fetch_add(1, Ordering::Relaxed);
    for milliseconds in [1, 3, 20_000] {
        counters.durations.observe(Duration::from_millis(milliseconds));
    }

    let families = families(&port.metrics);
    let shown: Vec<(&str, &str, Option<&str>)> =
        families.iter().map(|(name, family)| (name.as_str(), family.of.as_str(), family.unit.as_deref())).collect();
    assert_eq!(
        shown,
        [
            ("scalegate_admission_duration_seconds", "histogram", Some("seconds")),
            ("scalegate_admission_findings", "counter", None),
            ("scalegate_admission_panics", "counter", None),
            ("scalegate_admission_patches_withheld", "counter", None),
            ("scalegate_admission_requests", "counter", None),
            ("scalegate_admission_warnings_shortened", "counter", None),
            ("scalegate_build", "info", None),
            ("scalegate_certificate_not_after_seconds", "gauge", Some("seconds")),
            ("scalegate_connection_failures", "counter", None),
            ("scalegate_connections_accepted", "counter", None),
            ("scalegate_connections_open", "gauge", None),
            ("scalegate_odd", "gauge", None),
        ]
    );
    let requests = &families["scalegate_admission_requests"];
    let shed = [("kind", "unread"), ("operation", "unread"), ("decision", "shed")];
    assert_eq!(requests.value(&shed), Some(1.0));
    let denied = [("kind", "HorizontalPodAutoscaler"), ("operation", "CREATE"), ("decision", "denied")];
    assert_eq!(requests.value(&denied), Some(0.0));
    assert_eq!(families["scalegate_admission_panics"].value(&[]), Some(3.0));
    assert_eq!(families["scalegate_build"].value(&[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(families["scalegate_odd"].value(&[("text", "a\"b\\c\nd")]), Some(1.0));
    let duration = &families["scalegate_admission_duration_seconds"];
    let bucket = |le: &str| duration.value(&[("le", le)]);
    assert_eq!(
        (bucket("0.001"), bucket("0.005"), bucket("10.0"), bucket("+Inf")),
        (Some(1.0), Some(2.0), Some(2.0), Some(3.0))
    );
    assert!((duration.samples[0].value - 20.004).abs() < 1e-9);
}

/// Breaks where the first character of a name is no ASCII, as a rule with a bug could.
struct Breaking;

impl Decide for Breaking {
    fn mutate(&self, request: &Request<'_>) -> Verdict {
        self.validate(request)
    }

    fn validate(&self, request: &Request<'_>) -> Verdict {
        assert!(request.name.is_ascii(), "a rule that panics, on purpose");
        Verdict::silent()
    }
}

#[tokio::test]
async fn a_panic_in_a_rule_is_one_500_and_one_count_and_the_next_request_is_served() {
    let metrics = Metrics::new();
    let (counters, connections) = (Arc::new(Counters::default()), Arc::new(ConnectionCounters::default()));
    metrics.admission(&counters, &Arc::default());
    metrics.panics(&counters, &connections);
    let router = router_counting(Arc::new(Breaking), Limits::default(), counters);
    let settings = ServeSettings { counters: connections, ..patient() };
    let server = Server::start(router, settings).await;
    let mut client = server.client().await;
    let review = |name: &str| {
        let kind = json!({"group": "autoscaling", "version": "v2", "kind": "HorizontalPodAutoscaler"});
        let request = json!({"uid": "u", "kind": kind, "name": name, "operation": "UPDATE", "object": {}});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        review.to_string()
    };
    let mut statuses = Vec::new();
    for name in ["fine", "é", "fine"] {
        statuses.push(client.post("/validate?timeout=10s", review(name).as_bytes()).await.status);
    }
    assert_eq!(statuses, [200, 500, 200]);
    let families = families(&metrics);
    assert_eq!(families["scalegate_admission_panics"].value(&[]), Some(1.0));
    let requests = |decision| {
        let labels = [("kind", "HorizontalPodAutoscaler"), ("operation", "UPDATE"), ("decision", decision)];
        families["scalegate_admission_requests"].value(&labels)
    };
    assert_eq!((requests("allowed"), requests("failed")), (Some(2.0), Some(1.0)));
}
