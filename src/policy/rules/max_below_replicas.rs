//! `max-below-replicas`: more replicas than the maximum allows.

use super::autoscaler_conflict::foreign;
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::{LABEL, Wish};
use crate::policy::workload::Workload;

pub(super) static RULE: Rule = Rule {
    id: "max-below-replicas",
    default: Level::Warn,
    at_admission: true,
    summary: "The workload has more replicas than the maximum; the surplus would go at once",
    explain: "\
The first thing an HPA does is to bring the replicas between its bounds. It does so in one step, whatever behavior.scaleDown
says, so a maximum below the present number ends the surplus pods at once, with the requests that they serve.

Raise maxReplicas (on a labelled workload the annotation scalegate.dev/max-replicas) to at least the present number, or scale
the workload down yourself first, at a pace that drains it.

For a labelled workload whose maximum comes from the profile, scalegate generates nothing until the maximum is given
explicitly; where it is explicit, the finding says how many pods go. The rule is silent when the number of replicas is not
known, and for a labelled workload that another autoscaler scales or that generates nothing.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
  replicas: 8
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
  replicas: 4
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
    checks: Checks { hpa: Some(check_hpa), workload: Some(check_workload), ..Checks::NONE },
};

fn check_hpa(facts: &HpaFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let Some(max) = facts.hpa.spec.max_replicas else { return Vec::new() };
    let present = match facts.target.workload() {
        Some(workload) => replicas(workload),
        None => facts.hpa.status.current_replicas,
    };
    let Some(surplus) = present.and_then(|present| surplus(present, max)) else { return Vec::new() };
    let target = &facts.hpa.spec.scale_target_ref;
    let message = format!(
        "{}/{} has {} replicas and maxReplicas is {max}: {} at once",
        target.kind,
        target.name,
        max.saturating_add(surplus),
        pods_go(surplus)
    );
    let hint = format!("write maxReplicas: {} or more, or scale down first", max.saturating_add(surplus));
    vec![Finding::warn("spec.maxReplicas", max.to_string(), message).hint(hint)]
}

fn check_workload(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Ok(Wish::Enabled(settings)) = &facts.settings.wish else { return Vec::new() };
    if settings.paused || !settings.generate || facts.workload.server().is_none() {
        return Vec::new();
    }
    let max = settings.max_replicas;
    let Some(present) = replicas(&facts.workload) else { return Vec::new() };
    let Some(surplus) = surplus(present, max) else { return Vec::new() };
    if !foreign(facts, context).is_empty() {
        return Vec::new();
    }
    let workload = format!("{}/{}", facts.object.kind, facts.object.name);
    let (field, message) = if settings.max_explicit {
        let message = format!(
            "{workload} has {present} replicas and scalegate.dev/max-replicas is {max}: {} at once",
            pods_go(surplus)
        );
        ("metadata.annotations[scalegate.dev/max-replicas]".to_owned(), message)
    } else {
        let message = format!(
            "{workload} has {present} replicas, and profile {} allows {max}: no HorizontalPodAutoscaler is generated, because {} at once",
            settings.profile,
            pods_would_go(surplus)
        );
        (format!("metadata.labels[{LABEL}]"), message)
    };
    let hint = format!("annotate it scalegate.dev/max-replicas: \"{present}\" or more, or scale down first");
    vec![Finding::warn(field, max.to_string(), message).hint(hint)]
}

/// Present replicas: what the workload is asked to have, since that is what an HPA compares with its bounds; the number of
/// pods where the manifest leaves it out.
fn replicas(workload: &Workload) -> Option<i64> {
    workload.replicas.or_else(|| (workload.status.replicas > 0).then_some(workload.status.replicas))
}

fn surplus(present: i64, max: i64) -> Option<i64> {
    // Below 1 the API server refuses the maximum; that is not ours to say.
    Some(present.saturating_sub(max)).filter(|surplus| *surplus > 0 && max > 0)
}

fn pods_go(count: i64) -> String {
    if count == 1 { "1 pod goes".to_owned() } else { format!("{count} pods go") }
}

fn pods_would_go(count: i64) -> String {
    if count == 1 { "1 pod would go".to_owned() } else { format!("{count} pods would go") }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::finding::Finding;
    use crate::policy::rules::testing::{admit, brief, review, view};

    fn ours(yaml: &str) -> Vec<Finding> {
        let findings = review(yaml, &Configuration::default());
        findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
    }

    const ON_HPA: &str = "max-below-replicas warn spec.maxReplicas";

    #[test]
    fn the_examples_hold() {
        let findings = ours(RULE.failing);
        assert_eq!(brief(&findings), [ON_HPA]);
        assert!(findings[0].message.contains("3 pods"), "{}", findings[0].message);
        assert!(ours(RULE.passing).is_empty());
    }

    #[test]
    fn as_many_as_the_maximum_is_no_surplus() {
        assert!(ours(&RULE.failing.replace("replicas: 8", "replicas: 5")).is_empty());
    }

    #[test]
    fn replicas_that_nobody_knows_are_not_judged() {
        assert!(ours(&RULE.failing.replace("  replicas: 8\n", "")).is_empty());
        assert!(
            ours(&RULE.failing.replace("    name: vllm\n  maxReplicas", "    name: later\n  maxReplicas")).is_empty()
        );
    }

    #[test]
    fn the_status_counts_where_the_spec_is_silent() {
        let (workload, hpa) = RULE.failing.split_once("---\n").unwrap();
        let live = workload.replace("  replicas: 8\n", "") + "status:\n  replicas: 7\n";
        let said = admit(&view(&live), hpa, None, &Configuration::default());
        let said: Vec<Finding> = said.into_iter().filter(|finding| finding.rule == RULE.id).collect();
        assert_eq!(brief(&said), [ON_HPA]);
        assert!(said[0].message.contains("2 pods"), "{}", said[0].message);
    }

    fn labelled(annotations: &str) -> String {
        let (workload, _) = RULE.failing.split_once("---\n").unwrap();
        let metadata =
            format!("  namespace: inference\n  labels: {{scalegate.dev/autoscale: throughput}}\n{annotations}");
        workload.replace("  namespace: inference\n", &metadata)
    }

    #[test]
    fn a_maximum_from_the_profile_generates_nothing_and_says_so() {
        let findings = ours(&labelled(""));
        assert_eq!(brief(&findings), ["max-below-replicas warn metadata.labels[scalegate.dev/autoscale]"]);
        assert!(findings[0].message.contains("no HorizontalPodAutoscaler"), "{}", findings[0].message);
    }

    #[test]
    fn an_explicit_maximum_says_how_many_pods_go() {
        let findings = ours(&labelled("  annotations: {scalegate.dev/max-replicas: '3'}\n"));
        assert_eq!(brief(&findings), ["max-below-replicas warn metadata.annotations[scalegate.dev/max-replicas]"]);
        assert!(findings[0].message.contains("5 pods go"), "{}", findings[0].message);
    }

    #[test]
    fn a_label_that_generates_nothing_ends_no_pod() {
        for annotation in ["paused: 'true'", "generate: 'false'", "max-replicas: '8'"] {
            assert!(
                ours(&labelled(&format!("  annotations: {{scalegate.dev/{annotation}}}\n"))).is_empty(),
                "{annotation}"
            );
        }
    }
}
