//! What several metric rules ask of an autoscaler: who answers for a metric, how its backend spells another name, which
//! series it is made from, and which release counts.

use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::spelling::Form;
use crate::policy::chain::{self, MakerKind, promql};
use crate::policy::engine::{self, Engine, Exporter, Metric, MetricKind, Presence, Version};
use crate::policy::facts::{Context, HpaFacts, MetricUse, ScaledObjectFacts, Source, Stage};
use crate::policy::finding::Finding;
use crate::policy::objects::Hpa;
use crate::policy::placement;
use crate::policy::view::ClusterView;
use crate::policy::workload::{Server, Workload};

/// How many makers in a row are followed back (adapter rule, recording rule, relabelling) to a server's series.
const MAKERS_IN_A_ROW: usize = 4;

/// Who serves a metric of an HPA.
pub(super) fn adapter<'a>(usage: &MetricUse<'_>, facts: &'a HpaFacts<'_>) -> &'a Adapter {
    if usage.source == Source::External { &facts.external_adapter } else { &facts.custom_adapter }
}

/// Whether an APIService in view says who serves a metric's API, so that the adapter is not only configured.
pub(super) fn adapter_seen(usage: &MetricUse<'_>, view: &ClusterView) -> bool {
    let group = if usage.source == Source::External { "external.metrics.k8s.io" } else { "custom.metrics.k8s.io" };
    view.api_services().any(|service| {
        service.spec.group == group || service.metadata.name.split_once('.').is_some_and(|(_, rest)| rest == group)
    })
}

/// Whether KEDA made the HPA; its ScaledObject is judged instead.
pub(super) fn keda_owned(hpa: &Hpa) -> bool {
    hpa.metadata.owner_references.iter().any(|owner| owner.kind == "ScaledObject")
}

/// Whether a metric is none of the metric rules' business: CPU and memory, and what a ScaledObject or a DatadogMetric
/// answers for.
pub(in crate::policy) fn judged_elsewhere(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> bool {
    usage.source == Source::Resource
        || keda_owned(facts.hpa)
        || matches!(usage.spelling.form, Form::Keda | Form::Datadog)
}

/// Whether Google Cloud Monitoring answers: the name is written as it wants it, or its adapter serves the API.
pub(super) fn stackdriver(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> bool {
    match usage.spelling.form {
        Form::Gmp | Form::GmpWithoutSuffix | Form::GkeSystem | Form::GoogleApis => true,
        Form::Plain => *adapter(usage, facts) == Adapter::Stackdriver,
        Form::GkeManaged { .. } | Form::Keda | Form::Datadog => false,
    }
}

/// Whether something in view brings the name about, or may do so. What serves series under the names that they have does not
/// count, nor do adapter rules for a name that Cloud Monitoring answers for.
pub(in crate::policy) fn may_coin(usage: &MetricUse<'_>) -> bool {
    let makers = &usage.makers;
    if !matches!(usage.spelling.form, Form::Gmp | Form::GmpWithoutSuffix) {
        return makers.may_coin();
    }
    let series = |by: MakerKind| matches!(by, MakerKind::RecordingRule | MakerKind::Relabelling);
    makers.made.iter().any(|made| series(made.by))
        || makers.patterns.iter().any(|pattern| series(pattern.by) && !pattern.passes_through)
        || makers.unreadable.iter().any(|(key, _)| key.kind != "ConfigMap")
}

/// A catalogued name as the user has to write it in the place of `usage`.
pub(super) fn spell(name: &str, usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> String {
    if name.contains('|') {
        return name.to_owned();
    }
    if stackdriver(usage, facts) {
        // External names are lower-cased on their way, so only a recording rule's name arrives unharmed.
        if usage.source == Source::External && has_upper_case(name) {
            return chain::spelling::gmp(&name.to_ascii_lowercase(), "gauge");
        }
        let kind = engine::lookup(name).map_or(MetricKind::Gauge, |metric| metric.kind);
        let suffix = chain::spelling::gmp_suffixes(kind, false).first().copied().unwrap_or("gauge");
        return chain::spelling::gmp(name, suffix);
    }
    if usage.name.contains(':') { name.to_owned() } else { name.replace(':', "_") }
}

/// Whether a name has a letter that is lost in External names.
pub(super) fn has_upper_case(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `a`, `b` or `c`, in backquotes.
pub(super) fn one_of<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Who exports a metric, for messages.
pub(super) fn exporter(metric: &Metric) -> &'static str {
    match metric.exporter {
        Exporter::Engine(Engine::Vllm) => "vLLM",
        Exporter::Dcgm => "the DCGM exporter",
        Exporter::GkeSystem => "GKE",
    }
}

/// The catalogued metrics behind a name: its own, or those that its makers compute it from. True for the second.
pub(super) fn origins(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, view: &ClusterView) -> Vec<(&'static Metric, bool)> {
    if !usage.makers.made.is_empty() {
        let namespace = facts.hpa.metadata.namespace.as_deref();
        let from = usage.makers.made.iter().flat_map(|made| &made.from);
        let mut found: Vec<(&'static Metric, bool)> = Vec::new();
        for metric in from.flat_map(|name| series(name, namespace, view, MAKERS_IN_A_ROW)) {
            if !found.iter().any(|(other, _)| other.name == metric.name) {
                found.push((metric, metric.name != usage.spelling.name));
            }
        }
        return found;
    }
    let own = usage.metric().or_else(|| engine::histogram_child(usage.spelling.name).map(|(metric, _)| metric));
    own.into_iter().map(|metric| (metric, false)).collect()
}

/// The catalogued metrics behind the name of a series.
fn series(name: &str, namespace: Option<&str>, view: &ClusterView, makers: usize) -> Vec<&'static Metric> {
    if let Some(metric) = exported(name) {
        return vec![metric];
    }
    if makers == 0 {
        return Vec::new();
    }
    let found = chain::makers_for(view, name, namespace);
    let from = found.made.iter().flat_map(|made| &made.from).filter(|from| *from != name);
    from.flat_map(|from| series(from, namespace, view, makers - 1)).collect()
}

/// The catalogued metric that exports a series of exactly that name.
pub(super) fn exported(series: &str) -> Option<&'static Metric> {
    engine::lookup(series).or_else(|| engine::histogram_child(series).map(|(metric, _)| metric))
}

/// The queries of a ScaledObject's Prometheus triggers that can be read, with the path of each.
pub(super) fn queries(facts: &ScaledObjectFacts<'_>) -> Vec<(String, promql::Query)> {
    facts.queries.clone()
}

/// A proven fault in a query: a review denies it, admission warns, because KEDA owns that object's admission.
pub(super) fn query_fault(field: &str, value: &str, message: String, context: &Context<'_>) -> Finding {
    match context.stage {
        Stage::Review => Finding::deny(field, value, message),
        Stage::Admission => Finding::warn(field, value, message),
    }
}

/// The server of a target that runs the metric's engine, with its release.
pub(super) fn release<'a>(workload: &'a Workload, metric: &Metric) -> Option<(&'a Server, Version)> {
    let server = workload.server()?;
    if metric.exporter != Exporter::Engine(server.engine) {
        return None;
    }
    Some((server, server.version?))
}

/// The accelerators that one pod of the target asks for; `None` when the target is not in view or asks for none.
pub(super) fn devices(facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<u64> {
    let needs = facts.target.workload()?.pods.first()?;
    let asked = placement::resources::accelerators(needs, context.configuration);
    let devices = asked.values().fold(0_i64, |sum, devices| sum.saturating_add(*devices));
    u64::try_from(devices).ok().filter(|devices| *devices > 0)
}

/// Whether a server of that release exports a metric. Arguments that cannot be read to their end may bring a hidden one back.
pub(super) fn presence(metric: &Metric, server: &Server, version: Version) -> Presence {
    match engine::presence(metric, version, server.hidden_metrics_for.as_deref(), server.use_v1) {
        Presence::Hidden { .. } if !server.arguments_complete => Presence::Unknown,
        presence => presence,
    }
}

/// Whether the pods that serve are those of the template. A workload that no controller has looked at is known from a file
/// only, and there the template is all there is.
pub(super) fn serves_its_template(workload: &Workload) -> bool {
    let from_file = workload.metadata.generation.is_none()
        && workload.status.observed_generation.is_none()
        && workload.status.replicas == 0;
    from_file || workload.settled()
}

/// The metrics that replace `metric` in that release, in the spelling of the user's backend.
pub(super) fn successors(metric: &Metric, server: &Server, version: Version) -> Vec<&'static str> {
    let there = |name: &&str| {
        engine::lookup(name).is_none_or(|successor| {
            matches!(presence(successor, server, version), Presence::Exported | Presence::Unknown)
        })
    };
    metric.successors.iter().copied().filter(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_a_sentence_has_them() {
        assert_eq!(one_of::<&str>(&[]), "");
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
