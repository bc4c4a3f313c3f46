//! `scalegate review PATH...`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use clap::Args;

use super::report::{FailOn, Located, Output, Tally};
use super::{Colour, InputArgs, Subject, World, WorldOptions};
use crate::policy::facts::{Context, HpaFacts, ScaledObjectFacts, Stage};
use crate::policy::judge::{judge, judge_document};
use crate::policy::objects::Object;

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 nothing is denied, 1 something is, 2 wrong arguments, an
unreadable path, or nothing there to judge.

Examples:
  scalegate review k8s/
  helm template my-release chart/ | scalegate review -n ml -
  kustomize build overlays/prod | scalegate review --cluster cluster.yaml -
  scalegate review --output json k8s/ > findings.json")]
pub(super) struct ReviewArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Take it that every rule and adapter that makes a metric is among the documents: a name that none of them makes is
    /// denied.
    #[arg(long)]
    complete: bool,
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// The severity that makes the exit status 1.
    #[arg(long, value_enum, default_value = "deny")]
    fail_on: FailOn,
    /// When to use colour.
    #[arg(long, value_enum, default_value = "auto")]
    color: Colour,
}

/// Judges the paths and prints what was found.
pub(super) fn run(args: &ReviewArgs) -> anyhow::Result<u8> {
    let options = WorldOptions { complete: args.complete, ..WorldOptions::from_args(&args.input)? };
    let world = World::load(&args.input.paths, &options)?;
    let findings = review_world(&world);
    let out = io::stdout();
    let colour = args.color.enabled(out.is_terminal());
    let mut out = io::BufWriter::new(out.lock());
    let tally = Tally { judged: world.subjects.len(), unjudged: out_of_scope(&world) };
    args.output.print(&mut out, &findings, &tally, colour)?;
    out.flush()?;
    world.something_to_judge()?;
    Ok(args.fail_on.exit(&findings))
}

/// The autoscalers without a tie to inference, about which rules say nothing.
fn out_of_scope(world: &World) -> usize {
    let unjudged = |subject: &&Subject| {
        let Some(view) = world.view(subject) else { return false };
        let configuration = &*subject.configuration;
        let context = Context { view, configuration, stage: Stage::Review, update: false };
        match &subject.object {
            Some(Object::Hpa(hpa)) => !HpaFacts::new(&subject.of, hpa, None, &context).in_scope(configuration),
            Some(Object::ScaledObject(object)) => {
                !ScaledObjectFacts::new(&subject.of, object, None, &context).in_scope(configuration)
            }
            _ => false,
        }
    };
    world.subjects.iter().filter(unjudged).count()
}

/// Every finding of a world, in the order of files and lines.
pub fn review_world(world: &World) -> Vec<Located> {
    let mut findings: Vec<Located> = world.file_findings.clone();
    for subject in &world.subjects {
        let (Some(document), Some(view)) = (world.document(subject), world.view(subject)) else { continue };
        let context = Context { view, configuration: &subject.configuration, stage: Stage::Review, update: false };
        let mut said = judge_document(&subject.facts, &context).findings;
        // Also of a document that a later one replaces: it is sent to the cluster before that one.
        if let Some(object) = &subject.object {
            said.extend(judge(&subject.of, object, None, subject.order, &context).findings);
        }
        findings.extend(said.into_iter().map(|finding| Located::new(finding, Some(document))));
    }
    let mut order: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, file) in world.loaded.files.iter().enumerate() {
        order.entry(&file.name).or_insert(index);
    }
    let place = |name: &Option<String>| name.as_deref().and_then(|name| order.get(name)).copied().unwrap_or(usize::MAX);
    findings.sort_by_cached_key(|found| (place(&found.finding.file), found.finding.line, found.finding.column));
    findings
}
