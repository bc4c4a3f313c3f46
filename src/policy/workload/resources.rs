//! What one pod of a template asks of a node, counted as the scheduler counts it.

use std::collections::{BTreeMap, BTreeSet};

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
    let all = spec.containers.iter().chain(&spec.init_containers);
    let names: BTreeSet<&str> = all
        .flat_map(|container| container.resources.requests.keys().chain(container.resources.limits.keys()))
        .chain(spec.overhead.keys())
        .map(String::as_str)
        .collect();
    names.into_iter().map(|name| (name.to_owned(), effective(template, name))).collect()
}

fn effective(template: &PodTemplate, name: &str) -> Quantity {
    let spec = &template.spec;
    let written: Vec<&Quantity> = spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .filter_map(|container| request(&container.resources, name))
        .chain(spec.overhead.get(name))
        .collect();
    // A single number stays as its author wrote it, and so does one that is no quantity.
    if let [only] = written.as_slice() {
        return (*only).clone();
    }
    if let Some(invalid) = written.iter().find(|quantity| quantity.nanos().is_err()) {
        return (*invalid).clone();
    }
    let nanos = |container: &Container| request(&container.resources, name).map_or(0, value);
    let mut running: i128 = spec.containers.iter().map(nanos).sum();
    let mut sidecars: i128 = 0;
    let mut starting: i128 = 0;
    for container in &spec.init_containers {
        if is_sidecar(container) {
            sidecars += nanos(container);
            running += nanos(container);
        } else {
            starting = starting.max(sidecars + nanos(container));
        }
    }
    let overhead = spec.overhead.get(name).map_or(0, value);
    from_nanos(running.max(starting) + overhead)
}

/// A container's request. In a template limits were not yet copied to requests, so they stand for what is not written.
fn request<'a>(resources: &'a Resources, name: &str) -> Option<&'a Quantity> {
    resources.requests.get(name).or_else(|| resources.limits.get(name))
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
