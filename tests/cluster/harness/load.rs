//! A steady load of server-side dry-run writes, each of which both webhooks or one of them must answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::control_plane::ControlPlane;
use super::{block_on, runtime};

/// Each has at most one request in flight, and so at most one webhook call.
pub const WORKERS: u32 = 8;

/// What is asked for. A machine that is busy with other things gives less.
const PER_SECOND: u32 = 80;

/// How many unexpected answers are kept for messages.
const KEPT: usize = 10;

/// The annotation that our mutating webhook writes.
const ENGINE: &str = "status.scalegate.dev/engine";

/// Writers that go on until they are stopped.
pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    expected: [AtomicU64; 3],
    unexpected: AtomicU64,
    kept: Mutex<Vec<String>>,
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: u64,
    /// Workloads that came back with our annotations.
    pub annotated: u64,
    /// Good autoscalers that were let through.
    pub admitted: u64,
    /// Bad autoscalers that were refused by our validating webhook.
    pub refused: u64,
    pub unexpected: u64,
    /// The first of the unexpected ones.
    pub kept: Vec<String>,
    pub seconds: f64,
}

/// What an answer has to show. An admission that failed open shows as a workload without annotations, or a bad
/// autoscaler that went through.
#[derive(Clone, Copy)]
enum Expected {
    Annotated,
    Admitted,
    Refused,
}

struct Write {
    verb: &'static str,
    path: String,
    body: Value,
    expected: Expected,
}

impl Load {
    /// Begins in a namespace of its own.
    pub fn start(cluster: &ControlPlane) -> Self {
        let namespace = cluster.namespace("load");
        let stored = json!({"apiVersion": "v1", "kind": "List", "items": [
            workload("stored", true), workload("target", false), autoscaler("stored", GOOD),
        ]});
        cluster.kubectl_stdin(&["apply", "-n", &namespace, "-f", "-"], &stored.to_string()).ok();
        let counts = Arc::<Counts>::default();
        let stop = Arc::<AtomicBool>::default();
        let workers = (0..WORKERS).map(|worker| {
            let work = work(cluster.client(), writes(&namespace), worker, Arc::clone(&counts), Arc::clone(&stop));
            runtime().spawn(work)
        });
        Self { began: Instant::now(), workers: workers.collect(), stop, counts }
    }

    /// How many writes were answered so far.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Waits for the answers in flight, and says what came.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            block_on(worker).expect("a worker does not panic");
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { sent, expected: [annotated, admitted, refused], unexpected, kept } = &*self.counts;
        Tally {
            sent: count(sent),
            annotated: count(annotated),
            admitted: count(admitted),
            refused: count(refused),
            unexpected: count(unexpected),
            kept: kept.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}

impl std::fmt::Display for Tally {
    #[allow(clippy::cast_precision_loss, reason = "a count of minutes")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, annotated, admitted, refused, unexpected, kept, seconds } = self;
        write!(f, "{sent} writes in {seconds:.0} s, {:.0} a second: ", *sent as f64 / seconds)?;
        write!(f, "{annotated} annotated, {admitted} admitted, {refused} refused, {unexpected} unexpected {kept:?}")
    }
}

async fn work(client: Client, writes: Vec<Write>, first: u32, counts: Arc<Counts>, stop: Arc<AtomicBool>) {
    let each = Duration::from_secs(1) * WORKERS / PER_SECOND;
    let mut ticks = interval(each);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for write in writes.iter().cycle().skip(usize::try_from(first).expect("few")) {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let request = http::Request::builder().method(write.verb).uri(&write.path);
        let request = request.header("Content-Type", "application/json");
        let request = request.body(write.body.to_string().into_bytes()).expect("a path");
        let answer = client.request::<Value>(request).await;
        let (which, as_expected) = match (write.expected, &answer) {
            (Expected::Annotated, Ok(object)) => (0, object["metadata"]["annotations"][ENGINE] == "vllm"),
            (Expected::Admitted, Ok(_)) => (1, true),
            (Expected::Refused, Err(kube::Error::Api(status))) => {
                (2, status.message.contains("validate.scalegate.dev") && status.message.contains("metric-unit"))
            }
            _ => (0, false),
        };
        counts.sent.fetch_add(1, Ordering::Relaxed);
        if as_expected {
            counts.expected[which].fetch_add(1, Ordering::Relaxed);
            continue;
        }
        counts.unexpected.fetch_add(1, Ordering::Relaxed);
        let mut kept = counts.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            let came = match &answer {
                Ok(_) => "it went through untouched".to_owned(),
                Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
                Err(error) => error.to_string(),
            };
            kept.push(format!("{} {}: {came}", write.verb, write.path));
        }
    }
}

/// One round: creates and updates, workloads and autoscalers, the good and the bad.
fn writes(namespace: &str) -> Vec<Write> {
    let workloads = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let autoscalers = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
    let write = |verb, path: &str, body, expected| {
        let body: Value = body;
        let name = if verb == "PUT" { "/stored" } else { "" };
        Write { verb, path: format!("{path}{name}?dryRun=All"), body, expected }
    };
    let mut changed = workload("stored", true);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("vllm/vllm-openai:v0.11.1");
    let mut wider = autoscaler("stored", GOOD);
    wider["spec"]["maxReplicas"] = json!(6);
    vec![
        write("POST", &workloads, workload("created", true), Expected::Annotated),
        write("PUT", &workloads, changed, Expected::Annotated),
        write("POST", &autoscalers, autoscaler("created", BAD), Expected::Refused),
        write("PUT", &autoscalers, wider, Expected::Admitted),
        write("PUT", &autoscalers, autoscaler("stored", BAD), Expected::Refused),
    ]
}

/// Metric and target: one that can be reached, and a share of one that is to be 80.
const GOOD: (&str, &str) = ("prometheus.googleapis.com|vllm:num_requests_running|gauge", "4");
const BAD: (&str, &str) = ("prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge", "80");

fn workload(name: &str, labelled: bool) -> Value {
    let labels = if labelled { json!({"scalegate.dev/autoscale": "server-metrics"}) } else { json!({}) };
    let annotations = if labelled { json!({"scalegate.dev/generate": "false"}) } else { json!({}) };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        // Where a controller runs, autoscalers of these names would else be its own.
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "vllm", "image": "vllm/vllm-openai:v0.11.0",
                    "args": ["--model=google/gemma-3-1b-it", "--port=8000"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
}

fn autoscaler(name: &str, (metric, target): (&str, &str)) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "target"},
            "minReplicas": 1, "maxReplicas": 4,
            "metrics": [{
                "type": "Pods",
                "pods": {"metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": target}},
            }],
        },
    })
}
