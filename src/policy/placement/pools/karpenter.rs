//! Karpenter NodePools, judged by their definition: the nodes that exist say nothing about those that it may create.

use super::super::super::objects::{KarpenterNodePool, KarpenterRequirement, Quantity};
use super::super::filter::{Match, matched_by, requirement, tolerates};
use super::super::machines::{self, Machine};
use super::super::pins::KARPENTER;
use super::super::resources::vendor;
use super::{Ask, Candidate, Obstacle, Verdict, has_taint, identities};

/// The NodePools in view.
pub(super) fn candidates(ask: &Ask<'_>) -> Vec<Candidate> {
    judged(ask).map(|(_, candidate)| candidate).collect()
}

/// Every NodePool in view with its verdict.
pub(in super::super) fn judged<'a>(ask: &'a Ask<'_>) -> impl Iterator<Item = (&'a KarpenterNodePool, Candidate)> {
    // An overlay can give any instance type any resource.
    let overlaid = ask.view.of_kind("karpenter.sh", "NodeOverlay").next().is_some();
    ask.view.karpenter_pools().map(move |pool| {
        let name = &pool.metadata.name;
        let mut identities = identities(&pool.spec.template.metadata.labels, ask.configuration);
        identities.retain(|(key, _)| key != KARPENTER);
        identities.push((KARPENTER.to_owned(), name.clone()));
        let on = format!("Karpenter NodePool {name}");
        (pool, Candidate { name: on.clone(), on, identities, verdict: judge(ask, pool, overlaid) })
    })
}

fn judge(ask: &Ask<'_>, pool: &KarpenterNodePool, overlaid: bool) -> Verdict {
    let definition = &pool.spec.template.spec;
    for (resource, asked) in &ask.asked {
        match pool.spec.limits.get(resource).and_then(Quantity::units) {
            Some(limit) if limit <= 0 => {
                return Verdict::lacks(Obstacle::Accelerator, format!("limits {resource} to {limit}"));
            }
            Some(limit) if limit < *asked => {
                let lack = format!("limits {resource} to {limit}, and one pod asks for {asked}");
                return Verdict::lacks(Obstacle::Amount, lack);
            }
            _ => {}
        }
        if let Some(excluding) = definition.requirements.iter().find(|wanted| excludes(wanted, resource))
            && !overlaid
        {
            let lack = format!("creates no node with {resource} (requires {})", describe(excluding));
            return Verdict::lacks(Obstacle::Accelerator, lack);
        }
    }
    let selected = matched_by(ask.needs, &|key, operator, values| possible(pool, key, operator, values));
    if selected == Match::No {
        return Verdict::lacks(Obstacle::Label, "creates no node with the labels that the pods select");
    }
    if let Err(taint) = tolerates(ask.needs, &definition.taints) {
        return Verdict::lacks(Obstacle::Taint, has_taint(taint));
    }
    let promised = ask
        .asked
        .iter()
        .all(|(resource, asked)| definition.requirements.iter().any(|wanted| promises(wanted, resource, *asked)));
    if promised && selected == Match::Yes { Verdict::Hosts } else { Verdict::may("may create such nodes") }
}

fn describe(wanted: &KarpenterRequirement) -> String {
    if wanted.values.is_empty() {
        format!("{} {}", wanted.key, wanted.operator)
    } else {
        format!("{} {} [{}]", wanted.key, wanted.operator, wanted.values.join(", "))
    }
}

/// Whether the pool could create a node of which this requirement of the pods holds. A label that the definition does not
/// speak of may be one that the instance type brings.
fn possible(pool: &KarpenterNodePool, key: &str, operator: &str, values: &[String]) -> Match {
    let template = &pool.spec.template;
    let known = if key == KARPENTER { Some(&pool.metadata.name) } else { template.metadata.labels.get(key) };
    if let Some(value) = known {
        return requirement(operator, values, Some(value));
    }
    let mut bounds = template.spec.requirements.iter().filter(|wanted| wanted.key == key).peekable();
    if bounds.peek().is_none() {
        return Match::Maybe;
    }
    let bounds: Vec<&KarpenterRequirement> = bounds.collect();
    match operator {
        "In" if values.iter().any(|value| bounds.iter().all(|bound| admits(bound, value))) => Match::Yes,
        "In" => Match::No,
        "Exists" if bounds.iter().any(|bound| bound.operator == "DoesNotExist") => Match::No,
        "Exists" => Match::Yes,
        _ => Match::Maybe,
    }
}

/// Whether a requirement of a NodePool leaves room for that value.
fn admits(bound: &KarpenterRequirement, value: &str) -> bool {
    let numbers = || Some((value.parse::<i64>().ok()?, bound.values.first()?.parse::<i64>().ok()?));
    match bound.operator.as_str() {
        "In" => bound.values.iter().any(|allowed| allowed == value),
        "NotIn" => bound.values.iter().all(|forbidden| forbidden != value),
        "DoesNotExist" => false,
        "Gt" => numbers().is_none_or(|(value, bound)| value > bound),
        "Gte" => numbers().is_none_or(|(value, bound)| value >= bound),
        "Lt" => numbers().is_none_or(|(value, bound)| value < bound),
        "Lte" => numbers().is_none_or(|(value, bound)| value <= bound),
        _ => true,
    }
}

/// Whether the requirement leaves no instance type with that accelerator. Only what is certain counts: a list of
/// categories that are left out proves nothing, for new ones appear.
fn excludes(wanted: &KarpenterRequirement, resource: &str) -> bool {
    let Some(vendor) = vendor(resource) else { return false };
    let Some((prefix, name)) = wanted.key.split_once('/') else { return false };
    // The label holds GPUs and Gaudi; Inferentia and Trainium have `instance-accelerator-*`.
    let on_gpu_label = matches!(vendor, "nvidia" | "amd" | "habana");
    match (prefix, name) {
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-gpu-count")
        | ("karpenter.azure.com", "sku-gpu-count") => on_gpu_label && never_positive(wanted),
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-gpu-manufacturer")
        | ("karpenter.azure.com", "sku-gpu-manufacturer") => {
            on_gpu_label && (wanted.operator == "DoesNotExist" || !admits_vendor(wanted, vendor))
        }
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-gpu-name" | "instance-gpu-memory")
        | ("karpenter.azure.com", "sku-gpu-name") => on_gpu_label && wanted.operator == "DoesNotExist",
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-accelerator-count") => {
            vendor == "aws" && never_positive(wanted)
        }
        (
            "karpenter.k8s.aws" | "eks.amazonaws.com",
            "instance-accelerator-name" | "instance-accelerator-manufacturer",
        ) => vendor == "aws" && wanted.operator == "DoesNotExist",
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-category") => all_plain(wanted, machines::aws_category),
        ("karpenter.k8s.aws" | "eks.amazonaws.com", "instance-family") => all_plain(wanted, machines::aws_family),
        ("karpenter.azure.com", "sku-family") => all_plain(wanted, machines::azure_family),
        ("node.kubernetes.io", "instance-type") => all_plain(wanted, machines::kind),
        _ => false,
    }
}

/// Whether the count can only be missing or zero.
fn never_positive(wanted: &KarpenterRequirement) -> bool {
    let first = wanted.values.first().and_then(|value| value.parse::<i64>().ok());
    match wanted.operator.as_str() {
        "DoesNotExist" => true,
        "In" => !wanted.values.is_empty() && wanted.values.iter().all(|value| value == "0"),
        "Lt" => first.is_some_and(|bound| bound <= 1),
        "Lte" => first.is_some_and(|bound| bound <= 0),
        _ => false,
    }
}

fn admits_vendor(wanted: &KarpenterRequirement, vendor: &str) -> bool {
    let named = wanted.values.iter().any(|value| value.to_ascii_lowercase().contains(vendor));
    match wanted.operator.as_str() {
        "In" => named || wanted.values.is_empty(),
        "NotIn" => !named,
        _ => true,
    }
}

fn all_plain(wanted: &KarpenterRequirement, kind: fn(&str) -> Machine) -> bool {
    wanted.operator == "In"
        && !wanted.values.is_empty()
        && wanted.values.iter().all(|value| kind(value) == Machine::Plain)
}

/// Whether the requirement lets only instance types through that have the accelerator, and in that number. Without a count
/// in the definition, one is all that is certain.
fn promises(wanted: &KarpenterRequirement, resource: &str, asked: i64) -> bool {
    if vendor(resource) != Some("nvidia") || resource != "nvidia.com/gpu" {
        return false;
    }
    let number = |value: &String| value.parse::<i64>().ok();
    match wanted.key.as_str() {
        "karpenter.k8s.aws/instance-gpu-count" | "eks.amazonaws.com/instance-gpu-count" => {
            match wanted.operator.as_str() {
                "In" => wanted.values.iter().filter_map(number).any(|count| count >= asked),
                "Gt" => wanted.values.first().and_then(number).is_some_and(|bound| bound >= asked.saturating_sub(1)),
                "Gte" => wanted.values.first().and_then(number).is_some_and(|bound| bound >= asked),
                _ => false,
            }
        }
        "karpenter.k8s.aws/instance-gpu-manufacturer" | "eks.amazonaws.com/instance-gpu-manufacturer" => {
            asked <= 1 && wanted.operator == "In" && wanted.values.iter().any(|value| value == "nvidia")
        }
        "node.kubernetes.io/instance-type" => {
            asked <= 1
                && wanted.operator == "In"
                && wanted
                    .values
                    .iter()
                    .any(|value| ["g5.", "g6.", "g6e.", "p4d.", "p5."].iter().any(|f| value.starts_with(f)))
        }
        _ => false,
    }
}
