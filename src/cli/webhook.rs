//! `scalegate webhook`: serves the admission webhook.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::world::{read_cluster, read_configuration};
use super::{Colour, EXIT_OK};
use crate::admission::service::Service;
use crate::admission::{Limits, router};
use crate::cluster::State;
use crate::policy::view::ClusterView;
use crate::tls::files::POLL;
use crate::tls::{
    CertificateCounters, CertificateFiles, LiveCertificate, LiveConfig, ServeSettings, secret, serve, server_config,
};

/// How often the view is told the time; ages that matter are minutes.
const CLOCK: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(override_usage = "scalegate webhook --cluster FILE --tls-cert FILE --tls-key FILE [OPTIONS]")]
#[command(after_help = "Example:
  scalegate certs
  scalegate webhook --cluster cluster.yaml \\
      --tls-cert certs/dev/tls.crt --tls-key certs/dev/tls.key")]
pub(super) struct WebhookArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The certificate chain, PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "tls_secret", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Take the certificate from this Secret, which `scalegate controller` writes, in place of files.
    #[arg(long, value_name = "NAME", requires = "namespace", conflicts_with_all = ["tls_cert", "client_ca"])]
    tls_secret: Option<String>,
    /// Namespace of that Secret.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Seconds between two looks at the certificate files.
    #[arg(long, default_value_t = POLL.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    tls_poll: u64,
    /// Serve only clients with a certificate of this authority, PEM.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// What is known about the cluster: a snapshot, or what `kubectl get -o yaml` printed.
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// The administrator's Configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds that everything is still served after SIGTERM, so that no client meets a closed port.
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    quiet_period: u64,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: &WebhookArgs) -> anyhow::Result<u8> {
    let WebhookArgs { listen, cluster, config, quiet_period, .. } = args;
    let colour = Colour::Auto.enabled(std::io::stderr().is_terminal());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).with_target(false).init();
    let configuration = config.as_deref().map(read_configuration).transpose().context("--config")?.unwrap_or_default();
    let mut view: ClusterView = read_cluster(cluster).context("--cluster")?;
    view.now = now();
    let state = State::new(view, configuration);
    let router = router(Arc::new(Service::new(Arc::clone(&state))), Limits::default());
    let settings = ServeSettings { quiet_period: Duration::from_secs(*quiet_period), ..ServeSettings::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on --listen {listen}; give an address of this machine and a port that is free")
        })?;
        let tls = certificate(args).await?;
        // Answers of the metrics APIs grow old while we serve.
        let clock = tokio::spawn(async move {
            let mut tick = tokio::time::interval(CLOCK);
            loop {
                tick.tick().await;
                state.set_now(now());
            }
        });
        tracing::info!(address = %listener.local_addr()?, "serving");
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("draining");
        };
        serve(listener, tls, router, settings, shutdown).await?;
        clock.abort();
        anyhow::Ok(EXIT_OK)
    })
}

/// Seconds since the epoch.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

/// The TLS settings, and whoever keeps them current in the background.
async fn certificate(args: &WebhookArgs) -> anyhow::Result<LiveConfig> {
    let counters = Arc::<CertificateCounters>::default();
    let WebhookArgs { tls_cert, tls_key, tls_secret, namespace, client_ca, tls_poll, .. } = args;
    if let (Some(name), Some(namespace)) = (tls_secret, namespace) {
        let client = kube::Client::try_default()
            .await
            .context("--tls-secret: cannot find an API server; run in a pod, or set KUBECONFIG")?;
        let live = LiveCertificate::none_yet();
        let tls = server_config(Arc::clone(&live), None)?;
        let (name, namespace) = (name.clone(), namespace.clone());
        tokio::spawn(async move { secret::follow(client, &namespace, &name, live, counters).await });
        return Ok(tls.into());
    }
    let (Some(chain), Some(key)) = (tls_cert.clone(), tls_key.clone()) else {
        bail!("give --tls-cert with --tls-key, or --tls-secret with --namespace");
    };
    let files = CertificateFiles { chain, key, client_ca: client_ca.clone() };
    let loaded = files.load().context(
        "--tls-cert, --tls-key, --client-ca: give files that were issued together; `scalegate certs` makes development \
         certificates",
    )?;
    let tls = loaded.tls.clone();
    tokio::spawn(files.follow(loaded, Duration::from_secs(*tls_poll), counters));
    Ok(tls)
}
