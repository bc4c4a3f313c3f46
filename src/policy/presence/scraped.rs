//! Whether what collects a metric is there already, or is on its way: then it is not the autoscaler's fault that nobody
//! serves it yet.

use super::super::chain::Form;
use super::super::chain::spelling::gmp_suffixes;
use super::super::configuration::BackendKind;
use super::super::engine::Exporter;
use super::super::facts::{Context, HpaFacts, MetricUse, Source};
use super::super::objects::{IntOrString, PodMonitoring};
use super::super::render;
use super::super::settings::{self, Wish};
use super::super::view::may_be_same;
use super::super::workload::Workload;

/// Whether a PodMonitoring, the user's or the one that the target's label brings, makes this catalogued metric under this
/// name for the target. Only of Google Managed Prometheus: elsewhere a name needs an adapter's rule too, which is a maker.
pub(in crate::policy) fn scraped(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> bool {
    let Some(metric) = usage.metric() else { return false };
    let suffix = usage.spelling.suffix.unwrap_or_default();
    if usage.spelling.form != Form::Gmp
        || usage.spelling.name != metric.name
        || !gmp_suffixes(metric.kind, false).contains(&suffix)
    {
        return false;
    }
    match metric.exporter {
        Exporter::Engine(engine) => {
            let Some(workload) = facts.target.workload().filter(|_| usage.source != Source::Object) else {
                return false;
            };
            let other = workload.server().is_some_and(|server| server.engine != engine);
            !other && (labelled(workload, context) || context.view.pod_monitorings().any(|one| covers(one, workload)))
        }
        // Whose pods export these is not in view: what is named after the exporter is taken for what scrapes it.
        Exporter::Dcgm => context.view.pod_monitorings().any(is_of_dcgm),
        Exporter::GkeSystem => true,
    }
}

/// Whether the workload's label makes scalegate write a PodMonitoring for it.
fn labelled(workload: &Workload, context: &Context<'_>) -> bool {
    if context.configuration.backend.kind != BackendKind::Gmp {
        return false;
    }
    let Ok(Wish::Enabled(settings)) = settings::read(&workload.metadata, context.configuration).wish else {
        return false;
    };
    settings.generate
        && !settings.paused
        && render::announce(workload, &settings, context.configuration, &|_| false)
            .is_ok_and(|announced| announced.scraped_port.is_some())
}

/// Whether a PodMonitoring scrapes the server's port of the workload's pods. Where the port cannot be told, it may.
fn covers(monitoring: &PodMonitoring, workload: &Workload) -> bool {
    let same = monitoring.cluster
        || may_be_same(monitoring.metadata.namespace.as_deref(), workload.metadata.namespace.as_deref());
    same && monitoring.spec.selector.matches(&workload.pod_labels)
        && monitoring.spec.endpoints.iter().any(|endpoint| {
            let Some(server) = workload.server() else { return true };
            let number = match &endpoint.port {
                Some(IntOrString::Int(number)) => Some(*number),
                Some(IntOrString::String(name)) => {
                    let declared =
                        server.declared_ports.iter().find(|port| port.name.as_deref() == Some(name.as_str()));
                    declared.map(|port| i64::from(port.number))
                }
                None => None,
            };
            match (number, server.port.number()) {
                (Some(number), Some(serving)) => number == i64::from(serving),
                (Some(_), None) => true,
                (None, _) => false,
            }
        })
}

fn is_of_dcgm(monitoring: &PodMonitoring) -> bool {
    let selector = &monitoring.spec.selector;
    let values = selector.match_labels.values().chain(selector.match_expressions.iter().flat_map(|one| &one.values));
    std::iter::once(&monitoring.metadata.name).chain(values).any(|text| text.contains("dcgm"))
}
