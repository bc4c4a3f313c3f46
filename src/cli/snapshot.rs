//! `scalegate snapshot`: what is known of a live cluster, as a file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::serve::{Live, duration};
use super::{EXIT_OK, read_configuration};
use crate::cluster::{State, now, probe, snapshot, watch};
use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;

/// How often it is looked whether everything is listed.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "The cluster is that of KUBECONFIG, or of the pod that this runs in. Needed are get,
list and watch on what scalegate reads (docs/operations.md); a kind that may not
be read is left out, and said so.

In the file is what rules read, and no Secret, environment value, argument or pod
spec.

Examples:
  scalegate snapshot -o cluster.yaml
  scalegate snapshot --format json | scalegate audit --cluster /dev/stdin
  scalegate review --cluster cluster.yaml k8s/")]
pub(super) struct SnapshotArgs {
    /// Where it is written; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// By default what the name of FILE ends in, else yaml.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The administrator's Configuration: it names the adapter's ConfigMap, and says how metrics are asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
}

/// How a live cluster is looked at.
#[derive(Debug, Clone, Args)]
pub(super) struct LiveArgs {
    /// How long the live cluster may take to be listed, and its metrics to be asked.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

/// What was seen of a live cluster.
pub(super) struct Seen {
    /// The view when everything was listed.
    pub(super) view: ClusterView,
    /// The API server's version, as in `v1.37.2`.
    version: String,
}

/// Writes the snapshot.
pub(super) fn run(args: &SnapshotArgs) -> anyhow::Result<u8> {
    let configuration = args.config.as_deref().map(read_configuration).transpose()?.unwrap_or_default();
    let Seen { view, version } = look(configuration, &args.live)?;
    let written = snapshot::write(&view, Some(&version))?;
    let named_json = args.output.as_ref().and_then(|path| path.extension()).is_some_and(|ending| ending == "json");
    let format = args.format.unwrap_or(if named_json { Format::Json } else { Format::Yaml });
    let text = text(&written, format)?;
    match &args.output {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(EXIT_OK)
}

fn text(written: &Value, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Yaml => serde_saphyr::to_string(written)?,
        Format::Json => serde_json::to_string(written)? + "\n",
    })
}

/// Looks at the live cluster until everything that may be read is listed and its metrics were asked about. What could not be
/// is said on standard error.
///
/// # Errors
/// When there is no cluster, it does not answer, or it does not tell of the kinds that nothing can be judged without.
pub(super) fn look(configuration: Configuration, args: &LiveArgs) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seen = runtime.block_on(look_until(configuration, args.timeout));
    // Watches are of no more use.
    runtime.shutdown_background();
    seen
}

async fn look_until(configuration: Configuration, limit: Duration) -> anyhow::Result<Seen> {
    let until = Instant::now() + limit;
    let mut progress = Progress::new();
    progress.say("asking the API server");
    let live = Live::infer().await.context("no cluster: set KUBECONFIG, or run in a pod with a service account")?;
    let version = match timeout_at(until, live.asking.apiserver_version()).await {
        Ok(version) => version.context("the API server does not answer")?.git_version,
        Err(_) => bail!("the API server does not answer within --timeout {limit:?}"),
    };
    let state = State::new(ClusterView::default(), configuration);
    let cancel = CancellationToken::new();
    let _ends_with_us = cancel.clone().drop_guard();
    let caches = watch::start(live.client, Arc::clone(&state), cancel);
    while !caches.ready() {
        let waiting = caches.not_ready();
        if Instant::now() >= until {
            bail!(
                "the cluster is not known within --timeout {limit:?}: {}; grant get, list and watch where they are missing, or \
                 give it more time",
                waiting.join("; ")
            );
        }
        let objects: u64 = caches.rows().iter().map(|row| row.objects).sum();
        progress.say(&format!("listing the cluster: {objects} objects, {} kinds to come", waiting.len()));
        tokio::time::sleep(LOOK).await;
    }
    progress.say("asking the metrics APIs");
    let unasked = probe::once(live.asking, Arc::clone(&state), until).await;
    drop(progress);
    for line in caches.incomplete() {
        eprintln!("scalegate: not all is known of {line}");
    }
    if unasked > 0 {
        eprintln!(
            "scalegate: {unasked} metrics were not asked about in time (--timeout, and probes.perMinute of --config)"
        );
    }
    state.set_now(now());
    Ok(Seen { view: state.read(|view, _| view.clone()), version })
}
