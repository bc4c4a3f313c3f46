//! The facts about a server that rendering needs: what was read from the workload, with the owner's annotations before it.

use crate::policy::engine::{Engine, Version};
use crate::policy::settings::Settings;
use crate::policy::workload::{Port, Reading, Workload};

/// The server of a labelled workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// Engine.
    pub engine: Engine,
    /// Release, when known.
    pub version: Option<Version>,
    /// The port that serves the metrics, or why it is unknown (a clause).
    pub port: Result<u16, String>,
    /// The path that serves the metrics.
    pub path: String,
    /// The most requests that one pod runs, when known.
    pub ceiling: Option<u64>,
    /// Which engine generation the environment selects, when it does.
    pub use_v1: Option<bool>,
    /// `--disable-log-stats` is given.
    pub log_stats_disabled: bool,
    /// Ports that the serving container declares.
    pub declared_ports: Vec<u16>,
}

/// What serves, by the workload's own template and by the annotations `container`, `engine`, `metrics-port` and
/// `metrics-path`, which go before it.
///
/// # Errors
/// When no server with known metrics runs in it and the owner does not name one; the text is a clause.
pub fn serving(workload: &Workload, settings: &Settings) -> Result<Serving, String> {
    let read =
        workload.server().filter(|server| settings.container.as_ref().is_none_or(|name| *name == server.container));
    let port = |of: Result<u16, String>| settings.metrics_port.map_or(of, Ok);
    let path = |of: &str| settings.metrics_path.clone().unwrap_or_else(|| of.to_owned());
    if let Some(server) = read {
        return Ok(Serving {
            engine: server.engine,
            version: server.version,
            port: port(match &server.port {
                Port::Explicit { number, .. } | Port::Default { number } => Ok(*number),
                Port::Unknown { reason } => Err(reason.clone()),
            }),
            path: path(&server.metrics_path),
            ceiling: server.ceiling(),
            use_v1: server.use_v1,
            log_stats_disabled: server.log_stats_disabled,
            declared_ports: server.declared_ports.iter().map(|port| port.number).collect(),
        });
    }
    let Some(Engine::Vllm) = settings.engine.as_deref().and_then(named) else {
        return Err(unread(workload, settings));
    };
    Ok(Serving {
        engine: Engine::Vllm,
        version: None,
        port: port(Err("only the annotation scalegate.dev/engine tells the server".to_owned())),
        path: path("/metrics"),
        ceiling: None,
        use_v1: None,
        log_stats_disabled: false,
        declared_ports: Vec::new(),
    })
}

/// The engine of that name, as the annotation `engine` writes it.
fn named(name: &str) -> Option<Engine> {
    match name {
        "vllm" => Some(Engine::Vllm),
        _ => None,
    }
}

/// The engine's name, as the annotation `engine` writes it.
pub(crate) fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Vllm => "vllm",
    }
}

fn unread(workload: &Workload, settings: &Settings) -> String {
    const HINT: &str = "(set scalegate.dev/engine and scalegate.dev/metrics-port if it is vLLM)";
    match &workload.server {
        Reading::Server(server) => format!(
            "scalegate.dev/container names {:?}, but the server was found in container {:?} {HINT}",
            settings.container.as_deref().unwrap_or_default(),
            server.container
        ),
        Reading::Recognised { product, .. } => format!("{product} is recognised, but its metrics are not known {HINT}"),
        Reading::WithoutMetrics { reason } => format!("the server exports no metric to scale on: {reason}"),
        Reading::None { reason } if reason.is_empty() => format!("no inference server is recognised in it {HINT}"),
        Reading::None { reason } => format!("no inference server is recognised in it: {reason} {HINT}"),
    }
}
