//! Pools that the administrator declares, which may have no node at present.

use std::collections::BTreeMap;

use super::super::super::configuration::DeclaredPool;
use super::super::super::objects::Quantity;
use super::super::super::workload::PodNeeds;
use super::super::filter::{Match, fits, matched_by, mismatch, requirement, tolerates};
use super::super::resources::{GKE_DRA_LABEL, promised, shared};
use super::{Ask, Candidate, Obstacle, SHARED, Verdict, has_no, has_taint, identities, units};

/// The declared pools. One that declares no resources is left to its nodes, when `seen` has some.
pub(super) fn candidates(ask: &Ask<'_>, seen: &[Candidate]) -> Vec<Candidate> {
    judged(ask)
        .filter(|(pool, candidate)| {
            !pool.allocatable.is_empty()
                || !seen.iter().any(|nodes| nodes.identities.iter().any(|id| candidate.identities.contains(id)))
        })
        .map(|(_, candidate)| candidate)
        .collect()
}

/// Every declared pool with its verdict.
pub(in super::super) fn judged<'a>(ask: &'a Ask<'_>) -> impl Iterator<Item = (&'a DeclaredPool, Candidate)> {
    ask.configuration.pools.items.iter().map(|pool| {
        let labels = with_identity(ask, pool);
        let identities = identities(&labels, ask.configuration);
        let verdict = judge(ask, pool, &labels);
        (pool, Candidate { name: pool.name.clone(), on: format!("node pool {}", pool.name), identities, verdict })
    })
}

/// The pool's labels, with its name under each identity label that it does not declare: which of them its nodes carry
/// depends on the provider, and a declaration need not repeat the name.
fn with_identity(ask: &Ask<'_>, pool: &DeclaredPool) -> BTreeMap<String, String> {
    let mut labels = pool.labels.clone();
    for key in &ask.configuration.pools.identity_labels {
        labels.entry(key.clone()).or_insert_with(|| pool.name.clone());
    }
    labels
}

fn judge(ask: &Ask<'_>, pool: &DeclaredPool, labels: &BTreeMap<String, String>) -> Verdict {
    if pool.allocatable.is_empty() {
        return Verdict::may("is declared without its resources");
    }
    for resource in ask.asked.keys() {
        if units(&pool.allocatable, resource) > 0 {
            continue;
        }
        if pool.allocatable.get(resource).is_some_and(|amount| amount.units().is_none()) {
            return Verdict::doubtful(format!("is declared with an amount of {resource} that is no quantity"));
        }
        if let Some((key, value)) = promised(labels, resource) {
            return Verdict::may(format!("is declared with label {key}={value}, but without {resource}"));
        }
        if labels.get(GKE_DRA_LABEL).is_some_and(|value| value == "true") {
            return Verdict::may("hands its GPUs out by Dynamic Resource Allocation");
        }
        return Verdict::lacks(Obstacle::Accelerator, has_no(resource, &pool.allocatable, ask.configuration));
    }
    let on_label = |key: &str, operator: &str, values: &[String]| on_declared(pool, labels, key, operator, values);
    let selected = matched_by(ask.needs, &on_label);
    if selected == Match::No {
        return Verdict::lacks(Obstacle::Label, mismatch(ask.needs, labels, &on_label));
    }
    if let Err(taint) = tolerates(ask.needs, &pool.taints) {
        return Verdict::lacks(Obstacle::Taint, has_taint(taint));
    }
    if pool.max_nodes.is_some_and(|most| most <= 0) {
        return Verdict::lacks(Obstacle::Amount, "may have no node at all (maxNodes: 0)");
    }
    if ask.asked.iter().any(|(resource, asked)| *asked > 1 && shared(labels, resource)) {
        return Verdict::doubtful(SHARED);
    }
    if let Err(lack) = fits(&declared_requests(ask.needs, &pool.allocatable), &pool.allocatable) {
        return Verdict::lacks(Obstacle::Amount, lack.to_string());
    }
    if selected == Match::Maybe {
        return Verdict::doubtful("is declared without a label that the pods select");
    }
    Verdict::Hosts
}

/// Whether nodes of the pool meet a requirement on a label. One that is not declared may still be there.
fn on_declared(
    pool: &DeclaredPool,
    with_identity: &BTreeMap<String, String>,
    key: &str,
    operator: &str,
    values: &[String],
) -> Match {
    let declared = pool.labels.get(key).map(String::as_str);
    let implied = with_identity.get(key).map(String::as_str);
    let holds = requirement(operator, values, declared);
    match (declared, implied) {
        // Of several providers' labels only one is there: a negative requirement is open, a positive one means that one.
        (None, Some(_)) if holds == Match::Yes => requirement(operator, values, implied).max(Match::Maybe),
        (None, Some(_)) => requirement(operator, values, implied),
        (None, None) if matches!(operator, "In" | "Exists" | "Gt" | "Lt") => Match::Maybe,
        _ => holds,
    }
}

/// The requests that a declaration speaks of: what it leaves out is not known to be missing.
fn declared_requests(needs: &PodNeeds, allocatable: &BTreeMap<String, Quantity>) -> PodNeeds {
    let requests = needs.requests.iter().filter(|(resource, _)| allocatable.contains_key(*resource));
    PodNeeds {
        requests: requests.map(|(resource, amount)| (resource.clone(), amount.clone())).collect(),
        ..PodNeeds::default()
    }
}
