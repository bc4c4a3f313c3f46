//! `cpu-only`: an inference server scaled by CPU or memory alone.

use super::naming::keda_owned;
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, Source};
use crate::policy::finding::Finding;

pub(super) static RULE: Rule = Rule {
    id: "cpu-only",
    default: Level::Warn,
    at_admission: true,
    summary: "An inference server on a GPU is scaled by CPU or memory alone",
    explain: "\
The work of an inference server is done by the GPU. Its CPU is busy or idle whatever the load: one core spins while the \
engine runs, and memory is taken at the start. An autoscaler on CPU or memory alone adds pods too late, or never, while \
requests queue.

Add a metric of the server, such as `vllm:num_requests_waiting`. CPU may stay beside it: the largest proposal counts.

An autoscaler without any metric scales on CPU, so it is warned about too. Silent for servers that run on the CPU, and for \
workloads in which no known server is recognised.",
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
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: 80}
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
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: 80}
";

const ADD: &str = "add a metric of the server, such as the requests that wait";

fn check(facts: &HpaFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    let Some(server) = workload.server() else { return Vec::new() };
    // A metric of a type that is not known here may be anything.
    let unread = facts.metrics.len() < facts.hpa.spec.metrics.len();
    let others = facts.metrics.iter().any(|usage| usage.source != Source::Resource);
    if server.cpu || others || unread || keda_owned(facts.hpa) {
        return Vec::new();
    }
    let mut names: Vec<&str> = facts.metrics.iter().map(|usage| usage.name).collect();
    names.sort_unstable();
    names.dedup();
    let by = match names.as_slice() {
        [] => "CPU, the default of an autoscaler without metrics,".to_owned(),
        names => names.join(" and ").replace("cpu", "CPU"),
    };
    let target = &facts.hpa.spec.scale_target_ref;
    if let Some(other) = names.iter().find(|name| !matches!(**name, "cpu" | "memory")) {
        let message = format!("metrics of type Resource are cpu and memory alone: {other} never gets a value");
        return vec![Finding::warn("spec.metrics", *other, message).hint(ADD)];
    }
    let message =
        format!("{} {} runs vLLM on a GPU, and {by} alone says little about its load", target.kind, target.name);
    let finding = Finding::warn("spec.metrics", names.join(","), message);
    vec![finding.hint(ADD)]
}

#[cfg(test)]
mod tests {
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    fn of(yaml: &str) -> Vec<String> {
        let found = brief(&review(yaml, &Configuration::default())).into_iter();
        found.filter(|line| line.starts_with("cpu-only")).collect()
    }

    #[test]
    fn cpu_alone_is_warned_about_and_beside_a_server_metric_it_is_not() {
        assert_eq!(of(super::FAILING), ["cpu-only warn spec.metrics"]);
        assert!(of(super::PASSING).is_empty());
    }

    #[test]
    fn no_metric_at_all_means_cpu() {
        let (head, _) = super::FAILING.split_once("  metrics:\n").unwrap();
        assert_eq!(of(head), ["cpu-only warn spec.metrics"]);
    }

    #[test]
    fn a_server_on_the_cpu_and_other_workloads_may_scale_by_cpu() {
        assert!(of(&super::FAILING.replace("--max-num-seqs=64", "--device=cpu")).is_empty());
        let nginx = super::FAILING.replace("vllm/vllm-openai:v0.11.0", "nginx:1.29");
        assert!(of(&nginx.replace("--model=google/gemma-3-1b-it, --max-num-seqs=64", "")).is_empty());
    }
}
