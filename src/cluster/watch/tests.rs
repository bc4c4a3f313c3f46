//! The view of a cluster that changes, breaks and goes away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use super::*;
use crate::policy::configuration::{Backend, Configuration, Pools, Probes};
use crate::policy::objects::{Key, Object, Quantity, WorkloadKind};
use crate::policy::placement::{Landing, land};
use crate::policy::view::ClusterView;
use crate::policy::workload::PodNeeds;

mod api_server;

use api_server::ApiServer;

const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const NODES: &str = "/api/v1/nodes";
const NAMESPACES: &str = "/api/v1/namespaces";
const SERVICES: &str = "/api/v1/services";
const HPAS: &str = "/apis/autoscaling/v2/horizontalpodautoscalers";
const SCALED_OBJECTS: &str = "/apis/keda.sh/v1alpha1/scaledobjects";
const CONFIG_MAPS: &str = "/api/v1/configmaps";

/// A watched server, and what is known of it.
struct World {
    server: ApiServer,
    state: Arc<State>,
    caches: Arc<Caches>,
    _ends: DropGuard,
}

impl World {
    fn of(server: ApiServer, configuration: Configuration) -> Self {
        // The client is built with TLS in it, whose provider the program chooses when it starts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(kube::Config::new(server.address.parse().unwrap())).unwrap();
        let state = State::new(ClusterView::default(), configuration);
        let cancel = CancellationToken::new();
        let caches = start(client, Arc::clone(&state), cancel.clone());
        Self { server, state, caches, _ends: cancel.drop_guard() }
    }

    async fn ready(server: ApiServer) -> Self {
        let world = Self::of(server, Configuration::default());
        world.until("ready", |world| world.caches.ready()).await;
        world
    }

    /// Waits for what will be; the deadline turns what never is into a failure.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            let rows = self.caches.rows();
            assert!(Instant::now() < deadline, "{what} never came: {:?} {rows:?}", self.caches.not_ready());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn has(&self, group: &str, kind: &str, place: &str) -> bool {
        self.state.read(|view, _| view.has(&key(group, kind, place)))
    }

    fn closed(&self, kind: &str) -> bool {
        let (closed, partial) = self.state.read(|view, _| (view.is_closed(kind), view.is_partial(kind)));
        assert_ne!(closed, partial, "{kind} of a live cluster is the one or the other");
        closed
    }

    fn count(&self, group: &str, kind: &str) -> usize {
        self.state.read(|view, _| view.count_of(group, kind))
    }
}

fn key(group: &str, kind: &str, place: &str) -> Key {
    let (namespace, name) = place.split_once('/').unwrap();
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty()).map(str::to_owned);
    Key { group: group.to_owned(), kind: kind.to_owned(), namespace, name: name.to_owned() }
}

fn namespaced(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "ml", "uid": name } })
}

fn deployment(name: &str, replicas: &Value) -> Value {
    let mut object = namespaced(name);
    object["spec"] = json!({
        "replicas": replicas, "selector": { "matchLabels": { "app": name } },
        "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [{
            "name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model=x"],
        }] } },
    });
    object["metadata"]["managedFields"] = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
    object["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    object
}

fn node(name: &str, gpus: &str, heartbeat: u32) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "allocatable": { "cpu": "8", "memory": "32Gi", "nvidia.com/gpu": gpus },
            "conditions": [{ "type": "Ready", "lastHeartbeatTime": heartbeat.to_string() }],
        },
    })
}

#[tokio::test]
async fn everything_is_listed_page_by_page_then_watched() {
    let server = ApiServer::start().await;
    for number in 0..1100 {
        server.put(DEPLOYMENTS, deployment(&format!("d{number:04}"), &json!(1)));
    }
    let world = World::ready(server).await;
    assert_eq!(world.count("apps", "Deployment"), 1100);
    assert_eq!(world.server.requests(DEPLOYMENTS, "limit=500").len(), 3);
    assert!(world.closed("Deployment") && world.closed("HorizontalPodAutoscaler"));
    assert!(world.closed("ScaledObject"), "nobody can have one where the kind is not served");
    let deployments = world.caches.rows().into_iter().find(|row| row.kind == "Deployment").unwrap();
    assert!(deployments.synced && deployments.objects == 1100 && deployments.age_seconds < 60.0, "{deployments:?}");
    assert!(world.caches.rows().iter().all(|row| row.kind != "ScaledObject"));
    assert!(world.caches.not_ready().is_empty());

    world.server.put(DEPLOYMENTS, deployment("new", &json!(3)));
    world.server.delete(DEPLOYMENTS, "ml/d0000");
    world.until("the new one", |world| world.has("apps", "Deployment", "ml/new")).await;
    world.until("the end of the old one", |world| !world.has("apps", "Deployment", "ml/d0000")).await;
    let (replicas, annotations) = world.state.read(|view, _| {
        let workload = view.workload(WorkloadKind::Deployment, Some("ml"), "new").unwrap();
        (workload.replicas, workload.metadata.annotations.clone())
    });
    assert_eq!(replicas, Some(3));
    assert!(annotations.is_empty(), "{annotations:?}");
    assert!(world.state.read(|view, _| view.now) > 1_700_000_000);
}

#[tokio::test]
async fn nothing_is_proven_before_everything_is_known() {
    let server = ApiServer::start().await;
    server.away(true);
    let world = World::of(server, Configuration::default());
    assert!(!world.closed("Deployment") && !world.closed("Node") && !world.closed("ScaledObject"));
    world.until("the reason", |world| world.caches.not_ready().concat().contains("500: away")).await;
    assert!(!world.caches.ready());
    world.server.away(false);
    world.until("ready", |world| world.caches.ready() && world.closed("Node")).await;
}

#[tokio::test]
async fn a_kind_is_behind_from_when_its_watch_breaks_until_the_next_one_stands() {
    let server = ApiServer::start().await;
    let behind = |world: &World| !world.state.read(|view, _| view.behind.is_empty());
    let world = World::of(server, Configuration::default());
    world.until("discovered", |world| world.caches.ready() || behind(world)).await;
    world.until("ready", |world| world.caches.ready()).await;
    world.until("watched", |world| !behind(world)).await;
    world.server.away(true);
    world.until("behind", behind).await;
    assert!(world.caches.ready(), "it goes on answering");
    world.server.away(false);
    world.until("current", |world| !behind(world)).await;
}

#[tokio::test]
async fn a_heartbeat_and_a_status_that_nobody_reads_wake_nobody() {
    let server = ApiServer::start().await;
    server.put(NODES, node("a", "0", 0));
    let progressing = |beat: u32| {
        let mut object = deployment("d", &json!(1));
        object["status"] = json!({ "conditions": [{ "type": "Progressing", "message": beat.to_string() }] });
        object
    };
    server.put(DEPLOYMENTS, progressing(0));
    let world = World::ready(server).await;
    let settled = |world: &World| world.state.read(|view, _| view.partial.is_empty() && view.behind.is_empty());
    world.until("all closed, every watch stands", settled).await;
    let mut changes = world.state.changes();
    let before = *changes.borrow_and_update();
    for beat in 1..20 {
        world.server.put(NODES, node("a", "0", beat));
        world.server.put(DEPLOYMENTS, progressing(beat));
    }
    world.server.put(NODES, node("b", "8", 0));
    world.server.put(DEPLOYMENTS, deployment("e", &json!(1)));
    let both = |world: &World| world.has("", "Node", "/b") && world.has("apps", "Deployment", "ml/e");
    world.until("both", both).await;
    assert_eq!(*changes.borrow_and_update() - before, 2, "one for each object that is new");
    assert!(world.has("apps", "Deployment", "ml/d") && world.closed("Deployment"));
}

#[tokio::test]
async fn who_lags_too_far_behind_lists_again_and_forgets_what_is_gone() {
    let server = ApiServer::start().await;
    for name in ["stays", "goes"] {
        server.put(SERVICES, namespaced(name));
    }
    let world = World::ready(server).await;
    world.server.away(true);
    world.server.delete(SERVICES, "ml/goes");
    world.server.put(SERVICES, namespaced("comes"));
    world.server.compact();
    world.server.away(false);
    world.until("the new one", |world| world.has("", "Service", "ml/comes")).await;
    world.until("the end of the old one", |world| !world.has("", "Service", "ml/goes")).await;
    assert!(world.has("", "Service", "ml/stays") && world.closed("Service"));
    assert!(world.server.requests(SERVICES, "limit=500").len() >= 2);
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_from_the_last_bookmark_without_a_list() {
    let server = ApiServer::start().await;
    server.put(SERVICES, namespaced("a"));
    let world = World::ready(server).await;
    world.until("watching", |world| !world.server.requests(SERVICES, "watch=true").is_empty()).await;
    world.server.bookmark();
    // Events before the bookmark are no longer kept, so who had not moved on with it would have to list again.
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.server.with_oldest_at_present();
    world.server.cut();
    world.server.put(SERVICES, namespaced("b"));
    world.until("the new one", |world| world.has("", "Service", "ml/b")).await;
    assert_eq!(world.server.requests(SERVICES, "limit=500").len(), 1);
}

#[tokio::test]
async fn an_object_that_does_not_read_is_dropped_and_leaves_its_kind_open() {
    let server = ApiServer::start().await;
    server.put(DEPLOYMENTS, deployment("good", &json!(1)));
    server.put(DEPLOYMENTS, deployment("bad", &json!("many")));
    let world = World::ready(server).await;
    let unreadable =
        |world: &World| world.caches.rows().into_iter().find(|row| row.kind == "Deployment").map(|row| row.unreadable);
    assert_eq!(unreadable(&world), Some(1));
    assert!(world.has("apps", "Deployment", "ml/good") && !world.has("apps", "Deployment", "ml/bad"));
    assert!(!world.closed("Deployment"));
    world.server.put(DEPLOYMENTS, deployment("bad", &json!(2)));
    world.until("closed", |world| world.closed("Deployment") && world.has("apps", "Deployment", "ml/bad")).await;
    world.server.put(DEPLOYMENTS, deployment("good", &json!({})));
    world.until("dropped", |world| !world.has("apps", "Deployment", "ml/good")).await;
    world.server.delete(DEPLOYMENTS, "ml/good");
    world.until("closed", |world| world.closed("Deployment") && unreadable(world) == Some(0)).await;
    world.server.put(DEPLOYMENTS, deployment("later", &json!(1)));
    world.until("still watched", |world| world.has("apps", "Deployment", "ml/later")).await;
}

#[tokio::test]
async fn what_may_not_be_read_is_waited_for_only_where_nothing_works_without_it() {
    let server = ApiServer::start().await;
    server.forbid(NODES, true);
    server.forbid(HPAS, true);
    let world = World::of(server, Configuration::default());
    let waiting = |world: &World| world.caches.not_ready().join("\n");
    world.until("the reason", |world| waiting(world).contains("may not read it: deployments is forbidden")).await;
    world.until("nothing else", |world| world.caches.not_ready().len() == 1).await;
    assert!(waiting(&world).starts_with("HorizontalPodAutoscaler is not known"), "{}", waiting(&world));
    assert!(!world.caches.ready());
    world.server.forbid(HPAS, false);
    world.until("ready", |world| world.caches.ready()).await;
    assert!(!world.closed("Node") && world.closed("HorizontalPodAutoscaler"));
    world.server.forbid(NODES, false);
    world.until("nodes", |world| world.closed("Node")).await;
    world.server.forbid(HPAS, true);
    world.server.put(NODES, node("n", "0", 0));
    world.until("the node", |world| world.has("", "Node", "/n")).await;
    assert!(world.caches.ready(), "who has known the cluster goes on answering");
}

#[tokio::test]
async fn a_kind_that_appears_is_watched_and_one_that_goes_is_closed_and_empty() {
    let world = World::ready(ApiServer::start().await).await;
    assert!(world.closed("ScaledObject"));
    let mut object = namespaced("s");
    object["spec"] = json!({ "scaleTargetRef": { "name": "vllm" } });
    world.server.put(SCALED_OBJECTS, object);
    world.server.serve(SCALED_OBJECTS);
    let there = |world: &World| world.has("keda.sh", "ScaledObject", "ml/s") && world.closed("ScaledObject");
    world.until("the kind", there).await;
    assert!(world.caches.ready());
    world.server.unserve(SCALED_OBJECTS);
    world.until("its end", |world| world.count("keda.sh", "ScaledObject") == 0 && world.closed("ScaledObject")).await;
    world.server.serve(SCALED_OBJECTS);
    let mut object = namespaced("t");
    object["spec"] = json!({ "scaleTargetRef": { "name": "vllm" } });
    world.server.put(SCALED_OBJECTS, object);
    world.until("the kind again", |world| world.has("keda.sh", "ScaledObject", "ml/t")).await;
}

#[tokio::test]
async fn the_version_that_is_served_is_the_one_that_is_read() {
    let server = ApiServer::start().await;
    let path = "/apis/karpenter.sh/v1beta1/nodepools";
    server.serve(path);
    server.put(path, json!({ "metadata": { "name": "gpu" } }));
    let world = World::ready(server).await;
    assert!(world.has("karpenter.sh", "NodePool", "/gpu") && world.closed("NodePool"));
    let newer = "/apis/karpenter.sh/v1/nodepools";
    world.server.put(newer, json!({ "metadata": { "name": "gpu2" } }));
    world.server.serve(newer);
    world.until("the newer one", |world| world.has("karpenter.sh", "NodePool", "/gpu2")).await;
    assert!(!world.has("karpenter.sh", "NodePool", "/gpu"));
}

#[tokio::test]
async fn when_the_api_server_is_away_what_is_known_stays_and_absence_proves_nothing() {
    let configuration =
        Configuration { probes: Probes { stale_after_seconds: 3, ..Probes::default() }, ..Configuration::default() };
    let server = ApiServer::start().await;
    server.put(NAMESPACES, json!({ "metadata": { "name": "ml" } }));
    let world = World::of(server, configuration);
    let all_closed = |world: &World| {
        world.caches.publish();
        ["Namespace", "Node", "ScaledObject"].iter().all(|kind| world.closed(kind))
    };
    world.until("closed", |world| world.caches.ready() && all_closed(world)).await;
    world.server.away(true);
    let none_closed = |world: &World| {
        world.caches.publish();
        !["Namespace", "Node", "ScaledObject"].iter().any(|kind| world.closed(kind))
    };
    world.until("open", none_closed).await;
    assert!(world.has("", "Namespace", "/ml") && world.caches.ready());
    world.server.away(false);
    world.until("closed again", all_closed).await;
}

#[tokio::test]
async fn the_config_map_that_the_configuration_names_is_the_only_one_that_is_read() {
    let named = |name: &str| Configuration {
        backend: Backend { adapter_config_map: Some(format!("ml/{name}")), ..Backend::default() },
        ..Configuration::default()
    };
    let server = ApiServer::start().await;
    for name in ["adapter", "other", "secret"] {
        server.put(CONFIG_MAPS, namespaced(name));
    }
    let world = World::of(server, named("adapter"));
    world.until("ready", |world| world.caches.ready()).await;
    world.until("adapter", |world| world.has("", "ConfigMap", "ml/adapter")).await;
    let elsewhere = world.server.requests(CONFIG_MAPS, "");
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let all = world.server.requests("/api/v1/namespaces/ml/configmaps", "");
    assert!(all.iter().all(|request| request.contains("fieldSelector=metadata.name%3Dadapter")), "{all:?}");
    world.state.configure(named("other"));
    world.until("other", |world| world.has("", "ConfigMap", "ml/other")).await;
    assert_eq!(world.count("", "ConfigMap"), 1);
    world.state.configure(Configuration::default());
    world.until("none", |world| world.count("", "ConfigMap") == 0).await;
    assert!(world.state.read(|view, _| !view.is_closed("ConfigMap") && !view.is_partial("ConfigMap")));
}

#[tokio::test]
async fn a_gpu_node_that_joins_changes_the_verdict_at_its_event() {
    let pools = Pools { complete: true, provisioning: false, ..Pools::default() };
    let server = ApiServer::start().await;
    server.put(NODES, node("cpu", "0", 0));
    let world = World::of(server, Configuration { pools, ..Configuration::default() });
    world.until("ready", |world| world.caches.ready()).await;
    let needs = PodNeeds {
        count: 1,
        path: "spec.template".to_owned(),
        requests: [("nvidia.com/gpu".to_owned(), Quantity::new("1"))].into(),
        ..PodNeeds::default()
    };
    let landing = || world.state.read(|view, configuration| land(&needs, view, configuration));
    assert!(matches!(landing(), Landing::Absent { .. }), "{:?}", landing());
    world.server.put(NODES, node("gpu", "8", 0));
    world.until("the node", |world| world.has("", "Node", "/gpu")).await;
    assert!(matches!(landing(), Landing::Present { .. }), "{:?}", landing());
    world.server.delete(NODES, "/gpu");
    world.until("its end", |world| !world.has("", "Node", "/gpu")).await;
    assert!(matches!(landing(), Landing::Absent { .. }), "{:?}", landing());
}

#[tokio::test]
async fn an_object_that_is_being_deleted_stays_until_it_is_gone() {
    let server = ApiServer::start().await;
    let mut object = namespaced("s");
    server.put(SERVICES, object.clone());
    let world = World::ready(server).await;
    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.server.put(SERVICES, object);
    let deleting = |view: &ClusterView| match view.get(&key("", "Service", "ml/s")).map(|entry| &entry.object) {
        Some(Object::Service(service)) => service.metadata.deletion_timestamp.is_some(),
        _ => false,
    };
    world.until("being deleted", |world| world.state.read(|view, _| deleting(view))).await;
    world.server.delete(SERVICES, "ml/s");
    world.until("gone", |world| !world.has("", "Service", "ml/s")).await;
}
