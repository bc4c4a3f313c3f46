//! `deploy/`: the walkthrough is admitted and annotated, and each broken folder is refused by the rule that it is named
//! after and by no other: those of `deploy/broken` at admission, those of `deploy/broken-chain` in a review.

use std::collections::{BTreeMap, BTreeSet};

use scalegate::cli::{Answer, Bench, World};
use scalegate::policy::configuration::Level;
use scalegate::policy::rules;

use crate::support::{base_name, denying, findings, folders, none, repository, run, world_of};

fn asked(worlds: &[&World]) -> Vec<Vec<Answer>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut bench = Bench::start().await.unwrap();
        let mut answers = Vec::new();
        for world in worlds {
            answers.push(bench.ask(world).await.unwrap());
        }
        bench.stop().await;
        answers
    })
}

#[test]
fn the_walkthrough_is_admitted_without_a_warning_and_annotated() {
    let world = world_of(&[repository("deploy/walkthrough")]);
    let answers = asked(&[&world]).remove(0);
    assert!(answers.len() >= 2, "{answers:?}");
    let mut annotated: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for answer in answers {
        assert_eq!((answer.denied, answer.warnings), (None, Vec::new()));
        let name = world.subjects[answer.subject].facts.object.name.clone();
        let added = answer.annotations.into_iter().filter_map(|(key, old, new)| Some((key, (old, new?))));
        let added = added.map(|(key, (old, new))| {
            assert_eq!(old, None, "{key}");
            (key, new)
        });
        annotated.insert(name, added.collect());
    }
    let gemma = &annotated["gemma-server"];
    let expected = [
        ("status.scalegate.dev/engine", "vllm"),
        ("status.scalegate.dev/engine-version", "0.11.0"),
        ("status.scalegate.dev/metrics-port", "8081"),
        ("status.scalegate.dev/metrics-path", "/metrics"),
        ("status.scalegate.dev/pod-monitoring", "gemma-server"),
        ("status.scalegate.dev/horizontal-pod-autoscaler", "gemma-server"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(gemma, &BTreeMap::from(expected));
    // On GPU metrics the shared objects scrape, so that nothing of ours does.
    let gpu = annotated.iter().find(|(name, _)| *name != "gemma-server").map(|(_, annotations)| annotations).unwrap();
    assert!(gpu.contains_key("status.scalegate.dev/horizontal-pod-autoscaler"), "{gpu:?}");
    assert!(!gpu.contains_key("status.scalegate.dev/pod-monitoring"), "{gpu:?}");
}

#[test]
fn the_walkthrough_leaves_nothing_to_say_in_a_review() {
    assert_eq!(findings(&world_of(&[repository("deploy/walkthrough")])), []);
}

#[test]
fn each_broken_folder_is_refused_by_its_rule_and_no_other() {
    let folders = folders(&repository("deploy/broken"));
    let worlds: Vec<World> = folders.iter().map(|folder| world_of(std::slice::from_ref(folder))).collect();
    let answers = asked(&worlds.iter().collect::<Vec<_>>());
    let mut problems = Vec::new();
    for (folder, answers) in folders.iter().zip(&answers) {
        let messages: Vec<&str> = answers
            .iter()
            .filter_map(|answer| answer.denied.as_ref())
            .map(|(_, message)| message.split_once("denied the request: ").expect("as kubectl prints it").1)
            .collect();
        let spoke: BTreeSet<&str> = messages
            .iter()
            .flat_map(|message| message.lines())
            .filter_map(|line| line.strip_prefix('[')?.split_once(']'))
            .map(|(rule, _)| rule)
            .collect();
        if spoke != BTreeSet::from([base_name(folder)]) {
            problems.push(format!("{}: {answers:#?}", folder.display()));
        }
    }
    none(&problems, "folders are not refused by their rule alone");
}

#[test]
fn every_rule_that_refuses_at_admission_has_a_broken_folder() {
    let refusing: BTreeSet<&str> =
        rules::ALL.iter().filter(|rule| rule.at_admission && rule.default == Level::Deny).map(|rule| rule.id).collect();
    let folders = folders(&repository("deploy/broken"));
    let there: BTreeSet<&str> = folders.iter().map(|folder| base_name(folder)).collect();
    assert_eq!(refusing, there);
}

/// What a review refuses and the webhook is not asked about: the links of the chain.
#[test]
fn each_broken_chain_is_refused_by_its_rule_and_no_other_in_a_review() {
    let mut problems = Vec::new();
    for folder in folders(&repository("deploy/broken-chain")) {
        let findings = findings(&world_of(std::slice::from_ref(&folder)));
        let rule = base_name(&folder);
        if denying(&findings) != BTreeSet::from([rule]) || rules::find(rule).is_none_or(|rule| rule.at_admission) {
            problems.push(format!("{}: {findings:#?}", folder.display()));
        }
    }
    none(&problems, "folders are not refused by their rule alone");
}

#[test]
fn every_rule_that_refuses_links_of_the_chain_has_a_broken_folder() {
    let refusing: BTreeSet<&str> = rules::ALL
        .iter()
        .filter(|rule| !rule.at_admission && rule.default == Level::Deny)
        .filter(|rule| rule.checks.scrape_object.is_some() || rule.checks.adapter.is_some())
        .map(|rule| rule.id)
        .collect();
    let folders = folders(&repository("deploy/broken-chain"));
    let there: BTreeSet<&str> = folders.iter().map(|folder| base_name(folder)).collect();
    assert_eq!(refusing, there);
}

#[test]
fn the_command_itself_proves_both() {
    let walkthrough = run(&["try", repository("deploy/walkthrough").to_str().unwrap()]);
    assert_eq!(walkthrough.code, 0, "{}{}", walkthrough.stdout, walkthrough.stderr);
    assert!(walkthrough.stdout.contains("+ status.scalegate.dev/engine: vllm"), "{}", walkthrough.stdout);
    assert!(walkthrough.stdout.contains("kind: PodMonitoring"), "{}", walkthrough.stdout);
    let broken = repository("deploy/broken");
    let refused = run(&["try", "--expect-denied", broken.to_str().unwrap()]);
    assert_eq!(refused.code, 0, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stdout.contains("denied the request: [metric-exists]"), "{}", refused.stdout);
    // Without the flag a refusal is a failure, and a folder that its rule does not refuse is one with it.
    assert_eq!(run(&["try", broken.join("metric-kind").to_str().unwrap()]).code, 1);
    let misnamed = tempfile::tempdir().unwrap();
    let folder = misnamed.path().join("metric-unit");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(broken.join("metric-kind/hpa.yaml"), folder.join("hpa.yaml")).unwrap();
    let ran = run(&["try", "--expect-denied", misnamed.path().to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("expected a refusal by metric-unit alone, but: metric-kind"), "{}", ran.stdout);
}
