//! The real binary as a process: `webhook` or `controller`, one replica each.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::balancer::{Balancer, Health};
use super::metrics::Metrics;
use super::process::{self, Process};
use super::{free_address, http};

/// From start to ready; a start fills caches, which a loaded machine makes slow.
const START: Duration = Duration::from_secs(60);

/// From SIGTERM to the end, beyond which it hangs.
const STOP: Duration = Duration::from_secs(60);

/// How one replica is started.
#[derive(Debug, Clone)]
pub struct Launch {
    subcommand: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Launch {
    /// A subcommand that serves, without flags. `KUBECONFIG` is unset unless [`Launch::kubeconfig`] sets it.
    pub fn new(subcommand: &str) -> Self {
        Self {
            subcommand: subcommand.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            listen: None,
            admin: None,
        }
    }

    /// A flag and its value, or any other arguments.
    pub fn args<I: IntoIterator<Item: AsRef<str>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Who it is to the API server.
    pub fn kubeconfig(self, path: &Path) -> Self {
        self.env("KUBECONFIG", path.to_str().expect("a UTF-8 path"))
    }

    /// `--listen` with a free port of loopback.
    pub fn listening(mut self) -> Self {
        let address = free_address();
        self.listen = Some(address);
        self.args(["--listen".to_owned(), address.to_string()])
    }

    /// Where it will serve admission.
    pub fn address(&self) -> SocketAddr {
        self.listen.expect("`listening` was called")
    }

    /// `--admin-listen` with a free port of loopback; without it, readiness is whether it takes connections.
    pub fn with_admin(mut self) -> Self {
        let address = free_address();
        self.admin = Some(address);
        self.args(["--admin-listen".to_owned(), address.to_string()])
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Scalegate {
        let mut scalegate = self.start_unready();
        scalegate.wait_ready();
        scalegate
    }

    /// Starts it and returns at once.
    pub fn start_unready(self) -> Scalegate {
        let log = process::folder(&format!("scalegate-{}", self.subcommand)).join("log");
        let process = self.spawn(&log);
        Scalegate { launch: self, process, log }
    }

    fn spawn(&self, log: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalegate"));
        command.arg(&self.subcommand).args(&self.arguments);
        command.env_remove("KUBECONFIG").env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::spawn(&format!("scalegate {}", self.subcommand), log, command)
    }
}

/// One replica. It is killed when dropped.
pub struct Scalegate {
    launch: Launch,
    process: Process,
    log: PathBuf,
}

impl Scalegate {
    /// Where it serves admission.
    pub fn address(&self) -> SocketAddr {
        self.launch.listen.expect("launched with `listening`")
    }

    /// Where it serves `/healthz`, `/readyz` and `/metrics`.
    pub fn admin(&self) -> SocketAddr {
        self.launch.admin.expect("launched with `with_admin`")
    }

    /// Puts it behind a balancer.
    pub fn join(&self, balancer: &Balancer) {
        balancer.add(self.address(), self.launch.admin.map_or(Health::Connects, Health::Readyz));
    }

    /// The value of a flag that it was started with, where it was given as `--flag=value`.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.launch.arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    }

    pub fn is_ready(&self) -> bool {
        match (self.launch.admin, self.launch.listen) {
            (Some(admin), _) => http::is_ok(admin, "/readyz"),
            (None, Some(listen)) => TcpStream::connect(listen).is_ok(),
            (None, None) => panic!("launched with neither `listening` nor `with_admin`"),
        }
    }

    /// Waits until it is ready; panics with its last words when it ends before.
    pub fn wait_ready(&mut self) {
        let (admin, listen) = (self.launch.admin, self.launch.listen);
        let ready = || match (admin, listen) {
            (Some(admin), _) => http::is_ok(admin, "/readyz"),
            (None, listen) => listen.is_some_and(|listen| TcpStream::connect(listen).is_ok()),
        };
        self.process.until("is ready", START, || ready().then_some(()));
    }

    /// The numbers it keeps about itself.
    pub fn metrics(&self) -> Metrics {
        let (status, body) = http::get(self.admin(), "/metrics").expect("the admin port answers");
        assert_eq!(status, 200, "{body}");
        Metrics::new(body)
    }

    /// What it printed, all of its lives together.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same addresses, once it has ended, and waits until it is ready.
    pub fn start_again(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = self.launch.spawn(&self.log);
        self.wait_ready();
    }

    /// As a rolling update does it: SIGTERM, the end, a new start at the same addresses.
    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "{status}: {}", self.process.last_words());
        self.start_again();
    }
}
