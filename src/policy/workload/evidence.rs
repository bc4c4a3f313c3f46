//! Which container is the inference server, told by its image, command and arguments: never by a name.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::super::engine::{Engine, Version};
use super::super::objects::{ConfigMap, Container, PodSpec};
use super::command::{self, Found, Installed, Mounted, Run, Surroundings};
use super::environment::{Environment, Variable, is_unknown};
use super::flags::{self, Flag, Flags};
use super::image::{Image, Known};
use super::{Reading, Server, port, resources};

/// The annotations by which a user says what cannot be told.
const CONTAINER: &str = "scalegate.dev/container";
const ENGINE: &str = "scalegate.dev/engine";

/// What the choice of a container needs.
pub(super) struct Pod<'s, 'a> {
    /// The serving pods' spec.
    pub spec: &'s PodSpec,
    /// The template's path, as kubectl writes it.
    pub path: &'s str,
    /// Pods of one replica.
    pub group: i64,
    /// ConfigMaps of the namespace.
    pub config_map: &'s dyn Fn(&str) -> Option<&'a ConfigMap>,
}

/// What one container is.
struct Judged {
    reading: Reading,
    /// ConfigMaps that this depends on.
    used: BTreeSet<String>,
    /// Its image or command had to do with an inference server, though it is none.
    telling: bool,
}

/// Reads the pod's server. The ConfigMaps that the reading depends on are added to `used`.
pub(super) fn read(pod: &Pod<'_, '_>, annotations: &BTreeMap<String, String>, used: &mut BTreeSet<String>) -> Reading {
    let wanted = annotations.get(CONTAINER);
    let stated = annotations.get(ENGINE).is_some_and(|engine| engine == "vllm");
    let containers = pod.spec.containers.iter().enumerate().map(|(index, one)| (one, format!("containers[{index}]")));
    // A sidecar is an init container in the manifest and a container in the cluster.
    let sidecars = pod.spec.init_containers.iter().enumerate().filter(|(_, one)| resources::is_sidecar(one));
    let sidecars = sidecars.map(|(index, one)| (one, format!("initContainers[{index}]")));
    let candidates: Vec<_> =
        containers.chain(sidecars).filter(|(one, _)| wanted.is_none_or(|name| *name == one.name)).collect();
    if let (true, Some(name)) = (candidates.is_empty(), wanted) {
        return Reading::None { reason: format!("annotation {CONTAINER} names container {name}, which is not there") };
    }
    // The engine that the user states holds for a container that tells nothing, when it is the only one in question.
    let stated = stated && candidates.len() == 1;
    let mut best: Option<Judged> = None;
    let mut all = BTreeSet::new();
    for (container, place) in candidates {
        let judged = judge(pod, container, &format!("{}.spec.{place}", pod.path), stated);
        all.extend(judged.used.iter().cloned());
        match &mut best {
            Some(Judged { reading: Reading::Server(server), .. }) => {
                if let Reading::Server(other) = &judged.reading {
                    server.several = true;
                    // What one release has dropped, the other one may still export.
                    server.version = server.version.filter(|version| other.version == Some(*version));
                }
            }
            Some(best) if judged.weight() <= best.weight() => {}
            _ => best = Some(judged),
        }
    }
    let Some(best) = best else { return Reading::None { reason: "its pods have no container".to_owned() } };
    // As long as no container is the server, a script that comes into view may make any of them one.
    used.extend(if matches!(best.reading, Reading::None { .. }) { all } else { best.used });
    best.reading
}

fn judge(pod: &Pod<'_, '_>, container: &Container, path: &str, stated: bool) -> Judged {
    let mut used = BTreeSet::new();
    let environment = Environment::of(container, pod.config_map, &mut used);
    let around = Surroundings {
        container,
        pod: pod.spec,
        environment: &environment,
        config_map: pod.config_map,
        work: Cell::new(command::WORK),
    };
    let image = Image::parse(&container.image);
    let known = image.known();
    let words: Vec<String> =
        container.command.iter().chain(&container.args).map(|word| environment.expand(word)).collect();
    let mut found = command::read(&words, &around, &mut used);
    if container.command.is_empty() {
        found = with_entrypoint(found, known, stated, &words);
    } else if stated && matches!(found.run, Run::Other(_)) {
        found.run = Run::Hidden;
    }
    let named = format!("container {}", container.name);
    let vllm_image = matches!(known, Some(Known::Vllm { .. }));
    let mut telling = true;
    let reading = match (&found.run, known) {
        (Run::Vllm { arguments, .. }, _) => {
            let place = |at: usize| place(container, &found, words.len(), arguments.len(), at);
            vllm(pod, &around, path, &image, &found, arguments, &place, &mut used)
        }
        (Run::Hidden, Some(Known::Vllm { .. })) => {
            vllm(pod, &around, path, &image, &found, &[], &|_| String::new(), &mut used)
        }
        (Run::Hidden, None) if stated => vllm(pod, &around, path, &image, &found, &[], &|_| String::new(), &mut used),
        (Run::Demo, _) => Reading::WithoutMetrics {
            reason: format!(
                "{named} runs vllm.entrypoints.api_server, the demo server, which exports no vllm: metric; \
                 vllm.entrypoints.openai.api_server does"
            ),
        },
        (Run::Product { name, how }, _) => {
            Reading::Recognised { product: (*name).to_owned(), evidence: format!("{how} in the command of {named}") }
        }
        (_, Some(Known::Product(name))) => {
            Reading::Recognised { product: name.to_owned(), evidence: format!("image {}", container.image) }
        }
        (Run::Other(program), _) if vllm_image => {
            let program = program.as_deref().map_or_else(|| "a script that starts no server".to_owned(), shown);
            Reading::None { reason: format!("{named} has an image of vLLM, but runs {program} and not its server") }
        }
        (Run::Hidden, None) => {
            telling = false;
            Reading::None { reason: format!("{named} runs a script that is not in view, from an unknown image") }
        }
        (Run::Other(_), _) => {
            telling = false;
            Reading::None { reason: "neither image nor command is that of a known inference server".to_owned() }
        }
    };
    Judged { reading, used, telling }
}

/// Without a command the image's entrypoint runs, and the arguments are its.
fn with_entrypoint(found: Found, known: Option<Known>, stated: bool, words: &[String]) -> Found {
    let serves = match known {
        Some(Known::Vllm { serves, .. }) => serves,
        None if stated => true,
        _ => return found,
    };
    let first = words.first().map(String::as_str);
    // `args: [sh, -c, ...]` and `args: [python3, app.py]` name a program, whatever the entrypoint makes of it.
    let program = match &found.run {
        Run::Other(Some(program)) => matches!(program.as_str(), "sh" | "python" | "vllm" | "sleep"),
        Run::Other(None) => false,
        Run::Hidden => found.script,
        Run::Vllm { .. } | Run::Demo | Run::Product { .. } => true,
    };
    let option = first.is_none_or(|word| word.starts_with('-'));
    if program || !(serves || option) {
        return found;
    }
    let arguments = words.strip_prefix(&["serve".to_owned()]).unwrap_or(words).to_vec();
    Found { run: Run::Vllm { arguments, how: "" }, script: false, installed: None }
}

/// Where an argument of the server stands in the container.
fn place(container: &Container, found: &Found, words: usize, arguments: usize, at: usize) -> String {
    if found.script {
        return "the start script".to_owned();
    }
    let index = words.saturating_sub(arguments).saturating_add(at);
    match index.checked_sub(container.command.len()) {
        Some(index) => format!("args[{index}]"),
        None => format!("command[{index}]"),
    }
}

#[allow(clippy::too_many_arguments)]
fn vllm(
    pod: &Pod<'_, '_>,
    around: &Surroundings<'_, '_>,
    path: &str,
    image: &Image<'_>,
    found: &Found,
    arguments: &[String],
    place: &dyn Fn(usize) -> String,
    used: &mut BTreeSet<String>,
) -> Reading {
    let container = around.container;
    // An image's entrypoint may be either form; the first argument tells when it can be read.
    let serve = match found.run {
        Run::Vllm { how: "", .. } => arguments.first().is_some_and(|first| !is_unknown(first)),
        Run::Vllm { how, .. } => how == "vllm serve",
        _ => false,
    };
    let mut flags = Flags::read(arguments, serve);
    let mut hidden = match found.run {
        Run::Hidden => Some("the server is started by a script that is not in view".to_owned()),
        _ if !flags.complete => Some("an argument that cannot be read may hold --port".to_owned()),
        _ => None,
    };
    let mut from_file = 0..0;
    let mut file = String::new();
    match flags.get("config") {
        Flag::Absent => {}
        Flag::Unreadable => hidden = Some("the port may come from a config file whose name cannot be read".to_owned()),
        Flag::Value(name, _) => match config(name, around, used) {
            Ok((config_map, settings)) => {
                // Behind a leading model and before everything else, so that the command line wins.
                let model = usize::from(serve && arguments.first().is_some_and(|first| !first.starts_with('-')));
                from_file = model..model + settings.len();
                file = format!("ConfigMap {config_map}, which --config names");
                let mut all = arguments.to_vec();
                all.splice(model..model, settings);
                flags = Flags::read(&all, serve);
            }
            Err(()) => {
                hidden = Some("the port may come from the file that --config names, which is not in view".to_owned());
            }
        },
    }
    if flags.is_given("headless") {
        return Reading::WithoutMetrics {
            reason: format!(
                "container {} runs vllm serve --headless, which serves no API and no metrics",
                container.name
            ),
        };
    }
    // A variable in one of these leaves open what the server exports, and how many series of it.
    let shaping =
        ["data-parallel-size", "data-parallel-size-local", "data-parallel-rank", "show-hidden-metrics-for-version"];
    let readable = shaping.iter().all(|name| flags.get(name) != Flag::Unreadable);
    let complete = hidden.is_none() && flags.complete && readable;
    let place = |at: usize| match at {
        at if from_file.contains(&at) => file.clone(),
        at if at < from_file.start => place(at),
        at => place(at - from_file.len()),
    };
    let known = image.known();
    let cpu =
        matches!(known, Some(Known::Vllm { cpu: true, .. })) || matches!(flags.get("device"), Flag::Value("cpu", _));
    let parallel = Parallel::of(&flags);
    let text = |name: &str| match flags.get(name) {
        Flag::Value(value, _) => Some(value.to_owned()),
        Flag::Absent | Flag::Unreadable => None,
    };
    let (version, evidence) = release(container, image, found);
    Reading::Server(Server {
        engine: Engine::Vllm,
        version,
        evidence,
        container: container.name.clone(),
        path: path.to_owned(),
        port: port::of_vllm(&flags, &place, hidden.as_deref()),
        metrics_path: "/metrics".to_owned(),
        declared_ports: port::declared(container, path),
        arguments_complete: complete,
        // Without the ranks the ceiling is unknown, whatever the flag says.
        max_num_seqs: parallel.ranks.and(flags.number("max-num-seqs", 1).ok().flatten()),
        data_parallel: parallel.ranks.unwrap_or(1),
        devices_used: parallel.devices.filter(|_| complete && pod.group <= 1),
        served_model: served_model(&flags, complete),
        hidden_metrics_for: text("show-hidden-metrics-for-version"),
        log_stats_disabled: flags.is_given("disable-log-stats"),
        use_v1: match around.environment.get("VLLM_USE_V1") {
            Variable::Known("0") => Some(false),
            Variable::Known("1") => Some(true),
            _ => None,
        },
        cpu,
        shutdown_timeout: flags.number("shutdown-timeout", 0).ok().flatten(),
        pre_stop_seconds: port::pre_stop_seconds(container),
        several: false,
    })
}

/// The arguments that a `--config` file stands for, and its ConfigMap.
fn config(name: &str, around: &Surroundings<'_, '_>, used: &mut BTreeSet<String>) -> Result<(String, Vec<String>), ()> {
    match command::mounted(name, around, used) {
        Mounted::Text { config_map, text } => Ok((config_map, flags::from_config(text)?)),
        Mounted::Unseen => Err(()),
    }
}

/// The release, and what told it and the engine.
fn release(container: &Container, image: &Image<'_>, found: &Found) -> (Option<Version>, String) {
    let how = match &found.run {
        Run::Vllm { how, .. } if !how.is_empty() => Some(*how),
        _ => None,
    };
    let place = if found.script { "its start script" } else { "its command" };
    let mut evidence = match (image.known(), how) {
        (Some(Known::Vllm { .. }), Some(how)) => format!("image {} and {how} in {place}", container.image),
        (Some(Known::Vllm { .. }), None) => format!("image {}", container.image),
        (_, Some(how)) => format!("{how} in {place}"),
        (_, None) => format!("annotation {ENGINE}"),
    };
    match found.installed {
        Some(Installed::Release(version)) => {
            evidence.push_str(", which installs the release");
            (Some(version), evidence)
        }
        Some(Installed::Unknown) => (None, evidence),
        None => (image.release(), evidence),
    }
}

/// How a server spreads over devices.
struct Parallel {
    /// Data-parallel ranks whose metrics this pod serves; `None` when a flag cannot be read.
    ranks: Option<u64>,
    /// Devices in one pod; `None` when a flag cannot be read or the server spans several pods.
    devices: Option<u64>,
}

impl Parallel {
    fn of(flags: &Flags) -> Self {
        let number = |name: &str, least| flags.number(name, least);
        // With a rank of its own, each pod is one rank of several and balances outside.
        let ranks = match (number("data-parallel-rank", 0), number("data-parallel-size-local", 1)) {
            (Ok(Some(_)), _) => Some(1),
            (_, Ok(Some(local))) => Some(local),
            (Ok(None), Ok(None)) => number("data-parallel-size", 1).ok().map(|size| size.unwrap_or(1)),
            _ => None,
        };
        let tensor = number("tensor-parallel-size", 1).ok().map(|size| size.unwrap_or(1));
        let pipeline = number("pipeline-parallel-size", 1).ok().map(|size| size.unwrap_or(1));
        let single = matches!(number("nnodes", 1), Ok(None | Some(1)));
        let devices = match (ranks, tensor, pipeline) {
            (Some(ranks), Some(tensor), Some(pipeline)) if single => {
                ranks.checked_mul(tensor).and_then(|devices| devices.checked_mul(pipeline))
            }
            _ => None,
        };
        Self { ranks, devices }
    }
}

/// The value of the `model_name` label: the first served name, else the model as it is named.
fn served_model(flags: &Flags, complete: bool) -> Option<String> {
    match flags.get("served-model-name") {
        Flag::Value(name, _) => return Some(name.to_owned()),
        Flag::Unreadable => return None,
        Flag::Absent if !complete => return None,
        Flag::Absent => {}
    }
    if let Some(model) = &flags.positional {
        return (!is_unknown(model)).then(|| model.clone());
    }
    match flags.get("model") {
        Flag::Value(model, _) => Some(model.to_owned()),
        Flag::Absent | Flag::Unreadable => None,
    }
}

/// A program's name, short enough for a message.
fn shown(program: &str) -> String {
    let plain = program.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if plain && program.len() <= 40 { program.to_owned() } else { "another program".to_owned() }
}

// === impl Judged ===

impl Judged {
    /// The container with the most telling evidence is the server; of equals the first.
    fn weight(&self) -> u8 {
        match self.reading {
            Reading::Server(_) => 4,
            Reading::WithoutMetrics { .. } => 3,
            Reading::Recognised { .. } => 2,
            Reading::None { .. } => u8::from(self.telling),
        }
    }
}
