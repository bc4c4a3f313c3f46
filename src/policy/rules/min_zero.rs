//! `min-zero`: an autoscaler that may go to zero pods and has no metric that could wake it.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "min-zero",
    default: Level::Deny,
    // The API server refuses it before any webhook sees it.
    at_admission: false,
    summary: "The minimum is 0, and no metric is there without pods",
    explain: "\
With no pod there is no metric of pods, so an autoscaler on such metrics could never leave zero. The API server refuses it: \
`minReplicas: 0` needs at least one metric of type Object or External.

Write `minReplicas: 1`, or add an External metric that counts the work from outside the pods, such as the length of a queue.

Only a review says this; a cluster says it itself.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 0
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_running|gauge
      target: {type: AverageValue, averageValue: 4}
";

const PASSING: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_running|gauge
      target: {type: AverageValue, averageValue: 4}
";

fn check(facts: &HpaFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let wakes = facts.hpa.spec.metrics.iter().any(|metric| matches!(metric.kind.as_str(), "Object" | "External"));
    if facts.min_replicas() != 0 || wakes {
        return Vec::new();
    }
    let message = "`minReplicas: 0` needs a metric of type Object or External: without pods there is no metric of pods";
    vec![Finding::deny("spec.minReplicas", "0", message).hint("write `minReplicas: 1`, or add an External metric")]
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{admit, brief, review};
    use crate::policy::view::ClusterView;

    fn of(yaml: &str) -> Vec<String> {
        let found = brief(&review(yaml, &Configuration::default())).into_iter();
        found.filter(|line| line.starts_with("min-zero")).collect()
    }

    #[test]
    fn zero_needs_a_metric_from_outside_the_pods() {
        assert_eq!(of(super::FAILING), ["min-zero deny spec.minReplicas"]);
        assert!(of(super::PASSING).is_empty());
        let external = "  - type: External
    external:
      metric: {name: pubsub.googleapis.com|subscription|num_undelivered_messages}
      target: {type: AverageValue, averageValue: 5}
";
        assert!(of(&format!("{}{external}", super::FAILING)).is_empty());
    }

    #[test]
    fn only_a_review_says_it() {
        let findings = admit(&ClusterView::default(), super::FAILING, None, &Configuration::default());
        assert!(brief(&findings).iter().all(|line| !line.starts_with("min-zero")));
    }
}
