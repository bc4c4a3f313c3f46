//! `metric-unit`: a target in another unit than the metric's.

use super::naming::{devices, judged_elsewhere, may_coin};
use super::{Checks, Rule};
use crate::policy::chain::spelling::Form;
use crate::policy::configuration::Level;
use crate::policy::engine::{Exporter, Metric, Unit};
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;
use crate::policy::objects::Quantity;

/// One, in billionths.
const ONE: i128 = 1_000_000_000;

pub(super) static RULE: Rule = Rule {
    id: "metric-unit",
    default: Level::Deny,
    at_admission: true,
    summary: "The target is in another unit than the metric: per cent for a share of 1, or the reverse",
    explain: "\
`vllm:kv_cache_usage_perc` is a share from 0 to 1 although its name says per cent; a target of 80 is never reached, and the \
workload stays at its minimum while requests queue. The reverse happens with `DCGM_FI_DEV_GPU_UTIL`, which is 0 to 100: a \
target of 0.8 is always exceeded, and the workload goes to its maximum.

Write a share as a quantity: `800m` is 0.8.

Refused where it is certain: a share, type Pods, on Managed Service for Prometheus, with one data-parallel rank in a pod \
(the adapter adds the ranks up). Elsewhere it is a warning, since a rule out of view may multiply.

Silent about metrics that a rule in view makes, because the rule may change the unit.",
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
        args: [--model=google/gemma-3-1b-it]
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
        name: prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge
      target: {type: AverageValue, averageValue: 80}
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
        args: [--model=google/gemma-3-1b-it]
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
        name: prometheus.googleapis.com|vllm:kv_cache_usage_perc|gauge
      target: {type: AverageValue, averageValue: 800m}
";

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let judged = facts.metrics.iter().filter(|usage| !judged_elsewhere(usage, facts) && usage.makers.made.is_empty());
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let metric = usage.metric()?;
    let target = usage.target.average_value.as_ref().or(usage.target.value.as_ref())?;
    let nanos = target.nanos().ok()?;
    match metric.unit {
        Unit::Ratio if nanos > ONE => Some(too_large(metric, target, nanos, usage, facts, context)),
        Unit::Percent if nanos > 0 && nanos <= ONE => Some(too_small(target, nanos, usage)),
        _ => None,
    }
}

fn too_large(
    metric: &Metric,
    target: &Quantity,
    nanos: i128,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    context: &Context<'_>,
) -> Finding {
    let field = usage.target_field();
    let several = series_in_a_pod(metric, facts, context).filter(|series| *series > 1);
    let message = match several {
        None => format!("`{}` is a share from 0 to 1, so its target `{target}` is never reached", usage.spelling.name),
        Some(series) => format!(
            "`{}` is a share from 0 to 1 with {series} series in a pod, so a target of `{target}` is a sum over them",
            usage.spelling.name
        ),
    };
    let one = series_in_a_pod(metric, facts, context) == Some(1);
    let certain = usage.source == Source::Pods && usage.spelling.form == Form::Gmp && one && !may_coin(usage);
    let value = format!("{} {target}", usage.name);
    let finding = if certain { Finding::deny(field, value, message) } else { Finding::suspect(field, value, message) };
    if let Some(series) = several {
        let sum = u64::saturating_mul(series, 800);
        return finding
            .hint(format!("the adapter may add the series up: {series} of them at 80 per cent are `{sum}m`"));
    }
    // What was meant as per cent, in thousandths: 80 becomes 800m. Nobody means 1.6 per cent.
    let percent = (10 * ONE..=100 * ONE).contains(&nanos) && nanos % (ONE / 10) == 0;
    finding.hint(if percent {
        format!("write `{}m` for {target} per cent", nanos / (ONE / 10))
    } else {
        "write a share, such as `800m` for 80 per cent".to_owned()
    })
}

fn too_small(target: &Quantity, nanos: i128, usage: &MetricUse<'_>) -> Finding {
    let message =
        format!("`{}` goes from 0 to 100 per cent; its target `{target}` is at most 1 per cent", usage.spelling.name);
    let finding = Finding::suspect(usage.target_field(), format!("{} {target}", usage.name), message);
    // A target of 100 would never be exceeded.
    if nanos * 100 % ONE == 0 && nanos * 10 <= ONE * 9 {
        finding.hint(format!("write `{}` if {} per cent is meant", nanos * 100 / ONE, nanos * 100 / ONE))
    } else {
        finding.hint("write the target in per cent, such as `80`")
    }
}

/// How many series of the metric one pod has: a data-parallel rank each for a server's own, a GPU each for DCGM's. `None`
/// when it cannot be told.
fn series_in_a_pod(metric: &Metric, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<u64> {
    match metric.exporter {
        Exporter::Engine(engine) => {
            let server = facts
                .target
                .workload()?
                .server()
                .filter(|server| server.engine == engine && server.arguments_complete && !server.several)?;
            Some(server.data_parallel.max(1))
        }
        Exporter::Dcgm | Exporter::GkeSystem => devices(facts, context),
    }
}

#[cfg(test)]
mod tests;
