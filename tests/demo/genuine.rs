//! Genuine vLLM on the CPU, one process a pod, bound to the pod's address. Its start is the time that a model loads.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Api, list, text};
use crate::harness::process::{self, Process};
use crate::harness::{block_on, http, repository};
use crate::load::chat;

/// How often a starting server is asked.
const LOOK: Duration = Duration::from_millis(500);

/// The first request waits for a kernel to be compiled.
const FIRST_ANSWER: Duration = Duration::from_secs(300);

/// One server. It is killed when it is dropped.
pub struct Genuine {
    process: Process,
    warm: Arc<AtomicBool>,
    reported: bool,
}

/// Has the environment fetched when it is not there, with the progress on the terminal, and says where it is.
///
/// # Errors
/// When it could not be fetched; the script has said why.
pub fn fetch(folder: &Path) -> Result<PathBuf, String> {
    let script = repository("tests/demo/vllm/fetch.sh");
    let status =
        Command::new(&script).arg(folder).status().map_err(|error| format!("{}: {error}", script.display()))?;
    if status.success() { Ok(folder.to_owned()) } else { Err(format!("{}: {status}", script.display())) }
}

impl Genuine {
    /// Starts it; it is warmed up from a thread.
    pub fn start(environment: &Path, address: SocketAddr, max_num_seqs: u32) -> Self {
        let folder = process::folder("vllm");
        let mut command = Command::new(environment.join("environment/bin/python"));
        command.args(["-m", "vllm.entrypoints.openai.api_server", "--load-format=dummy", "--enforce-eager"]);
        command.arg("--model").arg(environment.join("model"));
        command.args(["--served-model-name=demo", "--max-model-len=1024"]);
        command.args([format!("--host={}", address.ip()), format!("--port={}", address.port())]);
        command.arg(format!("--max-num-seqs={max_num_seqs}"));
        command.envs([
            ("HF_HUB_OFFLINE", "1"),
            // GB.
            ("VLLM_CPU_KVCACHE_SPACE", "1"),
            ("VLLM_NO_USAGE_STATS", "1"),
            ("DO_NOT_TRACK", "1"),
        ]);
        // Its engine is a process of its own, which outlives it when it is killed.
        command.current_dir(&folder).process_group(0);
        let process = Process::spawn("vllm", &folder.join("log"), command);
        let warm = Arc::new(AtomicBool::new(false));
        // Nobody waits for a server that is dropped.
        let waited_for = Arc::downgrade(&warm);
        thread::spawn(move || {
            while let Some(warm) = waited_for.upgrade() {
                if http::is_ok(address, "/health") && block_on(chat(address, 4, FIRST_ANSWER)).is_ok() {
                    warm.store(true, Ordering::Relaxed);
                    return;
                }
                drop(warm);
                thread::sleep(LOOK);
            }
        });
        Self { process, warm, reported: false }
    }

    /// Makes the pod ready once the server is, as a kubelet does after a readiness probe.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn look(&mut self, api: &Api, pod: &Value) -> Result<(), String> {
        if let Some(status) = self.process.ended() {
            return Err(format!("vllm ended with {status}; its last words:\n{}", self.process.last_words()));
        }
        if self.warm.load(Ordering::Relaxed) && !self.reported {
            let metadata = &pod["metadata"];
            let path =
                format!("/api/v1/namespaces/{}/pods/{}/status", text(&metadata["namespace"]), text(&metadata["name"]));
            self.reported = api.patch(&path, &ready(pod));
        }
        Ok(())
    }
}

impl Drop for Genuine {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        // It may have ended by itself.
        let _ = Command::new("sh").args(["-c", "kill -s KILL -- \"$0\"", &group]).status();
    }
}

/// The status of a pod whose containers are ready.
fn ready(pod: &Value) -> Value {
    let mut conditions = list(&pod["status"]["conditions"]).to_vec();
    for condition in &mut conditions {
        if matches!(text(&condition["type"]), "Ready" | "ContainersReady") {
            condition["status"] = json!("True");
        }
    }
    let mut containers = list(&pod["status"]["containerStatuses"]).to_vec();
    for container in &mut containers {
        container["ready"] = json!(true);
    }
    json!({"status": {"conditions": conditions, "containerStatuses": containers}})
}
