//! The built-in profiles, and what a profile's target comes to on a given server.

use crate::policy::configuration::{Configuration, Profile, ProfileMetric, ProfileTarget, Signal};
use crate::policy::objects::{Behavior, Quantity, ScalingPolicy, ScalingRules};

/// Names of the built-in profiles.
pub const BUILT_IN: [&str; 4] = ["server-metrics", "gpu-metrics", "throughput", "latency"];
/// The label's value for the configured default profile.
pub const ENABLED: &str = "enabled";
/// The label's value for no autoscaling.
pub const DISABLED: &str = "disabled";
/// An HPA does nothing while usage is within this share of its target, in billionths: 10 %, the cluster's default
/// (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE_NANOS: i128 = 100_000_000;
const NANO: i128 = 1_000_000_000;

/// Every value that the label may have: profiles first, then `enabled` and `disabled`.
pub fn label_values(configuration: &Configuration) -> Vec<&str> {
    let mut values: Vec<&str> = BUILT_IN.to_vec();
    values.extend(configuration.profiles.keys().map(String::as_str));
    values.extend([ENABLED, DISABLED]);
    values
}

/// The profile of that name: a built-in one, or one of the configuration (which cannot take a built-in name).
pub fn find(name: &str, configuration: &Configuration) -> Option<Profile> {
    built_in(name).or_else(|| configuration.profiles.get(name).cloned())
}

/// The built-in profile of that name.
pub fn built_in(name: &str) -> Option<Profile> {
    let fixed = |signal, value: i64| ProfileMetric { signal, target: ProfileTarget::Fixed(Quantity::from(value)) };
    let of_ceiling = |percent, otherwise: Option<i64>| ProfileMetric {
        signal: Signal::RequestsRunning,
        target: ProfileTarget::OfCeiling { percent, otherwise: otherwise.map(Quantity::from) },
    };
    Some(match name {
        // The demonstration values of the published walkthroughs.
        "server-metrics" => demonstration(fixed(Signal::RequestsRunning, 4)),
        "gpu-metrics" => demonstration(fixed(Signal::GpuUtilization, 20)),
        "throughput" => gentle(vec![fixed(Signal::RequestsWaiting, 5), of_ceiling(80, None)]),
        "latency" => gentle(vec![of_ceiling(50, Some(4))]),
        _ => return None,
    })
}

fn demonstration(metric: ProfileMetric) -> Profile {
    Profile {
        metrics: vec![metric],
        min_replicas: Some(1),
        max_replicas: Some(5),
        behavior: Behavior { scale_up: None, scale_down: Some(rules("Percent", 100, 15, Some(30))) },
    }
}

/// One pod at a time: a server that loads a model takes minutes to start, so bursts overshoot.
fn gentle(metrics: Vec<ProfileMetric>) -> Profile {
    Profile {
        metrics,
        min_replicas: Some(1),
        max_replicas: None,
        behavior: Behavior {
            scale_up: Some(rules("Pods", 1, 60, None)),
            scale_down: Some(rules("Pods", 1, 120, Some(300))),
        },
    }
}

fn rules(kind: &str, value: i64, period_seconds: i64, window: Option<i64>) -> ScalingRules {
    ScalingRules {
        stabilization_window_seconds: window,
        policies: vec![ScalingPolicy { kind: kind.to_owned(), value, period_seconds }],
        ..ScalingRules::default()
    }
}

/// What a target comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// This much per pod.
    Target(Quantity),
    /// No metric; the clause says why.
    LeftOut(String),
}

/// Resolves a profile's target against the server's ceiling. `explicit` targets, given by annotation, are never left out:
/// rule `target-unreachable` warns about them instead.
pub fn resolve(
    signal: Signal,
    target: &ProfileTarget,
    explicit: bool,
    ceiling: Option<u64>,
    behavior: &Behavior,
) -> Resolved {
    let quantity = match target {
        ProfileTarget::Fixed(quantity) => quantity.clone(),
        ProfileTarget::OfCeiling { percent, otherwise } => match (ceiling, otherwise) {
            (Some(ceiling), _) => {
                let share = u128::from(ceiling) * u128::from(*percent) / 100;
                Quantity::from(i64::try_from(share).unwrap_or(i64::MAX))
            }
            (None, Some(otherwise)) => otherwise.clone(),
            (None, None) => {
                return Resolved::LeftOut(format!(
                    "{} at {percent} % of the ceiling is left out: the ceiling is unknown (set --max-num-seqs)",
                    phrase(signal)
                ));
            }
        },
    };
    if explicit || signal != Signal::RequestsRunning {
        return Resolved::Target(quantity);
    }
    let nanos = quantity.nanos().unwrap_or_default();
    if nanos < NANO {
        return Resolved::LeftOut(format!("{} at {quantity} is left out: the target is below 1", phrase(signal)));
    }
    match ceiling {
        Some(ceiling) if !reachable(nanos, ceiling, behavior) => Resolved::LeftOut(format!(
            "{} at {quantity} is left out: a pod runs at most {ceiling} requests, so usage never exceeds the target by \
             the HPA's tolerance",
            phrase(signal)
        )),
        _ => Resolved::Target(quantity),
    }
}

/// Whether usage can exceed the target by more than the tolerance: `(1 + tolerance) x target < ceiling`.
fn reachable(target_nanos: i128, ceiling: u64, behavior: &Behavior) -> bool {
    let tolerance = behavior
        .scale_up
        .as_ref()
        .and_then(|rules| rules.tolerance.as_ref())
        .and_then(|tolerance| tolerance.nanos().ok())
        .unwrap_or(TOLERANCE_NANOS);
    // A quantity's nanos are below 2^94 and a ceiling below 2^64, so only the products may overflow.
    let Some(needed) = target_nanos.checked_mul(NANO.saturating_add(tolerance)) else { return false };
    i128::from(ceiling).checked_mul(NANO * NANO).is_none_or(|most| needed < most)
}

/// A signal in words.
pub(crate) fn phrase(signal: Signal) -> &'static str {
    match signal {
        Signal::RequestsRunning => "requests running",
        Signal::RequestsWaiting => "requests waiting",
        Signal::KvCacheUsage => "KV-cache usage",
        Signal::GpuUtilization => "GPU utilisation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(percent: u32, otherwise: Option<i64>, ceiling: Option<u64>) -> Resolved {
        let target = ProfileTarget::OfCeiling { percent, otherwise: otherwise.map(Quantity::from) };
        resolve(Signal::RequestsRunning, &target, false, ceiling, &Behavior::default())
    }

    #[test]
    fn a_share_of_the_ceiling_is_rounded_down() {
        assert_eq!(running(80, None, Some(64)), Resolved::Target(Quantity::from(51)));
        assert_eq!(running(50, Some(4), Some(64)), Resolved::Target(Quantity::from(32)));
        assert_eq!(running(50, Some(4), Some(3)), Resolved::Target(Quantity::from(1)));
    }

    #[test]
    fn without_a_ceiling_the_other_target_counts_or_none() {
        assert_eq!(running(50, Some(4), None), Resolved::Target(Quantity::from(4)));
        assert!(matches!(running(80, None, None), Resolved::LeftOut(_)));
    }

    #[test]
    fn a_target_below_one_or_out_of_reach_is_left_out() {
        assert!(matches!(running(80, None, Some(1)), Resolved::LeftOut(_)));
        assert!(matches!(running(91, None, Some(1000)), Resolved::LeftOut(_)));
        assert!(matches!(running(90, None, Some(1000)), Resolved::Target(_)));
        let fixed = ProfileTarget::Fixed(Quantity::from(4));
        let of = |ceiling| resolve(Signal::RequestsRunning, &fixed, false, ceiling, &Behavior::default());
        assert!(matches!(of(Some(4)), Resolved::LeftOut(_)));
        assert_eq!(of(Some(5)), Resolved::Target(Quantity::from(4)));
        assert_eq!(of(Some(u64::MAX)), Resolved::Target(Quantity::from(4)));
    }

    #[test]
    fn an_explicit_target_stays_even_when_it_is_out_of_reach() {
        let fixed = ProfileTarget::Fixed(Quantity::from(400));
        let resolved = resolve(Signal::RequestsRunning, &fixed, true, Some(4), &Behavior::default());
        assert_eq!(resolved, Resolved::Target(Quantity::from(400)));
    }

    #[test]
    fn a_profile_with_its_own_tolerance_is_measured_by_it() {
        let behavior = Behavior {
            scale_up: Some(ScalingRules { tolerance: Some(Quantity::new("0")), ..ScalingRules::default() }),
            scale_down: None,
        };
        let target = ProfileTarget::OfCeiling { percent: 95, otherwise: None };
        let resolved = resolve(Signal::RequestsRunning, &target, false, Some(100), &behavior);
        assert_eq!(resolved, Resolved::Target(Quantity::from(95)));
    }

    #[test]
    fn every_built_in_profile_is_found_by_its_name() {
        for name in BUILT_IN {
            assert!(built_in(name).is_some(), "{name}");
        }
        assert!(built_in(ENABLED).is_none());
    }
}
