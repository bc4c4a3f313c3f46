//! `scalegate render PATH...`: what the label of each workload would bring.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::{EXIT_DENIED, EXIT_OK, InputArgs, Subject, World, WorldOptions};
use crate::policy::configuration::{Configuration, Signal};
use crate::policy::facts::Stage;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::objects::Object;
use crate::policy::render::{self, CannotRender, Rendered};
use crate::policy::settings::Wish;
use crate::policy::view::ClusterView;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scalegate render k8s/vllm.yaml
  scalegate render -n ml --config configuration.yaml k8s/ | kubectl diff -f -")]
pub(super) struct RenderArgs {
    #[command(flatten)]
    input: InputArgs,
}

/// What the label of one workload brings.
pub enum Brought {
    /// Not labelled, or switched off.
    Nothing,
    /// Objects.
    Objects {
        /// The objects.
        rendered: Rendered,
        /// The rules that prometheus-adapter needs to serve the HPA's metrics and does not have, as far as is known; empty on
        /// other backends.
        adapter_rules: Vec<Value>,
        /// Whether the controller would apply them: neither `paused` nor `generate: "false"` stands in the way.
        applied: bool,
    },
    /// Nothing, for a reason.
    Not(String),
}

/// Prints the objects as YAML documents, and as comments what prometheus-adapter must be told; workloads that cannot be
/// served are named on standard error.
pub(super) fn run(args: &RenderArgs) -> anyhow::Result<u8> {
    let options = WorldOptions::from_args(&args.input)?;
    let world = World::load(&args.input.paths, &options)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut shared_objects = Vec::new();
    let mut rules = Vec::new();
    let mut failed = false;
    for subject in &world.subjects {
        let Some(view) = world.view(subject) else { continue };
        match bring(subject, view) {
            Brought::Nothing => {}
            Brought::Not(reason) => {
                failed = true;
                eprintln!("scalegate: {}: {reason}", place(&world, subject));
            }
            Brought::Objects { rendered, adapter_rules, .. } => {
                add(&mut rules, adapter_rules);
                for note in &rendered.notes {
                    eprintln!("scalegate: {}: {note}", place(&world, subject));
                }
                for object in &rendered.objects {
                    print(&mut out, object)?;
                }
                if uses_gpu(subject, &subject.configuration) {
                    add(&mut shared_objects, shared(&subject.configuration));
                }
            }
        }
    }
    for object in &shared_objects {
        print(&mut out, object)?;
    }
    print_adapter_rules(&mut out, &rules)?;
    out.flush()?;
    world.something_to_judge()?;
    Ok(if failed { EXIT_DENIED } else { EXIT_OK })
}

/// What the label of a subject brings, over a view.
pub fn bring(subject: &Subject, view: &ClusterView) -> Brought {
    let Some(Object::Workload(written)) = &subject.object else { return Brought::Nothing };
    let configuration = &*subject.configuration;
    let context = Context { view, configuration, stage: Stage::Review, update: false };
    let facts = WorkloadFacts::new(&subject.of, written, None, &context);
    let settings = match &facts.settings.wish {
        Ok(Wish::Enabled(settings)) => settings,
        Ok(_) => return Brought::Nothing,
        Err(findings) => {
            return Brought::Not(
                findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; "),
            );
        }
    };
    let namespace = written.metadata.namespace.as_deref();
    let taken = render::taken_in(view, written.kind, namespace);
    match render::render(&facts.workload, settings, configuration, &taken) {
        Ok(mut rendered) => {
            render::withhold(&mut rendered, &facts.workload, view, configuration);
            rendered.notes.extend(render::missing_adapter_rule(&facts.workload, settings, configuration, view));
            Brought::Objects {
                rendered,
                adapter_rules: render::lacking_adapter_rules(&facts.workload, settings, configuration, view),
                applied: settings.generate && !settings.paused,
            }
        }
        Err(CannotRender::Reason(reason)) => Brought::Not(reason),
    }
}

/// Whether the subject scales on GPU utilisation, for which shared objects are needed.
pub fn uses_gpu(subject: &Subject, configuration: &Configuration) -> bool {
    let settings =
        subject.object.as_ref().map(|object| crate::policy::settings::read(object.metadata(), configuration));
    match settings.map(|read| read.wish) {
        Some(Ok(Wish::Enabled(settings))) => {
            settings.metrics.iter().any(|(signal, _)| *signal == Signal::GpuUtilization)
        }
        _ => false,
    }
}

/// The shared objects of a configuration's backend, with the labels by which Prometheus selects them.
pub fn shared(configuration: &Configuration) -> Vec<Value> {
    render::shared_gpu_objects_labelled(configuration.backend.kind, &configuration.backend.monitor_labels)
}

/// Prints what has to be added to prometheus-adapter's configuration, if anything. It is no object of its own, so it
/// stands in comments, which `kubectl apply -f -` passes over.
pub fn print_adapter_rules(out: &mut dyn Write, rules: &[Value]) -> io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    writeln!(out, "---")?;
    writeln!(
        out,
        "# Add these rules to the configuration of prometheus-adapter (`rules:` in its ConfigMap, or `rules.custom`"
    )?;
    writeln!(
        out,
        "# in the values of its chart), without which it does not serve the metrics above. Then restart it."
    )?;
    let text = serde_saphyr::to_string(&json!({ "rules": rules })).map_err(io::Error::other)?;
    for line in text.trim_end().lines() {
        writeln!(out, "# {line}")?;
    }
    Ok(())
}

/// Adds the items that are not there yet, in order.
fn add(to: &mut Vec<Value>, items: Vec<Value>) {
    for item in items {
        if !to.contains(&item) {
            to.push(item);
        }
    }
}

/// Prints one YAML document.
pub fn print(out: &mut dyn Write, object: &Value) -> io::Result<()> {
    let text = serde_saphyr::to_string(object).map_err(io::Error::other)?;
    writeln!(out, "---\n{}", text.trim_end())
}

/// Where a subject stands: `file:line: Kind name`.
pub fn place(world: &World, subject: &Subject) -> String {
    let name = &subject.facts.object;
    match world.document(subject) {
        Some(document) => {
            let (line, _) = document.line_column(document.span.start);
            format!("{}:{line}: {} {}", document.source.name, name.kind, name.name)
        }
        None => format!("{} {}", name.kind, name.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(rules: &[Value]) -> String {
        let mut out = Vec::new();
        print_adapter_rules(&mut out, rules).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn adapter_rules_are_comments_that_read_as_the_rules_once_the_hashes_are_gone() {
        let rule = render::adapter_rule(Signal::RequestsRunning, None);
        let text = printed(std::slice::from_ref(&rule));
        let file = crate::manifest::read("printed.yaml", text.as_bytes());
        assert!(file.documents.is_empty() && file.problems.is_empty(), "kubectl would see an object: {text}");
        let rules: String = text
            .lines()
            .skip_while(|line| *line != "# rules:")
            .flat_map(|line| [line.strip_prefix("# ").expect("a comment"), "\n"])
            .collect();
        let file = crate::manifest::read("rules.yaml", rules.as_bytes());
        assert_eq!(file.documents[0].value["rules"], json!([rule]), "{rules}");
    }

    #[test]
    fn nothing_is_printed_where_no_adapter_rule_is_needed() {
        assert_eq!(printed(&[]), "");
    }

    #[test]
    fn rules_that_several_workloads_need_are_listed_once() {
        let mut rules = Vec::new();
        add(&mut rules, vec![json!(1), json!(2)]);
        add(&mut rules, vec![json!(2), json!(3)]);
        assert_eq!(rules, [json!(1), json!(2), json!(3)]);
    }
}
