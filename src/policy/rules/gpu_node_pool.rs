//! `gpu-node-pool`: the target's pods can never land on a node that has the accelerator they ask for.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts};
use crate::policy::finding::Finding;
use crate::policy::placement::{self, Landing, PoolLack};
use crate::policy::workload::PodNeeds;

pub(super) static RULE: Rule = Rule {
    id: "gpu-node-pool",
    default: Level::Deny,
    at_admission: true,
    summary: "No node pool that the target's pods may use has the accelerator they ask for",
    explain: "\
An HPA raises the replicas of a workload whether or not a node can ever take the new pods. When a node selector or affinity
pins them to a pool without the accelerator that they request, each of them stays Pending, and the HPA stays high, because a
pod that does not run answers no request.

Mend the pin (the finding names the field), or the pool. Where a pool does have the accelerator and the finding says that it
has not, declare it in the configuration under pools.items, with its labels, taints and allocatable resources.

The rule refuses only what is proven: every pool that the pods may use is known, and none has the accelerator. A pool with a
label for the accelerator has it, even with no node or no device plugin yet; Karpenter and ComputeClass pools are judged by
what they may create. A pool that nobody knows, node auto-provisioning, resource claims, a RuntimeClass, another scheduler and
scheduling gates leave it open: then there is a warning where something looks wrong, and otherwise only a note in a review.",
    failing: "\
apiVersion: scalegate.dev/v1alpha1
kind: Configuration
pools:
  items:
    - name: cpu-pool
      labels:
        cloud.google.com/gke-nodepool: cpu-pool
      allocatable:
        cpu: 8
        memory: 32Gi
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      nodeSelector:
        cloud.google.com/gke-nodepool: cpu-pool
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              nvidia.com/gpu: 1
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
",
    passing: "\
apiVersion: scalegate.dev/v1alpha1
kind: Configuration
pools:
  items:
    - name: l4-pool
      labels:
        cloud.google.com/gke-nodepool: l4-pool
        cloud.google.com/gke-accelerator: nvidia-l4
      allocatable:
        cpu: 8
        memory: 32Gi
        nvidia.com/gpu: 1
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      nodeSelector:
        cloud.google.com/gke-nodepool: l4-pool
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              nvidia.com/gpu: 1
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: vllm
  namespace: inference
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  maxReplicas: 5
  metrics:
    - type: Pods
      pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        target:
          type: AverageValue
          averageValue: 4
",
    checks: Checks { hpa: Some(check), ..Checks::NONE },
};

const FIELD: &str = "spec.scaleTargetRef";
/// So many pools are named in one message.
const NAMED: usize = 8;

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    let target = format!("{}/{}", workload.kind, workload.metadata.name);
    let mut findings = Vec::new();
    for needs in &workload.pods {
        let landing = placement::land(needs, context.view, context.configuration);
        let finding = said(landing, &target, &asked(needs, context));
        // The leader and the workers of a group are often of one form.
        findings.extend(finding.filter(|finding| !findings.contains(finding)));
    }
    findings
}

/// What a landing comes to, for the pods of `target` that ask for `asked`.
fn said(landing: Landing, target: &str, asked: &str) -> Option<Finding> {
    Some(match landing {
        Landing::NotAsked | Landing::Present { .. } => return None,
        Landing::NotReady { on } => Finding::warn(
            FIELD,
            target,
            format!("the pods of {target} ask for {asked}, and {on} has it but offers none of it yet"),
        )
        .hint("see whether the device plugin runs there and its driver is installed"),
        Landing::Absent { pools, pinned_by, field } => {
            let (pinned, hint) = match pinned_by {
                Some(pin) => (
                    format!("{pin} pins them to what has none"),
                    format!("let {field} of {target} name one with {asked}"),
                ),
                None => (
                    "no pool offers it to them".to_owned(),
                    format!("add a pool with {asked}, or let their node selector and tolerations reach one"),
                ),
            };
            let message = format!("the pods of {target} ask for {asked}, and {pinned}: {}", lacks(&pools));
            let hint = format!("{hint}; if a pool does have it, declare it in the configuration under pools.items");
            Finding::deny(FIELD, target, message).hint(hint)
        }
        Landing::Unknown { reason, suspicious: true, known_pools } => {
            let message = format!("the pods of {target} ask for {asked}, and may find no node that has it: {reason}");
            let finding = Finding::suspect(FIELD, target, message);
            if known_pools.is_empty() { finding } else { finding.hint(format!("known pools: {}", few(&known_pools))) }
        }
        Landing::Unknown { reason, suspicious: false, .. } => {
            let message = format!("it cannot be told whether the pods of {target} find a node with {asked}: {reason}");
            Finding::note(FIELD, target, message)
                .hint("declare the pools in the configuration under pools.items, or give a snapshot with --cluster")
        }
    })
}

/// What one pod asks for, as in `nvidia.com/gpu: 1`.
fn asked(needs: &PodNeeds, context: &Context<'_>) -> String {
    let all = placement::resources::accelerators(needs, context.configuration);
    if all.is_empty() {
        return "an accelerator".to_owned();
    }
    all.iter().map(|(resource, count)| format!("{resource}: {count}")).collect::<Vec<_>>().join(" and ")
}

/// Each pool and what it lacks.
fn lacks(pools: &[PoolLack]) -> String {
    if pools.is_empty() {
        return "no pool is known that they may use".to_owned();
    }
    let each: Vec<String> = pools.iter().map(|PoolLack { pool, lack }| format!("{pool} {lack}")).collect();
    few(&each)
}

fn few(all: &[String]) -> String {
    let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{RULE, said};
    use crate::policy::configuration::{Configuration, DeclaredPool};
    use crate::policy::finding::{Certainty, Finding, Severity};
    use crate::policy::objects::Quantity;
    use crate::policy::placement::{Landing, PoolLack};
    use crate::policy::rules::testing::{brief, review};
    use std::collections::BTreeMap;

    fn ours(yaml: &str, configuration: &Configuration) -> Vec<Finding> {
        review(yaml, configuration).into_iter().filter(|finding| finding.rule == RULE.id).collect()
    }

    fn pool(name: &str, labels: &[(&str, &str)], allocatable: &[(&str, &str)]) -> DeclaredPool {
        let mut labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        labels.insert("cloud.google.com/gke-nodepool".to_owned(), name.to_owned());
        let allocatable = allocatable.iter().map(|(key, value)| ((*key).to_owned(), Quantity::new(*value))).collect();
        DeclaredPool { name: name.to_owned(), labels, allocatable, ..DeclaredPool::default() }
    }

    fn with(items: Vec<DeclaredPool>, complete: bool) -> Configuration {
        let mut configuration = Configuration::default();
        configuration.pools.items = items;
        configuration.pools.complete = complete;
        configuration.pools.provisioning = !complete;
        configuration
    }

    fn cpu_pool() -> DeclaredPool {
        pool("cpu-pool", &[], &[("cpu", "8"), ("memory", "32Gi")])
    }

    fn l4_pool() -> DeclaredPool {
        pool("l4-pool", &[("cloud.google.com/gke-accelerator", "nvidia-l4")], &[("nvidia.com/gpu", "1")])
    }

    #[test]
    fn the_examples_hold() {
        let findings = ours(RULE.failing, &with(vec![cpu_pool()], false));
        assert_eq!(brief(&findings), ["gpu-node-pool deny spec.scaleTargetRef"]);
        for word in ["cpu-pool", "nvidia.com/gpu", "nodeSelector", "Deployment/vllm"] {
            assert!(findings[0].message.contains(word), "{word}: {}", findings[0].message);
        }
        assert!(ours(RULE.passing, &with(vec![l4_pool()], false)).is_empty());
    }

    #[test]
    fn a_pool_that_nobody_knows_only_warns_and_the_known_ones_are_named() {
        let findings = ours(RULE.failing, &with(vec![l4_pool()], false));
        assert_eq!(brief(&findings), ["gpu-node-pool warn spec.scaleTargetRef"]);
        assert!(findings[0].hint.as_ref().unwrap().contains("l4-pool"), "{findings:?}");
    }

    #[test]
    fn without_a_pin_the_pools_must_be_all_there_are() {
        let free = RULE.failing.replace("      nodeSelector:\n        cloud.google.com/gke-nodepool: cpu-pool\n", "");
        assert_ne!(free, RULE.failing);
        let open: Vec<Severity> =
            ours(&free, &with(vec![cpu_pool()], false)).iter().map(|finding| finding.severity).collect();
        assert!(!open.contains(&Severity::Deny), "{open:?}");
        let closed = ours(&free, &with(vec![cpu_pool()], true));
        assert_eq!(brief(&closed), ["gpu-node-pool deny spec.scaleTargetRef"]);
        assert!(ours(&free, &with(vec![cpu_pool(), l4_pool()], true)).is_empty());
    }

    #[test]
    fn a_label_for_the_accelerator_counts_as_the_accelerator() {
        let empty = pool("cpu-pool", &[("cloud.google.com/gke-accelerator", "nvidia-l4")], &[]);
        let findings = ours(RULE.failing, &with(vec![empty], true));
        assert!(findings.iter().all(|finding| finding.severity != Severity::Deny), "{findings:?}");
    }

    #[test]
    fn pods_that_ask_for_no_accelerator_are_not_judged() {
        let plain = RULE.failing.replace("nvidia.com/gpu: 1", "cpu: 1");
        assert!(ours(&plain, &with(vec![cpu_pool()], true)).is_empty());
    }

    #[test]
    fn a_target_that_is_not_in_view_is_not_judged() {
        let missing = RULE.failing.replace("    name: vllm\n  maxReplicas", "    name: later\n  maxReplicas");
        assert!(ours(&missing, &with(vec![cpu_pool()], true)).is_empty());
    }

    #[test]
    fn each_landing_has_its_certainty() {
        let grave = |landing: Landing| {
            said(landing, "Deployment/vllm", "nvidia.com/gpu: 1").map(|finding| (finding.severity, finding.certainty))
        };
        let absent = Landing::Absent {
            pools: vec![PoolLack { pool: "cpu-pool".to_owned(), lack: "has no nvidia.com/gpu".to_owned() }],
            pinned_by: None,
            field: String::new(),
        };
        let unknown = |suspicious| Landing::Unknown { reason: "r".to_owned(), suspicious, known_pools: Vec::new() };
        assert_eq!(grave(absent), Some((Severity::Deny, Certainty::Proven)));
        assert_eq!(grave(unknown(true)), Some((Severity::Warn, Certainty::Unknown)));
        assert_eq!(grave(unknown(false)), Some((Severity::Note, Certainty::Unknown)));
        assert_eq!(grave(Landing::NotReady { on: "n".to_owned() }), Some((Severity::Warn, Certainty::Proven)));
        assert_eq!(grave(Landing::NotAsked), None);
        assert_eq!(grave(Landing::Present { on: "n".to_owned() }), None);
    }

    #[test]
    fn each_pool_and_what_it_lacks_is_named() {
        let lack = |pool: &str| PoolLack { pool: pool.to_owned(), lack: "has no nvidia.com/gpu".to_owned() };
        let landing = Landing::Absent {
            pools: vec![lack("one"), lack("two")],
            pinned_by: Some("nodeSelector cloud.google.com/gke-nodepool=one".to_owned()),
            field: "spec.template.spec.nodeSelector[cloud.google.com/gke-nodepool]".to_owned(),
        };
        let finding = said(landing, "Deployment/vllm", "nvidia.com/gpu: 1").unwrap();
        assert_eq!(
            finding.message,
            "the pods of Deployment/vllm ask for nvidia.com/gpu: 1, and nodeSelector cloud.google.com/gke-nodepool=one pins \
             them to what has none: one has no nvidia.com/gpu, two has no nvidia.com/gpu"
        );
        assert!(finding.hint.unwrap().contains("spec.template.spec.nodeSelector[cloud.google.com/gke-nodepool]"));
    }
}
