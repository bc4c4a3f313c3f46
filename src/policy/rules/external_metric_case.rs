//! `external-metric-case`: upper case in the name of an External metric.

use super::naming::{has_upper_case, judged_elsewhere, spell};
use super::{Checks, Rule};
use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::spelling::Form;
use crate::policy::chain::{self};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "external-metric-case",
    default: Level::Deny,
    at_admission: true,
    summary: "An External metric's name has upper case, which is lost on the way to the adapter",
    explain: "\
The autoscaler's controller writes the name of an External metric in lower case before it asks for it. \
`DCGM_FI_DEV_GPU_UTIL` arrives as `dcgm_fi_dev_gpu_util`, a metric that does not exist, and the autoscaler never gets a value.

Record the metric under a lower-case name with a recording rule and scale on that name, or use type Pods, whose names keep \
their case.

Refused where the Stackdriver adapter or KEDA answers, which take a name as it arrives. With another adapter it is a \
warning; a warning too where a rule in view makes the lower-case name, for then it works by luck. Silent with Datadog, which \
lower-cases its own names.",
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
        name: prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge
        selector:
          matchLabels:
            resource.labels.cluster: inference
            resource.labels.namespace: default
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
        name: prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge
        selector:
          matchLabels:
            resource.labels.cluster: inference
            resource.labels.namespace: default
      target: {type: AverageValue, averageValue: 60}
";

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let external = facts.metrics.iter().filter(|usage| usage.source == Source::External);
    let judged = external.filter(|usage| !judged_elsewhere(usage, facts) && has_upper_case(usage.name));
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let arrives = usage.name.to_ascii_lowercase();
    let message = format!("External names are lower-cased on their way: the adapter is asked for `{arrives}`");
    let field = usage.name_field();
    let namespace = facts.hpa.metadata.namespace.as_deref();
    let google = !matches!(usage.spelling.form, Form::Plain | Form::GkeManaged { .. });
    let lucky = chain::makers_for(context.view, &arrives, namespace).any();
    let finding = match &facts.external_adapter {
        Adapter::Datadog => return None,
        _ if lucky => Finding::warn(field, usage.name, message),
        Adapter::Stackdriver | Adapter::Keda => Finding::deny(field, usage.name, message),
        _ if google => Finding::deny(field, usage.name, message),
        Adapter::PrometheusAdapter | Adapter::Other(_) | Adapter::Unknown => {
            Finding::suspect(field, usage.name, message)
        }
    };
    let right = usage.metric().map_or(arrives, |metric| spell(metric.name, usage, facts).to_ascii_lowercase());
    Some(
        finding.hint(format!(
            "record it in lower case and write `{right}`, or use type Pods, whose names keep their case"
        )),
    )
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::{BackendKind, Configuration};
    use crate::policy::rules::testing::{brief, review};

    fn of(name: &str, kind: BackendKind) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.backend.kind = kind;
        let yaml = super::FAILING.replace("prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge", name);
        brief(&review(&yaml, &configuration))
            .into_iter()
            .filter(|line| line.starts_with("external-metric-case"))
            .collect()
    }

    #[test]
    fn upper_case_is_refused_where_names_are_taken_as_they_arrive() {
        let deny = ["external-metric-case deny spec.metrics[0].external.metric.name"];
        assert_eq!(of("prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge", BackendKind::Gmp), deny);
        assert_eq!(of("DCGM_FI_DEV_GPU_UTIL", BackendKind::Keda), deny);
    }

    #[test]
    fn another_adapter_may_know_better() {
        let warn = ["external-metric-case warn spec.metrics[0].external.metric.name"];
        assert_eq!(of("DCGM_FI_DEV_GPU_UTIL", BackendKind::PrometheusOperator), warn);
    }

    #[test]
    fn lower_case_and_datadog_metrics_pass() {
        assert!(of("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge", BackendKind::Gmp).is_empty());
        assert!(of("datadogmetric@default:vllm-Running", BackendKind::Gmp).is_empty());
    }

    #[test]
    fn a_metric_of_type_pods_keeps_its_case() {
        let yaml = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric: {name: prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge}
      target: {type: AverageValue, averageValue: 60}
";
        assert!(
            brief(&review(yaml, &Configuration::default())).iter().all(|line| !line.contains("external-metric-case"))
        );
    }

    #[test]
    fn a_rule_that_makes_the_lower_case_name_saves_it_by_luck() {
        let rules = "
---
apiVersion: monitoring.googleapis.com/v1
kind: ClusterRules
metadata: {name: dcgm}
spec:
  groups:
  - name: dcgm
    interval: 15s
    rules:
    - {record: dcgm_fi_dev_gpu_util, expr: DCGM_FI_DEV_GPU_UTIL}
";
        let findings = brief(&review(&format!("{}{rules}", super::FAILING), &Configuration::default()));
        assert!(
            findings.contains(&"external-metric-case warn spec.metrics[0].external.metric.name".to_owned()),
            "{findings:?}"
        );
    }
}
