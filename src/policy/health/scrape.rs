//! The links from the pods to the monitoring system: the scrape object, and what it says of its targets.

use super::{Chain, Health, INVALID};
use crate::policy::chain::scrape::covers;
use crate::policy::configuration::{BackendKind, Signal};
use crate::policy::objects::{Object, Targets};
use crate::policy::render::{self, is_ours};
use crate::policy::settings::Settings;

/// What a scrape object covers, or why there is no such question.
enum Place {
    /// Port and path of the pods.
    At(u16, String),
    /// Nothing can be told, with the reason.
    Open(String),
}

/// Whether the settings ask for no metric of the server's own.
pub(super) fn is_of_the_gpu_alone(settings: &Settings) -> bool {
    settings.metrics.iter().all(|(signal, _)| *signal == Signal::GpuUtilization)
}

// === impl Chain ===

impl Chain<'_> {
    /// Whether the pods are meant to be scraped.
    pub(super) fn scrape(&self) -> Health {
        let (port, path) = match self.place() {
            Place::At(port, path) => (port, path),
            Place::Open(reason) => return Health::unknown(reason),
        };
        if self.covering(port, &path).next().is_some() {
            return Health::Healthy;
        }
        let kinds = self.kinds();
        if let Some(kind) = kinds.iter().find(|kind| self.misses(kind)) {
            return Health::unknown(format!("not every {kind} is in view"));
        }
        let kind = kinds.first().copied().unwrap_or_default();
        if self.view.absent.contains(kind) {
            return Health::broken(
                format!("the cluster does not serve {kind}"),
                "install the custom resource definitions of the backend, or set backend.type",
            );
        }
        let asked = self.settings.is_some_and(|settings| settings.generate && !settings.paused);
        self.blamed(
            format!("no {} covers its pods on port {port}", kinds.join(" or ")),
            if asked {
                "see the workload's Events for why none is written".to_owned()
            } else {
                format!("write a {kind}, or take off scalegate.dev/paused and scalegate.dev/generate")
            },
        )
    }

    /// Whether the pods are scraped. Only PodMonitorings tell, and only when GMP's target status is switched on.
    pub(super) fn targets(&self) -> Health {
        let (port, path) = match self.place() {
            Place::At(port, path) => (port, path),
            Place::Open(reason) => return Health::unknown(reason),
        };
        let mut covered = false;
        let mut told: Vec<(&Object, &Targets)> = Vec::new();
        for object in self.covering(port, &path) {
            covered = true;
            if let Object::PodMonitoring(monitoring) = object {
                told.extend(monitoring.status.targets.as_deref().map(|targets| (object, targets)));
            }
            if is_ours(object.metadata(), self.workload) {
                break;
            }
        }
        if !covered {
            return Health::unknown("no scrape object covers its pods");
        }
        if told.iter().any(|(_, targets)| targets.active > 0 && targets.unhealthy == 0) {
            return Health::Healthy;
        }
        let Some((object, targets)) = told.first() else {
            return Health::unknown(
                "no scrape object tells how its targets do (GMP does with features.targetStatus.enabled in OperatorConfig)",
            );
        };
        let name = &object.metadata().name;
        let all = targets.unhealthy >= targets.active;
        // What somebody else's object scrapes may be other pods.
        if !all && !is_ours(object.metadata(), self.workload) {
            return Health::unknown(format!("{name} tells of targets of which some may be other pods"));
        }
        // A pod that loads its model does not answer yet.
        let ready = self.workload.status.ready_replicas;
        if !all && ready < self.workload.status.replicas.max(self.workload.replicas.unwrap_or(1)) {
            return Health::unknown(format!(
                "{} targets of {name} do not answer, as long as pods start",
                targets.unhealthy
            ));
        }
        let reason = if targets.active == 0 {
            format!("{name} finds none of its pods")
        } else {
            let error = if targets.error.is_empty() { String::new() } else { format!(": {}", targets.error) };
            format!("{} of {} targets of {name} cannot be scraped{error}", targets.unhealthy, targets.active)
        };
        self.blamed(
            reason,
            format!(
                "check that the pods serve {path} on port {port} and that no NetworkPolicy keeps the collectors out"
            ),
        )
    }

    /// The scrape objects in view that cover the pods: first what the workload owns, since there may be thousands of others.
    fn covering(&self, port: u16, path: &str) -> impl Iterator<Item = &Object> {
        let namespace = self.workload.metadata.namespace.as_deref();
        let owned = self.view.managed(self.workload.metadata.uid.as_deref().unwrap_or_default());
        let beside = |group, kind| self.view.of_namespace(group, kind, namespace);
        let far = self.view.of_kind("monitoring.googleapis.com", "ClusterPodMonitoring");
        let operators = ["PodMonitor", "ServiceMonitor"].into_iter().flat_map(|kind| {
            let of = self.view.of_kind("monitoring.coreos.com", kind);
            of.filter(|(_, entry)| match &entry.object {
                Object::OperatorMonitor(monitor) => monitor.spec.namespace_selector.reaches_others(),
                _ => false,
            })
        });
        owned
            .chain(beside("monitoring.googleapis.com", "PodMonitoring"))
            .chain(beside("monitoring.coreos.com", "PodMonitor"))
            .chain(beside("monitoring.coreos.com", "ServiceMonitor"))
            .chain(far)
            .chain(operators)
            .map(|(_, entry)| &entry.object)
            .filter(move |object| covers(object, self.workload, port, path, self.view))
    }

    /// The backend's kinds of scrape object, the one that is generated first.
    fn kinds(&self) -> &'static [&'static str] {
        match self.configuration.backend.kind {
            BackendKind::PrometheusOperator => &["PodMonitor", "ServiceMonitor"],
            _ => &["PodMonitoring", "ClusterPodMonitoring"],
        }
    }

    fn place(&self) -> Place {
        let Some(settings) = self.settings else { return Place::Open(INVALID.to_owned()) };
        let Ok(serving) = &self.serving else { return Place::Open("its server is not known".to_owned()) };
        match render::announce(self.workload, settings, self.configuration, &|_| false) {
            Ok(announced) => match announced.scraped_port {
                Some(port) => Place::At(port, serving.path.clone()),
                None => Place::Open("its metrics come from the GPU exporter, not from its pods".to_owned()),
            },
            Err(reason) => Place::Open(reason.to_string()),
        }
    }
}
