//! `invalid-setting`: a label value or annotation of ours that cannot be meant.

use super::{Checks, Rule};
use crate::policy::configuration::Level;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::settings::{self, Wish};

pub(super) static RULE: Rule = Rule {
    id: "invalid-setting",
    default: Level::Deny,
    at_admission: true,
    summary: "A label or annotation under scalegate.dev/ that cannot be meant",
    explain: "\
The label scalegate.dev/autoscale and the annotations under scalegate.dev/ say what scalegate makes for a workload. A value
that cannot be read, a bound that contradicts another one, a target that the server can never reach, or a key that is a
misspelling of a known one would otherwise be found out when traffic comes and nothing scales.

Write what the finding says, or remove the key. This is the only rule that refuses a workload; without our label and
annotations none of it applies.

A key that resembles no known one is only warned about, since it may be another tool's. Annotations under
status.scalegate.dev/ are written by scalegate and never read.",
    failing: r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
  labels:
    scalegate.dev/autoscale: throughput
  annotations:
    scalegate.dev/max-replicas: "many"
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
"#,
    passing: r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
  namespace: inference
  labels:
    scalegate.dev/autoscale: throughput
  annotations:
    scalegate.dev/max-replicas: "4"
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
"#,
    checks: Checks { workload: Some(check), ..Checks::NONE },
};

fn check(facts: &WorkloadFacts<'_>, _context: &Context<'_>) -> Vec<Finding> {
    let mut findings = facts.settings.warnings.clone();
    match &facts.settings.wish {
        Err(faults) => findings.extend(faults.iter().cloned()),
        Ok(Wish::Enabled(settings)) => findings.extend(settings::check(settings, &facts.workload)),
        Ok(Wish::Unlabelled | Wish::Disabled) => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::policy::configuration::Configuration;
    use crate::policy::finding::{Finding, Severity};
    use crate::policy::rules::testing::{admit, review, view};

    fn ours(findings: Vec<Finding>) -> Vec<Finding> {
        findings.into_iter().filter(|finding| finding.rule == RULE.id).collect()
    }

    fn severities(yaml: &str) -> Vec<Severity> {
        ours(review(yaml, &Configuration::default())).iter().map(|finding| finding.severity).collect()
    }

    fn failing_with(this: &str, that: &str) -> String {
        let changed = RULE.failing.replace(this, that);
        assert_ne!(changed, RULE.failing, "{this}");
        changed
    }

    #[test]
    fn the_examples_hold() {
        assert_eq!(severities(RULE.failing), [Severity::Deny]);
        assert_eq!(severities(RULE.passing), []);
    }

    #[test]
    fn the_finding_names_the_annotation_and_its_value() {
        let findings = ours(review(RULE.failing, &Configuration::default()));
        let said = findings[0].sentence();
        assert!(said.contains("max-replicas") && said.contains("many"), "{said}");
    }

    #[test]
    fn a_profile_that_nobody_defined_is_refused() {
        assert!(severities(&failing_with(": throughput", ": throughputt")).contains(&Severity::Deny));
    }

    #[test]
    fn a_key_close_to_a_known_one_is_refused_and_a_far_one_warned_about() {
        assert_eq!(severities(&failing_with("max-replicas: \"many\"", "max-replica: \"4\"")), [Severity::Deny]);
        assert_eq!(severities(&failing_with("max-replicas: \"many\"", "cost-centre: \"4\"")), [Severity::Warn]);
    }

    #[test]
    fn a_minimum_of_zero_is_refused_because_every_metric_of_ours_is_of_the_pods() {
        assert_eq!(severities(&failing_with("max-replicas: \"many\"", "min-replicas: \"0\"")), [Severity::Deny]);
    }

    #[test]
    fn what_we_write_ourselves_is_never_input() {
        let status = RULE.passing.replace("scalegate.dev/max-replicas: \"4\"", "status.scalegate.dev/engine: nonsense");
        assert_ne!(status, RULE.passing);
        assert_eq!(severities(&status), []);
    }

    #[test]
    fn a_change_elsewhere_is_not_refused_for_a_setting_that_was_there() {
        let changed = failing_with("v0.11.0", "v0.11.1");
        let said = admit(&view(""), &changed, Some(RULE.failing), &Configuration::default());
        let severities: Vec<Severity> = ours(said).iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Warn]);
    }
}
