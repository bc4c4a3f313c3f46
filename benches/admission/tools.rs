//! Whether what `cargo bench` needs is installed.

use std::process::Command;

/// Valgrind, and the runner of exactly the version of the library.
///
/// # Errors
/// Says what is missing and how to install it.
pub fn check() -> Result<(), String> {
    if version("valgrind").is_none() {
        return Err("valgrind is not installed.\nInstall it with your package manager: `apt-get install valgrind`, \
                    `dnf install valgrind`"
            .to_owned());
    }
    let wanted = locked_version().ok_or("Cargo.lock names no version of gungraun")?;
    let runner = option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner");
    let install = format!("Install it with: cargo install gungraun-runner --version {wanted} --locked");
    match version(runner) {
        None => Err(format!("{runner} is not installed, or not in PATH.\n{install}")),
        Some(found) if !found.split_whitespace().any(|word| word == wanted) => {
            Err(format!("{runner} is {}, and has to be {wanted}.\n{install}", found.trim()))
        }
        Some(_) => Ok(()),
    }
}

/// What `PROGRAM --version` prints, when it can be run.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version of the library that is compiled in.
fn locked_version() -> Option<&'static str> {
    let after = include_str!("../../Cargo.lock").split_once("name = \"gungraun\"\nversion = \"")?.1;
    after.split_once('"').map(|(version, _)| version)
}
