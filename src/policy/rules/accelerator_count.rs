//! `accelerator-count`: the server uses another number of accelerators than its pod requests.

use std::collections::BTreeMap;

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::objects::{Container, WorkloadObject};
use crate::policy::placement;
use crate::policy::workload::{PodNeeds, Server, Workload};

pub(super) static RULE: Rule = Rule {
    id: "accelerator-count",
    default: Level::Warn,
    at_admission: true,
    summary: "The server uses another number of accelerators than its pod requests",
    explain: "\
A vLLM server uses as many devices as tensor-parallel-size x pipeline-parallel-size x data-parallel-size. What the pod requests
beyond that stands idle in every replica that the autoscaler adds, and is paid for. What it requests below that makes the
server end at start, so no replica ever becomes Ready.

Make both numbers equal: change the request under resources.limits, or the flag.

The rule is silent when the arguments cannot be read to their end, for groups of several pods (a LeaderWorkerSet spreads the
ranks), for MIG slices and shared GPUs, of which a pod requests slots and not devices, for Neuron devices with several cores
each, and for resource claims.",
    failing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
  labels:
    scalegate.dev/autoscale: throughput
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
          args: [--model=google/gemma-3-27b-it, --port=8000, --tensor-parallel-size=4]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 8
",
    passing: "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
  labels:
    scalegate.dev/autoscale: throughput
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
          args: [--model=google/gemma-3-27b-it, --port=8000, --tensor-parallel-size=8]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 8
",
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

/// Resources of which one is one device to the server.
const WHOLE_DEVICES: [&str; 6] =
    ["nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "google.com/tpu", "gpu.intel.com/i915", "gpu.intel.com/xe"];

/// Node labels that say that a GPU of the node is cut or shared, although its resource keeps the plain name (GKE, and NVIDIA's
/// feature discovery).
const SHARED: [&str; 6] = [
    "cloud.google.com/gke-gpu-partition-size",
    "cloud.google.com/gke-gpu-sharing-strategy",
    "cloud.google.com/gke-max-shared-clients-per-gpu",
    "nvidia.com/mig.strategy",
    "nvidia.com/gpu.replicas",
    "nvidia.com/gpu.sharing-strategy",
];

fn check(facts: &WorkloadFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let Some(server) = facts.workload.server() else { return Vec::new() };
    let Some((needs, used)) = serving_pod(&facts.workload).zip(server.devices_used) else { return Vec::new() };
    if server.cpu || !server.arguments_complete || needs.claims || shared(needs) {
        return Vec::new();
    }
    let requested = placement::resources::accelerators(needs, context.configuration);
    compare(server, used, &requested, facts).into_iter().collect()
}

fn compare(
    server: &Server,
    used: u64,
    requested: &BTreeMap<String, i64>,
    facts: &WorkloadFacts<'_>,
) -> Option<Finding> {
    // Several kinds at once: it cannot be told which one the server uses.
    let mut kinds = requested.iter();
    let (Some((resource, count)), None) = (kinds.next(), kinds.next()) else { return None };
    let count = u64::try_from(*count).ok()?;
    // The rest is another container's, or asked for by an init container.
    let own = own(facts.written, &server.container, resource).filter(|own| *own > 0)?;
    let count = count.min(own);
    if used == count || !WHOLE_DEVICES.contains(&resource.as_str()) {
        return None;
    }
    let section = section(facts.written, &server.container, resource);
    let field = format!("{}.resources.{section}[{resource}]", server.path);
    let asks = format!("container {} requests {resource}: {count}, and its server uses {used}", server.container);
    Some(if used < count {
        let message =
            format!("{asks} (tensor x pipeline x data parallel): {} idle in each replica", stand(count - used));
        let hint = format!("write {resource}: {used}, or --tensor-parallel-size={count}");
        Finding::warn(field, count.to_string(), message).hint(hint)
    } else {
        // A Ray cluster that the template does not show may lend the rest.
        let message = format!("{asks} (tensor x pipeline x data parallel): it will not start");
        let hint = format!("write {resource}: {used}, or lower the parallel sizes to {count} together");
        Finding::suspect(field, count.to_string(), message).hint(hint)
    })
}

fn stand(count: u64) -> String {
    if count == 1 { "1 stands".to_owned() } else { format!("{count} stand") }
}

/// The pod that serves, when it alone makes up a replica.
fn serving_pod(workload: &Workload) -> Option<&PodNeeds> {
    match workload.pods.as_slice() {
        [pod] if pod.count <= 1 => Some(pod),
        _ => None,
    }
}

fn shared(needs: &PodNeeds) -> bool {
    let affinity = needs.affinity.iter().flatten().flat_map(|term| &term.match_expressions).map(|wanted| &wanted.key);
    needs.node_selector.keys().chain(affinity).any(|key| SHARED.contains(&key.as_str()))
}

/// How much of a resource a container asks for.
fn own(written: &WorkloadObject, container: &str, resource: &str) -> Option<u64> {
    let spec = &written.template.spec;
    let container =
        spec.containers.iter().chain(&spec.init_containers).find(|candidate| candidate.name == container)?;
    let quantity = container.resources.limits.get(resource).or_else(|| container.resources.requests.get(resource))?;
    u64::try_from(quantity.nanos().ok()? / 1_000_000_000).ok()
}

/// Where the container writes the resource; requests only where limits lack it.
fn section(written: &WorkloadObject, container: &str, resource: &str) -> &'static str {
    let has = |container: &Container| {
        !container.resources.limits.contains_key(resource) && container.resources.requests.contains_key(resource)
    };
    let container = written.template.spec.containers.iter().find(|candidate| candidate.name == container);
    if container.is_some_and(has) { "requests" } else { "limits" }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::finding::Finding;
    use crate::policy::rules::testing::{brief, review};

    fn ours(yaml: &str) -> Vec<Finding> {
        let findings = review(yaml, &Configuration::default());
        findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
    }

    fn failing_with(this: &str, that: &str) -> String {
        let changed = RULE.failing.replace(this, that);
        assert_ne!(changed, RULE.failing, "{this}");
        changed
    }

    const WARNED: &str = "accelerator-count warn spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]";

    #[test]
    fn the_examples_hold() {
        let findings = ours(RULE.failing);
        assert_eq!(brief(&findings), [WARNED]);
        assert!(findings[0].message.contains("4 stand idle"), "{}", findings[0].message);
        assert!(ours(RULE.passing).is_empty());
    }

    #[test]
    fn more_than_requested_will_not_start() {
        let findings = ours(&failing_with("nvidia.com/gpu: 8", "nvidia.com/gpu: 2"));
        assert_eq!(brief(&findings), [WARNED]);
        assert!(findings[0].message.contains("will not start"), "{}", findings[0].message);
    }

    #[test]
    fn all_parallel_sizes_are_multiplied() {
        for flags in [
            "--tensor-parallel-size=4, --pipeline-parallel-size=2",
            "--tensor-parallel-size=4, --data-parallel-size=2",
            "--tensor_parallel_size=8",
            "-tp, '8'",
        ] {
            let said = ours(&failing_with("--tensor-parallel-size=4", flags));
            assert!(said.is_empty(), "{flags}: {said:?}");
        }
    }

    #[test]
    fn slices_and_shared_gpus_are_slots_and_not_devices() {
        assert!(ours(&failing_with("nvidia.com/gpu: 8", "nvidia.com/mig-1g.5gb: 8")).is_empty());
        assert!(ours(&failing_with("nvidia.com/gpu: 8", "nvidia.com/gpu.shared: 8")).is_empty());
        let sharing =
            "      nodeSelector: {cloud.google.com/gke-gpu-sharing-strategy: time-sharing}\n      containers:";
        assert!(ours(&failing_with("      containers:", sharing)).is_empty());
    }

    #[test]
    fn arguments_that_cannot_be_read_are_not_counted() {
        assert!(ours(&failing_with("--tensor-parallel-size=4", "--tensor-parallel-size=$(TP)")).is_empty());
    }

    #[test]
    fn no_request_is_another_rules_matter() {
        assert!(ours(&failing_with("              nvidia.com/gpu: 8\n", "")).is_empty());
    }

    #[test]
    fn requests_are_named_where_limits_lack_them() {
        let requests = failing_with("limits:", "requests:");
        assert_eq!(
            brief(&ours(&requests)),
            ["accelerator-count warn spec.template.spec.containers[0].resources.requests[nvidia.com/gpu]"]
        );
    }
}
