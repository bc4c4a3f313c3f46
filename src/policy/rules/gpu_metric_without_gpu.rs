//! `gpu-metric-without-gpu`: a GPU metric for pods that have no GPU.

use super::{Checks, Rule};
use crate::policy::chain::MakerKind;
use crate::policy::configuration::Level;
use crate::policy::engine::{self, Exporter, Metric, Resolved};
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::Finding;
use crate::policy::placement;
use crate::policy::workload::Workload;

pub(super) static RULE: Rule = Rule {
    id: "gpu-metric-without-gpu",
    default: Level::Deny,
    at_admission: true,
    summary: "A GPU metric for a target whose pods request no accelerator",
    explain: "\
GPU metrics are attributed to the pods that the kubelet gave a GPU to. A pod that requests none has no such series, so an HPA
of type Pods that asks for it only ever says \"no metrics returned\", and never scales.

Request the GPU (resources.limits of the container, nvidia.com/gpu: 1), or scale on what the server itself measures, such as
vllm:num_requests_running.

A resource claim counts as a request. The rule is silent when the target is not in view, for metrics of type External and
Object, which need not be about the target's pods, and for names that are not in the catalogue. It only warns when the pods
request a device that it does not know (name it under acceleratorResources), or when a rule in view computes the metric from
other series as well, for that rule may attribute it in its own way.",
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
          name: prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge
        target:
          type: AverageValue
          averageValue: 20
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
          name: prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge
        target:
          type: AverageValue
          averageValue: 20
",
    checks: Checks { hpa: Some(check), ..Checks::NONE },
};

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(workload) = facts.target.workload() else { return Vec::new() };
    // Without pods nothing is known about their requests.
    if workload.pods.is_empty() || asks_for_accelerator(workload, context) {
        return Vec::new();
    }
    let target = format!("{}/{}", workload.kind, workload.metadata.name);
    let unknown = unknown_device(workload);
    let granted = granted_elsewhere(workload);
    let of_gpu = facts.metrics.iter().filter(|metric| of_gpu(metric));
    of_gpu.map(|metric| against(metric, &target, unknown, granted.as_deref())).collect()
}

/// What may give the pods a GPU that they do not request, as a clause: GPU-sharing schedulers and container runtimes do.
fn granted_elsewhere(workload: &Workload) -> Option<String> {
    workload.pods.iter().find_map(|needs| {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let scheduler = named(&needs.scheduler).filter(|name| name != "default-scheduler");
        scheduler
            .map(|name| format!("scheduler {name} may give them one"))
            .or_else(|| Some(format!("RuntimeClass {} may give them one", named(&needs.runtime_class)?)))
    })
}

fn against(metric: &MetricUse<'_>, target: &str, unknown: Option<&str>, granted: Option<&str>) -> Finding {
    let field = metric.name_field();
    let message = format!("{} is measured on GPUs, and the pods of {target} request none", metric.name);
    if let Some(granted) = granted {
        return Finding::suspect(field, metric.name, format!("{message}; {granted}"))
            .hint("see whether the exporter's series carry the names of these pods");
    }
    if let Some(resource) = unknown {
        let message = format!("{message}, unless {resource} is one");
        let hint = format!("if it is, add {resource} to acceleratorResources in the configuration");
        return Finding::suspect(field, metric.name, message).hint(hint);
    }
    if made_in_another_way(metric) {
        return Finding::suspect(field, metric.name, message)
            .hint("see whether the rule that makes it attributes it to these pods");
    }
    Finding::deny(field, metric.name, message).hint(
        "request the GPU under resources.limits (nvidia.com/gpu: 1), or scale on a metric of the server, such as \
         vllm:num_requests_running",
    )
}

/// Whether the metric is, for each pod, what its GPU measures.
pub(super) fn of_gpu(metric: &MetricUse<'_>) -> bool {
    metric.source == Source::Pods && metric.metric().is_some_and(measured_on_gpu)
}

fn measured_on_gpu(metric: &Metric) -> bool {
    match metric.exporter {
        Exporter::Dcgm => true,
        Exporter::GkeSystem => metric.name.contains("accelerator"),
        Exporter::Engine(_) => false,
    }
}

/// Whether something in view computes the name also from series that no GPU exporter exports, and so may attribute it to pods
/// in its own way.
fn made_in_another_way(metric: &MetricUse<'_>) -> bool {
    let of_gpu = |series: &String| match engine::resolve(series) {
        Resolved::Catalogued(metric) | Resolved::Alias { metric, .. } => measured_on_gpu(metric),
        _ => false,
    };
    metric.makers.may()
        && (!metric.makers.any()
            || metric.makers.made.iter().any(|made| {
                made.by != MakerKind::Relabelling && (made.from.is_empty() || !made.from.iter().all(of_gpu))
            }))
}

/// Whether the pods of a workload ask for an accelerator, as a resource or by a claim.
pub(super) fn asks_for_accelerator(workload: &Workload, context: &Context<'_>) -> bool {
    placement::resources::wants_accelerator(workload, context.configuration)
        || workload.pods.iter().any(|needs| needs.claims)
}

/// An extended resource among the requests of which it is not known what it is.
pub(super) fn unknown_device(workload: &Workload) -> Option<&str> {
    let extended = |resource: &&str| resource.contains('/') && !resource.starts_with("kubernetes.io/");
    let mut resources = workload.pods.iter().flat_map(|needs| needs.requests.keys()).map(String::as_str);
    resources.find(extended)
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

    const DENIED: &str = "gpu-metric-without-gpu deny spec.metrics[0].pods.metric.name";
    const METRIC: &str = "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge";

    fn failing_with(this: &str, that: &str) -> String {
        let changed = RULE.failing.replace(this, that);
        assert_ne!(changed, RULE.failing, "{this}");
        changed
    }

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), [DENIED]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn the_counters_own_name_and_gkes_system_metric_count() {
        for name in
            ["prometheus.googleapis.com|DCGM_FI_DEV_GPU_UTIL|gauge", "kubernetes.io|container|accelerator|duty_cycle"]
        {
            assert_eq!(said(&failing_with(METRIC, name)), [DENIED], "{name}");
        }
    }

    #[test]
    fn metrics_of_the_server_and_names_of_others_are_silent() {
        for name in
            ["prometheus.googleapis.com|vllm:num_requests_running|gauge", "gpu_utilization_percent", "my_gpu_load"]
        {
            assert_eq!(said(&failing_with(METRIC, name)), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_cpu_server_has_no_gpu_metric_either() {
        assert_eq!(said(&failing_with("--port=8000", "--device=cpu, --port=8000")), [DENIED]);
    }

    #[test]
    fn every_vendors_accelerator_and_a_claim_count_as_a_request() {
        for resource in ["nvidia.com/mig-1g.5gb: 1", "nvidia.com/gpu.shared: 1", "amd.com/gpu: 1", "google.com/tpu: 4"]
        {
            assert_eq!(said(&failing_with("cpu: 4", resource)), [""; 0], "{resource}");
        }
        let claims = "      resourceClaims: [{name: gpu, resourceClaimTemplateName: gpu}]\n      containers:";
        assert_eq!(said(&failing_with("      containers:", claims)), [""; 0]);
    }

    #[test]
    fn a_device_that_nobody_knows_only_warns() {
        let warned = "gpu-metric-without-gpu warn spec.metrics[0].pods.metric.name";
        assert_eq!(said(&failing_with("cpu: 4", "example.com/h100: 1")), [warned]);
    }

    #[test]
    fn a_gpu_that_a_scheduler_or_a_runtime_gives_only_warns() {
        for field in ["schedulerName: runai-scheduler", "runtimeClassName: nvidia"] {
            let given = failing_with("      containers:", &format!("      {field}\n      containers:"));
            assert_eq!(said(&given), ["gpu-metric-without-gpu warn spec.metrics[0].pods.metric.name"], "{field}");
        }
        let default = failing_with("      containers:", "      schedulerName: default-scheduler\n      containers:");
        assert_eq!(said(&default), [DENIED]);
    }

    #[test]
    fn external_metrics_need_not_be_about_the_targets_pods() {
        let external = failing_with("type: Pods\n      pods:", "type: External\n      external:");
        assert_eq!(said(&external), [""; 0]);
    }

    #[test]
    fn a_target_that_is_not_in_view_is_not_judged() {
        assert_eq!(said(&failing_with("    name: vllm\n  maxReplicas", "    name: later\n  maxReplicas")), [""; 0]);
    }

    #[test]
    fn a_rule_over_the_gpu_counter_alone_changes_nothing_and_one_over_others_only_warns() {
        let rule = |expr: &str| {
            format!(
                "apiVersion: monitoring.googleapis.com/v1\nkind: ClusterRules\nmetadata: {{name: dcgm}}\nspec:\n  groups:\n    \
                 - name: dcgm\n      rules:\n        - record: dcgm_fi_dev_gpu_util\n          expr: {expr}\n---\n{}",
                RULE.failing
            )
        };
        assert_eq!(said(&rule("max by (pod, namespace) (DCGM_FI_DEV_GPU_UTIL)")), [DENIED]);
        let joined = "kube_pod_info * on (node) group_left () DCGM_FI_DEV_GPU_UTIL";
        assert_eq!(said(&rule(joined)), ["gpu-metric-without-gpu warn spec.metrics[0].pods.metric.name"]);
    }
}
