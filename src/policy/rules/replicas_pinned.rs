//! `replicas-pinned`: the manifest sets the replicas that an autoscaler owns.

use super::autoscalers::{Autoscaler, Kind};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, Stage, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::{LABEL, Wish};

pub(super) static RULE: Rule = Rule {
    id: "replicas-pinned",
    default: Level::Warn,
    at_admission: true,
    summary: "A manifest sets spec.replicas under an autoscaler",
    explain: "\
An autoscaler writes spec.replicas. A manifest that sets it too writes its own number back at every apply: pods that the
autoscaler just added are ended, and minutes later it adds them again, each time loading the model anew. With a GitOps tool
this never ends, and looks like flapping of the autoscaler.

Leave spec.replicas out of the manifest. Where it has been applied before, take it out of the last applied configuration first
(kubectl apply edit-last-applied), or the API server sets it to 1 once. In Argo CD, ignoreDifferences on /spec/replicas does
the same.

A review says it of a manifest under an HPA, a ScaledObject or our label; not of what was read from a cluster, where the number
is always there. The webhook says it only when an apply would change the live number. Zero replicas under a ScaledObject are
left alone: that is how one waits to be woken.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  replicas: 1
  selector:
    matchLabels:
      app: vllm
  template:
    metadata:
      labels:
        app: vllm
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
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
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
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
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

fn check(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(replicas) = facts.written.replicas else { return Vec::new() };
    let live = match context.stage {
        // A manifest is never live; what has a UID was read from a cluster, where the API server fills the number in.
        Stage::Review if facts.written.metadata.uid.is_some() => return Vec::new(),
        Stage::Review => None,
        Stage::Admission => match live(facts, context) {
            Some(live) if live != replicas => Some(live),
            _ => return Vec::new(),
        },
    };
    let mut owners = Autoscaler::on(context.view, &facts.workload.metadata.name);
    owners.retain(|autoscaler| autoscaler.scales(&facts.workload));
    if replicas == 0 && owners.iter().any(|owner| owner.kind == Kind::ScaledObject) {
        return Vec::new();
    }
    let Some(owner) = owner(&owners, facts) else { return Vec::new() };
    let workload = format!("{}/{}", facts.object.kind, facts.object.name);
    let message = match live {
        Some(live) => format!("replicas: {replicas} sets {workload} back from {live}, and {owner} owns the number"),
        None => format!("replicas: {replicas} sets {workload} back at every apply, and {owner} owns the number"),
    };
    vec![Finding::warn("spec.replicas", replicas.to_string(), message).hint("leave spec.replicas out of the manifest")]
}

/// Who owns the number: an autoscaler in view, or the one that the label brings.
fn owner(owners: &[Autoscaler<'_>], facts: &WorkloadFacts<'_>) -> Option<String> {
    if let Some(first) = owners.first() {
        return Some(match owners.len() {
            1 => first.title(),
            count => format!("{} (and {} more)", first.title(), count - 1),
        });
    }
    match &facts.settings.wish {
        Ok(Wish::Enabled(settings)) if settings.generate && facts.workload.server().is_some() => {
            Some(format!("the HorizontalPodAutoscaler that the label {LABEL} brings"))
        }
        _ => None,
    }
}

/// The number before the change, when it is known.
fn live(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Option<i64> {
    if let Some(old) = facts.old {
        return old.replicas;
    }
    if !context.update {
        return None;
    }
    let metadata = &facts.written.metadata;
    context.view.workload(facts.written.kind, metadata.namespace.as_deref(), &metadata.name)?.replicas
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::finding::Finding;
    use crate::policy::rules::testing::{admit, brief, review, view};

    fn of_rule(findings: Vec<Finding>) -> Vec<Finding> {
        findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
    }

    fn said(yaml: &str) -> Vec<String> {
        brief(&of_rule(review(yaml, &Configuration::default())))
    }

    const WARNED: &str = "replicas-pinned warn spec.replicas";

    const SCALED_OBJECT: &str = r"---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: vllm, namespace: inference}
spec:
  scaleTargetRef: {name: vllm}
  triggers:
    - {type: prometheus, metadata: {serverAddress: 'http://prometheus:9090', query: 'sum(vllm:num_requests_running)', threshold: '4'}}
";

    fn halves() -> (&'static str, &'static str) {
        RULE.failing.split_once("---\n").unwrap()
    }

    fn labelled(workload: &str) -> String {
        workload.replace(
            "  namespace: inference\n",
            "  namespace: inference\n  labels: {scalegate.dev/autoscale: throughput}\n",
        )
    }

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), [WARNED]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn two_autoscalers_are_one_reason() {
        let (_, hpa) = halves();
        let second = hpa.replacen("  name: vllm\n", "  name: second\n", 1);
        assert_eq!(said(&format!("{}---\n{second}", RULE.failing)), [WARNED]);
    }

    #[test]
    fn without_an_autoscaler_the_number_is_the_manifests() {
        let (workload, hpa) = halves();
        assert_eq!(said(workload), [""; 0]);
        let other = hpa.replace("    name: vllm\n  maxReplicas", "    name: other\n  maxReplicas");
        assert_eq!(said(&format!("{workload}---\n{other}")), [""; 0]);
    }

    #[test]
    fn zero_under_keda_waits_to_be_woken_and_under_an_hpa_is_pinned() {
        let (workload, hpa) = halves();
        let zero = workload.replace("replicas: 1", "replicas: 0");
        assert_eq!(said(&format!("{workload}{SCALED_OBJECT}")), [WARNED]);
        assert_eq!(said(&format!("{zero}{SCALED_OBJECT}")), [""; 0]);
        assert_eq!(said(&format!("{zero}---\n{hpa}")), [WARNED]);
    }

    #[test]
    fn the_label_counts_in_a_review() {
        let (workload, _) = halves();
        assert_eq!(said(&labelled(workload)), [WARNED]);
        let from_git =
            labelled(workload).replace("  labels: {", "  annotations: {scalegate.dev/generate: 'false'}\n  labels: {");
        assert_eq!(said(&from_git), [""; 0]);
    }

    #[test]
    fn what_was_read_from_a_cluster_always_has_the_number() {
        assert_eq!(said(&RULE.failing.replacen("  name: vllm\n", "  name: vllm\n  uid: 3f1c\n", 1)), [""; 0]);
    }

    #[test]
    fn the_webhook_speaks_only_when_the_live_number_would_change() {
        let (workload, hpa) = halves();
        let view = view(hpa);
        let new = labelled(workload);
        let said = |old: Option<&str>| brief(&of_rule(admit(&view, &new, old, &Configuration::default())));
        assert_eq!(said(Some(&new.replace("replicas: 1", "replicas: 3"))), [WARNED]);
        assert_eq!(said(Some(&new.replace("v0.11.0", "v0.10.2"))), [""; 0], "the number stays");
        assert_eq!(said(None), [""; 0], "nothing is live yet");
    }
}
