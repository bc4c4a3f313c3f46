//! The process around a command that serves: log, signals, admin port, and an end in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use std::future::Future;
use std::io::IsTerminal as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ProcessArgs;
use crate::cli::Colour;
use crate::shutdown::Shutdown;
use crate::telemetry::{Metrics, Readiness, admin, log};

/// How long threads that are still busy are waited for when everything else has ended.
const LINGER: Duration = Duration::from_secs(1);

/// What a command gets to hang its parts on.
pub(in crate::cli) struct Process {
    /// When to end.
    pub(in crate::cli) shutdown: Shutdown,
    /// Whether requests should come.
    pub(in crate::cli) readiness: Arc<Readiness>,
    /// What is exported.
    pub(in crate::cli) metrics: Arc<Metrics>,
}

impl Process {
    /// Runs `command` until it ends, which it does after `shutdown.draining`, or until the second signal. The admin port
    /// answers all the while, first and last.
    ///
    /// # Errors
    /// When the log cannot begin, the admin port is taken, or the command fails.
    pub(in crate::cli) fn run<F, Running>(args: &ProcessArgs, command: F) -> anyhow::Result<()>
    where
        F: FnOnce(Self) -> Running,
        Running: Future<Output = anyhow::Result<()>>,
    {
        let ProcessArgs { admin_listen, log_format, log_level } = args;
        let colour = Colour::Auto.enabled(std::io::stderr().is_terminal());
        log::init(*log_format, log_level.as_deref(), colour)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ran = runtime.block_on(async {
            let shutdown = Shutdown::listen().context("cannot listen for signals")?;
            let listener = TcpListener::bind(admin_listen).await.with_context(|| {
                format!(
                    "cannot listen on --admin-listen {admin_listen}; give an address of this machine and a port that is free"
                )
            })?;
            let address = listener.local_addr()?;
            let (readiness, metrics) = (Readiness::new(shutdown.draining.clone()), Metrics::new());
            let router = admin::router(Arc::clone(&readiness), Arc::clone(&metrics));
            let stop = CancellationToken::new();
            let stopped = stop.clone();
            let admin = tokio::spawn(async move { admin::serve(listener, router, stopped.cancelled_owned()).await });
            tracing::info!(%address, "admin port open");
            let process = Self { shutdown: shutdown.clone(), readiness, metrics };
            let ran = tokio::select! {
                ran = command(process) => ran,
                () = shutdown.now.cancelled() => Ok(()),
            };
            stop.cancel();
            // A panic there has been logged.
            let _ = admin.await;
            ran
        });
        runtime.shutdown_timeout(LINGER);
        ran
    }
}
