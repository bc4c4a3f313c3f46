//! The webhook, asked over HTTPS, and `review` say the same about everything that the webhook is registered for: the same
//! denials and warnings of the rules that are asked at admission, judged as CREATE.
//!
//! Two differences are meant: a ScaledObject's queries warn at admission where a review denies, and `replicas-pinned` speaks
//! at admission only when the value would change the live one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use scalegate::cli::{Bench, World, review_world};
use scalegate::policy::finding::{Finding, Severity};
use scalegate::policy::objects::Object;
use scalegate::policy::rules;

use crate::support::{Case, base_name, folders, none, repository, world_of, world_of_text};

/// `deny` or `warn`, and the sentence: rule, field, message, hint.
type Said = BTreeSet<(&'static str, String)>;

#[test]
fn the_webhook_and_the_reviewer_agree_on_every_case_every_example_and_every_deployed_manifest() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut problems, mut asked, mut spoke) = (Vec::new(), 0, 0);
    runtime.block_on(async {
        let mut bench = Bench::start().await.unwrap();
        for (name, world) in worlds() {
            let answers = match bench.ask(&world).await {
                Ok(answers) => answers,
                Err(error) => {
                    problems.push(format!("{name}: {error:#}"));
                    continue;
                }
            };
            for answer in answers {
                asked += 1;
                let by_webhook = of_webhook(&world, &answer.warnings, answer.denied.as_ref(), answer.subject);
                let by_review = of_review(&world, answer.subject);
                spoke += by_review.len();
                if by_webhook != by_review {
                    let object = &world.subjects[answer.subject].facts.object;
                    problems.push(format!(
                        "{name}: {} {}\n  only the webhook: {:#?}\n  only the reviewer: {:#?}",
                        object.kind,
                        object.name,
                        by_webhook.difference(&by_review).collect::<Vec<_>>(),
                        by_review.difference(&by_webhook).collect::<Vec<_>>(),
                    ));
                }
            }
        }
        bench.stop().await;
    });
    none(&problems, "disagreements");
    assert!(asked > 150 && spoke > 60, "only {asked} objects were asked about, with {spoke} findings");
}

fn worlds() -> Vec<(String, World)> {
    let mut worlds = Vec::new();
    for case in Case::all() {
        let world = case.world().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        worlds.push((case.name, world));
    }
    for rule in rules::ALL {
        for (example, text) in [("failing", rule.failing), ("passing", rule.passing)] {
            worlds.push((format!("{} of {}", example, rule.id), world_of_text(text)));
        }
    }
    let mut deployed: Vec<PathBuf> = folders(&repository("deploy/broken"));
    deployed.push(repository("deploy/walkthrough"));
    for folder in deployed {
        worlds.push((base_name(&folder).to_owned(), world_of(&[folder])));
    }
    worlds
}

/// What an answer says, line by line.
fn of_webhook(world: &World, warnings: &[String], denied: Option<&(String, String)>, subject: usize) -> Said {
    let mut said = Said::new();
    if let Some((_, message)) = denied {
        let (_, lines) = message.split_once("denied the request: ").expect("a refusal as kubectl prints it");
        said.extend(lines.lines().map(|line| ("deny", line.to_owned())));
    }
    said.extend(warnings.iter().map(|line| ("warn", line.clone())));
    said.retain(|(_, line)| {
        let rule = line.strip_prefix('[').and_then(|line| line.split_once(']')).map(|(rule, _)| rule);
        rule.is_none_or(|rule| compared(world, subject, rule, line))
    });
    said
}

/// What the review says about the same document.
fn of_review(world: &World, subject: usize) -> Said {
    let file = &world.loaded.files[world.subjects[subject].file].name;
    let document = world.document(&world.subjects[subject]).unwrap();
    let from = document.line_column(document.span.start).0;
    let to = document.line_column(document.span.end).0;
    let reference = &world.subjects[subject].facts.object;
    let here = |finding: &Finding| {
        finding.file.as_ref() == Some(file)
            && finding.line.is_some_and(|line| (from..=to).contains(&line))
            && (&finding.object.kind, &finding.object.name) == (&reference.kind, &reference.name)
    };
    let said = review_world(world).into_iter().map(|found| found.finding).filter(here);
    said.filter(|finding| rules::find(&finding.rule).is_some_and(|rule| rule.at_admission))
        .filter(|finding| compared(world, subject, &finding.rule, &finding.field))
        .filter_map(|finding| match finding.severity {
            Severity::Deny => Some(("deny", finding.sentence())),
            Severity::Warn => Some(("warn", finding.sentence())),
            Severity::Note => None,
        })
        .collect()
}

/// Whether the two must agree about it.
fn compared(world: &World, subject: usize, rule: &str, text: &str) -> bool {
    let query =
        matches!(world.subjects[subject].object, Some(Object::ScaledObject(_))) && text.contains("spec.triggers[");
    rule != "replicas-pinned" && !query
}
