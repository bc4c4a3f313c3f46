//! How we stand in the API server's books: drift of the two webhook configurations, and whether a call would come through.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RegistrationArgs;
use crate::cluster::registered::{self, Configurations, drift};
use crate::telemetry::prometheus::{Family, row};
use crate::telemetry::{Metrics, Readiness};
use crate::tls::LiveCertificate;
use crate::tls::dial::dial;

/// How often the certificate that is served is compared with the one that was dialled with.
const LOOK: Duration = Duration::from_secs(2);
/// The longest list of fields in a log line.
const FIELDS_MOST: usize = 16;

/// What is known, for metrics and readiness.
#[derive(Debug)]
struct Standing {
    /// Fields that differ, for each of the two; none before they were looked at.
    drift: [Option<usize>; 2],
    /// What readiness waits for.
    waits: Option<String>,
}

/// Watches both configurations until `cancel`, exports their drift from what was installed, and requires for
/// readiness that each of their caBundles leads to `address`.
pub(in crate::cli) fn watch_registration(
    client: &kube::Client,
    args: &RegistrationArgs,
    (address, certificate): (SocketAddr, Arc<LiveCertificate>),
    (readiness, metrics): (&Readiness, &Metrics),
    cancel: &CancellationToken,
) {
    let waits = Some("the webhook configurations to be looked at".to_owned());
    let standing = Arc::new(Mutex::new(Standing { drift: [None, None], waits }));
    let seen = Arc::clone(&standing);
    readiness.require(move || lock(&seen).waits.clone().into_iter().collect());
    let seen = Arc::clone(&standing);
    let family = Family {
        name: "webhook_configuration_drift",
        help: "Fields of a webhook configuration that are not as installed; a missing configuration counts as one",
        labels: &["configuration"],
        seconds: false,
    };
    metrics.gauges(family, move || {
        let drift = lock(&seen).drift;
        let named = ["mutating", "validating"].into_iter().zip(drift);
        named.filter_map(|(name, fields)| Some(row(&[name], u64::try_from(fields?).unwrap_or(u64::MAX)))).collect()
    });
    let configurations = registered::start(client, &args.webhook_configuration, cancel);
    let follower = Follower {
        name: args.webhook_configuration.clone(),
        server_name: args.server_name(),
        address: reachable(address),
        expected: args.expected(),
        certificate,
        standing,
        fields: [None, None],
        dialled: None,
        said_unregistered: false,
    };
    let cancel = cancel.clone();
    tokio::spawn(async move {
        tokio::select! { () = cancel.cancelled() => {}, () = follower.follow(configurations) => {} }
    });
}

fn lock(standing: &Mutex<Standing>) -> std::sync::MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where we reach ourselves: an address that stands for all of the machine's is no place to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

struct Follower {
    name: String,
    server_name: String,
    address: SocketAddr,
    expected: (Value, Value),
    certificate: Arc<LiveCertificate>,
    standing: Arc<Mutex<Standing>>,
    /// The fields that were logged last.
    fields: [Option<Vec<String>>; 2],
    /// Bundles and leaf of the last dial, and what went wrong.
    dialled: Option<(Vec<String>, Vec<u8>, Option<String>)>,
    said_unregistered: bool,
}

impl Follower {
    async fn follow(mut self, mut configurations: watch::Receiver<Configurations>) {
        loop {
            let now = configurations.borrow_and_update().clone();
            self.drift(&now);
            self.dial(&now).await;
            tokio::select! {
                changed = configurations.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn drift(&mut self, now: &Configurations) {
        let pairs = [("mutating", &self.expected.0, &now.mutating), ("validating", &self.expected.1, &now.validating)];
        for (index, (which, expected, live)) in pairs.into_iter().enumerate() {
            if now.seen.get(index) != Some(&true) {
                continue;
            }
            let fields = drift(expected, live.as_ref());
            if let Some(count) = lock(&self.standing).drift.get_mut(index) {
                *count = Some(fields.len());
            }
            let Some(logged) = self.fields.get_mut(index) else { continue };
            if logged.as_ref() == Some(&fields) {
                continue;
            }
            if !fields.is_empty() {
                let shown = fields.iter().take(FIELDS_MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    configuration = which,
                    name = self.name,
                    count = fields.len(),
                    fields = shown,
                    "the webhook configuration is not as installed"
                );
            } else if logged.is_some() {
                tracing::info!(
                    configuration = which,
                    name = self.name,
                    "the webhook configuration is as installed again"
                );
            }
            *logged = Some(fields);
        }
    }

    async fn dial(&mut self, now: &Configurations) {
        if !now.is_known() {
            return;
        }
        let bundles = now.ca_bundles();
        if bundles.is_empty() {
            if !self.said_unregistered {
                self.said_unregistered = true;
                let name = &self.name;
                if now.is_registered() {
                    tracing::warn!(name, "no caBundle yet; readiness does not wait for it");
                } else {
                    tracing::warn!(
                        name,
                        "no such webhook configurations; nobody calls, and readiness does not wait for them"
                    );
                }
            }
            self.dialled = None;
            lock(&self.standing).waits = None;
            return;
        }
        let leaf = self.certificate.current().map(|pair| pair.leaf().to_vec()).unwrap_or_default();
        if matches!(&self.dialled, Some((b, l, None)) if *b == bundles && *l == leaf) {
            return;
        }
        let mut problem = None;
        for bundle in &bundles {
            let answer = match STANDARD.decode(bundle) {
                Ok(pem) => dial(self.address, &self.server_name, &pem).await.map_err(|error| error.to_string()),
                Err(_) => Err("the caBundle is not base64".to_owned()),
            };
            if let Err(error) = answer {
                problem = Some(error);
            }
        }
        let before = self.dialled.as_ref().map(|(_, _, problem)| problem);
        if before != Some(&problem) {
            match &problem {
                None => tracing::info!(server_name = self.server_name, "the API server's way to this port works"),
                Some(error) => tracing::error!(
                    server_name = self.server_name,
                    error,
                    "the API server could not call this port with the caBundle that stands in the webhook configurations"
                ),
            }
        }
        // Only that it fails is told to strangers; why is in the log.
        lock(&self.standing).waits = problem.as_ref().map(|_| "a TLS connection as the API server makes it".to_owned());
        self.dialled = Some((bundles, leaf, problem));
    }
}
