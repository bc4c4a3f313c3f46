//! The links from the metrics API to the replicas: whether it serves what the HPA names, and whether the HPA scales.

use super::{Chain, Health};
use crate::policy::facts::{Context, HpaFacts, Stage, scales};
use crate::policy::objects::{Hpa, Object};
use crate::policy::presence::{self, Wanted};
use crate::policy::view::{Entry, MetricApi, MetricPresence};

const HPA: &str = "HorizontalPodAutoscaler";
/// The reason that the HPA controller gives when the target has no replicas (`pkg/controller/podautoscaler`).
const SCALED_TO_ZERO: &str = "ScalingDisabled";

// === impl Chain ===

impl Chain<'_> {
    /// Whether the metrics API serves what the autoscalers of the workload name.
    pub(super) fn metric(&self) -> Health {
        let context =
            Context { view: self.view, configuration: self.configuration, stage: Stage::Admission, update: false };
        let mut wanted: Vec<Wanted> = Vec::new();
        for (entry, hpa) in self.hpas() {
            let facts = HpaFacts::new(&entry.of, hpa, Some(entry.order), &context);
            wanted.extend(presence::wanted(&facts, &context));
        }
        if wanted.is_empty() {
            return Health::unknown("no autoscaler of it names a metric that a metrics API could be asked about");
        }
        let states: Vec<Health> = wanted.iter().map(|one| self.served(one)).collect();
        let broken = states.iter().find(|state| matches!(state, Health::Broken { .. }));
        let unknown = || states.iter().find(|state| matches!(state, Health::Unknown { .. }));
        broken.or_else(unknown).cloned().unwrap_or(Health::Healthy)
    }

    fn served(&self, wanted: &Wanted) -> Health {
        let group = match wanted.key.api {
            MetricApi::Custom => "custom.metrics.k8s.io",
            MetricApi::External => "external.metrics.k8s.io",
        };
        let Some(served) = &wanted.served else {
            return if self.view.is_closed("APIService") && !self.misses("APIService") {
                self.blamed(format!("no APIService registers {group}"), "install the metrics adapter of the backend")
            } else {
                Health::unknown(format!("how {group} is registered is not known"))
            };
        };
        if let Some(reason) = &served.unavailable {
            return if self.misses("APIService") {
                Health::unknown(format!("whether {group} is available is not known"))
            } else {
                self.blamed(
                    format!("the API server does not reach the adapter that serves {group}: {reason}"),
                    format!("see kubectl describe apiservice {}.{group}", served.version),
                )
            };
        }
        let name = &wanted.key.name;
        let stale = i64::try_from(self.configuration.probes.stale_after_seconds).unwrap_or(i64::MAX);
        let observed = self.view.metrics.get(&wanted.key);
        match observed.filter(|observed| self.view.now.saturating_sub(observed.observed_at) <= stale) {
            Some(observed) if observed.presence == MetricPresence::Present => Health::Healthy,
            Some(observed) if observed.presence == MetricPresence::Absent => self.blamed(
                format!("{group} does not serve {name} in namespace {}", wanted.key.namespace),
                "see whether the pods are scraped and export it, and whether the adapter has a rule for it",
            ),
            _ => Health::unknown(format!("whether {group} serves {name} is not known")),
        }
    }

    /// Whether an HPA scales the workload.
    pub(super) fn active(&self) -> Health {
        if self.misses(HPA) {
            return Health::unknown(format!("not every {HPA} is in view"));
        }
        let mut unsaid = None;
        let mut failed = None;
        for (_, hpa) in self.hpas() {
            let (name, standing) = (&hpa.metadata.name, &hpa.status.standing);
            match &standing.refusal {
                Some(refusal) if refusal.reason == SCALED_TO_ZERO => {
                    unsaid = Some(format!("the workload is scaled to zero, and {HPA} {name} leaves it there"));
                }
                Some(refusal) => {
                    let stop = refusal.message.trim_end_matches('.');
                    failed = Some(format!("{HPA} {name} has {}=False, {}: {stop}", refusal.condition, refusal.reason));
                }
                None if standing.active == Some(true) => return Health::Healthy,
                None => unsaid = Some(format!("the HPA controller has not said whether {HPA} {name} scales")),
            }
        }
        if let Some(failed) = failed {
            return self
                .blamed(failed, "mend the metric or the target that it names; replicas stay as they are until then");
        }
        if let Some(unsaid) = unsaid {
            return Health::unknown(unsaid);
        }
        let elsewhere = self.view.scaling(&self.workload.metadata.name).find(|entry| match &entry.object {
            Object::MultidimPodAutoscaler(other) => {
                scales(&other.spec.scale_target_ref, other.metadata.namespace.as_deref(), self.workload)
            }
            _ => false,
        });
        if let Some(entry) = elsewhere {
            return Health::unknown(format!("{} {} scales it", entry.of.kind, entry.object.metadata().name));
        }
        let asked = self.settings.is_none_or(|settings| settings.generate && !settings.paused);
        self.blamed(
            format!("no {HPA} scales it"),
            if asked {
                "see the workload's Events for why none is written"
            } else {
                "write one, or take off scalegate.dev/paused and scalegate.dev/generate"
            },
        )
    }

    /// The HPAs in view that scale the workload, whoever wrote them.
    fn hpas(&self) -> impl Iterator<Item = (&Entry, &Hpa)> {
        self.view.scaling(&self.workload.metadata.name).filter_map(|entry| match &entry.object {
            Object::Hpa(hpa) if hpa.metadata.deletion_timestamp.is_none() => {
                scales(&hpa.spec.scale_target_ref, hpa.metadata.namespace.as_deref(), self.workload)
                    .then_some((entry, hpa))
            }
            _ => None,
        })
    }
}
