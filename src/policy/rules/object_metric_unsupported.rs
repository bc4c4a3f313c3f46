//! `object-metric-unsupported`: a metric of type Object, which the Stackdriver adapter does not serve.

use super::naming::{adapter_seen, judged_elsewhere, may_coin};
use super::{Checks, Rule};
use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::spelling::Form;
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "object-metric-unsupported",
    default: Level::Deny,
    at_admission: true,
    summary: "A metric of type Object on the Stackdriver adapter, which serves metrics of pods and nodes only",
    explain: "\
The Custom Metrics Stackdriver Adapter answers for pods and nodes. Asked for a metric of a Service, a Deployment or a \
Namespace it says 501 Not Implemented, and the autoscaler stays where it is.

Use type Pods, an average over the pods of the scale target; or type External with selectors on \
`resource.labels.cluster` and `resource.labels.namespace`.

Refused where that adapter serves `custom.metrics.k8s.io`: an APIService in view says so, or the name is written as only \
that adapter wants it. Where the configured backend alone suggests it, it is a warning. Silent with other adapters, and \
about the objects Pod and Node.",
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
  - type: Object
    object:
      describedObject: {apiVersion: v1, kind: Service, name: vllm-service}
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

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let objects = facts.metrics.iter().filter(|usage| usage.source == Source::Object);
    objects.filter(|usage| !judged_elsewhere(usage, facts)).filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let described = usage.described?;
    let core = !described.api_version.contains('/');
    if core && matches!(described.kind.as_str(), "Pod" | "Node") || facts.custom_adapter != Adapter::Stackdriver {
        return None;
    }
    let field = format!("{}.describedObject.kind", usage.path);
    let message = format!(
        "the Stackdriver adapter serves metrics of pods and nodes only; it refuses `{}` of {} {}",
        usage.name, described.kind, described.name
    );
    let written_for_it = matches!(usage.spelling.form, Form::Gmp | Form::GmpWithoutSuffix | Form::GoogleApis);
    let finding = if adapter_seen(usage, context.view) || written_for_it {
        Finding::deny(field, usage.name, message)
    } else if may_coin(usage) {
        return None;
    } else {
        Finding::suspect(field, usage.name, message)
    };
    Some(finding.hint("use type Pods, an average over the pods of the scale target"))
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::{BackendKind, Configuration};
    use crate::policy::rules::testing::{brief, review};

    const STACKDRIVER: &str = "
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta2.custom.metrics.k8s.io}
spec:
  group: custom.metrics.k8s.io
  version: v1beta2
  service: {namespace: custom-metrics, name: custom-metrics-stackdriver-adapter}
";

    fn of(yaml: &str, kind: BackendKind) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.backend.kind = kind;
        let found = brief(&review(yaml, &configuration)).into_iter();
        found.filter(|line| line.starts_with("object-metric-unsupported")).collect()
    }

    fn plain() -> String {
        super::FAILING.replace("prometheus.googleapis.com|vllm:num_requests_running|gauge", "vllm_num_requests_running")
    }

    #[test]
    fn an_object_metric_is_refused_where_the_stackdriver_adapter_answers() {
        let deny = ["object-metric-unsupported deny spec.metrics[0].object.describedObject.kind"];
        assert_eq!(of(super::FAILING, BackendKind::Gmp), deny);
        assert_eq!(of(&format!("{}{STACKDRIVER}", plain()), BackendKind::PrometheusOperator), deny);
    }

    #[test]
    fn the_configured_backend_alone_is_no_proof_for_a_plain_name() {
        let warn = ["object-metric-unsupported warn spec.metrics[0].object.describedObject.kind"];
        assert_eq!(of(&plain(), BackendKind::Gmp), warn);
    }

    #[test]
    fn other_adapters_and_pods_and_nodes_pass() {
        assert!(of(&plain(), BackendKind::PrometheusOperator).is_empty());
        assert!(of(&plain(), BackendKind::Keda).is_empty(), "with no known backend it is silent");
        assert!(of(&super::FAILING.replace("kind: Service", "kind: Node"), BackendKind::Gmp).is_empty());
        assert!(of(super::PASSING, BackendKind::Gmp).is_empty());
    }
}
