//! The chain from a server's metrics to more replicas, link by link: what holds for a labelled workload, what does not,
//! and what cannot be told.
//!
//! ```text
//! server -> scrape -> targets -> metric -> active -> capacity
//! ```
//!
//! A link is broken only when that is seen. Until the workload's pods have been Ready for `probes.settle` nothing is
//! blamed but missing capacity: a metric comes with the first scrape, and the HPA's condition with its next look.

mod autoscaler;
mod pending;
mod scrape;

#[cfg(test)]
mod tests;

use std::fmt;

use super::configuration::Configuration;
use super::render::{self, Serving};
use super::settings::{self, Settings, Wish};
use super::view::ClusterView;
use super::workload::Workload;

pub use pending::{Pending, Unscheduled, pending};

/// A link of the chain, in the order in which each needs the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The inference server and its port are known.
    Server,
    /// A scrape object covers its pods and port.
    Scrape,
    /// The pods are scraped, as the scrape object's status says.
    Targets,
    /// The metrics API serves what the HPA names.
    Metric,
    /// The HPA controller computes replicas.
    Active,
    /// The replicas have nodes to run on.
    Capacity,
}

/// A link and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which.
    pub name: Name,
    /// How it is.
    pub state: Health,
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It holds.
    Healthy,
    /// It does not hold.
    Broken {
        /// Why, as a clause.
        reason: String,
        /// What to do about it, as a clause.
        fix: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why, as a clause.
        reason: String,
    },
}

/// A workload whose chain is looked at.
struct Chain<'a> {
    workload: &'a Workload,
    view: &'a ClusterView,
    configuration: &'a Configuration,
    /// `None` while its label or annotations are not valid.
    settings: Option<&'a Settings>,
    /// What serves in it, or why that is not known.
    serving: Result<Serving, String>,
}

/// How the chain of a workload is, link by link. Empty for one whose label asks for no autoscaling, and for one that is
/// being deleted.
///
/// `pending` tells of its pods that find no node; without it nothing is known of them.
pub fn health(
    workload: &Workload,
    view: &ClusterView,
    configuration: &Configuration,
    pending: Option<&Pending>,
) -> Vec<Link> {
    if workload.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let read = settings::read(&workload.metadata, configuration).wish;
    let settings = match &read {
        Ok(Wish::Unlabelled | Wish::Disabled) => return Vec::new(),
        Ok(Wish::Enabled(settings)) => Some(settings),
        Err(_) => None,
    };
    let serving = match settings {
        Some(settings) => render::serving(workload, settings),
        None => Err(INVALID.to_owned()),
    };
    let chain = Chain { workload, view, configuration, settings, serving };
    let states = [
        (Name::Server, chain.server()),
        (Name::Scrape, chain.scrape()),
        (Name::Targets, chain.targets()),
        (Name::Metric, chain.metric()),
        (Name::Active, chain.active()),
        (Name::Capacity, chain.capacity(pending)),
    ];
    states.into_iter().map(|(name, state)| Link { name, state }).collect()
}

const INVALID: &str = "the workload's settings are not valid";

// === impl Name ===

impl Name {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Server, Self::Scrape, Self::Targets, Self::Metric, Self::Active, Self::Capacity];

    /// The name in metrics and Events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Scrape => "scrape",
            Self::Targets => "targets",
            Self::Metric => "metric",
            Self::Active => "active",
            Self::Capacity => "capacity",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Health ===

impl Health {
    fn broken(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Broken { reason: reason.into(), fix: fix.into() }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }
}

// === impl Chain ===

impl Chain<'_> {
    fn server(&self) -> Health {
        let Some(settings) = self.settings else { return Health::unknown(INVALID) };
        let serving = match &self.serving {
            Ok(serving) => serving,
            Err(_) if !self.workload.config_maps.is_empty() && self.misses("ConfigMap") => {
                return Health::unknown("a ConfigMap that its arguments come from is not in view yet");
            }
            Err(reason) => {
                return Health::broken(
                    reason,
                    "run a server that scalegate knows, or take the label scalegate.dev/autoscale off",
                );
            }
        };
        match &serving.port {
            Err(reason) if !scrape::is_of_the_gpu_alone(settings) => Health::broken(
                format!("the port of the server is unknown: {reason}"),
                "set the annotation scalegate.dev/metrics-port",
            ),
            _ => Health::Healthy,
        }
    }

    fn capacity(&self, pending: Option<&Pending>) -> Health {
        let desired = self.workload.replicas.unwrap_or(1);
        if let Some(pending) = pending {
            let waiting = format!("{} of its pods find no node: {}", pending.pods, pending.message);
            return if pending.lacks_accelerator(self.workload, self.configuration) {
                Health::broken(
                    waiting,
                    "add nodes with free accelerators, raise the quota they need, or lower scalegate.dev/max-replicas",
                )
            } else {
                Health::unknown(waiting)
            };
        }
        if self.workload.status.ready_replicas >= desired {
            Health::Healthy
        } else {
            Health::unknown("not all replicas are Ready, and no Event says that they lack accelerators")
        }
    }

    /// Whether objects of a kind may be missing from the view, or what is there may have changed.
    fn misses(&self, kind: &str) -> bool {
        self.view.is_partial(kind) || self.view.behind.contains(kind)
    }

    /// What is broken when the pods have been Ready for long enough, and cannot be told before.
    fn blamed(&self, reason: impl Into<String>, fix: impl Into<String>) -> Health {
        let settle = i64::try_from(self.configuration.probes.settle_seconds).unwrap_or(i64::MAX);
        match self.workload.ready_since {
            None => Health::unknown("its rollout is not complete, or no pod of it is Ready"),
            Some(since) if self.view.now.saturating_sub(since) < settle => {
                Health::unknown("its pods have not been Ready for long")
            }
            Some(_) => Health::broken(reason, fix),
        }
    }
}
