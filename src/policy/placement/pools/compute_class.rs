//! GKE ComputeClasses, judged by their priorities.

use super::super::super::objects::{ComputeClass, ComputePriority};
use super::super::filter::{Match, matched_by, requirement};
use super::super::machines::{self, Machine};
use super::super::pins::COMPUTE_CLASS;
use super::super::resources::vendor;
use super::{Ask, Candidate, Obstacle, Verdict};

/// The ComputeClasses in view.
pub(in super::super) fn candidates(ask: &Ask<'_>) -> Vec<Candidate> {
    let classes = ask.view.compute_classes().map(|class| {
        let on = format!("ComputeClass {}", class.metadata.name);
        let identities = vec![(COMPUTE_CLASS.to_owned(), class.metadata.name.clone())];
        Candidate { name: on.clone(), on, identities, verdict: judge(ask, class) }
    });
    classes.collect()
}

/// What one priority says about the accelerators that are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Has,
    TooFew(i64),
    Unclear,
    Without,
}

fn judge(ask: &Ask<'_>, class: &ComputeClass) -> Verdict {
    let mut best = None;
    for priority in &class.spec.priorities {
        // A priority must have everything that is asked for.
        let says =
            ask.asked.iter().map(|(resource, asked)| says(priority, resource, *asked)).max_by_key(|says| rank(*says));
        let says = says.unwrap_or(Says::Unclear);
        if says == Says::Has && selected(ask, class, priority) == Match::Yes {
            return Verdict::Hosts;
        }
        best = Some(best.map_or(says, |best| if rank(says) < rank(best) { says } else { best }));
    }
    // Only a class that may not fall back to the cluster's default machines is bound to its priorities.
    let bound = class.spec.when_unsatisfiable.as_deref() == Some("DoNotScaleUp");
    match best {
        Some(Says::Without) if bound => {
            let asked: Vec<&str> = ask.asked.keys().map(String::as_str).collect();
            Verdict::lacks(Obstacle::Accelerator, format!("has no priority with {}", asked.join(" and ")))
        }
        Some(Says::TooFew(count)) if bound => {
            Verdict::lacks(Obstacle::Amount, format!("has no priority with more than {count} on a node"))
        }
        _ => Verdict::may("may create such nodes"),
    }
}

fn rank(says: Says) -> u8 {
    match says {
        Says::Has => 0,
        Says::Unclear => 1,
        Says::TooFew(_) => 2,
        Says::Without => 3,
    }
}

fn says(priority: &ComputePriority, resource: &str, asked: i64) -> Says {
    let vendor = vendor(resource);
    let named = match vendor {
        Some("nvidia") => &priority.gpu,
        Some("google") => &priority.tpu,
        // A device that the class cannot name may still come with the machine.
        _ => return Says::Unclear,
    };
    if let Some(device) = named {
        let count = device.get("count");
        let count = count.and_then(|count| count.as_i64().or_else(|| count.as_str()?.parse().ok()));
        return match count {
            Some(count) if count < asked => Says::TooFew(count),
            _ => Says::Has,
        };
    }
    let machine = priority.machine_type.as_deref().map(machines::kind);
    let family = priority.machine_family.as_deref().map(machines::gcp_series);
    match machine.or(family) {
        Some(Machine::Plain) if priority.nodepools.is_empty() => Says::Without,
        Some(Machine::Accelerated) if asked <= 1 => Says::Has,
        // Named node pools are judged as pools; a priority of other fields may mean any machine.
        _ => Says::Unclear,
    }
}

/// Whether the pods select the class, and nothing that its priority contradicts. A class that the pods do not name may be
/// their namespace's default.
fn selected(ask: &Ask<'_>, class: &ComputeClass, priority: &ComputePriority) -> Match {
    let device = priority.gpu.as_ref().and_then(|gpu| gpu.get("type")?.as_str());
    let mut named = ask.needs.node_selector.contains_key(COMPUTE_CLASS);
    named |=
        ask.needs.affinity.iter().flatten().any(|term| {
            term.match_expressions.iter().any(|wanted| wanted.key == COMPUTE_CLASS && wanted.operator == "In")
        });
    let matched = matched_by(ask.needs, &|key, operator, values| match (key, device) {
        (COMPUTE_CLASS, _) => requirement(operator, values, Some(&class.metadata.name)),
        ("cloud.google.com/gke-accelerator", Some(device)) => requirement(operator, values, Some(device)),
        _ => Match::Maybe,
    });
    if named { matched } else { matched.min(Match::Maybe) }
}
