//! `port-mismatch`: the declared container port is not the one the server listens on.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::workload::{DeclaredPort, Port, Server};

pub(super) static RULE: Rule = Rule {
    id: "port-mismatch",
    default: Level::Warn,
    at_admission: true,
    summary: "The declared container port is not the one the server listens on",
    explain: "\
A declared container port is only a name for a number: Kubernetes does not check that anybody listens there. A Service or a
monitor that goes by that name then reaches nobody, the scrape target is down or missing, and the autoscaler has no metric.
scalegate itself trusts the flag and scrapes the port that the server listens on.

Declare the port that the server is told to listen on (--port), or change the flag. For a server behind a proxy in the same
pod, say which port has the metrics with the annotation scalegate.dev/metrics-port; then the rule is silent.

It is also silent when no port is declared, when any declared port of the container is the server's (others may serve
KV-cache transfer or debugging), when all of them are named for such another purpose, and when the port cannot be told.",
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
          args: [--model=google/gemma-3-1b-it, --port=8080, --max-num-seqs=64]
          ports:
            - name: http
              containerPort: 8000
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
          args: [--model=google/gemma-3-1b-it, --port=8080, --max-num-seqs=64]
          ports:
            - name: http
              containerPort: 8080
          resources:
            limits:
              cpu: 4
              memory: 16Gi
              nvidia.com/gpu: 1
",
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

/// The annotation that says on which port the metrics are.
const METRICS_PORT: &str = "scalegate.dev/metrics-port";

/// Words in the names of ports that are not meant for requests: KV-cache transfer between prefill and decode, collective
/// communication, Ray, debugging.
const OTHER_PURPOSES: [&str; 11] =
    ["kv", "nixl", "mooncake", "side", "zmq", "nccl", "gloo", "rdma", "dist", "ray", "debug"];

fn check(facts: &WorkloadFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let Some(server) = facts.workload.server() else { return Vec::new() };
    if facts.written.metadata.annotations.contains_key(METRICS_PORT) {
        return Vec::new();
    }
    mismatch(server).into_iter().collect()
}

fn mismatch(server: &Server) -> Option<Finding> {
    let (number, source) = match &server.port {
        Port::Explicit { number, source } => (*number, source.as_str()),
        // Arguments that could not be read may hold the flag.
        Port::Default { number } if server.arguments_complete => (*number, "its default, since no --port is given"),
        Port::Default { .. } | Port::Unknown { .. } => return None,
    };
    if server.declared_ports.iter().any(|declared| declared.number == number) {
        return None;
    }
    let declared = server.declared_ports.iter().find(|declared| !for_another_purpose(declared))?;
    let message = format!(
        "container {} declares port {}, but the server listens on {number} ({source})",
        server.container, declared.number
    );
    let field = format!("{}.containerPort", declared.path);
    Some(Finding::warn(field, declared.number.to_string(), message).hint(format!(
        "write containerPort: {number}, or annotate the workload {METRICS_PORT}: \"{}\" if a proxy serves the metrics there",
        declared.number
    )))
}

fn for_another_purpose(port: &DeclaredPort) -> bool {
    let name = port.name.as_deref().unwrap_or_default();
    name.split('-').any(|word| OTHER_PURPOSES.iter().any(|purpose| word.starts_with(purpose)))
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

    const WARNED: &str = "port-mismatch warn spec.template.spec.containers[0].ports[0].containerPort";

    #[test]
    fn the_examples_hold() {
        assert_eq!(said(RULE.failing), [WARNED]);
        assert_eq!(said(RULE.passing), [""; 0]);
    }

    #[test]
    fn the_default_counts_when_no_flag_is_given() {
        let without = failing_with("--port=8080, ", "").replace("containerPort: 8000", "containerPort: 8081");
        assert_eq!(said(&without), [WARNED]);
        assert_eq!(said(&failing_with("--port=8080, ", "")), [""; 0], "8000 is the default");
    }

    #[test]
    fn no_declared_port_is_no_mistake() {
        let none = failing_with("          ports:\n            - name: http\n              containerPort: 8000\n", "");
        assert_eq!(said(&none), [""; 0]);
    }

    #[test]
    fn one_declared_port_that_is_the_servers_suffices() {
        let both = failing_with("containerPort: 8000\n", "containerPort: 8000\n            - containerPort: 8080\n");
        assert_eq!(said(&both), [""; 0]);
    }

    #[test]
    fn a_port_named_for_another_purpose_is_not_the_servers() {
        for name in ["kv-transfer", "nixl-side", "ray-gcs"] {
            assert_eq!(said(&failing_with("name: http", &format!("name: {name}"))), [""; 0], "{name}");
        }
    }

    #[test]
    fn the_metrics_port_of_the_annotation_overrides() {
        let annotated = failing_with(
            "  labels:\n    scalegate",
            "  annotations: {scalegate.dev/metrics-port: '8000'}\n  labels:\n    scalegate",
        );
        assert_eq!(said(&annotated), [""; 0]);
    }

    #[test]
    fn a_port_that_cannot_be_told_is_not_judged() {
        assert_eq!(said(&failing_with("--port=8080", "--port=$(PORT)")), [""; 0]);
    }
}
