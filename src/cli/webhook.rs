//! `scalegate webhook`: serves the admission webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::EXIT_OK;
use super::serve::{
    Certificate, CertificateArgs, ClusterArgs, ConfigArgs, Known, LimitArgs, Process, ProcessArgs, RegistrationArgs,
    watch_registration,
};
use super::world::read_cluster;
use crate::admission::service::Service;
use crate::admission::{Counters, FindingCounts, router_counting};
use crate::cluster::now;
use crate::policy::view::ClusterView;
use crate::tls::{ConnectionCounters, serve};

/// How often it is looked whether everything is there that a decision needs.
const START_POLL: Duration = Duration::from_millis(100);
/// Handshakes that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;

#[derive(Debug, Args)]
#[command(
    override_usage = "scalegate webhook --tls-cert FILE --tls-key FILE [OPTIONS]\n       scalegate webhook --tls-secret NAME [OPTIONS]"
)]
#[command(after_help = "Examples:
  scalegate certs
  scalegate webhook --tls-cert certs/dev/tls.crt \\
      --tls-key certs/dev/tls.key
      over the cluster of KUBECONFIG
  scalegate webhook --cluster cluster.yaml \\
      --tls-cert certs/dev/tls.crt --tls-key certs/dev/tls.key
      over a saved picture of one")]
pub(super) struct WebhookArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Where and how calls are answered.
#[derive(Debug, Args)]
pub(in crate::cli) struct AnswerArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    pub(in crate::cli) registration: RegistrationArgs,
    #[command(flatten)]
    pub(in crate::cli) certificate: CertificateArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: &WebhookArgs) -> anyhow::Result<u8> {
    // What cannot be used is said before anything begins.
    let mut view = match &args.cluster.cluster {
        Some(path) => read_cluster(path).context("--cluster")?,
        None => ClusterView::default(),
    };
    view.now = now();
    let certificate = args.answer.certificate.load()?;
    Process::run(&args.process, |process| serve_webhook(args, process, view, certificate))?;
    Ok(EXIT_OK)
}

async fn serve_webhook(
    args: &WebhookArgs,
    process: Process,
    view: ClusterView,
    certificate: Certificate,
) -> anyhow::Result<()> {
    let live = args.cluster.live().await?;
    // Everything that runs beside the server, until the server has ended.
    let beside = CancellationToken::new();
    let _ends_with_us = beside.clone().drop_guard();
    let known = Known::begin(live, view, &args.config, &process.metrics, &beside);
    answer(&args.answer, &process, &known, certificate, &beside).await
}

/// Answers calls by what is known, once all is known that a decision needs, until the process is told to end and calls in
/// flight have been answered. What runs beside it ends with `beside`.
///
/// # Errors
/// When the port is taken, or the certificate needs a live cluster.
pub(in crate::cli) async fn answer(
    args: &AnswerArgs,
    process: &Process,
    known: &Known,
    certificate: Certificate,
    beside: &CancellationToken,
) -> anyhow::Result<()> {
    let Process { shutdown, readiness, metrics } = process;
    let ending = &shutdown.draining;
    // Taken now, so that a port that is not free is said at once; nobody is answered before decisions can be made.
    let socket = bind(args.listen).with_context(|| {
        format!("cannot listen on --listen {}; give an address of this machine and a port that is free", args.listen)
    })?;
    let client = known.watched.as_ref().map(|watched| &watched.live.client);

    let mut conditions: Vec<Box<dyn Fn() -> Vec<String> + Send + Sync>> = Vec::new();
    let configuration = known.configuration.clone();
    conditions.push(Box::new(move || configuration.waits_for()));
    let (live, tls) = (Arc::clone(&certificate.live), certificate.tls.clone());
    certificate.follow(client, &args.registration.namespace, metrics, beside.clone())?;
    let there = Arc::clone(&live);
    conditions.push(Box::new(move || if there.is_there() { Vec::new() } else { vec!["a certificate".to_owned()] }));
    if let Some(watched) = &known.watched {
        let caches = Arc::clone(&watched.caches);
        conditions.push(Box::new(move || caches.not_ready().iter().map(|line| without_cause(line)).collect()));
    }

    let (counters, findings) = (Arc::new(Counters::default()), Arc::new(FindingCounts::default()));
    let connections = Arc::new(ConnectionCounters::default());
    metrics.admission(&counters, &findings);
    metrics.panics(&counters, &connections);
    metrics.connections(&connections);

    let conditions: Arc<[_]> = conditions.into();
    let waits = Arc::clone(&conditions);
    readiness.require(move || waits.iter().flat_map(|condition| condition()).collect());
    let serving = CancellationToken::new();
    let seen = serving.clone();
    // Opens the way only after every other condition has been added.
    readiness.require(move || if seen.is_cancelled() { Vec::new() } else { vec!["the webhook's port".to_owned()] });
    // Without all of it a decision could be wrong, and a refused connection fails open.
    while conditions.iter().any(|condition| !condition().is_empty()) {
        tokio::select! { () = ending.cancelled() => return Ok(()), () = tokio::time::sleep(START_POLL) => {} }
    }

    let mut service = Service::new(Arc::clone(&known.state)).with_findings(findings);
    if let Some(watched) = &known.watched {
        let prober = Arc::clone(&watched.prober);
        service = service.with_patience().with_look(prober);
    }
    let router = router_counting(Arc::new(service), args.limits.limits(), counters);
    let listener: TcpListener = socket.listen(BACKLOG).with_context(|| format!("--listen {}", args.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    if let Some(client) = client {
        let (where_we_are, told) = ((address, live), (&**readiness, &**metrics));
        watch_registration(client, &args.registration, where_we_are, told, beside);
    }
    serving.cancel();
    serve(listener, tls, router, args.limits.settings(connections), ending.cancelled()).await?;
    Ok(())
}

/// What is waited for, without the API server's words about why, which are in the log and no business of a stranger.
fn without_cause(line: &str) -> String {
    line.split_once(": ").map_or(line, |(what, _)| what).to_owned()
}

/// Takes the port without answering on it.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every listener does: a restart need not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
