//! `no-accelerator`: the server needs an accelerator, and its pods request none.

use super::gpu_metric_without_gpu::{asks_for_accelerator, of_gpu, unknown_device};
use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, HpaFacts, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::{PREFIX, STATUS_PREFIX};
use crate::policy::workload::Workload;

pub(super) static RULE: Rule = Rule {
    id: "no-accelerator",
    default: Level::Warn,
    at_admission: true,
    summary: "The server needs an accelerator, and its pods request none",
    explain: "\
A server built for GPUs whose pods request none is placed on any node, finds no device there and ends, over and over; each
replica that the autoscaler adds does the same. Kubernetes sees nothing wrong with it.

Request the device under resources.limits of the server's container (nvidia.com/gpu: 1). A resource claim counts as a request,
and so do other vendors' devices; one under a name of your own belongs into acceleratorResources of the configuration.

The rule is silent for a CPU image and --device cpu, when the pods request an extended resource that it does not know, and for
an HPA on a GPU metric, of which gpu-metric-without-gpu speaks. It speaks of the workload when that carries a label or
annotation of scalegate's, and else of the HPA.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
spec:
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

fn check_hpa(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    if addressed_to_us(workload) || facts.metrics.iter().any(of_gpu) {
        return Vec::new();
    }
    check(workload, "spec.scaleTargetRef", context).into_iter().collect()
}

fn check_workload(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(server) = facts.workload.server() else { return Vec::new() };
    if !addressed_to_us(&facts.workload) {
        return Vec::new();
    }
    check(&facts.workload, &format!("{}.resources", server.path), context).into_iter().collect()
}

fn check(workload: &Workload, field: &str, context: &Context<'_>) -> Option<Finding> {
    let server = workload.server()?;
    if server.cpu
        || workload.pods.is_empty()
        || asks_for_accelerator(workload, context)
        || unknown_device(workload).is_some()
    {
        return None;
    }
    let title = format!("{}/{}", workload.kind, workload.metadata.name);
    let message = format!(
        "container {} of {title} runs a server for GPUs ({}), and its pods request none",
        server.container, server.evidence
    );
    // A RuntimeClass may hand the node's devices to pods that request none.
    let runtime = workload.pods.iter().any(|needs| needs.runtime_class.is_some());
    let finding = if runtime { Finding::suspect(field, title, message) } else { Finding::warn(field, title, message) };
    Some(finding.hint(format!("write nvidia.com/gpu: 1 under {}.resources.limits", server.path)))
}

/// Whether the webhook judges the workload itself, so that it need not be said of the HPA.
fn addressed_to_us(workload: &Workload) -> bool {
    let metadata = &workload.metadata;
    let ours = |key: &String| key.starts_with(PREFIX) || key.starts_with(STATUS_PREFIX);
    metadata.labels.keys().chain(metadata.annotations.keys()).any(ours) || !workload.misplaced_keys.is_empty()
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::rules::testing::{brief, review};

    fn said(yaml: &str) -> Vec<String> {
        let findings = review(yaml, &Configuration::default());
        brief(&findings.into_iter().filter(|finding| finding.rule == RULE.id).collect::<Vec<_>>())
    }

    fn failing_with(this: &str, that: &str) -> String {
        let changed = RULE.failing.replace(this, that);
        assert_ne!(changed, RULE.failing, "{this}");
        changed
    }

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), ["no-accelerator warn spec.scaleTargetRef"]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn a_labelled_workload_bears_it_itself_and_alone() {
        let labelled = failing_with(
            "  namespace: inference\nspec:\n  selector",
            "  namespace: inference\n  labels: {scalegate.dev/autoscale: throughput}\nspec:\n  selector",
        );
        assert_eq!(said(&labelled), ["no-accelerator warn spec.template.spec.containers[0].resources"]);
    }

    #[test]
    fn a_cpu_server_needs_none() {
        assert_eq!(said(&failing_with("--port=8000", "--device=cpu, --port=8000")), [""; 0]);
        assert_eq!(said(&failing_with("--port=8000", "--device, cpu, --port=8000")), [""; 0]);
    }

    #[test]
    fn claims_and_devices_of_any_vendor_count() {
        for resource in ["google.com/tpu: 4", "amd.com/gpu: 1", "example.com/h100: 1"] {
            assert_eq!(said(&failing_with("cpu: 4", resource)), [""; 0], "{resource}");
        }
        let claims = "      resourceClaims: [{name: gpu, resourceClaimTemplateName: gpu}]\n      containers:";
        assert_eq!(said(&failing_with("      containers:", claims)), [""; 0]);
    }

    #[test]
    fn what_is_not_a_known_server_is_not_judged() {
        assert_eq!(said(&failing_with("vllm/vllm-openai:v0.11.0", "python:3.12")), [""; 0]);
    }

    #[test]
    fn beside_a_gpu_metric_the_other_rule_speaks() {
        let gpu = failing_with("|vllm:num_requests_running|", "|dcgm_fi_dev_gpu_util|");
        assert_eq!(said(&gpu), [""; 0]);
    }
}
