//! How many replicas the hardware and the quotas leave room for.

use super::super::configuration::{Configuration, DeclaredPool};
use super::super::objects::{Object, Quantity};
use super::super::view::{ClusterView, may_be_same};
use super::super::workload::{PodNeeds, Workload};
use super::landing::{dra, is_pool};
use super::pins::{Pin, pins};
use super::pools::{Ask, Candidate, Verdict, compute_class, declared, karpenter, nodes};
use super::resources::accelerators;

/// A bound on the number of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most replicas that fit, rolling updates included.
    pub replicas: i64,
    /// What bounds them, as a clause: `ResourceQuota gpu allows requests.nvidia.com/gpu 4`.
    pub bound: String,
}

/// The most replicas of a workload that can run at once, as far as quotas, declared pools and Karpenter's limits say, and
/// which of them binds; `None` when nothing that is known bounds them. Pods of others are not counted, so fewer may fit.
///
/// Pools bound the replicas only when all pools that the pods may go to are known to their full size: the pods are pinned
/// to declared pools, or the pools are declared complete.
pub fn replicas_that_fit(workload: &Workload, view: &ClusterView, configuration: &Configuration) -> Option<Room> {
    let mut rooms = quotas(workload, view, configuration);
    rooms.extend(workload.pods.iter().filter_map(|needs| pools(needs, view, configuration)));
    rooms.into_iter().min_by_key(|room| room.replicas)
}

/// One room for each quota that limits an accelerator of the replicas. A quota for some pods only is passed over.
fn quotas(workload: &Workload, view: &ClusterView, configuration: &Configuration) -> Vec<Room> {
    let mut per_replica: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
    for needs in &workload.pods {
        for (resource, asked) in accelerators(needs, configuration) {
            let sum = per_replica.entry(resource).or_default();
            *sum = sum.saturating_add(asked.saturating_mul(needs.count.max(1)));
        }
    }
    let namespace = workload.metadata.namespace.as_deref();
    let quotas = view.of_kind("", "ResourceQuota").filter_map(|(_, entry)| match &entry.object {
        Object::ResourceQuota(quota) if may_be_same(quota.metadata.namespace.as_deref(), namespace) => Some(quota),
        _ => None,
    });
    let mut rooms = Vec::new();
    for quota in quotas.filter(|quota| quota.spec.scopes.is_empty() && quota.spec.scope_selector.is_none()) {
        for (resource, per_replica) in &per_replica {
            let key = format!("requests.{resource}");
            let Some(hard) = quota.spec.hard.get(&key) else { continue };
            if let Some(replicas) = hard.units().and_then(|hard| hard.max(0).checked_div(*per_replica)) {
                rooms.push(Room {
                    replicas,
                    bound: format!("ResourceQuota {} allows {key} {hard}", quota.metadata.name),
                });
            }
        }
    }
    rooms
}

/// The room that pools leave for replicas with pods of one form; `None` when it is not bounded by what is known.
fn pools(needs: &PodNeeds, view: &ClusterView, configuration: &Configuration) -> Option<Room> {
    let asked = accelerators(needs, configuration);
    if asked.is_empty() || needs.claims || dra(view).is_some() {
        return None;
    }
    let ask = Ask { needs, asked, view, configuration };
    let pins = pins(needs, configuration);
    let pin = pins.first();
    if configuration.pools.provisioning && pin.is_none_or(Pin::provisionable) {
        return None;
    }
    let mut definitions: Vec<Candidate> = compute_class::candidates(&ask);
    let mut pods: i64 = 0;
    let mut bounds: Vec<String> = Vec::new();
    let mut sized: Vec<(String, String)> = Vec::new();
    for (pool, candidate) in declared::judged(&ask) {
        if reachable(&candidate, pin) {
            let most = pool.max_nodes?.max(0);
            pods = pods.saturating_add(most.saturating_mul(per_node(needs, pool)?));
            bounds.push(format!(
                "node pool {} has at most {most} {}",
                pool.name,
                if most == 1 { "node" } else { "nodes" }
            ));
        }
        sized.extend(candidate.identities);
    }
    for (pool, candidate) in karpenter::judged(&ask) {
        if reachable(&candidate, pin) {
            let (resource, limit, fit) = ask
                .asked
                .keys()
                .filter_map(|resource| {
                    let limit = pool.spec.limits.get(resource)?;
                    Some((resource, limit, fit(needs.requests.get(resource)?, limit)?))
                })
                .min_by_key(|(_, _, fit)| *fit)?;
            pods = pods.saturating_add(fit);
            bounds.push(format!("{} limits {resource} to {limit}", candidate.name));
        }
        sized.extend(candidate.identities.iter().cloned());
        definitions.push(candidate);
    }
    // Any other pool that may host them, or of which the pin speaks, has no known size.
    let other = |candidate: &Candidate| !candidate.identities.iter().any(|identity| sized.contains(identity));
    let seen = nodes::candidates(&ask, &definitions, true);
    if definitions.iter().chain(&seen).any(|candidate| other(candidate) && reachable(candidate, pin)) {
        return None;
    }
    let all_known = match pin {
        Some(pin) => pin.pools.iter().all(|pool| sized.contains(pool)),
        None => configuration.pools.complete,
    };
    // Where nothing hosts them at all, that is another question than how many fit.
    (all_known && !bounds.is_empty())
        .then(|| Room { replicas: pods.checked_div(needs.count.max(1)).unwrap_or(0), bound: bounds.join(", ") })
}

/// Whether the pods may go to a pool: the pin leaves it to them, and nothing that is known keeps them off.
fn reachable(candidate: &Candidate, pin: Option<&Pin>) -> bool {
    !matches!(candidate.verdict, Verdict::Lacks { .. })
        && pin.is_none_or(|pin| pin.pools.iter().any(|pool| is_pool(candidate, pool)))
}

/// Pods of this form on an empty node of a declared pool; `None` when its declaration does not tell.
fn per_node(needs: &PodNeeds, pool: &DeclaredPool) -> Option<i64> {
    let fits = needs.requests.iter().filter_map(|(resource, asked)| fit(asked, pool.allocatable.get(resource)?));
    fits.min()
}

/// How often a request goes into an amount; `None` for a request of nothing, or what is no quantity.
fn fit(asked: &Quantity, amount: &Quantity) -> Option<i64> {
    let asked = asked.nanos().ok().filter(|asked| *asked > 0)?;
    i64::try_from(amount.nanos().ok()?.max(0) / asked).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::landing::tests::{World, world};
    use super::*;

    const GPU: &str = "nvidia.com/gpu";
    const TWO_GPUS: &[(&str, &str)] = &[("cpu", "16"), (GPU, "2")];

    fn room(world: &World, pods: i64) -> Option<(i64, String)> {
        let document =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"}});
        let (_, Object::Workload(object)) = Object::from_value(&document).unwrap() else { panic!("no workload") };
        let mut workload = super::super::super::workload::read(&object, &|_| None);
        workload.pods = vec![PodNeeds { count: pods, ..world.needs.clone() }];
        replicas_that_fit(&workload, &world.view, &world.configuration).map(|room| (room.replicas, room.bound))
    }

    fn quota(namespace: &str, spec: &Value) -> Value {
        let metadata = json!({"name": "q", "namespace": namespace});
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
    }

    fn replicas(world: &World, pods: i64) -> Option<i64> {
        room(world, pods).map(|(replicas, _)| replicas)
    }

    #[test]
    fn a_quota_of_the_namespace_bounds_the_replicas() {
        let hard = json!({"hard": {"requests.nvidia.com/gpu": "5"}});
        let limited = world().asks(GPU, "2").object(&quota("n", &hard));
        assert_eq!(room(&limited, 1), Some((2, "ResourceQuota q allows requests.nvidia.com/gpu 5".to_owned())));
        assert_eq!(replicas(&limited, 2), Some(1), "a group of two pods");
        assert_eq!(replicas(&world().object(&quota("other", &hard)), 1), None);
        let scoped = json!({"hard": {"requests.nvidia.com/gpu": "1"}, "scopes": ["BestEffort"]});
        assert_eq!(replicas(&world().object(&quota("n", &scoped)), 1), None);
        assert_eq!(replicas(&world().object(&quota("n", &json!({"hard": {"cpu": "1"}}))), 1), None);
    }

    #[test]
    fn declared_pools_bound_them_when_all_are_known() {
        // The pools of these worlds grow to 4 nodes.
        let declared = || world().pool("gpu-pool", TWO_GPUS);
        assert_eq!(replicas(&declared(), 1), None, "another pool may exist");
        assert_eq!(room(&declared().complete(), 1), Some((8, "node pool gpu-pool has at most 4 nodes".to_owned())));
        assert_eq!(replicas(&declared().complete().asks("cpu", "10"), 1), Some(4), "one a node, for want of cpu");
        assert_eq!(replicas(&declared().complete().pool("second", TWO_GPUS), 1), Some(16));
        assert_eq!(replicas(&declared().complete().pool("cpu-pool", &[("cpu", "4")]), 1), Some(8));
        let pinned = declared().selecting("cloud.google.com/gke-nodepool", "gpu-pool");
        assert_eq!(replicas(&pinned, 1), Some(8));
        let mut provisioned = declared().complete();
        provisioned.configuration.pools.provisioning = true;
        assert_eq!(replicas(&provisioned, 1), None);
        let pinned = provisioned.selecting("cloud.google.com/gke-nodepool", "gpu-pool");
        assert_eq!(replicas(&pinned, 1), Some(8), "what is provisioned is another pool");
        let mut unbounded = declared().complete();
        unbounded.configuration.pools.items[0].max_nodes = None;
        assert_eq!(replicas(&unbounded, 1), None);
        let seen = declared().complete().node("a", &[], TWO_GPUS);
        assert_eq!(replicas(&seen, 1), None, "how many such nodes there may be is not known");
    }

    #[test]
    fn limits_of_a_karpenter_pool_bound_them() {
        let limited = world().complete().object(&json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "k"},
            "spec": {"limits": {"nvidia.com/gpu": "3"}}
        }));
        assert_eq!(room(&limited, 1), Some((3, "Karpenter NodePool k limits nvidia.com/gpu to 3".to_owned())));
        assert_eq!(replicas(&limited.clone().node("a", &[("karpenter.sh/nodepool", "k")], TWO_GPUS), 1), Some(3));
        assert_eq!(replicas(&limited.asks(GPU, "2"), 1), Some(1));
        assert_eq!(replicas(&world().complete().karpenter("k", &json!([])), 1), None);
    }

    #[test]
    fn the_tightest_bound_is_named() {
        let hard = json!({"hard": {"requests.nvidia.com/gpu": "3"}});
        let both = world().complete().pool("gpu-pool", TWO_GPUS).object(&quota("n", &hard));
        assert_eq!(replicas(&both, 1), Some(3));
        let hard = json!({"hard": {"requests.nvidia.com/gpu": "30"}});
        let both = world().complete().pool("gpu-pool", TWO_GPUS).object(&quota("n", &hard));
        assert_eq!(replicas(&both, 1), Some(8));
    }
}
