//! Known metrics that are written as their backend does not write them.

use super::super::naming::{exporter, spell};
use super::{Fixed, closed};
use crate::policy::chain::{self, MakerKind};
use crate::policy::engine::{self, Exporter, Metric, MetricKind, Resolved};
use crate::policy::facts::{Context, HpaFacts, MetricUse};
use crate::policy::finding::Finding;

/// Case and separators put aside.
fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a name is a server's own name but for case and separators. Of DCGM's fields the lower-case name is a customary
/// one, which recording rules give.
pub(super) fn is_respelled(name: &str, metric: &Metric) -> bool {
    let own = metric.name.strip_suffix("_total").unwrap_or(metric.name);
    matches!(metric.exporter, Exporter::Engine(_)) && [metric.name, own].map(folded).contains(&folded(name))
}

pub(super) fn respelled(
    metric: &Metric,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    context: &Context<'_>,
    fixed: Fixed,
) -> Finding {
    let name = usage.spelling.name;
    let field = usage.name_field();
    let message =
        format!("{} exports `{}`, not `{name}`, and nothing in view renames it", exporter(metric), metric.name);
    // What relabelling renames loses its type, so `unknown` is evidence of a rename out of view.
    let renamed = usage.spelling.suffix.is_some_and(|suffix| suffix.starts_with("unknown"));
    let finding = if (fixed == Fixed::Seen && !renamed) || closed(facts, context) {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    finding.hint(format!("write `{}`", spell(metric.name, usage, facts)))
}

/// A server's own name where Cloud Monitoring wants `prometheus.googleapis.com|NAME|TYPE`.
pub(super) fn undecorated(
    metric: &Metric,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    fixed: Fixed,
) -> Option<Finding> {
    if fixed == Fixed::No || matches!(metric.kind, MetricKind::Histogram | MetricKind::Info) {
        return None;
    }
    let message = format!(
        "the Stackdriver adapter takes `{}` for a custom metric; metrics of Managed Service for Prometheus have a prefix \
         and a type",
        usage.name
    );
    let field = usage.name_field();
    let finding = if fixed == Fixed::Seen {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}

pub(super) fn alias_on_stackdriver(
    metric: &Metric,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    fixed: Fixed,
) -> Option<Finding> {
    let message = format!(
        "the Stackdriver adapter takes `{}` for a custom metric; {} exports `{}`",
        usage.name,
        exporter(metric),
        metric.name
    );
    let finding = match fixed {
        Fixed::Seen => Finding::suspect(usage.name_field(), usage.name, message),
        Fixed::Configured => Finding::note(usage.name_field(), usage.name, message),
        Fixed::No => return None,
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}

pub(super) fn without_suffix(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> Finding {
    let name = usage.spelling.name;
    let message = format!("`{}` lacks the type that Managed Service for Prometheus adds to every name", usage.name);
    let field = usage.name_field();
    let meant = match &usage.resolved {
        Resolved::Catalogued(metric) | Resolved::Respelled { metric, .. } => Some(metric.name),
        Resolved::Alias { metric, .. } if is_respelled(name, metric) => Some(metric.name),
        Resolved::NearMiss { nearest, .. } => nearest.first().copied(),
        _ => None,
    };
    let right = meant.map_or_else(|| chain::spelling::gmp(name, "gauge"), |name| spell(name, usage, facts));
    let finding = if usage.in_scope() {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    finding.hint(format!("write `{right}`"))
}

/// The suffix of another type. `unknown` proves nothing: metadata may be lost on the way.
pub(super) fn wrong_suffix(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> Option<Finding> {
    let name = usage.spelling.name;
    let suffix = usage.spelling.suffix?;
    if suffix.starts_with("unknown") {
        return None;
    }
    let made_by = |kind: MakerKind| usage.makers.made.iter().any(|made| made.by == kind);
    let recorded = made_by(MakerKind::RecordingRule);
    let relabelled = made_by(MakerKind::Relabelling);
    // Histograms and infos are `metric-kind`'s.
    if !recorded
        && !relabelled
        && usage.metric().is_some_and(|m| matches!(m.kind, MetricKind::Histogram | MetricKind::Info))
    {
        return None;
    }
    let catalogued = usage.metric().map(|metric| metric.kind);
    let alias = matches!(usage.resolved, Resolved::Alias { .. });
    let mut possible: Vec<&str> = Vec::new();
    if recorded || (alias && !relabelled) {
        possible.extend(chain::spelling::gmp_suffixes(MetricKind::Gauge, true));
    }
    if let Some(kind) = catalogued.filter(|_| !relabelled || !alias) {
        possible.extend(chain::spelling::gmp_suffixes(kind, false));
    }
    if relabelled {
        possible.push("unknown");
    }
    if possible.is_empty() || possible.contains(&suffix) {
        return None;
    }
    let right = possible.first().copied().unwrap_or("gauge");
    let why = if recorded {
        "a recording rule makes it, so"
    } else if relabelled && (alias || catalogued.is_none()) {
        "it is renamed by relabelling, so"
    } else {
        match catalogued {
            Some(MetricKind::Counter) => "it is a counter, so",
            _ => "it is a gauge, so",
        }
    };
    let message =
        format!("Managed Service for Prometheus has no `{name}` of type `{suffix}`: {why} its type is `{right}`");
    let other_makers = relabelled || usage.makers.patterns.iter().any(|pattern| pattern.by == MakerKind::Relabelling);
    let field = usage.name_field();
    let finding = if other_makers || catalogued.is_none() && !usage.in_scope() {
        Finding::suspect(field, usage.name, message)
    } else {
        Finding::deny(field, usage.name, message)
    };
    let right = if catalogued.is_some() && !recorded && !relabelled && !alias {
        usage.metric().map_or_else(|| chain::spelling::gmp(name, right), |metric| spell(metric.name, usage, facts))
    } else {
        chain::spelling::gmp(name, right)
    };
    Some(finding.hint(format!("write `{right}`")))
}

/// The counter that a name means which leaves `_total` away.
pub(super) fn total_of(name: &str) -> Option<&'static Metric> {
    if engine::lookup(name).is_some() {
        return None;
    }
    engine::lookup(&format!("{name}_total")).filter(|metric| metric.kind == MetricKind::Counter)
}

pub(super) fn without_total(
    metric: &Metric,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    fixed: Fixed,
) -> Option<Finding> {
    let message = format!("{} exports this counter as `{}`", exporter(metric), metric.name);
    let field = usage.name_field();
    let finding = match fixed {
        Fixed::Seen => Finding::deny(field, usage.name, message),
        Fixed::Configured => Finding::suspect(field, usage.name, message),
        // prometheus-adapter's stock rules take `_total` away themselves.
        Fixed::No => return None,
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}
