//! `scalegate render PATH...`: what the label of each workload would bring.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::{EXIT_DENIED, EXIT_OK, InputArgs, Subject, World, WorldOptions};
use crate::policy::configuration::{BackendKind, Configuration, Signal};
use crate::policy::facts::Stage;
use crate::policy::facts::{Context, WorkloadFacts};
use crate::policy::objects::{Object, WorkloadKind};
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
    /// These objects.
    Objects(Rendered),
    /// Nothing, for a reason.
    Not(String),
}

/// Prints the objects as YAML documents; workloads that cannot be served are named on standard error.
pub(super) fn run(args: &RenderArgs) -> anyhow::Result<u8> {
    let options = WorldOptions::from_args(&args.input)?;
    let world = World::load(&args.input.paths, &options)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut shared = None;
    let mut failed = false;
    for subject in &world.subjects {
        let Some(view) = world.view(subject) else { continue };
        match bring(subject, view) {
            Brought::Nothing => {}
            Brought::Not(reason) => {
                failed = true;
                eprintln!("scalegate: {}: {reason}", place(&world, subject));
            }
            Brought::Objects(rendered) => {
                for note in &rendered.notes {
                    eprintln!("scalegate: {}: {note}", place(&world, subject));
                }
                for object in &rendered.objects {
                    print(&mut out, object)?;
                }
                if uses_gpu(subject, &subject.configuration) {
                    shared = Some(subject.configuration.backend.kind);
                }
            }
        }
    }
    for object in shared.map(render::shared_gpu_objects).unwrap_or_default() {
        print(&mut out, &object)?;
    }
    out.flush()?;
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
    if !settings.generate {
        return Brought::Nothing;
    }
    let namespace = written.metadata.namespace.as_deref();
    let taken = |name: &str| {
        written.kind != WorkloadKind::Deployment && view.workload(WorkloadKind::Deployment, namespace, name).is_some()
    };
    match render::render(&facts.workload, settings, configuration, &taken) {
        Ok(rendered) => Brought::Objects(rendered),
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

/// The shared objects of a backend.
pub fn shared(backend: BackendKind) -> Vec<Value> {
    render::shared_gpu_objects(backend)
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
