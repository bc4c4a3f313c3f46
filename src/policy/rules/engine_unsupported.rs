//! `engine-unsupported`: labelled, but not a server whose metrics are known.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::LABEL;
use crate::policy::workload::Reading;

pub(super) static RULE: Rule = Rule {
    id: "engine-unsupported",
    default: Level::Warn,
    at_admission: true,
    summary: "Labelled for autoscaling, but not a server whose metrics scalegate knows",
    explain: "\
The label asks for an autoscaler on the server's own metrics. scalegate makes one only when it knows from the image, the
command or the entrypoint which server runs, because the metrics' names, units and port follow from that. For anything else it
would have to guess, so it makes nothing: no HPA, no scrape object. vLLM's demo server (vllm.entrypoints.api_server) counts as
anything else, since it exports none of vLLM's metrics.

Run the OpenAI-compatible server (vllm serve, or python3 -m vllm.entrypoints.openai.api_server). If the pod does run it and
the template does not show so, because a script or a private image hides it, say so with the annotations
scalegate.dev/engine: vllm and, with several containers, scalegate.dev/container. Otherwise remove the label and write the HPA
by hand.

The rule is silent without the label and with the value disabled.",
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
          command: [python3, -m, vllm.entrypoints.api_server]
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
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
          command: [python3, -m, vllm.entrypoints.openai.api_server]
          args: [--model=google/gemma-3-1b-it, --port=8000, --max-num-seqs=64]
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

fn check(facts: &WorkloadFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    if !facts.labelled() {
        return Vec::new();
    }
    let evident = "if it runs vLLM, say so with the annotation scalegate.dev/engine: vllm; otherwise remove the label";
    let (why, hint) = match &facts.workload.server {
        Reading::Server(_) => return Vec::new(),
        Reading::Recognised { product, evidence } => (
            format!("runs {product} ({evidence}), whose metrics scalegate does not know"),
            "remove the label, and write the HorizontalPodAutoscaler by hand",
        ),
        Reading::WithoutMetrics { reason } => (
            format!("runs no server whose metrics scalegate knows: {reason}"),
            "run the OpenAI-compatible server (vllm serve), which exports the metrics",
        ),
        Reading::None { reason } if reason.is_empty() => ("shows no sign of an inference server".to_owned(), evident),
        Reading::None { reason } => (format!("is not known to run an inference server: {reason}"), evident),
    };
    let containers = misnamed(facts).map(|names| format!("name one of its containers: {}", names.join(", ")));
    let hint = containers.unwrap_or_else(|| hint.to_owned());
    let workload = format!("{}/{}", facts.object.kind, facts.object.name);
    let message = format!("{workload} {why}; no autoscaler is generated for it");
    vec![Finding::warn(format!("metadata.labels[{LABEL}]"), workload, message).hint(hint)]
}

/// The pod's containers, where the annotation that chooses one names none of them.
fn misnamed<'a>(facts: &'a WorkloadFacts<'_>) -> Option<Vec<&'a str>> {
    let wanted = facts.written.metadata.annotations.get("scalegate.dev/container")?;
    let spec = &facts.written.template.spec;
    if spec.init_containers.iter().any(|container| container.name == *wanted) {
        return None;
    }
    let containers = spec.containers.iter();
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    (!names.contains(&wanted.as_str())).then_some(names)
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

    #[test]
    fn a_container_that_is_not_there_brings_the_names_of_those_that_are() {
        let named =
            RULE.passing.replacen("metadata:\n", "metadata:\n  annotations: {scalegate.dev/container: vllm}\n", 1);
        let findings = review(&named, &Configuration::default());
        let finding = findings.iter().find(|finding| finding.rule == RULE.id).unwrap();
        assert_eq!(finding.hint.as_deref(), Some("name one of its containers: server"));
    }

    const WARNED: &str = "engine-unsupported warn metadata.labels[scalegate.dev/autoscale]";

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), [WARNED]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_and_what_is_not_catalogued_is_warned_about() {
        for image in ["nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8", "ghcr.io/ggml-org/llama.cpp:server", "python:3.12"]
        {
            let other = RULE.failing.replace("vllm/vllm-openai:v0.11.0", image);
            let other = other.replace("          command: [python3, -m, vllm.entrypoints.api_server]\n", "");
            assert_eq!(said(&other), [WARNED], "{image}");
        }
    }

    #[test]
    fn without_the_label_nothing_is_said() {
        let unlabelled = RULE.failing.replace("scalegate.dev/autoscale: throughput", "team: inference");
        assert_eq!(said(&unlabelled), [""; 0]);
        assert_eq!(said(&RULE.failing.replace(": throughput", ": disabled")), [""; 0]);
    }
}
