//! The port of the API and of `/metrics` (one and the same), the declared ports, and how long a container drains.

use super::super::objects::Container;
use super::flags::{Flag, Flags};
use super::{DeclaredPort, Port};

/// The port of vLLM's OpenAI server without `--port`, in every release from 0.4.3 to 0.33.0. `VLLM_PORT` is another one: it
/// is for traffic between the server's own processes.
const VLLM_DEFAULT: u16 = 8000;

/// The port of a vLLM server. `place` says where the argument of that index stands; `hidden` is why there may be arguments
/// that cannot be seen, as a clause.
pub(super) fn of_vllm(flags: &Flags, place: &dyn Fn(usize) -> String, hidden: Option<&str>) -> Port {
    let unknown = |reason: &str| Port::Unknown { reason: reason.to_owned() };
    if flags.is_given("uds") {
        return unknown("the server listens on a Unix socket (--uds), not on a port");
    }
    if flags.is_given("grpc") {
        return unknown("the server speaks gRPC (--grpc) instead of HTTP");
    }
    match flags.get("port") {
        Flag::Value(text, at) => match text.trim().parse::<u16>() {
            Ok(number) if number > 0 => Port::Explicit { number, source: format!("--port in {}", place(at)) },
            _ => unknown("the value of --port is no port number"),
        },
        Flag::Unreadable => unknown("the value of --port comes from a variable or an expression that cannot be read"),
        Flag::Absent => match hidden {
            Some(reason) => unknown(reason),
            None => Port::Default { number: VLLM_DEFAULT },
        },
    }
}

/// The ports that a container declares. `path` is the container's, as kubectl writes it.
pub(super) fn declared(container: &Container, path: &str) -> Vec<DeclaredPort> {
    let ports = container.ports.iter().enumerate();
    ports
        .filter_map(|(index, port)| {
            let number = u16::try_from(port.container_port?).ok().filter(|number| *number > 0)?;
            Some(DeclaredPort { name: port.name.clone(), number, path: format!("{path}.ports[{index}]") })
        })
        .collect()
}

/// Seconds that the preStop hook sleeps: `sleep.seconds`, or an `exec` of `sleep`, also inside a shell. `None` without a
/// hook, and for a hook that does something else.
pub(super) fn pre_stop_seconds(container: &Container) -> Option<u64> {
    let hook = container.lifecycle.as_ref()?.get("preStop")?;
    if let Some(seconds) = hook.get("sleep").and_then(|sleep| sleep.get("seconds")) {
        return seconds.as_u64();
    }
    let command = hook.get("exec")?.get("command")?.as_array()?;
    let words: Vec<&str> = command.iter().map(serde_json::Value::as_str).collect::<Option<_>>()?;
    let script;
    let words = match words.as_slice() {
        [shell, options, text, ..] if shell.ends_with("sh") && options.starts_with('-') && options.contains('c') => {
            script = *text;
            script.split([';', '&', '|', '\n']).map(|part| part.split_whitespace().collect()).collect::<Vec<Vec<_>>>()
        }
        words => vec![words.to_vec()],
    };
    let mut total: Option<u64> = None;
    for command in words {
        let [program, duration] = command.as_slice() else { continue };
        if *program == "sleep" || program.ends_with("/sleep") {
            total = Some(total.unwrap_or(0).saturating_add(seconds(duration)?));
        }
    }
    total
}

/// A duration as `sleep` takes it: seconds, or a number with `s`, `m` or `h`.
fn seconds(text: &str) -> Option<u64> {
    let (number, factor) = match text.char_indices().last()? {
        (at, 's') => (text.get(..at)?, 1),
        (at, 'm') => (text.get(..at)?, 60),
        (at, 'h') => (text.get(..at)?, 3600),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
