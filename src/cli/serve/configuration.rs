//! `--config`: the administrator's Configuration, followed while it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::duration;
use crate::cluster::State;
use crate::config_file::Follower;
use crate::telemetry::Metrics;
use crate::telemetry::prometheus::{Family, row};

/// How often it is looked whether a valid one is there.
const POLL: Duration = Duration::from_millis(100);

/// Which Configuration.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ConfigArgs {
    /// The administrator's Configuration, followed while it changes. Until it is valid for the first time, nothing is
    /// done; later an invalid one leaves the one before in force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How often that file is looked at.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    config_poll: Duration,
}

/// A Configuration that is followed; the built-in one without `--config`.
#[derive(Clone)]
pub(in crate::cli) struct Followed(Option<Arc<Follower>>);

// === impl ConfigArgs ===

impl ConfigArgs {
    /// Follows the file, if there is one, until `cancel`, and exports what became of its changes.
    pub(in crate::cli) fn follow(&self, state: &Arc<State>, metrics: &Metrics, cancel: &CancellationToken) -> Followed {
        let Some(path) = &self.config else { return Followed(None) };
        let follower = Follower::new(path, Arc::clone(state));
        let reloads = follower.reloads();
        let help = "Changes of the configuration file by what became of them";
        let family = Family { name: "configuration_reloads", help, labels: &["result"], seconds: false };
        metrics.counters(family, move || {
            reloads.rows().into_iter().map(|(result, count)| row(&[result], count)).collect()
        });
        tokio::spawn(Arc::clone(&follower).follow(self.config_poll, cancel.clone()));
        Followed(Some(follower))
    }
}

// === impl Followed ===

impl Followed {
    /// What is missing before anything may be decided, a line each.
    pub(in crate::cli) fn waits_for(&self) -> Vec<String> {
        match &self.0 {
            Some(follower) if !follower.has_one() => vec!["a valid configuration (--config)".to_owned()],
            _ => Vec::new(),
        }
    }

    /// Resolves once there is one to decide by.
    pub(in crate::cli) async fn valid(&self) {
        while !self.waits_for().is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }
}
