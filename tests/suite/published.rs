//! The published walkthroughs: what is broken in them is said, and nothing else is.

use std::path::PathBuf;

use scalegate::policy::finding::{Finding, Severity};
use scalegate::policy::rules;

use crate::reference;
use crate::support::{base_name, brief, denying, findings, world_of};

const SERVER_METRICS: [&str; 5] = [
    "vllm-deployment.yaml",
    "vllm-service.yaml",
    "pod-monitoring.yaml",
    "horizontal-pod-autoscaler.yaml",
    "stack-driver-adapter.yaml",
];
const GPU_METRICS: [&str; 6] = [
    "vllm-deployment.yaml",
    "vllm-service.yaml",
    "gpu-pod-monitoring.yaml",
    "gpu-rules.yaml",
    "gpu-horizontal-pod-autoscaler.yaml",
    "stack-driver-adapter.yaml",
];

/// Findings above a note.
fn grave(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity > Severity::Note).collect()
}

fn of(folder: &str, files: &[&str]) -> Option<Vec<Finding>> {
    let folder = reference::path(folder)?;
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    Some(findings(&world_of(&paths)))
}

#[test]
fn the_two_strategies_in_one_folder_are_one_conflict_and_a_pinned_deployment() {
    let Some(folder) = reference::path("manifests/ai-on-gke") else { return };
    let findings = findings(&world_of(&[folder]));
    let said: Vec<(&str, Severity, &str)> = grave(&findings)
        .into_iter()
        .map(|finding| (finding.rule.as_str(), finding.severity, finding.object.kind.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("autoscaler-conflict", Severity::Deny, "HorizontalPodAutoscaler"),
            ("replicas-pinned", Severity::Warn, "Deployment"),
        ],
        "{findings:#?}"
    );
}

#[test]
fn each_strategy_alone_has_a_pinned_deployment_and_nothing_else() {
    for files in [&SERVER_METRICS[..], &GPU_METRICS[..]] {
        let Some(findings) = of("manifests/ai-on-gke", files) else { return };
        let said: Vec<String> = grave(&findings).into_iter().map(|finding| finding.rule.clone()).collect();
        assert_eq!(said, ["replicas-pinned"], "{findings:#?}");
    }
}

#[test]
fn each_published_autoscaler_alone_is_not_refused() {
    for (folder, file) in [
        ("manifests/ai-on-gke", "horizontal-pod-autoscaler.yaml"),
        ("manifests/ai-on-gke", "gpu-horizontal-pod-autoscaler.yaml"),
        ("manifests/kubernetes-examples", "horizontal-pod-autoscaler.yaml"),
        ("manifests/kubernetes-examples", "gpu-horizontal-pod-autoscaler.yaml"),
    ] {
        let Some(findings) = of(folder, &[file]) else { return };
        assert!(denying(&findings).is_empty(), "{folder}/{file}: {findings:#?}");
    }
}

#[test]
fn the_published_adapter_configuration_does_not_load_and_the_line_is_named() {
    let Some(path) = reference::path("manifests/kubernetes-examples/prometheus-adapter.yaml") else { return };
    let text = std::fs::read_to_string(&path).unwrap();
    let findings = findings(&world_of(&[path]));
    let said: Vec<(&str, Severity)> =
        grave(&findings).into_iter().map(|finding| (finding.rule.as_str(), finding.severity)).collect();
    assert_eq!(said, [("adapter-rules", Severity::Deny)], "{findings:#?}");
    let finding = grave(&findings)[0];
    let line = text.lines().nth(finding.line.unwrap() - 1).unwrap();
    assert_eq!(line.trim(), "- seriesQuery: 'dcgm_fi_dev_gpu_util_relabelled'", "{finding:?}");
    assert_eq!(finding.column, line.find("seriesQuery").map(|at| at + 1));
}

/// Its adapter configuration is one that cannot be read, so what it makes is unknown, not absent.
#[test]
fn the_operator_walkthrough_is_refused_for_its_two_autoscalers_alone() {
    let Some(folder) = reference::path("manifests/kubernetes-examples") else { return };
    let findings = findings(&world_of(&[folder]));
    let denied: Vec<(&str, &str)> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Deny)
        .filter(|finding| rules::find(&finding.rule).is_some_and(|rule| rule.at_admission))
        .map(|finding| (finding.rule.as_str(), finding.object.name.as_str()))
        .collect();
    assert_eq!(denied, [("autoscaler-conflict", "gemma-server-hpa")], "{findings:#?}");
}

#[test]
fn every_published_file_can_be_judged_alone_and_none_but_the_broken_one_is_refused() {
    let Some(root) = reference::path("manifests") else { return };
    let mut judged = 0;
    for folder in crate::support::folders(&root) {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let findings = findings(&world_of(std::slice::from_ref(&path)));
            let refused: Vec<String> = findings
                .iter()
                .filter(|finding| finding.rule != "adapter-rules")
                .filter(|finding| finding.severity == Severity::Deny)
                .map(brief)
                .collect();
            assert!(refused.is_empty(), "{}: {refused:#?}", base_name(&path));
            judged += 1;
        }
    }
    assert!(judged >= 19, "only {judged} files");
}
