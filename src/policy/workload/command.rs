//! Command and arguments -> the inference server that a container starts, if any.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::super::engine::Version;
use super::super::objects::{ConfigMap, Container, PodSpec};
use super::environment::{Environment, is_unknown};
use super::image::plain_release;
use super::shell;

/// How deep shells may call each other.
const DEEPEST: usize = 4;

/// What a container's command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// vLLM's OpenAI server, with the arguments behind it.
    Vllm {
        /// Arguments.
        arguments: Vec<String>,
        /// What was found, as in `vllm serve`.
        how: &'static str,
    },
    /// vLLM's demo server.
    Demo,
    /// Another known product.
    Product {
        /// Its name.
        name: &'static str,
        /// The program that told.
        how: &'static str,
    },
    /// A script that cannot be seen.
    Hidden,
    /// Some other program; `None` when nothing is started at all.
    Other(Option<String>),
}

/// What reading a command found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The last server that is started, else the first other program.
    pub run: Run,
    /// It stands in a shell script.
    pub script: bool,
    /// The script installs vLLM first.
    pub installed: Option<Installed>,
}

/// Which vLLM a start script installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// This release.
    Release(Version),
    /// One that cannot be told.
    Unknown,
}

/// What a command may look at beside its words.
pub(super) struct Surroundings<'s, 'a> {
    /// The container.
    pub container: &'s Container,
    /// Its pod.
    pub pod: &'s PodSpec,
    /// Its variables.
    pub environment: &'s Environment,
    /// ConfigMaps of the namespace.
    pub config_map: &'s dyn Fn(&str) -> Option<&'a ConfigMap>,
    /// Work that reading scripts may still cost: scripts that call each other cost the product of their lengths.
    pub work: Cell<usize>,
}

/// Bytes of scripts that are read for one container; more are not looked at.
pub(super) const WORK: usize = 4 * 1024 * 1024;

const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "ksh"];

/// Programs that start the program that their arguments name.
const WRAPPERS: [&str; 36] = [
    "exec",
    "nohup",
    "env",
    "time",
    "sudo",
    "nice",
    "ionice",
    "stdbuf",
    "tini",
    "dumb-init",
    "command",
    "builtin",
    "setsid",
    "numactl",
    "taskset",
    "timeout",
    "catatonit",
    "uv",
    "uvx",
    "nsys",
    "ddtrace-run",
    "opentelemetry-instrument",
    "nvidia_entrypoint.sh",
    "nvidia_entrypoint",
    "s6-setuidgid",
    "gosu",
    "conda",
    "micromamba",
    "mamba",
    "poetry",
    "pixi",
    "mpirun",
    "chrt",
    "prlimit",
    "runuser",
    "accelerate",
];

/// Other servers by program.
const PROGRAMS: [(&str, &str); 14] = [
    ("llama-server", "llama.cpp"),
    ("llama-box", "llama.cpp"),
    ("text-generation-launcher", "Text Generation Inference"),
    ("text-generation-router", "Text Generation Inference"),
    ("text-embeddings-router", "Text Embeddings Inference"),
    ("tritonserver", "Triton Inference Server"),
    ("trtllm-serve", "TensorRT-LLM"),
    ("torchserve", "TorchServe"),
    ("ollama", "Ollama"),
    ("sglang", "SGLang"),
    ("lmdeploy", "LMDeploy"),
    ("vllm-router", "vLLM production stack router"),
    ("lorax-launcher", "LoRAX"),
    ("mii-server", "DeepSpeed-MII"),
];

/// Other servers by the module that Python runs: its name, or the beginning of it before a dot.
const MODULES: [(&str, &str); 13] = [
    ("sglang.launch_server", "SGLang"),
    ("sglang_router", "SGLang router"),
    ("sglang", "SGLang"),
    ("llama_cpp.server", "llama.cpp"),
    ("text_generation_server", "Text Generation Inference"),
    ("dynamo", "NVIDIA Dynamo"),
    ("huggingfaceserver", "KServe"),
    ("kserve", "KServe"),
    ("tensorrt_llm", "TensorRT-LLM"),
    ("lmdeploy", "LMDeploy"),
    ("fastchat", "FastChat"),
    ("vllm_router", "vLLM production stack router"),
    ("jetstream_pt", "JetStream"),
];

/// Reads the words that the container starts. `used` collects the ConfigMaps that this needs.
pub(super) fn read(words: &[String], around: &Surroundings<'_, '_>, used: &mut BTreeSet<String>) -> Found {
    analyse(words, around, used, 0)
}

fn analyse(words: &[String], around: &Surroundings<'_, '_>, used: &mut BTreeSet<String>, depth: usize) -> Found {
    let mut wrapped = false;
    let mut unseen_script = false;
    let mut first = None;
    for (at, word) in words.iter().enumerate() {
        let rest = words.get(at + 1..).unwrap_or(&[]);
        let program = word.rsplit('/').next().unwrap_or(word);
        if SHELLS.contains(&program) {
            return shell(rest, around, used, depth);
        }
        if is_python(program) {
            return Found::of(python(rest));
        }
        if program == "vllm" {
            return Found::of(vllm(rest));
        }
        if let Some(&(how, name)) = PROGRAMS.iter().find(|row| row.0 == program) {
            return Found::of(Run::Product { name, how });
        }
        if program == "serve" && rest.first().is_some_and(|next| next == "run" || next == "deploy") {
            return Found::of(Run::Product { name: "Ray Serve", how: "serve run" });
        }
        first.get_or_insert(program);
        if WRAPPERS.contains(&program) {
            wrapped = true;
        } else if shell::assignment(word).is_none() && !wrapped {
            if let Some(script) = script_file(word, around, used) {
                return script_text(script, rest, around, used, depth);
            }
            // An entrypoint script that cannot be seen most often ends with `exec "$@"`.
            unseen_script = program.ends_with(".sh");
            wrapped = unseen_script;
            if !unseen_script {
                break;
            }
        }
    }
    if unseen_script {
        return Found { script: true, ..Found::of(Run::Hidden) };
    }
    let hidden = words.first().is_some_and(|word| is_unknown(word));
    Found::of(if hidden { Run::Hidden } else { Run::Other(first.map(str::to_owned)) })
}

/// `vllm SUBCOMMAND`.
fn vllm(rest: &[String]) -> Run {
    match rest.first().map(String::as_str) {
        Some("serve") => Run::Vllm { arguments: rest.get(1..).unwrap_or(&[]).to_vec(), how: "vllm serve" },
        Some(other) if is_unknown(other) => Run::Hidden,
        _ => Run::Other(Some("vllm".to_owned())),
    }
}

/// Python's own arguments, up to the module or script.
fn python(rest: &[String]) -> Run {
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        at += 1;
        let module = if word == "-m" {
            at += 1;
            rest.get(at - 1).map(String::as_str)
        } else {
            word.strip_prefix("-m").filter(|module| !module.is_empty())
        };
        let arguments = || rest.get(at..).unwrap_or(&[]).to_vec();
        if let Some(module) = module {
            return match module {
                "vllm.entrypoints.openai.api_server" => {
                    Run::Vllm { arguments: arguments(), how: "vllm.entrypoints.openai.api_server" }
                }
                "vllm.entrypoints.api_server" => Run::Demo,
                "vllm" | "vllm.entrypoints.cli.main" | "vllm.scripts" => vllm(&arguments()),
                _ if is_unknown(module) => Run::Hidden,
                _ => MODULES
                    .iter()
                    .find(|row| module == row.0 || module.strip_prefix(row.0).is_some_and(|rest| rest.starts_with('.')))
                    .map_or(Run::Other(Some("python".to_owned())), |row| Run::Product { name: row.1, how: row.0 }),
            };
        }
        match word.as_str() {
            "-c" => break,
            "-W" | "-X" => at += 1,
            _ if word.starts_with('-') => {}
            _ if word.ends_with("vllm/entrypoints/openai/api_server.py") => {
                return Run::Vllm { arguments: arguments(), how: "vllm/entrypoints/openai/api_server.py" };
            }
            _ if word.ends_with("vllm/entrypoints/api_server.py") => return Run::Demo,
            // A console script run by its interpreter, as in `python3 /usr/local/bin/vllm serve`.
            _ if word.ends_with("/vllm") => return vllm(&arguments()),
            _ => break,
        }
    }
    Run::Other(Some("python".to_owned()))
}

/// A shell's arguments: options, then a script (`-c`) or the file of one.
fn shell(rest: &[String], around: &Surroundings<'_, '_>, used: &mut BTreeSet<String>, depth: usize) -> Found {
    let mut inline = false;
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        let options = word.strip_prefix('-').or_else(|| word.strip_prefix('+')).filter(|options| !options.is_empty());
        let Some(options) = options else { break };
        at += 1;
        if options.starts_with('-') {
            // `--login`, `--norc`, and `--`, which ends the options.
            if options == "-" {
                break;
            }
            continue;
        }
        inline |= options.contains('c');
        if options.ends_with('o') {
            at += 1;
        }
    }
    let Some(script) = rest.get(at) else { return Found::of(Run::Other(Some("sh".to_owned()))) };
    let behind = rest.get(at + 1..).unwrap_or(&[]);
    if inline {
        // The first word behind an inline script is `$0`.
        let parameters = behind.get(1..).unwrap_or(&[]);
        return script_text(script, parameters, around, used, depth);
    }
    if let Some(text) = script_file(script, around, used) {
        return script_text(text, behind, around, used, depth);
    }
    // An entrypoint script that cannot be seen may well start what is handed to it.
    let passed_on = analyse(behind, around, used, depth);
    if rank(&passed_on.run) == SERVER { passed_on } else { Found { script: true, ..Found::of(Run::Hidden) } }
}

fn script_text(
    script: &str,
    parameters: &[String],
    around: &Surroundings<'_, '_>,
    used: &mut BTreeSet<String>,
    depth: usize,
) -> Found {
    let mut found = Found { run: Run::Other(None), script: true, installed: None };
    if depth >= DEEPEST || !around.afford(script.len()) {
        return Found { run: Run::Hidden, ..found };
    }
    for words in shell::commands(script, around.environment, parameters) {
        if let Some(installed) = installs_vllm(&words) {
            found.installed = Some(installed);
            continue;
        }
        let next = analyse(&words, around, used, depth + 1);
        found.installed = next.installed.or(found.installed);
        if rank(&next.run) >= rank(&found.run) && !(rank(&next.run) == 0 && found.run != Run::Other(None)) {
            found.run = next.run;
        }
    }
    found
}

/// The rank of a server.
const SERVER: u8 = 2;

/// A server outranks a script that cannot be seen, and that outranks any other program.
fn rank(run: &Run) -> u8 {
    match run {
        Run::Vllm { .. } | Run::Demo | Run::Product { .. } => SERVER,
        Run::Hidden => 1,
        Run::Other(_) => 0,
    }
}

/// Whether a command installs vLLM, and which release.
fn installs_vllm(words: &[String]) -> Option<Installed> {
    let program = |word: &String| matches!(word.rsplit('/').next(), Some("pip" | "pip3" | "uv"));
    let module = words.iter().any(|word| word == "pip");
    if !(words.first().is_some_and(program) || module) || !words.iter().any(|word| word == "install") {
        return None;
    }
    words.iter().find_map(|word| {
        let rest = word.strip_prefix("vllm")?;
        let rest = match rest.strip_prefix('[') {
            Some(extras) => extras.split_once(']')?.1,
            None => rest,
        };
        match rest.strip_prefix("==") {
            Some(version) => Some(plain_release(version).map_or(Installed::Unknown, Installed::Release)),
            None => (rest.is_empty() || rest.starts_with(['>', '<', '~', '!', ' '])).then_some(Installed::Unknown),
        }
    })
}

/// The text of a script that a ConfigMap in view brings into the container.
fn script_file<'a>(path: &str, around: &Surroundings<'_, 'a>, used: &mut BTreeSet<String>) -> Option<&'a str> {
    match mounted(path, around, used) {
        Mounted::Text { text, .. } => Some(text),
        Mounted::Unseen => None,
    }
}

/// What a path in a container holds.
pub(super) enum Mounted<'a> {
    /// A key of a ConfigMap.
    Text {
        /// The ConfigMap.
        config_map: String,
        /// The value.
        text: &'a str,
    },
    /// It comes from elsewhere, or the ConfigMap is not in view.
    Unseen,
}

/// Finds what a path holds, when a ConfigMap is mounted there. The ConfigMap is added to `used`, seen or not.
pub(super) fn mounted<'a>(path: &str, around: &Surroundings<'_, 'a>, used: &mut BTreeSet<String>) -> Mounted<'a> {
    if !around.afford(around.container.volume_mounts.len().saturating_add(around.pod.volumes.len())) {
        return Mounted::Unseen;
    }
    let below = |mount: &str| {
        path.strip_prefix(mount.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mounts = around.container.volume_mounts.iter().filter(|mount| !mount.mount_path.is_empty());
    let mount = mounts
        .filter_map(|mount| below(&mount.mount_path).map(|rest| (mount, rest.trim_start_matches('/'))))
        .max_by_key(|(mount, _)| mount.mount_path.len());
    let Some((mount, rest)) = mount else { return Mounted::Unseen };
    let volume = around.pod.volumes.iter().find(|volume| volume.name == mount.name);
    let Some(source) = volume.and_then(|volume| volume.config_map.as_ref()) else { return Mounted::Unseen };
    used.insert(source.name.clone());
    let key = match &mount.sub_path {
        Some(key) if rest.is_empty() => key.as_str(),
        Some(_) => return Mounted::Unseen,
        None => rest,
    };
    match (around.config_map)(&source.name).and_then(|seen| seen.data.get(key)) {
        Some(text) => Mounted::Text { config_map: source.name.clone(), text },
        None => Mounted::Unseen,
    }
}

fn is_python(program: &str) -> bool {
    program
        .strip_prefix("python")
        .or_else(|| program.strip_prefix("pypy"))
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

// === impl Surroundings ===

impl Surroundings<'_, '_> {
    /// Takes work from what is left; false when it is used up.
    fn afford(&self, work: usize) -> bool {
        let left = self.work.get().checked_sub(work.saturating_add(1));
        self.work.set(left.unwrap_or(0));
        left.is_some()
    }
}

// === impl Found ===

impl Found {
    fn of(run: Run) -> Self {
        Self { run, script: false, installed: None }
    }
}
