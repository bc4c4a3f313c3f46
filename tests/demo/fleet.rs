//! The processes of the pods: as a kubelet does, it starts a server for each pod that runs and stops it when the pod goes.
//! Each listens on its pod's own address, which KWOK gives out of loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::Engine;
use crate::api::{Api, list, text};
use crate::genuine::Genuine;
use crate::screen::Screen;
use crate::server_metrics::RELEASE;
use crate::simulated::{Simulated, serve};

/// How often the pods are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// So many running requests keep a GPU busy all the time; fewer leave gaps.
const SATURATED: u32 = 8;

const VLLM: &str = "vllm/vllm-openai";
const DCGM: &str = "nvcr.io/nvidia/k8s/dcgm-exporter";
const GPU: &str = "nvidia.com/gpu";

/// A pod that runs an inference server.
#[derive(Debug, Clone)]
pub struct Seat {
    pub namespace: String,
    pub name: String,
    /// Its label `app`.
    pub app: String,
    pub node: String,
    pub address: SocketAddr,
    pub ready: bool,
    /// The requests that its server computes, where the simulation knows them.
    running: u32,
}

/// The pods with inference servers, as last seen.
#[derive(Clone, Default)]
pub struct Fleet(Arc<Mutex<BTreeMap<String, Seat>>>);

/// What runs for a pod.
enum Running {
    Simulated(Simulated),
    Genuine(Genuine),
    /// A metrics exporter; it stops when the sender is dropped.
    Exporter {
        _stop: oneshot::Sender<()>,
    },
}

impl Fleet {
    /// Follows the pods until the process ends.
    pub fn start(api: Api, engine: &Engine, screen: &Screen) -> Self {
        let fleet = Self::default();
        let (follower, engine, screen) = (fleet.clone(), engine.clone(), screen.clone());
        thread::spawn(move || {
            let mut running = BTreeMap::new();
            loop {
                if let Some(pods) = api.get("/api/v1/pods") {
                    follower.follow(&api, &engine, &screen, &pods, &mut running);
                }
                thread::sleep(LOOK);
            }
        });
        fleet
    }

    /// The ready pods of an app.
    pub fn ready(&self, namespace: &str, app: &str) -> Vec<Seat> {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.values().filter(|seat| seat.ready && seat.namespace == namespace && seat.app == app).cloned().collect()
    }

    fn follow(
        &self,
        api: &Api,
        engine: &Engine,
        screen: &Screen,
        pods: &Value,
        running: &mut BTreeMap<String, Running>,
    ) {
        let mut seats = BTreeMap::new();
        let mut alive = Vec::new();
        for pod in list(&pods["items"]) {
            let Some(ip) = text(&pod["status"]["podIP"]).parse::<IpAddr>().ok() else { continue };
            if !pod["metadata"]["deletionTimestamp"].is_null() || pod["status"]["phase"] != "Running" {
                continue;
            }
            let uid = text(&pod["metadata"]["uid"]).to_owned();
            let image = text(&pod["spec"]["containers"][0]["image"]);
            alive.push(uid.clone());
            let started = if image.starts_with(DCGM) {
                self.exporter(running.contains_key(&uid), pod, ip)
            } else if image.starts_with(VLLM) {
                let seat = seat(pod, ip, running.get(&uid));
                let started = server(engine, running.get_mut(&uid), pod, &seat, api);
                seats.insert(uid.clone(), seat);
                started
            } else {
                Ok(None)
            };
            match started {
                Ok(Some(started)) => {
                    running.insert(uid, started);
                }
                Ok(None) => {}
                Err(error) => screen.fatal(&error),
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seats;
        running.retain(|uid, _| alive.contains(uid));
    }

    /// The GPU exporter of a node, when it is to be started.
    fn exporter(&self, runs: bool, pod: &Value, ip: IpAddr) -> Result<Option<Running>, String> {
        if runs {
            return Ok(None);
        }
        let port = pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(9_400);
        let (fleet, node) = (self.clone(), text(&pod["spec"]["nodeName"]).to_owned());
        let router = Router::new().route("/metrics", get(move || std::future::ready(fleet.gpus(&node))));
        let stop = serve((ip, port).into(), router)?;
        Ok(Some(Running::Exporter { _stop: stop }))
    }

    /// The GPUs of a node that pods hold, as NVIDIA's exporter shows them.
    fn gpus(&self, node: &str) -> String {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text =
            "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n".to_owned();
        let here = seats.iter().filter(|(_, seat)| seat.node == node);
        for (gpu, (uid, seat)) in here.enumerate() {
            let utilisation = (seat.running * 100 / SATURATED).min(100);
            let Seat { namespace, name: pod, .. } = seat;
            let _ = writeln!(
                text,
                "DCGM_FI_DEV_GPU_UTIL{{gpu=\"{gpu}\",UUID=\"GPU-{uid}\",device=\"nvidia{gpu}\",modelName=\"NVIDIA L4\",\
                 Hostname=\"{node}\",container=\"inference-server\",namespace=\"{namespace}\",pod=\"{pod}\"}} {utilisation}",
            );
        }
        text
    }
}

fn seat(pod: &Value, ip: IpAddr, running: Option<&Running>) -> Seat {
    let conditions = list(&pod["status"]["conditions"]);
    let container = &pod["spec"]["containers"][0];
    let port = flag(container, "--port").and_then(|port| port.parse().ok()).unwrap_or(8_000);
    Seat {
        namespace: text(&pod["metadata"]["namespace"]).to_owned(),
        name: text(&pod["metadata"]["name"]).to_owned(),
        app: text(&pod["metadata"]["labels"]["app"]).to_owned(),
        node: text(&pod["spec"]["nodeName"]).to_owned(),
        address: (ip, port).into(),
        ready: conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
        running: match running {
            Some(Running::Simulated(server)) if !container["resources"]["limits"][GPU].is_null() => server.running(),
            _ => 0,
        },
    }
}

/// The server of a pod, when it is to be started.
fn server(
    engine: &Engine,
    runs: Option<&mut Running>,
    pod: &Value,
    seat: &Seat,
    api: &Api,
) -> Result<Option<Running>, String> {
    let container = &pod["spec"]["containers"][0];
    let max_num_seqs = flag(container, "--max-num-seqs").and_then(|number| number.parse().ok()).unwrap_or(256);
    match (engine, runs) {
        // A model loads before its server listens. How long is KWOK's business: it makes the pod ready.
        (Engine::Simulated, None) if seat.ready => {
            let image = text(&container["image"]);
            if !image.ends_with(&format!(":{RELEASE}")) {
                return Err(format!("{image}: the simulation knows the metrics of {RELEASE} alone"));
            }
            let model = expand(flag(container, "--model").unwrap_or_default(), container);
            Simulated::start(seat.address, &model, max_num_seqs).map(|server| Some(Running::Simulated(server)))
        }
        (Engine::Genuine(environment), None) => {
            let server = Genuine::start(environment, seat.address, max_num_seqs);
            Ok(Some(Running::Genuine(server)))
        }
        // A genuine server is ready when it says so.
        (Engine::Genuine(_), Some(Running::Genuine(server))) if !seat.ready => server.look(api, pod).map(|()| None),
        _ => Ok(None),
    }
}

/// The value of a flag of a container, given as `--flag=value`.
fn flag<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    list(&container["args"]).iter().find_map(|argument| text(argument).strip_prefix(name)?.strip_prefix('='))
}

/// `$(NAME)` as a kubelet expands it.
fn expand(argument: &str, container: &Value) -> String {
    list(&container["env"]).iter().fold(argument.to_owned(), |all, variable| {
        all.replace(&format!("$({})", text(&variable["name"])), text(&variable["value"]))
    })
}
