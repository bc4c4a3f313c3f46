//! `scalegate serve`: webhook and controller in one process, over one view.

use std::future::Future;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Certificate, ConfigArgs, Known, Live, Process, ProcessArgs};
use crate::cli::EXIT_OK;
use crate::cli::controller::{LeadArgs, Leading, Looked, lead};
use crate::cli::webhook::{AnswerArgs, answer};
use crate::policy::view::ClusterView;

#[derive(Debug, Args)]
#[command(
    override_usage = "scalegate serve --tls-cert FILE --tls-key FILE [OPTIONS]\n       scalegate serve --tls-secret NAME [OPTIONS]"
)]
#[command(after_help = "With --tls-secret it makes and rotates the certificates, unless --no-certificates says
that somebody else writes that Secret.

Example:
  scalegate serve --namespace scalegate-system --tls-secret scalegate-tls")]
pub(in crate::cli) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    lead: LeadArgs,
}

/// Runs until SIGTERM or SIGINT.
pub(in crate::cli) fn run(args: &ServeArgs) -> anyhow::Result<u8> {
    // What cannot be used is said before anything begins.
    let (registration, certificate) = (&args.answer.registration, &args.answer.certificate);
    let leading = args.lead.leading(&Looked {
        namespace: &registration.namespace,
        service: &registration.service,
        configuration: &registration.webhook_configuration,
        tls_secret: certificate.secret(),
    })?;
    let certificate = certificate.load()?;
    Process::run(&args.process, |process| both(args, process, leading, certificate))?;
    Ok(EXIT_OK)
}

/// Answers and leads. Told to end, it gives up the Lease at once and answers to the end of its drain, so that another
/// process may write while this one is still called. Where one of the two fails, the other ends in the same order.
async fn both(args: &ServeArgs, process: Process, leading: Leading, certificate: Certificate) -> anyhow::Result<()> {
    let live = Live::infer().await.context("no cluster: run in a pod with a service account, or set KUBECONFIG")?;
    // Everything that runs beside the two, until both have ended.
    let beside = CancellationToken::new();
    let _ends_with_us = beside.clone().drop_guard();
    let known = Known::begin(Some(live), ClusterView::default(), &args.config, &process.metrics, &beside);
    let ending = &process.shutdown.draining;
    // Calls need no Lease, so readiness does not ask for one.
    let reached = AtomicBool::new(false);
    let (answered, led) = tokio::join!(
        ends_the_other(ending, answer(&args.answer, &process, &known, certificate, &beside)),
        ends_the_other(ending, lead(leading, &process, &known, &reached, &beside)),
    );
    answered.and(led)
}

/// A failure of one part drains the whole process.
async fn ends_the_other(
    ending: &CancellationToken,
    part: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let ended = part.await;
    if let Err(error) = &ended {
        tracing::error!(error = format!("{error:#}"), "a part failed; the process ends");
        ending.cancel();
    }
    ended
}
