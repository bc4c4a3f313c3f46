//! How the process ends: the first SIGTERM or SIGINT drains, the second one stops at once.
//!
//! A pod gets requests for a while after it was told to go. So after the first signal `/readyz` answers 503 at once,
//! requests are served on for the quiet period, each answer closing its connection, and only then does the port close.
//! Quiet period and drain together have to be shorter than the pod's `terminationGracePeriodSeconds`: 15 s and 20 s by
//! default, for which 60 s are right and the usual 30 s are too short.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps, for whoever has to know.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled by the first signal: finish what there is.
    pub draining: CancellationToken,
    /// Cancelled by the second one: stop.
    pub now: CancellationToken,
}

impl Shutdown {
    /// Listens for both signals from now on.
    ///
    /// # Errors
    /// When the system gives no signal handler.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let told = shutdown.clone();
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::info!("draining; a second signal stops at once");
            told.draining.cancel();
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("stopping at once; requests in flight are cut");
            told.now.cancel();
        });
        Ok(shutdown)
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}
