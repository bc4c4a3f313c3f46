//! What a process knows: one view, one Configuration, one set of watches and of probes, whoever in it decides by them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::configuration::Followed;
use super::exports::{export_caches, export_probes};
use super::{ConfigArgs, Live};
use crate::cluster::probe::{self, Prober};
use crate::cluster::watch::{self, Caches};
use crate::cluster::{State, now};
use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;
use crate::telemetry::Metrics;

/// How often the view of a saved picture is told the time; ages that matter are minutes.
const CLOCK: Duration = Duration::from_secs(10);

/// What is known, and who keeps it up to date.
pub(in crate::cli) struct Known {
    /// What is decided by.
    pub(in crate::cli) state: Arc<State>,
    /// The administrator's Configuration.
    pub(in crate::cli) configuration: Followed,
    /// The live cluster; none when the view is a saved picture.
    pub(in crate::cli) watched: Option<Watched>,
}

/// A cluster that is watched.
pub(in crate::cli) struct Watched {
    pub(in crate::cli) live: Live,
    pub(in crate::cli) caches: Arc<Caches>,
    pub(in crate::cli) prober: Arc<Prober>,
}

// === impl Known ===

impl Known {
    /// Begins with `view` and the built-in Configuration, and keeps both up to date until `cancel`: from the live cluster, if
    /// there is one, and from the file of `config`. What is known is exported as metrics, once a process.
    pub(in crate::cli) fn begin(
        live: Option<Live>,
        view: ClusterView,
        config: &ConfigArgs,
        metrics: &Metrics,
        cancel: &CancellationToken,
    ) -> Self {
        let state = State::new(view, Configuration::default());
        let configuration = config.follow(&state, metrics, cancel);
        let watched = live.map(|live| {
            let prober = probe::start(live.asking.clone(), Arc::clone(&state), cancel.clone());
            export_probes(metrics, &prober);
            let caches = watch::start(live.client.clone(), Arc::clone(&state), cancel.clone());
            export_caches(metrics, &caches);
            Watched { live, caches, prober }
        });
        if watched.is_none() {
            tokio::spawn(tell_time(Arc::clone(&state), cancel.clone()));
        }
        Self { state, configuration, watched }
    }
}

/// Answers of the metrics APIs grow old while we serve.
async fn tell_time(state: Arc<State>, cancel: CancellationToken) {
    loop {
        state.set_now(now());
        tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(CLOCK) => {} }
    }
}
