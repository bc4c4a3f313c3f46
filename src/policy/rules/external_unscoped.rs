//! `external-unscoped`: an External metric that counts other clusters and namespaces too.

use super::naming::judged_elsewhere;
use super::{Checks, Rule};
use crate::policy::chain::spelling::Form;
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "external-unscoped",
    default: Level::Warn,
    at_admission: true,
    summary: "An External metric of Cloud Monitoring is not limited to the cluster and the namespace",
    explain: "\
The Stackdriver adapter answers for an External metric from the whole project: every cluster and every namespace that \
writes the metric is in the sum. The autoscaler then follows the load of servers that it does not scale.

Add `resource.labels.cluster` and `resource.labels.namespace` to the metric's selector (`cluster_name` and \
`namespace_name` for the metrics of GKE itself), or use type Pods, which is limited to the pods of the target.

Silent about metrics without any tie to inference: a queue, for instance, has no namespace.",
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
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: External
    external:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_running|gauge
      target: {type: AverageValue, averageValue: 60}
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
  - type: External
    external:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_running|gauge
        selector:
          matchLabels:
            resource.labels.cluster: inference
            resource.labels.namespace: default
      target: {type: AverageValue, averageValue: 60}
";

fn check(facts: &HpaFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let external = facts.metrics.iter().filter(|usage| usage.source == Source::External && usage.in_scope());
    external.filter(|usage| !judged_elsewhere(usage, facts)).filter_map(judge).collect()
}

fn judge(usage: &MetricUse<'_>) -> Option<Finding> {
    let (cluster, namespace) = match usage.spelling.form {
        Form::Gmp => ("cluster", "namespace"),
        Form::GkeSystem => ("cluster_name", "namespace_name"),
        _ => return None,
    };
    let cluster_key = format!("resource.labels.{cluster}");
    let namespace_key = format!("resource.labels.{namespace}");
    let mut missing = Vec::new();
    if !narrows(usage, &[&cluster_key]) {
        missing.push(cluster_key.as_str());
    }
    // Metrics of an exporter carry the workload's namespace in a label of their own.
    if !narrows(usage, &[&namespace_key, "metric.labels.namespace", "metric.labels.exported_namespace"]) {
        missing.push(namespace_key.as_str());
    }
    let reach = match missing.as_slice() {
        [] => return None,
        [_, _] => "every cluster and namespace of the project",
        [only] if *only == cluster_key => "every cluster of the project",
        _ => "every namespace of the cluster",
    };
    let message = format!("`{}` is added up over {reach}", usage.name);
    let field = if usage.selector.is_some() { format!("{}.metric.selector", usage.path) } else { usage.name_field() };
    let keys: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
    let hint = format!("add {} to the metric's selector", keys.join(" and "));
    Some(Finding::warn(field, usage.name, message).hint(hint))
}

/// Whether the selector admits only some values of one of those labels.
fn narrows(usage: &MetricUse<'_>, keys: &[&str]) -> bool {
    usage.selector.is_some_and(|selector| {
        let mut expressions = selector.match_expressions.iter();
        keys.iter().any(|key| selector.match_labels.contains_key(*key))
            || expressions.any(|one| one.operator == "In" && keys.contains(&one.key.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    fn of(yaml: &str) -> Vec<String> {
        let found = review(yaml, &Configuration::default()).into_iter();
        let found: Vec<_> = found.filter(|finding| finding.rule == "external-unscoped").collect();
        brief(&found)
    }

    #[test]
    fn both_labels_limit_an_external_metric() {
        assert_eq!(of(super::FAILING), ["external-unscoped warn spec.metrics[0].external.metric.name"]);
        assert!(of(super::PASSING).is_empty());
    }

    #[test]
    fn one_label_is_not_enough() {
        let yaml = super::PASSING.replace("            resource.labels.cluster: inference\n", "");
        assert_eq!(of(&yaml), ["external-unscoped warn spec.metrics[0].external.metric.selector"]);
    }

    #[test]
    fn system_metrics_have_labels_of_their_own() {
        let name = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
        let system = |yaml: &str| yaml.replace(name, "kubernetes.io|container|accelerator|duty_cycle");
        assert_eq!(of(&system(super::PASSING)), ["external-unscoped warn spec.metrics[0].external.metric.selector"]);
        let named = system(super::PASSING).replace("labels.cluster:", "labels.cluster_name:");
        assert!(of(&named.replace("labels.namespace:", "labels.namespace_name:")).is_empty());
    }

    #[test]
    fn other_metrics_and_adapters_are_not_spoken_about() {
        let name = "prometheus.googleapis.com|vllm:num_requests_running|gauge";
        assert!(
            of(&super::FAILING.replace(name, "pubsub.googleapis.com|subscription|num_undelivered_messages")).is_empty()
        );
        assert!(of(&super::FAILING.replace(name, "vllm_num_requests_running")).is_empty());
    }
}
