//! `scalegate explain [RULE]`.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::bail;
use clap::Args;

use super::EXIT_OK;
use crate::policy::configuration::Level;
use crate::policy::rules::{self, Rule};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scalegate explain                the table of rules
  scalegate explain metric-exists  one rule, with an example of what it refuses,
                                   and the same mended")]
pub(super) struct ExplainArgs {
    /// A rule's id, as findings print it.
    rule: Option<String>,
    /// The table of rules as Markdown, as the README has it.
    #[arg(long, conflicts_with = "rule")]
    markdown: bool,
}

/// Prints one rule, or the table of all.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    match &args.rule {
        None if args.markdown => out.write_all(markdown().as_bytes())?,
        None => {
            let width = rules::ALL.iter().map(|rule| rule.id.len()).max().unwrap_or_default();
            for rule in rules::ALL {
                writeln!(out, "{:width$}  {:4}  {}", rule.id, level(rule), rule.summary)?;
            }
        }
        Some(id) => {
            let Some(rule) = rules::find(id) else {
                // Below that, the names have a few letters in common and nothing else.
                const ALIKE: f64 = 0.7;
                let alike = rules::ids().into_iter().map(|known| (strsim::jaro_winkler(known, id), known));
                let nearest = alike.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
                let nearest = nearest.map(|(_, id)| id);
                let nearest = nearest.map(|id| format!("; did you mean {id}?")).unwrap_or_default();
                bail!("there is no rule {id:?}{nearest} (`scalegate explain` lists them)");
            };
            writeln!(out, "{}\n{}\n", rule.id, "=".repeat(rule.id.len()))?;
            writeln!(out, "{}", rule.summary)?;
            let stage = if rule.at_admission { "at admission and in a review" } else { "in a review only" };
            writeln!(
                out,
                "Default: {}. Looks at: {}. Asked {stage}.\n",
                level(rule),
                rule.checks.subjects().join(", ")
            )?;
            writeln!(out, "{}\n", rule.explain.trim())?;
            writeln!(out, "It speaks about:\n\n{}\n", indent(rule.failing))?;
            writeln!(out, "And not about:\n\n{}", indent(rule.passing))?;
        }
    }
    Ok(EXIT_OK)
}

/// The table of rules, as the README has it.
pub fn markdown() -> String {
    let mut table = String::from("| Rule | Default | Looks at | Asked | Speaks when |\n|---|---|---|---|---|\n");
    for rule in rules::ALL {
        let asked = if rule.at_admission { "admission, review" } else { "review" };
        let subjects = rule.checks.subjects().join(", ");
        let (id, level, summary) = (rule.id, level(rule), rule.summary.replace('|', "\\|"));
        let _ = writeln!(table, "| `{id}` | {level} | {subjects} | {asked} | {summary} |");
    }
    table
}

fn level(rule: &Rule) -> &'static str {
    match rule.default {
        Level::Off => "off",
        Level::Audit => "audit",
        Level::Warn => "warn",
        Level::Deny => "deny",
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<String> =
        text.trim_matches('\n').lines().map(|line| format!("    {line}").trim_end().to_owned()).collect();
    lines.join("\n")
}
