//! `make demo`: label a Deployment, and it scales. `README.md` beside this file says what is real and what is simulated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a demo that cannot go on ends")]
#![allow(missing_docs, unreachable_pub, reason = "nobody reads these as an interface")]

#[path = "../cluster/harness/mod.rs"]
mod harness;

mod api;
mod collector;
mod fleet;
mod genuine;
mod leaving;
mod load;
mod picture;
mod scenes;
mod screen;
mod script;
mod server_metrics;
mod simulated;
mod timeline;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use harness::assets;
use screen::Screen;

/// What answers for the pods.
#[derive(Clone)]
pub enum Engine {
    Simulated,
    /// Genuine vLLM, out of the environment in this folder.
    Genuine(PathBuf),
}

fn main() -> ExitCode {
    let engine = match std::env::var("ENGINE").unwrap_or_default().as_str() {
        "" | "simulated" => Engine::Simulated,
        "vllm" => match genuine::fetch(&assets::cache().join("vllm/0.11.0")) {
            Ok(environment) => Engine::Genuine(environment),
            Err(error) => return give_up(&error),
        },
        other => return give_up(&format!("ENGINE is `{other}`; it is `simulated` (the default) or `vllm`")),
    };
    let screen = Screen::new();
    match script::run(&engine, &screen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => screen.fatal(&error),
    }
}

fn give_up(error: &str) -> ExitCode {
    eprintln!("demo: {error}");
    ExitCode::FAILURE
}
