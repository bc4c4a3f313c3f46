//! `target-unreachable`: a target that no pod can exceed by enough.

use super::naming::{devices, judged_elsewhere, may_coin};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::engine::{Engine, Exporter, Metric, MetricKind, Unit};
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source, Target};
use crate::policy::finding::Finding;
use crate::policy::objects::Quantity;

/// One, in billionths.
const ONE: i128 = 1_000_000_000;

/// The cluster's default tolerance of an autoscaler, in billionths (kube-controller-manager's
/// `--horizontal-pod-autoscaler-tolerance`, 0.1).
const TOLERANCE: i128 = ONE / 10;

/// The largest `--max-num-seqs` that vLLM chooses by itself (GPUs with 70 GiB or more).
const LARGEST_DEFAULT_CEILING: u64 = 1024;

const RUNNING: &str = "vllm:num_requests_running";

pub(super) static RULE: Rule = Rule {
    id: "target-unreachable",
    default: Level::Warn,
    at_admission: true,
    summary: "The target is at or above what a pod can reach, so the autoscaler never adds a pod",
    explain: "\
A server never runs more requests at a time than `--max-num-seqs` times its data-parallel ranks; the others wait. And the \
autoscaler does nothing while the value is within its tolerance of the target, 10 per cent unless \
`behavior.scaleUp.tolerance` says otherwise. A target T on running requests is therefore out of reach when 1.1 x T is not \
below that ceiling: a target of 20 with `--max-num-seqs=10` never adds a pod, however many requests wait.

The same holds for shares (at most 1) and per cents (at most 100).

Write a target well below the ceiling, or scale on the requests that wait, which have none.

Where `--max-num-seqs` is not given, the ceiling depends on the GPU; then only a target beyond the largest default, 1024, is \
warned about. Silent when the arguments cannot be read.",
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
        args: [--model=google/gemma-3-1b-it, --max-num-seqs=10]
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
      target: {type: AverageValue, averageValue: 20}
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
      target: {type: AverageValue, averageValue: 20}
";

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let judged = facts.metrics.iter().filter(|usage| usage.source == Source::Pods && !judged_elsewhere(usage, facts));
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

/// The most that one pod can show.
struct Ceiling {
    most: u64,
    known: bool,
    why: String,
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let metric = usage.metric().filter(|metric| metric.kind == MetricKind::Gauge)?;
    let target = usage.target.average_value.as_ref()?;
    let nanos = target.nanos().ok()?;
    let ceiling = ceiling(metric, facts, context)?;
    let most = i128::from(ceiling.most).saturating_mul(ONE);
    // A share above its maximum is a wrong unit, which `metric-unit` says.
    if metric.unit != Unit::Requests && nanos > most {
        return None;
    }
    let tolerance = tolerance(facts);
    let needed = nanos.checked_mul(ONE.saturating_add(tolerance)).map_or(i128::MAX, |needed| needed / ONE);
    if needed < most {
        return None;
    }
    let message = format!(
        "a target of {target} never adds a pod: `{}` is at most {} in a pod ({}), and the autoscaler acts above {}",
        usage.spelling.name,
        ceiling.most,
        ceiling.why,
        decimal(needed)
    );
    let value = format!("{} {target}", usage.name);
    let finding = if ceiling.known && !may_coin(usage) {
        Finding::warn(usage.target_field(), value, message)
    } else {
        Finding::suspect(usage.target_field(), value, message)
    };
    Some(finding.hint(hint(metric, ceiling.most)))
}

fn tolerance(facts: &HpaFacts<'_>) -> i128 {
    let up = facts.hpa.spec.behavior.scale_up.as_ref();
    let written = up.and_then(|rules| rules.tolerance.as_ref());
    written.and_then(|tolerance: &Quantity| tolerance.nanos().ok()).filter(|nanos| *nanos >= 0).unwrap_or(TOLERANCE)
}

fn ceiling(metric: &Metric, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Ceiling> {
    match (metric.exporter, metric.unit) {
        (Exporter::Engine(Engine::Vllm), Unit::Requests) if metric.name == RUNNING => running(facts),
        (Exporter::Engine(_), Unit::Ratio) => {
            let workload = facts.target.workload();
            let server = workload.and_then(|workload| workload.server());
            let ranks = server.map_or(1, |server| server.data_parallel.max(1));
            let why = if ranks == 1 { "a share".to_owned() } else { format!("a share, {ranks} ranks added up") };
            Some(Ceiling { most: ranks, known: server.is_some_and(|server| server.arguments_complete), why })
        }
        (Exporter::Dcgm | Exporter::GkeSystem, Unit::Ratio | Unit::Percent) => {
            let devices = devices(facts, context).unwrap_or(0);
            let one = if metric.unit == Unit::Percent { 100 } else { 1 };
            let why =
                if devices > 1 { format!("{devices} GPUs, if they are added up") } else { "of one GPU".to_owned() };
            Some(Ceiling { most: devices.max(1).saturating_mul(one), known: devices == 1, why })
        }
        _ => None,
    }
}

fn running(facts: &HpaFacts<'_>) -> Option<Ceiling> {
    let largest = |ranks: u64, why: &str| Ceiling {
        most: LARGEST_DEFAULT_CEILING.saturating_mul(ranks),
        known: false,
        why: why.to_owned(),
    };
    let workload = match &facts.target {
        Target::Workload(workload) => workload,
        Target::Missing(_) => return Some(largest(1, "the largest default of `--max-num-seqs`")),
        Target::Foreign => return None,
    };
    let server = workload.server()?;
    let ranks = server.data_parallel.max(1);
    if let Some(most) = server.ceiling() {
        let why = match (server.max_num_seqs, ranks) {
            (Some(sequences), 1) => format!("`--max-num-seqs={sequences}`"),
            (Some(sequences), ranks) => format!("`--max-num-seqs={sequences}` in each of {ranks} ranks"),
            (None, _) => String::new(),
        };
        return Some(Ceiling { most, known: true, why });
    }
    server.arguments_complete.then(|| largest(ranks, "the largest default of `--max-num-seqs`"))
}

fn hint(metric: &Metric, most: u64) -> String {
    match metric.unit {
        Unit::Requests => {
            let target = most.saturating_mul(8) / 10;
            if target == 0 || target.saturating_mul(11) / 10 >= most {
                "scale on the requests that wait instead, which have no ceiling".to_owned()
            } else {
                format!("write at most {target}, 80 per cent of it, or scale on the requests that wait")
            }
        }
        Unit::Percent => format!("write at most {}", most.saturating_mul(8) / 10),
        _ => format!("write at most `{}m`", most.saturating_mul(800)),
    }
}

/// Billionths as a decimal number.
fn decimal(nanos: i128) -> String {
    let whole = nanos / ONE;
    let rest = format!("{:09}", (nanos % ONE).abs());
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { whole.to_string() } else { format!("{whole}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    const WARN: [&str; 1] = ["target-unreachable warn spec.metrics[0].pods.target.averageValue"];

    fn of(yaml: &str) -> Vec<String> {
        let found = brief(&review(yaml, &Configuration::default())).into_iter();
        found.filter(|line| line.starts_with("target-unreachable")).collect()
    }

    fn running(seqs: &str, target: &str) -> String {
        FAILING
            .replace("--max-num-seqs=10", &format!("--max-num-seqs={seqs}"))
            .replace("averageValue: 20", &format!("averageValue: {target}"))
    }

    #[test]
    fn a_target_within_the_tolerance_of_the_ceiling_is_out_of_reach() {
        assert_eq!(of(&running("10", "20")), WARN);
        assert_eq!(of(&running("11", "10")), WARN, "1.1 x 10 is not below 11");
        assert!(of(&running("12", "10")).is_empty());
        assert!(of(&running("64", "4")).is_empty());
    }

    #[test]
    fn the_autoscalers_own_tolerance_counts() {
        let yaml = running("11", "10") + "  behavior: {scaleUp: {tolerance: 50m}}\n";
        assert!(of(&yaml).is_empty());
        let yaml = running("64", "20") + "  behavior: {scaleUp: {tolerance: \"3\"}}\n";
        assert_eq!(of(&yaml), WARN);
    }

    #[test]
    fn ranks_multiply_the_ceiling() {
        assert!(of(&running("10, --data-parallel-size=4", "20")).is_empty());
    }

    #[test]
    fn an_unknown_ceiling_is_at_most_the_largest_default() {
        let without = |target: &str| running("10", target).replace(", --max-num-seqs=10", "");
        assert!(of(&without("900")).is_empty());
        assert_eq!(of(&without("1000")), WARN);
    }

    #[test]
    fn a_share_is_reached_below_one_over_the_tolerance() {
        let share = |target: &str| running("64", target).replace("num_requests_running", "kv_cache_usage_perc");
        assert_eq!(of(&share("950m")), WARN);
        assert!(of(&share("900m")).is_empty());
        assert!(of(&share("80")).is_empty(), "a wrong unit is metric-unit's");
    }

    #[test]
    fn utilisation_is_at_most_a_hundred() {
        let gpu = |target: &str| running("64", target).replace("vllm:num_requests_running", "dcgm_fi_dev_gpu_util");
        assert_eq!(of(&gpu("95")), WARN);
        assert!(of(&gpu("20")).is_empty());
        assert!(of(&gpu("95").replace("nvidia.com/gpu: 1", "nvidia.com/gpu: 4")).is_empty(), "they may be added up");
    }

    #[test]
    fn requests_that_wait_have_no_ceiling() {
        assert!(of(&running("10", "500").replace("requests_running", "requests_waiting")).is_empty());
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        assert_eq!(of(&running("18446744073709551615", "4")), [""; 0]);
        let yaml = running("10", "9E") + "  behavior: {scaleUp: {tolerance: 9E}}\n";
        assert_eq!(of(&yaml), WARN);
    }

    #[test]
    fn billionths_are_written_as_decimals() {
        assert_eq!(decimal(22 * ONE), "22");
        assert_eq!(decimal(1_045_000_000), "1.045");
    }
}
