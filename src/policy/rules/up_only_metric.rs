//! `up-only-metric`: a metric that never falls, because the server allocates in advance.

use super::naming::{judged_elsewhere, origins};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, MetricUse, Target};
use crate::policy::finding::Finding;
use crate::policy::workload::Reading;

pub(super) static RULE: Rule = Rule {
    id: "up-only-metric",
    default: Level::Warn,
    at_admission: true,
    summary: "The metric never falls, so the autoscaler cannot take pods away",
    explain: "\
vLLM reserves its share of the GPU's memory when it starts and keeps it. Memory in use (`DCGM_FI_DEV_FB_USED`, GKE's \
`accelerator|memory_used`) is therefore the same with no request and with a hundred: an autoscaler on it either never acts, \
or goes to its maximum and stays there.

Scale on the requests that run or wait, or on the use of the KV cache.

Said where the target is a server that allocates in advance; where the target is not in view, it is said as a suspicion. \
Silent about other workloads.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-gemma-deployment
  namespace: default
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.11.0
        args: [--model=google/gemma-3-1b-it, --max-num-seqs=64]
        resources: {limits: {nvidia.com/gpu: 1}}
---
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
        name: prometheus.googleapis.com|DCGM_FI_DEV_FB_USED|gauge
      target: {type: AverageValue, averageValue: 20000}
";

const PASSING: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-gemma-deployment
  namespace: default
spec:
  selector: {matchLabels: {app: gemma-server}}
  template:
    metadata: {labels: {app: gemma-server}}
    spec:
      containers:
      - name: inference-server
        image: vllm/vllm-openai:v0.11.0
        args: [--model=google/gemma-3-1b-it, --max-num-seqs=64]
        resources: {limits: {nvidia.com/gpu: 1}}
---
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
    let judged = facts.metrics.iter().filter(|usage| !judged_elsewhere(usage, facts));
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let origins = origins(usage, facts, context.view);
    let (metric, made) = origins.into_iter().find(|(metric, _)| metric.up_only)?;
    let allocates = match &facts.target {
        Target::Workload(workload) => match &workload.server {
            Reading::Server(_) => true,
            Reading::Recognised { .. } | Reading::WithoutMetrics { .. } => false,
            Reading::None { .. } => return None,
        },
        Target::Missing(_) => false,
        Target::Foreign => return None,
    };
    let message = format!(
        "`{}` never falls, because the server keeps the memory that it reserves: the autoscaler cannot take pods away",
        metric.name
    );
    let field = usage.name_field();
    let finding = if allocates && !made {
        Finding::warn(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    Some(finding.hint("scale on the requests that run or wait"))
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    fn of(yaml: &str) -> Vec<String> {
        let found = brief(&review(yaml, &Configuration::default())).into_iter();
        found.filter(|line| line.starts_with("up-only-metric")).collect()
    }

    const WARN: [&str; 1] = ["up-only-metric warn spec.metrics[0].pods.metric.name"];

    #[test]
    fn memory_in_use_never_falls() {
        assert_eq!(of(super::FAILING), WARN);
        assert!(of(super::PASSING).is_empty());
    }

    #[test]
    fn utilisation_falls() {
        assert!(of(&super::FAILING.replace("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL")).is_empty());
    }

    #[test]
    fn a_target_out_of_view_may_allocate_in_advance_and_a_foreign_one_does_not() {
        let (_, hpa) = super::FAILING.split_once("---\n").unwrap();
        assert_eq!(of(hpa), WARN);
        assert!(
            of(&super::FAILING
                .replace("vllm/vllm-openai:v0.11.0", "nginx:1.29")
                .replace("--model=google/gemma-3-1b-it, --max-num-seqs=64", ""))
            .is_empty()
        );
    }
}
