//! The metrics APIs, asked through a real API server: what each answer of an adapter makes of an autoscaler.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::adapter::{self, Adapter, Mode};
use crate::harness::assets::{self, Binary};
use crate::harness::control_plane::{ControlPlane, Options};
use crate::harness::free_port;
use crate::harness::installation::{Installation, merge};
use crate::harness::process::{Ran, until};
use crate::harness::repository;

const PATIENCE: Duration = Duration::from_secs(60);

/// While the breaker is open, one trial is made every half minute, later more seldom.
const UNTIL_A_TRIAL: Duration = Duration::from_secs(180);

/// The metric that is known to exist.
const CONTROL: &str = "kubernetes.io|container|uptime";

/// Since when the pods of a settled target are Ready.
const LONG_AGO: &str = "2025-01-01T00:00:00Z";

const TARGETS: [&str; 5] = ["llm", "spare", "young", "scraped", "labelled"];

/// Everything that stands before the adapter comes. The tests take it one after the other, for there is one registration
/// of a metrics API in a cluster.
struct World {
    cluster: &'static ControlPlane,
    installed: Installation<'static>,
}

fn world() -> Option<MutexGuard<'static, World>> {
    static WORLD: OnceLock<Option<Mutex<World>>> = OnceLock::new();
    if !assets::have(&[Binary::Helm, Binary::Adapter]) {
        return None;
    }
    let start = || {
        let cluster: &ControlPlane = Box::leak(Box::new(ControlPlane::start(Options::default())?));
        let kinds = repository("tests/cluster/crds/monitoring.googleapis.com.yaml");
        cluster.kubectl(&["apply", "--server-side", "-f", kinds.to_str().unwrap()]).ok();
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
        // Before the webhook: a target that it sees become Ready is Ready since then, whatever its status says.
        for mode in [Mode::Stackdriver, Mode::PrometheusAdapter] {
            put_targets(cluster, mode.name());
        }
        let values = json!({"webhook": {"extraArgs": ["--config-poll=100ms"]}, "config": config(&json!({}))});
        Some(Mutex::new(World { cluster, installed: Installation::start(cluster, &values, 1) }))
    };
    Some(WORLD.get_or_init(start).as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A Configuration with more of `probes`; `null` takes a key away.
fn config(more: &Value) -> Value {
    // So patient that a busy machine does not turn an answer into none, and so eager that no test waits for a minute.
    let mut probes = json!({"look": "2s", "interval": "1s", "perMinute": 6000, "control": CONTROL});
    merge(&mut probes, more);
    probes.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({"probes": probes})
}

/// Servers whose pods are Ready for long, but one; a scrape object over one of them, and our label on another.
fn put_targets(cluster: &ControlPlane, namespace: &str) {
    let server = |name: &str| {
        let labels = if name == "labelled" { json!({"scalegate.dev/autoscale": "server-metrics"}) } else { json!({}) };
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{
                        "name": "server", "image": "vllm/vllm-openai:v0.11.0",
                        "args": ["--model=google/gemma-3-1b-it", "--port=8081", "--max-num-seqs=64"],
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }]},
                },
            },
        })
    };
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}),
        // The adapters look for pods before they look for metrics.
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "llm-0", "namespace": namespace, "labels": {"app": "llm"}},
            "spec": {"containers": [{"name": "server", "image": "vllm/vllm-openai:v0.11.0"}]},
        }),
        json!({
            "apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring",
            "metadata": {"name": "scraped", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "scraped"}},
                "endpoints": [{"port": 8081, "interval": "15s"}],
            },
        }),
    ];
    items.extend(TARGETS.map(server));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    cluster.kubectl_stdin(&["create", "-f", "-"], &list.to_string()).ok();
    let get = ["get", "deployment", "young", "-n", namespace, "-o", "jsonpath={.metadata.creationTimestamp}"];
    let now = cluster.kubectl(&get).ok();
    for target in TARGETS {
        let since = if target == "young" { now.as_str() } else { LONG_AGO };
        let condition = |kind: &str, reason: &str| {
            json!({
                "type": kind, "status": "True", "reason": reason, "lastTransitionTime": since, "lastUpdateTime": since,
            })
        };
        let status = json!({"status": {
            "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
            "conditions": [
                condition("Available", "MinimumReplicasAvailable"),
                condition("Progressing", "NewReplicaSetAvailable"),
            ],
        }});
        let status = status.to_string();
        let arguments = ["patch", "deployment", target, "-n", namespace, "--subresource=status", "--type=merge", "-p"];
        cluster.kubectl(&[&arguments[..], &[&status]].concat()).ok();
    }
}

impl World {
    fn configure(&self, probes: &Value) {
        self.installed.configure(&config(probes));
    }

    /// How often a metrics API was found to say that of a metric.
    fn results(&self, api: &str, presence: &str) -> f64 {
        let metrics = self.installed.replicas[0].metrics();
        metrics.sum("scalegate_probe_results_total", &[("api", api), ("presence", presence)])
    }

    fn breaker_is_open(&self) -> bool {
        let states = self.installed.replicas[0].metrics().series("scalegate_probe_breaker_open", &[]);
        assert_eq!(states.len(), 1, "{states:?}");
        states[0] > 0.5
    }

    fn assert_every_call_was_answered(&self) {
        let failed = self.cluster.metrics().failed_webhook_calls();
        assert!(failed < 0.5, "{failed} calls failed");
    }
}

/// A metric as an autoscaler names it.
fn pods(name: &str) -> Value {
    json!({"type": "Pods", "pods": {
        "metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "4"},
    }})
}

fn external(name: &str) -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "4"},
    }})
}

/// The names of a mode, as they are really written for its adapter.
struct Names {
    absent: &'static str,
    present: &'static str,
    /// Known to the adapter, which has no series of it.
    silent: &'static str,
    external_absent: &'static str,
    external_present: &'static str,
}

const STACKDRIVER: Names = Names {
    absent: "prometheus.googleapis.com|vllm:num_requests_running|gauge",
    present: "prometheus.googleapis.com|vllm:num_requests_waiting|gauge",
    silent: "custom.googleapis.com|team|silent",
    external_absent: "pubsub.googleapis.com|subscription|num_undelivered_messages",
    external_present: "prometheus.googleapis.com|vllm:num_requests_waiting|gauge",
};

/// External names arrive in lower case, whatever the autoscaler writes.
const PROMETHEUS: Names = Names {
    absent: "vllm:num_requests_running",
    present: "vllm_num_requests_waiting",
    silent: "team:silent",
    external_absent: "Team_Queue_Absent",
    external_present: "Team_Queue_Depth",
};

/// One adapter before one webhook.
struct Table<'a> {
    world: &'a World,
    mode: Mode,
    names: &'static Names,
}

impl<'a> Table<'a> {
    fn new(world: &'a World, mode: Mode) -> Self {
        let names = if mode == Mode::Stackdriver { &STACKDRIVER } else { &PROMETHEUS };
        world.configure(&json!({}));
        // What a test that failed left behind.
        for mode in [Mode::Stackdriver, Mode::PrometheusAdapter] {
            adapter::unregister(world.cluster, mode);
        }
        Self { world, mode, names }
    }

    /// What the adapter serves, with these names besides.
    fn metrics(&self, more: &[&str]) -> Value {
        let mut metrics = vec![
            json!({"name": CONTROL, "value": "1"}),
            json!({"name": self.names.present, "value": "4"}),
            json!({"name": self.names.silent}),
        ];
        metrics.extend(more.iter().map(|name| json!({"name": name, "value": "4"})));
        let external = |name: &str| json!({"name": name.to_lowercase(), "series": [{"value": "4"}]});
        json!({"metrics": metrics, "external": [external(CONTROL), external(self.names.external_present)]})
    }

    /// A name that nobody serves and that was never asked about: with it, a row begins cold.
    fn fresh(&self, row: &str) -> String {
        match self.mode {
            Mode::Stackdriver => format!("custom.googleapis.com|team|{row}"),
            Mode::PrometheusAdapter => format!("team:{row}"),
        }
    }

    fn hpa(&self, name: &str, target: &str, metrics: &[Value]) -> String {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": self.mode.name()},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": 1, "maxReplicas": 3, "metrics": metrics,
            },
        })
        .to_string()
    }

    fn create(&self, name: &str, target: &str, metrics: &[Value]) -> Ran {
        self.world.cluster.kubectl_stdin(&["create", "-f", "-"], &self.hpa(name, target, metrics))
    }

    /// As a CREATE, after which nobody has the autoscaler in view: the background does not ask for it.
    fn dry_run(&self, target: &str, metrics: &[Value]) -> Ran {
        let hpa = self.hpa("tried", target, metrics);
        self.world.cluster.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &hpa)
    }

    #[track_caller]
    fn refused(&self, row: &str, target: &str, metrics: &[Value]) -> String {
        let ran = self.create("tried", target, metrics);
        let said = ran.stderr.contains("admission webhook \"validate.scalegate.dev\" denied the request");
        assert!(said && ran.stderr.contains("[metric-exists]"), "{row}, {:?}: {}", self.mode, self.explain(&ran));
        assert!(ran.stderr.contains("does not serve"), "{row}, {:?}: {}", self.mode, ran.stderr);
        ran.stderr
    }

    #[track_caller]
    fn admitted(&self, row: &str, target: &str, metrics: &[Value]) {
        let ran = self.dry_run(target, metrics);
        assert_eq!(ran.code, 0, "{row}, {:?}: {}", self.mode, self.explain(&ran));
    }

    fn until_refused(&self, row: &str, target: &str, metrics: &[Value]) {
        let what = format!("{row}, {:?}: refused", self.mode);
        until(&what, PATIENCE, || self.dry_run(target, metrics).stderr.contains("does not serve").then_some(()));
    }

    fn until_admitted(&self, row: &str, target: &str, metrics: &[Value]) {
        let what = format!("{row}, {:?}: admitted", self.mode);
        until(&what, PATIENCE, || (self.dry_run(target, metrics).code == 0).then_some(()));
    }

    fn delete(&self, hpa: &str) {
        self.world.cluster.kubectl(&["delete", "hpa", hpa, "-n", self.mode.name()]).ok();
    }

    fn explain(&self, ran: &Ran) -> String {
        let log = self.world.installed.logs();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}{}\n{}", ran.stdout, ran.stderr, lines[lines.len().saturating_sub(10)..].join("\n"))
    }
}

/// Without an adapter, and with a registration that leads nowhere, nothing is proven; then the adapter comes.
fn arrive<'a>(table: &Table<'a>) -> Adapter<'a> {
    let cluster = table.world.cluster;
    table.admitted("no APIService", "llm", &[pods(&table.fresh("unregistered"))]);
    adapter::register(cluster, table.mode, free_port());
    wait_until_unavailable(cluster, table.mode);
    table.admitted("an APIService that is not available", "llm", &[pods(&table.fresh("unavailable"))]);
    let adapter = Adapter::start(cluster, table.mode, &table.metrics(&[]));
    adapter.register();
    // The webhook hears of it by a watch. From here on a CREATE is asked about.
    table.until_refused("a metric that nobody serves", "llm", &[pods(&table.fresh("arrived"))]);
    adapter
}

fn wait_until_unavailable(cluster: &ControlPlane, mode: Mode) {
    for service in adapter::api_services(mode) {
        let arguments = ["wait", "--for=condition=Available=False", "--timeout=60s", "apiservice", &service];
        cluster.kubectl(&arguments).ok();
    }
}

/// Each row while nobody has asked about its metric before.
fn cold(table: &Table<'_>, adapter: &Adapter<'_>) {
    let Names { absent, present, silent, external_absent, external_present } = *table.names;
    let said = table.refused("a metric that nobody serves", "llm", &[pods(absent)]);
    assert!(said.contains(absent) && said.contains("Deployment llm") && said.contains("exist first"), "{said}");
    table.admitted("a metric with values", "llm", &[pods(present)]);
    table.admitted("a metric that is known and has no series", "llm", &[pods(silent)]);
    table.admitted("pods that just started", "young", &[pods(&table.fresh("young"))]);
    table.admitted("a target that is not there", "nobody", &[pods(absent)]);
    let said = table.refused("one of several", "llm", &[pods(present), pods(&table.fresh("several")), pods(silent)]);
    let metric = table.fresh("several");
    assert!(said.contains(&metric) && said.contains("spec.metrics[1]") && !said.contains(silent), "{said}");
    let said = table.refused("an External metric that nobody serves", "llm", &[external(external_absent)]);
    assert!(said.contains(external_absent) && said.contains("external metrics API"), "{said}");
    table.admitted("an External metric with values", "llm", &[external(external_present)]);
    if table.mode == Mode::Stackdriver {
        table.admitted("a metric that a PodMonitoring is about to make", "scraped", &[pods(absent)]);
        table.admitted("a metric that our label is about to make", "labelled", &[pods(absent)]);
    } else {
        table.refused("a scrape object without an adapter rule", "scraped", &[pods(absent)]);
    }
    let faults = [
        "broken 403 metrics",
        "broken 429 metrics",
        "broken 500 metrics",
        "broken 503 metrics",
        "hang metrics",
        "slow 20000 metrics",
        "backend-down",
        "empty metrics",
    ];
    for fault in faults {
        let metric = [pods(&table.fresh(&fault.replace(' ', "-")))];
        adapter.fail(fault);
        table.admitted(fault, "llm", &metric);
        assert!(!table.world.breaker_is_open(), "{fault}: one failure between honest answers");
        adapter.fail("");
        // A known metric without series has a descriptor, so that it stays known for a while.
        if fault != "empty metrics" || table.mode == Mode::PrometheusAdapter {
            table.until_refused(&format!("{fault}, healed"), "llm", &metric);
        }
    }
    if table.mode == Mode::PrometheusAdapter {
        adapter.fail("empty discovery");
        let mut tried = 0;
        // A list that was read a moment ago still counts, so each try takes a name of its own.
        until("an empty list proves nothing", PATIENCE, || {
            tried += 1;
            (table.dry_run("llm", &[pods(&table.fresh(&format!("unlisted-{tried}")))]).code == 0).then_some(())
        });
        adapter.fail("");
        table.until_refused("the list is back", "llm", &[pods(&table.fresh("listed"))]);
    }
    table.world.configure(&json!({"control": null}));
    let metric = [pods(&table.fresh("uncontrolled"))];
    if table.mode == Mode::Stackdriver {
        table.admitted("no control metric to compare with", "llm", &metric);
    } else {
        table.refused("a list to compare with", "llm", &metric);
    }
    table.world.configure(&json!({"control": "kubernetes.io|container|restart_count"}));
    let metric = [pods(&table.fresh("uncontrollable"))];
    if table.mode == Mode::Stackdriver {
        table.admitted("a control metric that nobody serves either", "llm", &metric);
    } else {
        table.refused("a list to compare with", "llm", &metric);
    }
    table.world.configure(&json!({}));
}

/// Rows that the background asked about before; no admission asks anything.
fn warm(table: &Table<'_>, adapter: &Adapter<'_>) {
    let world = table.world;
    let Names { present, silent, .. } = *table.names;
    let external_absent = table.fresh("warm-external");
    world.configure(&json!({"look": "0s"}));
    let missing = table.fresh("warm");
    table.admitted("nobody asked yet", "spare", &[pods(&missing)]);
    let (absent, was_present) = (world.results("custom", "absent"), world.results("custom", "present"));
    let outside = world.results("external", "absent");
    table.create("watched", "llm", &[pods(&missing), pods(present), pods(silent), external(&external_absent)]).ok();
    until("the background asked", PATIENCE, || {
        let more = world.results("custom", "absent") > absent && world.results("custom", "present") > was_present + 1.5;
        (more && world.results("external", "absent") > outside).then_some(())
    });
    table.until_refused("a metric that nobody serves, warm", "spare", &[pods(&missing)]);
    table.refused("a metric that nobody serves, warm", "spare", &[pods(&missing)]);
    table.refused("an External metric that nobody serves, warm", "spare", &[external(&external_absent)]);
    table.admitted("a metric with values, warm", "spare", &[pods(present)]);
    table.admitted("a metric that is known and has no series, warm", "spare", &[pods(silent)]);
    table.admitted("pods that just started, warm", "young", &[pods(&missing)]);
    // Whoever was admitted is not refused for what an update does not make worse.
    let (cluster, namespace) = (world.cluster, table.mode.name());
    cluster.kubectl(&["label", "hpa", "watched", "-n", namespace, "team=ml"]).ok();
    cluster
        .kubectl(&["patch", "hpa", "watched", "-n", namespace, "--type=merge", "-p", r#"{"spec":{"maxReplicas":4}}"#])
        .ok();
    // An adapter that is away for a moment has not lost its metrics, nor found any.
    let unknown = world.results("custom", "unknown");
    adapter.fail("broken 403 metrics");
    until("the background is refused", PATIENCE, || (world.results("custom", "unknown") > unknown).then_some(()));
    table.refused("known to be missing, and the adapter broken since", "spare", &[pods(&missing)]);
    table.admitted("known to be there, and the adapter broken since", "spare", &[pods(present)]);
    adapter.fail("");
    adapter.serve(&table.metrics(&[&missing]));
    table.until_admitted("a metric that came", "spare", &[pods(&missing)]);
    adapter.serve(&table.metrics(&[]));
    table.until_refused("a metric that went", "spare", &[pods(&missing)]);
    table.delete("watched");
    world.configure(&json!({}));
}

/// An adapter that fails three looks in a row is not looked at any more, and the background notices when it is well.
fn breaker(table: &Table<'_>, adapter: &Adapter<'_>, fault: &str) {
    let world = table.world;
    adapter.fail(fault);
    for row in ["first", "second", "third"] {
        assert!(!world.breaker_is_open(), "{fault}: before the {row} failure");
        table.admitted(fault, "llm", &[pods(&table.fresh(row))]);
    }
    assert!(world.breaker_is_open(), "{fault}");
    let later = [pods(&table.fresh("later"))];
    let unknown = world.results("custom", "unknown");
    table.create("later", "llm", &later).ok();
    until("the background tried", PATIENCE, || (world.results("custom", "unknown") > unknown).then_some(()));
    assert!(world.breaker_is_open(), "{fault}");
    let absent = world.results("custom", "absent");
    adapter.fail("");
    until("the background has an answer", PATIENCE, || (world.results("custom", "absent") > absent).then_some(()));
    table.until_refused("the background's later answer", "spare", &later);
    until("the breaker closes", UNTIL_A_TRIAL, || (!world.breaker_is_open()).then_some(()));
    table.refused("a healed adapter", "spare", &[pods(&table.fresh("healed"))]);
    table.delete("later");
}

/// The adapter dies, and then its registration goes.
fn leave(table: &Table<'_>, mut adapter: Adapter<'_>) {
    let cluster = table.world.cluster;
    adapter.kill();
    table.admitted("an adapter that died", "llm", &[pods(&table.fresh("died"))]);
    wait_until_unavailable(cluster, table.mode);
    table.admitted("an APIService that is not available any more", "llm", &[pods(&table.fresh("dead"))]);
    adapter::unregister(cluster, table.mode);
    table.admitted("no APIService any more", "llm", &[pods(&table.fresh("buried"))]);
}

/// All of it in one mode. It is long because a registration is.
fn judge(mode: Mode, fault: &str) {
    let Some(world) = world() else { return };
    let table = Table::new(&world, mode);
    let adapter = arrive(&table);
    cold(&table, &adapter);
    warm(&table, &adapter);
    breaker(&table, &adapter, fault);
    leave(&table, adapter);
    world.assert_every_call_was_answered();
}

#[test]
fn each_row_has_its_verdict_before_the_stackdriver_adapter() {
    judge(Mode::Stackdriver, "hang metrics");
}

#[test]
fn each_row_has_its_verdict_before_prometheus_adapter() {
    judge(Mode::PrometheusAdapter, "broken 503 metrics");
}
