//! What one pod of a template asks of a node, counted as the scheduler counts it.

use std::collections::BTreeMap;

use super::super::objects::{Container, PodTemplate, Quantity, Resources};
use super::PodNeeds;

const NANO: i128 = 1_000_000_000;

/// The needs of `count` equal pods of a template, whose path kubectl writes as `path`.
pub(super) fn needs(template: &PodTemplate, path: &str, count: i64) -> PodNeeds {
    let spec = &template.spec;
    let required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.as_ref();
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    PodNeeds {
        count,
        path: path.to_owned(),
        requests: requests(template),
        node_selector: spec.node_selector.clone(),
        affinity: required.map(|selector| selector.node_selector_terms.clone()),
        tolerations: spec.tolerations.clone(),
        node_name: spec.node_name.clone().filter(|name| !name.is_empty()),
        runtime_class: spec.runtime_class_name.clone().filter(|name| !name.is_empty()),
        scheduler: spec.scheduler_name.clone().filter(|name| !name.is_empty() && name != "default-scheduler"),
        gated: !spec.scheduling_gates.is_empty(),
        claims: !spec.resource_claims.is_empty() || containers.any(|container| !container.resources.claims.is_empty()),
        volume_claims: spec
            .volumes
            .iter()
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .map(|claim| claim.claim_name.clone())
            .collect(),
        service_links: spec.enable_service_links.unwrap_or(true),
    }
}

/// Effective requests by resource: the larger of (containers and sidecars together) and (each ordinary init container with
/// the sidecars that start before it), plus the overhead. As in component-helpers' `PodRequests`.
fn requests(template: &PodTemplate) -> BTreeMap<String, Quantity> {
    let spec = &template.spec;
    let mut totals: BTreeMap<&str, Total<'_>> = BTreeMap::new();
    for container in &spec.containers {
        for (name, quantity) in written(container) {
            totals.entry(name).or_default().add(quantity).running += value(quantity);
        }
    }
    for container in &spec.init_containers {
        for (name, quantity) in written(container) {
            let total = totals.entry(name).or_default().add(quantity);
            if is_sidecar(container) {
                total.sidecars += value(quantity);
                total.running += value(quantity);
            } else {
                total.starting = total.starting.max(total.sidecars + value(quantity));
            }
        }
    }
    for (name, quantity) in &spec.overhead {
        totals.entry(name).or_default().add(quantity).overhead = value(quantity);
    }
    totals.into_iter().map(|(name, total)| (name.to_owned(), total.quantity())).collect()
}

/// What the containers of a pod ask of one resource, in billionths.
#[derive(Default)]
struct Total<'a> {
    running: i128,
    sidecars: i128,
    starting: i128,
    overhead: i128,
    /// The only quantity so far, or one that is none: it stays as its author wrote it.
    verbatim: Option<&'a Quantity>,
    count: usize,
}

impl<'a> Total<'a> {
    fn add(&mut self, quantity: &'a Quantity) -> &mut Self {
        let invalid = |quantity: &Quantity| quantity.nanos().is_err();
        self.count = self.count.saturating_add(1);
        self.verbatim = match self.verbatim {
            Some(earlier) if invalid(earlier) => Some(earlier),
            _ if self.count == 1 || invalid(quantity) => Some(quantity),
            _ => None,
        };
        self
    }

    fn quantity(&self) -> Quantity {
        self.verbatim.cloned().unwrap_or_else(|| from_nanos(self.running.max(self.starting) + self.overhead))
    }
}

/// A container's requests. In a template limits were not yet copied to requests, so they stand for what is not written.
fn written(container: &Container) -> impl Iterator<Item = (&str, &Quantity)> {
    let Resources { requests, limits, .. } = &container.resources;
    let only_limits = limits.iter().filter(|(name, _)| !requests.contains_key(*name));
    requests.iter().chain(only_limits).map(|(name, quantity)| (name.as_str(), quantity))
}

/// A valid quantity is at most 2^63-1 units, so a sum over any pod that fits a request stays far below `i128::MAX`.
fn value(quantity: &Quantity) -> i128 {
    quantity.nanos().unwrap_or(0)
}

fn from_nanos(nanos: i128) -> Quantity {
    if nanos % NANO == 0 {
        Quantity::new((nanos / NANO).to_string())
    } else if nanos % 1_000_000 == 0 {
        Quantity::new(format!("{}m", nanos / 1_000_000))
    } else {
        Quantity::new(format!("{nanos}n"))
    }
}

/// Whether an init container keeps running beside the containers.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
