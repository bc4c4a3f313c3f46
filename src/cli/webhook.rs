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
    Certificate, CertificateArgs, ClusterArgs, ConfigArgs, LimitArgs, Process, ProcessArgs, RegistrationArgs,
    export_caches, export_probes, watch_registration,
};
use super::world::read_cluster;
use crate::admission::service::Service;
use crate::admission::{Counters, FindingCounts, router_counting};
use crate::cluster::probe;
use crate::cluster::watch;
use crate::cluster::{State, now};
use crate::policy::configuration::Configuration;
use crate::policy::view::ClusterView;
use crate::tls::{ConnectionCounters, serve};

/// How often the view is told the time; ages that matter are minutes.
const CLOCK: Duration = Duration::from_secs(10);
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
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    certificate: CertificateArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    registration: RegistrationArgs,
    #[command(flatten)]
    process: ProcessArgs,
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
    let certificate = args.certificate.load()?;
    Process::run(&args.process, |process| serve_webhook(args, process, view, certificate))?;
    Ok(EXIT_OK)
}

async fn serve_webhook(
    args: &WebhookArgs,
    process: Process,
    view: ClusterView,
    certificate: Certificate,
) -> anyhow::Result<()> {
    let Process { shutdown, readiness, metrics } = process;
    let ending = &shutdown.draining;
    let live_cluster = args.cluster.live().await?;
    let client = live_cluster.as_ref().map(|live| live.client.clone());
    // Taken now, so that a port that is not free is said at once; nobody is answered before decisions can be made.
    let socket = bind(args.listen).with_context(|| {
        format!("cannot listen on --listen {}; give an address of this machine and a port that is free", args.listen)
    })?;
    let state = State::new(view, Configuration::default());
    // Everything that runs beside the server, until the server has ended.
    let beside = CancellationToken::new();
    let _ends_with_us = beside.clone().drop_guard();

    let mut conditions: Vec<Box<dyn Fn() -> Vec<String> + Send + Sync>> = Vec::new();
    let followed = args.config.follow(&state, &metrics, &beside);
    conditions.push(Box::new(move || followed.waits_for()));
    let (live, tls) = (Arc::clone(&certificate.live), certificate.tls.clone());
    certificate.follow(client.as_ref(), &args.registration.namespace, &metrics, beside.clone())?;
    let there = Arc::clone(&live);
    conditions.push(Box::new(move || if there.is_there() { Vec::new() } else { vec!["a certificate".to_owned()] }));
    let prober = live_cluster.map(|live| probe::start(live.asking, Arc::clone(&state), beside.clone()));
    match &client {
        Some(client) => {
            let caches = watch::start(client.clone(), Arc::clone(&state), beside.clone());
            export_caches(&metrics, &caches);
            conditions.push(Box::new(move || caches.not_ready().iter().map(|line| without_cause(line)).collect()));
        }
        None => drop(tokio::spawn(tell_time(Arc::clone(&state), beside.clone()))),
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

    let mut service = Service::new(state).with_findings(findings);
    if client.is_some() {
        service = service.with_patience();
    }
    if let Some(prober) = prober {
        export_probes(&metrics, &prober);
        service = service.with_look(prober);
    }
    let router = router_counting(Arc::new(service), args.limits.limits(), counters);
    let listener: TcpListener = socket.listen(BACKLOG).with_context(|| format!("--listen {}", args.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    if let Some(client) = &client {
        let (where_we_are, told) = ((address, live), (&*readiness, &*metrics));
        watch_registration(client, &args.registration, where_we_are, told, &beside);
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

/// Answers of the metrics APIs grow old while we serve.
async fn tell_time(state: Arc<State>, cancel: CancellationToken) {
    loop {
        state.set_now(now());
        tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(CLOCK) => {} }
    }
}
