//! The series that a ScaledObject's queries select.

use super::super::naming::{exporter, one_of, queries, query_fault};
use super::spelling::total_of;
use super::{CATALOGUED_TO, by_list, looks_like, nearest_known, other_dcgm_field};
use crate::policy::chain::{self, promql};
use crate::policy::engine::{self, Resolved};
use crate::policy::facts::{Context, ScaledObjectFacts, Target};
use crate::policy::finding::Finding;
use crate::policy::workload::Reading;

pub(super) fn check(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    if matches!(&facts.target, Target::Workload(workload) if matches!(workload.server, Reading::Recognised { .. })) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (field, query) in queries(facts) {
        let selectors = query.series.iter();
        findings.extend(selectors.filter_map(|selector| {
            let finding = in_query(selector, &field, facts, context)?;
            // `renamed or original` is how a query is written for names that may or may not be there.
            Some(if query.spares(selector) { finding.doubted() } else { finding })
        }));
    }
    findings
}

fn in_query(
    selector: &promql::Selector,
    field: &str,
    facts: &ScaledObjectFacts<'_>,
    context: &Context<'_>,
) -> Option<Finding> {
    let name = selector.name.as_deref()?;
    let namespace = facts.scaled_object.metadata.namespace.as_deref();
    if engine::histogram_child(name).is_some() || chain::makers_for(context.view, name, namespace).may_coin() {
        return None;
    }
    let release = facts.target.workload().and_then(|workload| workload.server()?.version);
    let newer = release.is_some_and(|version| version > CATALOGUED_TO);
    let closed = !newer && (context.view.complete || context.configuration.makers_first);
    let uncertain = |message: String| {
        if closed { query_fault(field, name, message, context) } else { Finding::suspect(field, name, message) }
    };
    let resolved = engine::resolve(name);
    if let Some(metric) = total_of(name) {
        let message = format!("the query selects `{name}`, but {} exports `{}`", exporter(metric), metric.name);
        return Some(query_fault(field, name, message, context).hint(format!("write `{}`", metric.name)));
    }
    match resolved {
        Resolved::NearMiss { nearest, distance, .. } => {
            let message = format!("the query selects `{name}`, which nothing exports and nothing in view records");
            let readable = release.is_some_and(|version| version <= CATALOGUED_TO);
            let proven = distance <= 1 || (distance == 2 && readable) || closed;
            if other_dcgm_field(name, &nearest) {
                return Some(Finding::note(field, name, by_list(name)));
            }
            let finding = if proven {
                query_fault(field, name, message, context)
            } else {
                Finding::suspect(field, name, message)
            };
            Some(if nearest.is_empty() { finding } else { finding.hint(format!("write {}", one_of(&nearest))) })
        }
        Resolved::Respelled { metric, .. } => {
            let message = format!("the query selects `{name}`, but {} exports `{}`", exporter(metric), metric.name);
            Some(uncertain(message).hint(format!("write `{}`", metric.name)))
        }
        Resolved::UnderPrefix { optional_family: true, .. } => {
            let message = format!("`{name}` is exported only where its feature is switched on");
            Some(Finding::note(field, name, message))
        }
        Resolved::UnderPrefix { nearest, .. } => {
            let message =
                format!("the query selects `{name}`, which no known release exports and nothing in view records");
            let finding = uncertain(message);
            let nearest: Vec<&str> = nearest.into_iter().filter(|other| looks_like(name, other)).collect();
            if nearest.is_empty() {
                return Some(finding.hint("add the rule that records it"));
            }
            Some(finding.hint(nearest_known(&nearest)))
        }
        Resolved::SuffixedStem { stem, .. } => {
            let message = format!("the query selects `{name}`, which nothing exports and nothing in view records");
            Some(uncertain(message).hint(format!("write a function of `{stem}`, or add the rule that records it")))
        }
        Resolved::Catalogued(_) | Resolved::Alias { .. } | Resolved::Foreign => None,
    }
}
