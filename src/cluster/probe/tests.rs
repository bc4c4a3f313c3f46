//! Against a metrics API of our own on loopback, which speaks as the adapters do.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};

use super::*;
use crate::admission::service::Service;
use crate::admission::{Decide, Review, Verdict};
use crate::policy::configuration::Configuration;
use crate::policy::objects::Object;
use crate::policy::presence::encode;
use crate::policy::view::ClusterView;

const RUNNING: &str = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
const CONTROL: &str = "prometheus.googleapis.com|up|gauge";
/// 2026-01-31T14:20:00Z.
const NOW: i64 = 1_769_869_200;

/// How the metrics API behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Serves and lists these.
    Lists(&'static [&'static str]),
    /// Has descriptors for these, lists one dummy.
    Descriptors(&'static [&'static str]),
    Hangs,
    Unavailable,
    Forbidden,
    Garbage,
    /// Lists these, and has lost the Prometheus behind it: it refuses what it does not list without asking.
    Stale(&'static [&'static str]),
    /// As `Lists` of nothing, with a list of 17 MiB.
    LongList,
}

struct Api {
    mode: Mutex<Mode>,
    asked: Mutex<Vec<String>>,
}

impl Api {
    fn count(&self) -> usize {
        lock(&self.asked).len()
    }

    fn turn(&self, mode: Mode) {
        *lock(&self.mode) = mode;
    }

    async fn answer(&self, path: &str) -> Response {
        lock(&self.asked).push(path.to_owned());
        let mode = *lock(&self.mode);
        let is_list = !path.contains("/namespaces/");
        let named = |names: &[&str]| names.iter().any(|name| path.ends_with(&format!("/{}", encode(name))));
        let values = || json!({ "kind": "MetricValueList", "items": [{ "value": "4" }] });
        let list = |names: &[&str]| {
            let resources: Vec<Value> = names.iter().map(|name| json!({ "name": format!("pods/{name}") })).collect();
            json!({ "kind": "APIResourceList", "resources": resources })
        };
        match mode {
            Mode::Lists(names) | Mode::Stale(names) if is_list => ok(&list(names)),
            Mode::Stale(names) if named(names) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Mode::Descriptors(_) if is_list => ok(&list(&["dummy"])),
            Mode::Lists(names) | Mode::Descriptors(names) if named(names) => ok(&values()),
            Mode::LongList if is_list => {
                let name = format!(r#"{{"name":"pods/{}"}},"#, "x".repeat(1 << 20));
                let head =
                    stream::iter([Ok::<_, std::io::Error>(r#"{"kind":"APIResourceList","resources":["#.to_owned())]);
                let items = stream::iter((0..17).map(move |_| Ok(name.clone())));
                let tail = stream::iter([Ok(r#"{"name":"pods/y"}]}"#.to_owned())]);
                let body = futures::StreamExt::chain(futures::StreamExt::chain(head, items), tail);
                Response::new(Body::from_stream(body))
            }
            Mode::Lists(_) | Mode::Stale(_) | Mode::Descriptors(_) | Mode::LongList => {
                refusal(StatusCode::NOT_FOUND, "NotFound")
            }
            Mode::Hangs => std::future::pending().await,
            Mode::Unavailable => refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Mode::Forbidden => refusal(StatusCode::FORBIDDEN, "Forbidden"),
            Mode::Garbage => "<html>welcome</html>".into_response(),
        }
    }
}

fn ok(value: &Value) -> Response {
    value.to_string().into_response()
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let body = json!({ "kind": "Status", "status": "Failure", "reason": reason, "code": status.as_u16() });
    (status, body.to_string()).into_response()
}

struct World {
    api: Arc<Api>,
    state: Arc<State>,
    prober: Arc<Prober>,
}

fn api_service(adapter: &str) -> Value {
    json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1beta2.custom.metrics.k8s.io" },
        "spec": { "group": "custom.metrics.k8s.io", "version": "v1beta2",
                  "service": { "namespace": "monitoring", "name": adapter } },
        "status": { "conditions": [{ "type": "Available", "status": "True", "reason": "Passed" }] } })
}

fn deployment(since: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "llm", "namespace": "ml", "generation": 1 },
        "spec": { "selector": { "matchLabels": { "app": "llm" } }, "template": {
            "metadata": { "labels": { "app": "llm" } },
            "spec": { "containers": [{ "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model=x"],
                "resources": { "limits": { "nvidia.com/gpu": "1" } } }] } } },
        "status": { "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "observedGeneration": 1, "conditions": [
            { "type": "Available", "status": "True", "lastTransitionTime": since },
            { "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
              "lastTransitionTime": since, "lastUpdateTime": since }] } })
}

fn hpa(metrics: &[&str]) -> Value {
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|name| {
            json!({ "type": "Pods", "pods": { "metric": { "name": name },
                "target": { "type": "AverageValue", "averageValue": "4" } } })
        })
        .collect();
    json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "llm", "namespace": "ml" },
        "spec": { "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "llm" },
                  "maxReplicas": 3, "metrics": metrics } })
}

const SETTLED: &str = "2026-01-31T14:00:00Z";
const YOUNG: &str = "2026-01-31T14:10:00Z";

/// The adapter that a mode is of.
fn adapter(mode: Mode) -> &'static str {
    if matches!(mode, Mode::Descriptors(_)) { "custom-metrics-stackdriver-adapter" } else { "prometheus-adapter" }
}

async fn world(mode: Mode, since: &str, more: &[Value], configuration: Configuration) -> World {
    let api = Arc::new(Api { mode: Mutex::new(mode), asked: Mutex::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::clone(&api);
    let router = Router::new().fallback(move |uri: Uri| {
        let api = Arc::clone(&served);
        async move { api.answer(uri.path()).await }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut view = ClusterView::default();
    view.now = NOW;
    for value in [api_service(adapter(mode)), deployment(since)].iter().chain(more) {
        let (of, object) = Object::from_value(value).unwrap();
        view.apply(&of, object);
    }
    let state = State::new(view, configuration);
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let prober = Arc::new(Prober::new(client, Arc::clone(&state), Handle::current()));
    World { api, state, prober }
}

fn configuration() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.probes.control = Some(CONTROL.to_owned());
    // Long enough that a busy machine does not turn an answer into a timeout.
    configuration.probes.look_milliseconds = 2000;
    configuration
}

impl World {
    fn known(&self) -> Vec<(String, MetricPresence)> {
        let of = |view: &ClusterView| {
            view.metrics.iter().map(|(key, observed)| (key.name.clone(), observed.presence)).collect()
        };
        self.state.read(|view, _| of(view))
    }

    fn wanted(&self, hpa: &Value) -> Vec<Wanted> {
        use crate::policy::facts::{Context, HpaFacts, Stage};
        let (of, object) = Object::from_value(hpa).unwrap();
        let Object::Hpa(hpa) = object else { panic!("an HPA") };
        self.state.read(|view, configuration| {
            let context = Context { view, configuration, stage: Stage::Admission, update: false };
            crate::policy::presence::wanted(&HpaFacts::new(&of, &hpa, None, &context), &context)
        })
    }

    async fn look(&self, name: &str, milliseconds: u64) -> Vec<MetricPresence> {
        let (prober, wanted) = (Arc::clone(&self.prober), self.wanted(&hpa(&[name])));
        let look = move || {
            let until = std::time::Instant::now() + Duration::from_millis(milliseconds);
            prober.look(&wanted, until)
        };
        let answers = tokio::task::spawn_blocking(look).await.unwrap();
        answers.into_iter().map(|(_, observed)| observed.presence).collect()
    }

    /// What the webhook says to a CREATE: whether it is denied, with the message.
    async fn create(&self, hpa: &Value) -> Option<String> {
        let service = Service::new(Arc::clone(&self.state)).with_look(Arc::clone(&self.prober) as Arc<dyn Look>);
        let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": { "group": "autoscaling", "version": "v2", "kind": "HorizontalPodAutoscaler" },
            "name": "llm", "namespace": "ml", "operation": "CREATE", "object": hpa } })
        .to_string();
        let judge = move || service.validate(&Review::parse(body.as_bytes()).unwrap());
        match tokio::task::spawn_blocking(judge).await.unwrap() {
            Verdict::Deny { message, .. } => Some(message),
            Verdict::Allow { .. } => None,
        }
    }
}

#[tokio::test]
async fn cold_an_autoscaler_on_a_metric_that_nobody_serves_is_refused_on_its_first_create() {
    for mode in [Mode::Lists(&["other"]), Mode::Descriptors(&[CONTROL])] {
        let world = world(mode, SETTLED, &[], configuration()).await;
        let message = world.create(&hpa(&[RUNNING])).await.unwrap_or_else(|| panic!("{mode:?} admits it"));
        assert!(
            message.contains("does not serve")
                && message.contains("has to exist first") | message.contains("have to exist first"),
            "{message}"
        );
        assert_eq!(world.known(), [(RUNNING.to_owned(), MetricPresence::Absent)]);
        // The metric, and what it is compared with: the control, or the list and a metric on it.
        let requests = if matches!(mode, Mode::Lists(_)) { 3 } else { 2 };
        assert_eq!(world.api.count(), requests, "{mode:?}");
        world.create(&hpa(&[RUNNING])).await.expect("refused again");
        assert_eq!(world.api.count(), requests, "from the cache");
    }
}

#[tokio::test]
async fn what_proves_nothing_admits() {
    let unset = || {
        let mut configuration = configuration();
        configuration.probes.control = None;
        configuration
    };
    for (what, mode, since, configuration, looks) in [
        ("served", Mode::Lists(&[RUNNING]), SETTLED, configuration(), true),
        ("served by Stackdriver", Mode::Descriptors(&[RUNNING]), SETTLED, configuration(), true),
        ("the pods just started", Mode::Lists(&["other"]), YOUNG, configuration(), false),
        ("the pods just started, Stackdriver", Mode::Descriptors(&[CONTROL]), YOUNG, configuration(), false),
        ("no control", Mode::Descriptors(&[CONTROL]), SETTLED, unset(), true),
        ("the control is missing too", Mode::Descriptors(&[]), SETTLED, configuration(), true),
        ("an empty list", Mode::Lists(&[]), SETTLED, configuration(), true),
        ("the list of an adapter without its Prometheus", Mode::Stale(&["other"]), SETTLED, configuration(), true),
        ("503", Mode::Unavailable, SETTLED, configuration(), true),
        ("403", Mode::Forbidden, SETTLED, configuration(), true),
        ("garbage", Mode::Garbage, SETTLED, configuration(), true),
        ("a list of 17 MiB", Mode::LongList, SETTLED, configuration(), true),
    ] {
        let world = world(mode, since, &[], configuration).await;
        assert_eq!(world.create(&hpa(&[RUNNING])).await, None, "{what}");
        assert_eq!(world.api.count() > 0, looks, "{what}");
    }
}

#[tokio::test]
async fn warm_the_background_asks_what_autoscalers_in_view_name_and_tells_followers_of_changes_only() {
    for (mode, absent) in [
        (Mode::Lists(&["served"]), MetricPresence::Absent),
        (Mode::Descriptors(&[CONTROL, "served"]), MetricPresence::Absent),
        (Mode::Descriptors(&["served"]), MetricPresence::Unknown),
        (Mode::Lists(&[]), MetricPresence::Unknown),
    ] {
        let world = world(mode, SETTLED, &[hpa(&["missing", "served"])], configuration()).await;
        background::round(&world.prober.shared).await;
        let served = if mode == Mode::Lists(&[]) { MetricPresence::Unknown } else { MetricPresence::Present };
        assert_eq!(world.known(), [("missing".to_owned(), absent), ("served".to_owned(), served)], "{mode:?}");
        let (changes, asked) = (world.state.changes(), world.api.count());
        background::round(&world.prober.shared).await;
        assert_eq!(world.api.count(), asked, "nothing is due yet");
        lock(&world.prober.shared.asked).clear();
        world.state.set_now(NOW + 60);
        background::round(&world.prober.shared).await;
        assert!(world.api.count() > asked, "asked again");
        assert!(!changes.has_changed().unwrap(), "nobody is woken for an age");
        let ages: Vec<i64> = world.state.read(|view, _| view.metrics.values().map(|one| one.observed_at).collect());
        assert_eq!(ages, [NOW + 60, NOW + 60], "{mode:?}");
    }
}

#[tokio::test]
async fn answers_are_counted_and_dropped_when_nobody_asks_any_more() {
    let autoscaler = hpa(&["missing"]);
    let world = world(Mode::Lists(&["served"]), SETTLED, std::slice::from_ref(&autoscaler), configuration()).await;
    background::round(&world.prober.shared).await;
    assert_eq!(world.prober.results(), [(MetricApi::Custom, MetricPresence::Absent, 1)]);
    let (of, object) = Object::from_value(&autoscaler).unwrap();
    world.state.update(|view| view.delete(&object.key(&of)));
    background::round(&world.prober.shared).await;
    assert_eq!(world.known().len(), 1, "kept while it may still be of use");
    world.state.set_now(NOW + 1000);
    background::round(&world.prober.shared).await;
    assert_eq!(world.known(), []);
}

#[tokio::test]
async fn the_background_keeps_to_its_budget_and_asks_the_rest_later() {
    let names: Vec<String> = (0..40).map(|index| format!("m{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut configuration = configuration();
    configuration.probes.per_minute = 40;
    let world = world(Mode::Lists(&["served"]), SETTLED, &[hpa(&names)], configuration).await;
    background::round(&world.prober.shared).await;
    let first = world.known();
    // Ten requests may go at once, and each metric takes two; four are asked at a time.
    assert!((5..=9).contains(&first.len()), "{}", first.len());
    background::round(&world.prober.shared).await;
    let second = world.known();
    assert!(second.len() < 20 && first.iter().all(|one| second.contains(one)), "{}", second.len());
}

#[tokio::test]
async fn a_hanging_adapter_is_waited_for_no_longer_than_the_look_and_then_not_at_all() {
    let world = world(Mode::Hangs, SETTLED, &[], configuration()).await;
    for _ in 0..3 {
        assert!(!world.prober.breaker_open());
        assert_eq!(world.look(RUNNING, 100).await, [MetricPresence::Unknown]);
    }
    assert!(world.prober.breaker_open());
    let asked = world.api.count();
    assert_eq!(world.look(RUNNING, 100).await, []);
    assert_eq!(world.create(&hpa(&[RUNNING])).await, None, "admitted");
    assert_eq!(world.api.count(), asked, "nobody asks");
    world.api.turn(Mode::Lists(&["other"]));
    background::round(&world.prober.shared).await;
    assert!(world.prober.breaker_open(), "the trial is not due yet");
    lock(&world.prober.shared.breaker).expire(Instant::now());
    background::round(&world.prober.shared).await;
    assert!(!world.prober.breaker_open());
    assert!(world.prober.results().iter().any(|(_, presence, _)| *presence == MetricPresence::Absent));
    world.state.set_now(NOW + 120);
    assert!(world.create(&hpa(&[RUNNING])).await.is_some(), "refused again");
}

#[tokio::test]
async fn a_broken_adapter_opens_the_breaker_and_an_honest_one_does_not() {
    for (mode, open) in [
        (Mode::Unavailable, true),
        (Mode::Stale(&["other"]), true),
        (Mode::Forbidden, false),
        (Mode::Garbage, false),
        (Mode::Lists(&["other"]), false),
        (Mode::Descriptors(&[]), false),
    ] {
        let world = world(mode, SETTLED, &[], configuration()).await;
        for _ in 0..4 {
            world.look(RUNNING, 2000).await;
        }
        assert_eq!(world.prober.breaker_open(), open, "{mode:?}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_autoscalers_does_not_become_a_flood_of_questions() {
    let world = world(Mode::Lists(&["other"]), SETTLED, &[], configuration()).await;
    for index in 0..40 {
        world.create(&hpa(&[&format!("made_up_{index}")])).await;
    }
    assert!(world.api.count() <= 20, "{}", world.api.count());
}

#[tokio::test]
async fn a_refusal_is_lifted_as_soon_as_the_metric_is_served() {
    let world = world(Mode::Lists(&["other"]), SETTLED, &[], configuration()).await;
    assert!(world.create(&hpa(&[RUNNING])).await.is_some());
    world.api.turn(Mode::Lists(&["other", RUNNING]));
    world.state.set_now(NOW + 120);
    assert_eq!(world.create(&hpa(&[RUNNING])).await, None);
}

#[test]
fn without_a_runtime_a_look_knows_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(world(Mode::Lists(&["other"]), SETTLED, &[], configuration()));
    let wanted = world.wanted(&hpa(&[RUNNING]));
    runtime.shutdown_background();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    assert_eq!(world.prober.look(&wanted, until), []);
    assert!(std::time::Instant::now() < until, "it did not wait for what cannot come");
}

#[tokio::test]
async fn it_follows_the_view_until_it_is_cancelled() {
    let world = world(Mode::Lists(&["served"]), SETTLED, &[], configuration()).await;
    let cancel = CancellationToken::new();
    let task = tokio::spawn(background::run(Arc::clone(&world.prober.shared), cancel.clone()));
    let (of, object) = Object::from_value(&hpa(&["served"])).unwrap();
    world.state.update(|view| view.apply(&of, object));
    let found = async {
        while world.known().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the change is noticed");
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(60), task).await.expect("it ends").unwrap();
}
