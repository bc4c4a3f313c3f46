//! `scalegate audit`: what is in a cluster, judged; or compared with what the labels would bring.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::report::{FailOn, Located, Output, Tally};
#[cfg(feature = "serve")]
use super::snapshot;
use super::{Colour, EXIT_DENIED, EXIT_OK, read_cluster, read_configuration};
use crate::cluster::snapshot::reread;
use crate::policy::configuration::Configuration;
use crate::policy::facts::{Context, HpaFacts, ScaledObjectFacts, Stage, WorkloadFacts};
use crate::policy::finding::Finding;
use crate::policy::judge::{judge, judge_workload};
use crate::policy::objects::Object;
use crate::policy::view::ClusterView;

mod diff;

#[derive(Debug, Args)]
#[command(after_help = "Without --cluster, the cluster is that of KUBECONFIG, or of the pod that this runs
in; it is looked at as `scalegate snapshot` does, and only read.

Exit status: 0 nothing is denied, 1 something is (with --diff: something differs),
2 wrong arguments, or no cluster.

Examples:
  scalegate audit
  scalegate audit --config configuration.yaml --fail-on warn
  scalegate audit --cluster cluster.yaml --output json
  scalegate audit --diff")]
pub(super) struct AuditArgs {
    /// A snapshot, or what `kubectl get -o yaml` printed, instead of the live cluster.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// The administrator's Configuration; without it, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show for each labelled workload what would be generated differently from what is there.
    #[arg(long, conflicts_with_all = ["output", "fail_on"])]
    diff: bool,
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// The severity that makes the exit status 1.
    #[arg(long, value_enum, default_value = "deny")]
    fail_on: FailOn,
    /// When to use colour.
    #[arg(long, value_enum, default_value = "auto")]
    color: Colour,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    live: snapshot::LiveArgs,
}

/// Judges the cluster, or compares it.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<u8> {
    let configuration = args.config.as_deref().map(read_configuration).transpose()?.unwrap_or_default();
    // A live cluster is judged as its snapshot is, so that both say the same.
    let view = reread(&cluster(args, &configuration)?).context("the cluster has what no snapshot can hold")?;
    let out = io::stdout();
    let colour = args.color.enabled(out.is_terminal());
    let mut out = io::BufWriter::new(out.lock());
    if args.diff {
        let compared = diff::compare(&view, &configuration);
        for note in &compared.notes {
            eprintln!("scalegate: {note}");
        }
        for difference in &compared.differences {
            out.write_all(difference.as_bytes())?;
        }
        out.flush()?;
        return Ok(if compared.differences.is_empty() { EXIT_OK } else { EXIT_DENIED });
    }
    let (findings, tally) = judge_all(&view, &configuration);
    args.output.print(&mut out, &findings, &tally, colour)?;
    out.flush()?;
    Ok(args.fail_on.exit(&findings))
}

fn cluster(args: &AuditArgs, configuration: &Configuration) -> anyhow::Result<ClusterView> {
    if let Some(path) = &args.cluster {
        let view = read_cluster(path).context("--cluster")?;
        if view.entries().next().is_none()
            && view.workloads().next().is_none()
            && !view.has_nodes()
            && view.closed.is_empty()
        {
            bail!("nothing to judge: {} holds no object of a cluster", path.display());
        }
        return Ok(view);
    }
    #[cfg(feature = "serve")]
    return Ok(snapshot::look(configuration.clone(), &args.live)?.view);
    #[cfg(not(feature = "serve"))]
    {
        let _ = configuration;
        bail!("give --cluster FILE: this build cannot ask a live cluster");
    }
}

/// What the rules say of every object of a cluster, by namespace, kind and name.
fn judge_all(view: &ClusterView, configuration: &Configuration) -> (Vec<Located>, Tally) {
    let context = Context { view, configuration, stage: Stage::Review, update: false };
    let mut tally = Tally { judged: 0, unjudged: 0 };
    let mut said: Vec<Finding> = Vec::new();
    for (_, entry) in view.entries() {
        let in_scope = match &entry.object {
            Object::Hpa(hpa) => HpaFacts::new(&entry.of, hpa, None, &context).in_scope(configuration),
            Object::ScaledObject(object) => {
                ScaledObjectFacts::new(&entry.of, object, None, &context).in_scope(configuration)
            }
            // These rules find the scope by themselves.
            Object::PodMonitoring(_)
            | Object::OperatorMonitor(_)
            | Object::RecordingRules(_)
            | Object::ConfigMap(_) => {
                let found = judge(&entry.of, &entry.object, None, Some(entry.order), &context).findings;
                tally.judged += usize::from(!found.is_empty());
                said.extend(found);
                continue;
            }
            _ => continue,
        };
        if in_scope {
            tally.judged += 1;
            said.extend(judge(&entry.of, &entry.object, None, Some(entry.order), &context).findings);
        } else {
            tally.unjudged += 1;
        }
    }
    for workload in view.workloads() {
        let written = workload.without_template();
        if WorkloadFacts::derived(workload, &written, &context).in_scope(&context) {
            tally.judged += 1;
            said.extend(judge_workload(workload, &context).findings);
        }
    }
    let place = |finding: &Finding| {
        let object = &finding.object;
        (object.namespace.clone(), object.kind.clone(), object.name.clone())
    };
    said.sort_by_cached_key(place);
    (said.into_iter().map(|finding| Located::new(finding, None)).collect(), tally)
}

#[cfg(test)]
mod tests;
