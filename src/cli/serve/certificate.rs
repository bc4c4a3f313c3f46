//! Where the webhook's certificate comes from: files that are followed, or the one Secret that the controller writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::duration;
use crate::telemetry::Metrics;
use crate::telemetry::prometheus::{Family, row};
use crate::tls::files::Loaded;
use crate::tls::{CertificateCounters, CertificateFiles, LiveCertificate, LiveConfig, secret, server_config};

/// The certificate.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Certificate")]
pub(in crate::cli) struct CertificateArgs {
    /// The certificate chain, PEM, followed while it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", required_unless_present = "tls_secret")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve only clients with a certificate of this authority, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Instead of files: the Secret in our namespace that holds tls.crt and tls.key, and that the controller writes.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "tls_key", "client_ca"])]
    tls_secret: Option<String>,
    /// How often the files are looked at.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    tls_poll: Duration,
}

/// A certificate on its way to be served.
pub(in crate::cli) struct Certificate {
    /// The pair that handshakes get.
    pub(in crate::cli) live: Arc<LiveCertificate>,
    /// The settings that connections get.
    pub(in crate::cli) tls: LiveConfig,
    source: Source,
}

enum Source {
    Files(CertificateFiles, Box<Loaded>, Duration),
    Secret(String),
}

impl CertificateArgs {
    /// The Secret that the certificate is read from; none when it is files.
    pub(in crate::cli) fn secret(&self) -> Option<&str> {
        self.tls_secret.as_deref()
    }

    /// Reads the files; the Secret comes later.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub(in crate::cli) fn load(&self) -> anyhow::Result<Certificate> {
        let Self { tls_cert, tls_key, client_ca, tls_secret, tls_poll } = self;
        match (tls_secret, tls_cert, tls_key) {
            (Some(name), ..) => {
                let live = LiveCertificate::none_yet();
                let tls = LiveConfig::new(server_config(Arc::clone(&live), None)?);
                Ok(Certificate { live, tls, source: Source::Secret(name.clone()) })
            }
            (None, Some(chain), Some(key)) => {
                let files = CertificateFiles { chain: chain.clone(), key: key.clone(), client_ca: client_ca.clone() };
                let ca = if client_ca.is_some() { ", --client-ca" } else { "" };
                let loaded = files.load().with_context(|| {
                    format!("--tls-cert, --tls-key{ca} (`scalegate certs` makes development certificates)")
                })?;
                let (live, tls) = (Arc::clone(&loaded.live), loaded.tls.clone());
                Ok(Certificate { live, tls, source: Source::Files(files, Box::new(loaded), *tls_poll) })
            }
            _ => bail!("give --tls-cert and --tls-key, or --tls-secret"),
        }
    }
}

impl Certificate {
    /// Follows the source until `cancel`, and exports when the pair ends and how often it changed.
    ///
    /// # Errors
    /// When a Secret is named and there is no live cluster.
    pub(in crate::cli) fn follow(
        self,
        client: Option<&kube::Client>,
        namespace: &str,
        metrics: &Metrics,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let live = Arc::clone(&self.live);
        let help = "When the certificate that is served ends, in seconds since 1970; 0 while there is none";
        let family = Family { name: "certificate_not_after", help, labels: &[], seconds: true };
        metrics.gauges(family, move || {
            vec![row(&[], live.not_after().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())]
        });
        let counters = Arc::new(CertificateCounters::default());
        let counted = Arc::clone(&counters);
        let help = "Changes of the certificate by what became of them";
        let family = Family { name: "certificate_reloads", help, labels: &["result"], seconds: false };
        metrics.counters(family, move || {
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            vec![row(&["applied"], load(&counted.replaced)), row(&["refused"], load(&counted.refused))]
        });
        match self.source {
            Source::Files(files, loaded, poll) => {
                tokio::spawn(async move {
                    tokio::select! { () = cancel.cancelled() => {}, () = files.follow(*loaded, poll, counters) => {} }
                });
            }
            Source::Secret(name) => {
                let Some(client) = client.cloned() else {
                    bail!("--tls-secret needs the live cluster; with --cluster FILE give --tls-cert and --tls-key");
                };
                let (namespace, live) = (namespace.to_owned(), self.live);
                tokio::spawn(async move {
                    let following = secret::follow(client, &namespace, &name, live, counters);
                    tokio::select! { () = cancel.cancelled() => {}, () = following => {} }
                });
            }
        }
        Ok(())
    }
}
