//! `api-version`: a version of the autoscaling API that no supported cluster serves.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "api-version",
    default: Level::Warn,
    at_admission: true,
    summary: "The autoscaler is written in an API version that is no longer served",
    explain: "\
`autoscaling/v2beta1` is gone since Kubernetes 1.25 and `autoscaling/v2beta2` since 1.26. A cluster that is newer answers \
`no matches for kind`, and in a pipeline that applies many files that line is easily missed: the old autoscaler, or none, \
stays in place.

Write `autoscaling/v2`. From v2beta2 nothing else has to change. In v2beta1 a metric had `metricName`, `targetAverageValue` \
and `targetAverageUtilization`; in v2 they are `metric.name` and `target`.

All other rules read the old forms as v2. Silent about `autoscaling/v1`, which is served.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: autoscaling/v2beta2
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
    let version = facts.hpa.api_version.as_str();
    let (gone, metrics) = match version {
        "autoscaling/v2beta1" => ("1.25", ", with `metric` and `target` in each metric"),
        "autoscaling/v2beta2" => ("1.26", ""),
        _ => return Vec::new(),
    };
    let message = format!("`{version}` is not served since Kubernetes {gone}");
    vec![Finding::warn("apiVersion", version, message).hint(format!("write `autoscaling/v2`{metrics}"))]
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    fn of(version: &str) -> Vec<String> {
        let yaml = super::FAILING.replace("autoscaling/v2beta2", version);
        let found = brief(&review(&yaml, &Configuration::default())).into_iter();
        found.filter(|line| line.starts_with("api-version")).collect()
    }

    #[test]
    fn versions_that_are_gone_are_warned_about() {
        assert_eq!(of("autoscaling/v2beta2"), ["api-version warn apiVersion"]);
        assert!(of("autoscaling/v2").is_empty());
    }

    #[test]
    fn the_first_beta_is_read_with_its_own_fields() {
        let yaml = "
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: h, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  maxReplicas: 5
  metrics:
  - type: Pods
    pods: {metricName: 'vllm:num_requests_running', targetAverageValue: 4}
";
        let findings = review(yaml, &Configuration::default());
        assert!(brief(&findings).contains(&"api-version warn apiVersion".to_owned()), "{:?}", brief(&findings));
    }

    #[test]
    fn an_autoscaler_of_version_1_is_served() {
        let yaml = "
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: h, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  maxReplicas: 5
  targetCPUUtilizationPercentage: 80
";
        let all = Configuration { scope: crate::policy::configuration::Scope::All, ..Configuration::default() };
        assert!(brief(&review(yaml, &all)).iter().all(|line| !line.starts_with("api-version")));
    }
}
