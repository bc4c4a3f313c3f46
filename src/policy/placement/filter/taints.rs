//! Taints and tolerations, as the scheduler and the admission plugins before it treat them.

use super::super::super::objects::{Taint, Toleration};
use super::super::super::workload::PodNeeds;

/// Taints that come and go with a node's state. They say nothing about what a pool can host.
const TRANSIENT: &[&str] = &[
    // Conditions, cordons and shutdown, from kubernetes/api core/v1/well_known_taints.go.
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    // Cluster autoscaler: deletion and startup taints.
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "status-taint.cluster-autoscaler.kubernetes.io/",
    // Karpenter: not registered yet, or about to go.
    "karpenter.sh/unregistered",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    // Network and storage agents that take their taint off once they run.
    "node.cilium.io/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "cloud.google.com/impending-node-termination",
];

/// Taints for which GKE adds the toleration to a pod that selects the label of the same key and value.
const TOLERATED_WHEN_SELECTED: &[&str] = &["cloud.google.com/compute-class", "kubernetes.io/arch"];

/// Whether the pod may run on nodes of a pool with these taints; else the first taint that keeps it off.
///
/// Only `NoSchedule` and `NoExecute` keep pods off. Taints that come and go with a node's condition are passed over, and
/// a taint whose key is an extended resource that the pod asks for counts as tolerated, because the admission plugin
/// `ExtendedResourceToleration` adds that toleration to pods, never to templates.
///
/// # Errors
/// The taint that the pod does not tolerate.
pub fn tolerates<'a>(needs: &PodNeeds, taints: &'a [Taint]) -> Result<(), &'a Taint> {
    match taints.iter().find(|taint| !passes(needs, taint)) {
        Some(taint) => Err(taint),
        None => Ok(()),
    }
}

fn passes(needs: &PodNeeds, taint: &Taint) -> bool {
    !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
        || TRANSIENT.iter().any(|transient| match transient.strip_suffix('/') {
            Some(_) => taint.key.starts_with(transient),
            None => taint.key == *transient,
        })
        || needs.tolerations.iter().any(|toleration| tolerated(toleration, taint))
        || (taint.effect == "NoSchedule" && is_extended(&taint.key) && needs.requests.contains_key(&taint.key))
        || (TOLERATED_WHEN_SELECTED.contains(&taint.key.as_str()) && selects_label(needs, taint))
}

/// `ToleratesTaint` of kubernetes/api `core/v1/toleration.go`, with the comparison operators that newer releases may
/// have switched on.
fn tolerated(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if toleration.key.is_empty() {
        return toleration.operator == "Exists";
    }
    if toleration.key != taint.key {
        return false;
    }
    let numbers = || Some((taint.value.parse::<i64>().ok()?, toleration.value.parse::<i64>().ok()?));
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        "Gt" => numbers().is_some_and(|(taint, bound)| taint > bound),
        "Lt" => numbers().is_some_and(|(taint, bound)| taint < bound),
        _ => false,
    }
}

/// An extended resource: a qualified name outside Kubernetes' own domain.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.")
}

fn selects_label(needs: &PodNeeds, taint: &Taint) -> bool {
    needs.node_selector.get(&taint.key) == Some(&taint.value)
        || needs
            .affinity
            .iter()
            .flatten()
            .flat_map(|term| &term.match_expressions)
            .any(|wanted| wanted.key == taint.key && wanted.operator == "In" && wanted.values.contains(&taint.value))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::objects::Quantity;
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        Toleration {
            key: key.to_owned(),
            operator: operator.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        }
    }

    #[test]
    fn each_toleration_as_the_scheduler_reads_it() {
        let tainted = taint("team", "vision", "NoSchedule");
        for (key, operator, value, effect, expected) in [
            ("team", "Equal", "vision", "NoSchedule", true),
            ("team", "", "vision", "", true),
            ("team", "Equal", "audio", "", false),
            ("team", "Exists", "ignored", "", true),
            ("team", "Exists", "", "NoExecute", false),
            ("other", "Exists", "", "", false),
            ("", "Exists", "", "", true),
            ("", "Exists", "", "NoExecute", false),
            ("", "Equal", "vision", "", false),
            ("", "", "", "", false),
            ("team", "Matches", "vision", "", false),
            ("team", "Gt", "1", "", false),
        ] {
            let needs = PodNeeds { tolerations: vec![toleration(key, operator, value, effect)], ..PodNeeds::default() };
            let passes = tolerates(&needs, std::slice::from_ref(&tainted)).is_ok();
            assert_eq!(passes, expected, "{key} {operator} {value} {effect}");
        }
    }

    #[test]
    fn only_two_effects_keep_pods_off() {
        let needs = PodNeeds::default();
        for (effect, expected) in [("NoSchedule", false), ("NoExecute", false), ("PreferNoSchedule", true), ("", true)]
        {
            assert_eq!(tolerates(&needs, &[taint("a", "b", effect)]).is_ok(), expected, "{effect}");
        }
    }

    #[test]
    fn the_first_taint_that_keeps_it_off_is_named() {
        let needs = PodNeeds { tolerations: vec![toleration("a", "Exists", "", "")], ..PodNeeds::default() };
        let taints = [taint("a", "", "NoSchedule"), taint("b", "", "NoExecute"), taint("c", "", "NoSchedule")];
        assert_eq!(tolerates(&needs, &taints).map_err(|taint| taint.key.as_str()), Err("b"));
    }

    #[test]
    fn numbers_compare_where_the_operators_exist() {
        let needs = |operator: &str, value: &str| PodNeeds {
            tolerations: vec![toleration("sla", operator, value, "")],
            ..PodNeeds::default()
        };
        let tainted = [taint("sla", "950", "NoSchedule")];
        assert!(tolerates(&needs("Gt", "900"), &tainted).is_ok());
        assert!(tolerates(&needs("Gt", "950"), &tainted).is_err());
        assert!(tolerates(&needs("Lt", "1000"), &tainted).is_ok());
        assert!(tolerates(&needs("Lt", "many"), &tainted).is_err());
    }

    #[test]
    fn asking_for_the_resource_tolerates_its_taint_as_the_admission_plugin_arranges() {
        let mut needs = PodNeeds::default();
        let gpu = [taint("nvidia.com/gpu", "present", "NoSchedule")];
        assert!(tolerates(&needs, &gpu).is_err());
        needs.requests.insert("nvidia.com/gpu".to_owned(), Quantity::from(1));
        assert!(tolerates(&needs, &gpu).is_ok());
        assert!(tolerates(&needs, &[taint("nvidia.com/gpu", "present", "NoExecute")]).is_err());
        assert!(tolerates(&needs, &[taint("amd.com/gpu", "present", "NoSchedule")]).is_err());
        needs.requests.insert("cpu".to_owned(), Quantity::from(1));
        assert!(tolerates(&needs, &[taint("cpu", "", "NoSchedule")]).is_err(), "cpu is no extended resource");
    }

    #[test]
    fn a_cordon_or_a_condition_says_nothing_about_a_pool() {
        let needs = PodNeeds::default();
        for key in [
            "node.kubernetes.io/unschedulable",
            "node.kubernetes.io/not-ready",
            "node.cloudprovider.kubernetes.io/uninitialized",
            "ToBeDeletedByClusterAutoscaler",
            "startup-taint.cluster-autoscaler.kubernetes.io/gpu-driver",
            "karpenter.sh/unregistered",
        ] {
            assert!(tolerates(&needs, &[taint(key, "", "NoSchedule")]).is_ok(), "{key}");
        }
        assert!(tolerates(&needs, &[taint("karpenter.sh/unregistered-too", "", "NoSchedule")]).is_err());
    }

    #[test]
    fn a_spot_taint_keeps_pods_off_until_it_is_tolerated() {
        let spot = [taint("cloud.google.com/gke-spot", "true", "NoSchedule")];
        let mut needs = PodNeeds::default();
        needs.node_selector.insert("cloud.google.com/gke-spot".to_owned(), "true".to_owned());
        assert!(tolerates(&needs, &spot).is_err());
        needs.tolerations.push(toleration("cloud.google.com/gke-spot", "Equal", "true", "NoSchedule"));
        assert!(tolerates(&needs, &spot).is_ok());
    }

    #[test]
    fn selecting_a_compute_class_tolerates_its_taint() {
        let class = [taint("cloud.google.com/compute-class", "gpu", "NoSchedule")];
        let mut needs = PodNeeds::default();
        assert!(tolerates(&needs, &class).is_err());
        needs.node_selector.insert("cloud.google.com/compute-class".to_owned(), "gpu".to_owned());
        assert!(tolerates(&needs, &class).is_ok());
    }
}
