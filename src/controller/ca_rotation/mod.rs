//! Certificates that rotate without one failed call: the only writer of the authorities, of the webhook's certificate and
//! of the bundles in both webhook configurations.
//!
//! | file | what |
//! |---|---|
//! | [`plan`](mod@plan) | what to do next; pure, and why two writers do no harm |
//! | [`apply`] | reads and writes of the cluster |
//! | [`issue`] | makes and checks certificates |
//! | [`dial`] | which chain each replica serves |
//! | [`patience`] | back-off against somebody who undoes our writes |
//!
//! Two Secrets: one holds chain and key for the webhook (`tls.crt`, `tls.key`), which may read that one alone; the other
//! holds what issues and what is still trusted (`ca.crt`, `ca.key`, `previous.crt`).

pub mod apply;
pub mod dial;
pub mod issue;
pub mod patience;
pub mod plan;

#[cfg(test)]
mod interleaving;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::backoff::jitter;

use apply::{ApplyError, Cluster, Read, Written};
use patience::Patience;
use plan::{Endpoint, Leaf, Picture, Step, Validity, plan};

/// Who the API server's `managedFields` name for what is written here.
pub const FIELD_MANAGER: &str = "scalegate-ca";

/// How often everything is looked at though nothing happened; the longest sleep.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after a write, and between a wake-up and the look: several events come together.
const BREATH: Duration = Duration::from_millis(200);
/// How often endpoints are dialled while one is waited for.
const DIAL_EVERY: Duration = Duration::from_secs(2);
/// The first pause after a failure, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How long endpoints may keep a rotation waiting before it is said.
const SAY_AFTER: Duration = Duration::from_secs(300);

/// What is rotated, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our namespace: of the Service and of both Secrets.
    pub namespace: String,
    /// The webhook's Service.
    pub service: String,
    /// The name of the Service's port that the API server calls.
    pub port_name: String,
    /// The name of both webhook configurations.
    pub configuration: String,
    /// The name of our webhook in the mutating one.
    pub mutating_webhook: String,
    /// The name of our webhook in the validating one.
    pub validating_webhook: String,
    /// The Secret that the webhook reads.
    pub tls_secret: String,
    /// The Secret that only we read.
    pub ca_secret: String,
    /// Where replicas are, in place of the Service's EndpointSlices when there are any.
    pub endpoints: Vec<SocketAddr>,
    /// How long certificates hold.
    pub validity: Validity,
    /// How long bundles have to stand before a leaf relies on them, and endpoints have to serve the new chain before the
    /// old authority goes: each API server and each replica learns of changes by a watch of its own.
    pub settle: Duration,
}

impl Settings {
    /// The name that the API server asks a certificate for.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// What the rotation did, in numbers that only rise, and how things stand.
#[derive(Debug, Default)]
pub struct RotationCounters {
    /// Authorities that were made.
    pub authorities: AtomicU64,
    /// Leaves that were issued.
    pub leaves: AtomicU64,
    /// Writes of bundles.
    pub published: AtomicU64,
    /// Times that previous authorities were dropped.
    pub retired: AtomicU64,
    /// Steps that failed.
    pub failures: AtomicU64,
    /// Until when the leaf in the Secret holds, seconds since 1970; 0 while there is none.
    pub leaf_not_after: AtomicI64,
    /// Until when the authority that issues holds, seconds since 1970; 0 while there is none.
    pub authority_not_after: AtomicI64,
    /// Whether this process leads.
    pub leads: AtomicBool,
}

/// What is remembered between two looks. All of it may be lost: it only delays.
#[derive(Default)]
struct Memory {
    held: Option<(Vec<Vec<u8>>, Instant)>,
    served: Option<(Vec<u8>, Instant)>,
    waiting: Option<(Instant, bool)>,
    patience: Patience<Vec<Vec<u8>>>,
}

/// When to look again.
enum Next {
    Soon,
    In(Duration),
}

/// Rotates while `leading` says so. Never ends, but when `leading`'s other side is gone.
pub async fn run(
    client: Client,
    settings: Settings,
    mut leading: watch::Receiver<bool>,
    counters: Arc<RotationCounters>,
) {
    let cluster = Cluster::new(&settings, client.clone());
    loop {
        if leading.wait_for(|leading| *leading).await.is_err() {
            return;
        }
        counters.leads.store(true, Ordering::Relaxed);
        tracing::info!("leading: certificates are looked after here");
        let mut lost = leading.clone();
        tokio::select! {
            () = rotate(&cluster, &client, &settings, &counters) => {}
            // A step that was begun may end half-way; the next leader goes on from there.
            _ = lost.wait_for(|leading| !*leading) => tracing::info!("not leading any more"),
        }
        counters.leads.store(false, Ordering::Relaxed);
    }
}

async fn rotate(cluster: &Cluster<'_>, client: &Client, settings: &Settings, counters: &RotationCounters) {
    let mut changes = changes(client, settings);
    let mut memory = Memory::default();
    let mut retry = RETRY_FIRST;
    let mut last_error = String::new();
    loop {
        let pause = match look(cluster, settings, counters, &mut memory).await {
            Ok(next) => {
                if !last_error.is_empty() {
                    last_error.clear();
                    tracing::info!("certificates can be looked after again");
                }
                retry = RETRY_FIRST;
                match next {
                    Next::Soon => BREATH,
                    Next::In(pause) => pause.clamp(BREATH, LOOK),
                }
            }
            Err(error) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                let text = error.to_string();
                if text != last_error {
                    tracing::warn!(error = text, "cannot look after certificates; trying again, later and later");
                    last_error = text;
                }
                let pause = jitter(retry);
                retry = (retry * 2).min(RETRY_MOST);
                // A change wakes nobody here: it is the failing that is waited out.
                sleep(pause).await;
                continue;
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            Some(()) = changes.next() => sleep(BREATH).await,
        }
        // What else happened meanwhile is seen by the same look.
        while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
    }
}

/// Takes a picture and does one step.
async fn look(
    cluster: &Cluster<'_>,
    settings: &Settings,
    counters: &RotationCounters,
    memory: &mut Memory,
) -> Result<Next, ApplyError> {
    let mut read = cluster.read(SystemTime::now()).await?;
    let now = Instant::now();
    note_ends(counters, &read.picture);

    let bundle = read.picture.authorities.bundle();
    let held = read.picture.bundles.iter().all(|held| held.as_ref() == Some(&bundle));
    if !held {
        memory.held = None;
    } else if memory.held.as_ref().is_none_or(|(since, _)| *since != bundle) {
        memory.held = Some((bundle, now));
    }
    let left = memory.held.as_ref().and_then(|(_, since)| settings.settle.checked_sub(now.duration_since(*since)));
    read.picture.settled = memory.held.is_some() && left.is_none_or(|left| left.is_zero());

    let mut step = plan(&read.picture, &settings.validity);
    if step == Step::Dial {
        let Some(next) = dial(cluster, settings, memory, &mut read).await? else {
            return Ok(Next::In(settings.settle.min(DIAL_EVERY)));
        };
        step = next;
    } else {
        (memory.served, memory.waiting) = (None, None);
    }
    act(cluster, counters, memory, &read, step, left).await
}

/// Sees what the endpoints serve. Gives the step that follows, or nothing when it is too early.
async fn dial(
    cluster: &Cluster<'_>,
    settings: &Settings,
    memory: &mut Memory,
    read: &mut Read,
) -> Result<Option<Step>, ApplyError> {
    let issuing = read.picture.authorities.issuing.as_ref().ok_or(ApplyError::NoAuthority)?.der.clone();
    let endpoints = cluster.endpoints(&issuing).await?;
    let now = Instant::now();
    if endpoints.is_empty() || endpoints.contains(&Endpoint::NotYet) {
        memory.served = None;
    } else if memory.served.as_ref().is_none_or(|(by, _)| *by != issuing) {
        memory.served = Some((issuing, now));
    }
    if memory.served.as_ref().is_some_and(|(_, since)| now.duration_since(*since) < settings.settle) {
        return Ok(None);
    }
    let waited_for = endpoints.iter().filter(|endpoint| **endpoint == Endpoint::NotYet).count();
    let (since, said) = memory.waiting.get_or_insert((now, false));
    if !*said && now.duration_since(*since) >= SAY_AFTER {
        *said = true;
        tracing::warn!(
            endpoints = endpoints.len(),
            waited_for,
            "endpoints do not serve the new certificate yet, so the old authority stays trusted; see whether the \
             controller may reach the webhook's port, and whether each replica runs"
        );
    }
    read.picture.endpoints = Some(endpoints);
    Ok(Some(plan(&read.picture, &settings.validity)))
}

async fn act(
    cluster: &Cluster<'_>,
    counters: &RotationCounters,
    memory: &mut Memory,
    read: &Read,
    step: Step,
    left: Option<Duration>,
) -> Result<Next, ApplyError> {
    let count = |counter: &AtomicU64, written| {
        if written == Written::Yes {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        written == Written::Yes
    };
    match step {
        Step::NewAuthority { previous } => {
            if count(&counters.authorities, cluster.new_authority(read, &previous).await?) {
                tracing::info!(still_trusted = previous.len(), "made a new authority");
            }
        }
        Step::Publish { bundle } => {
            let now = Instant::now();
            if let Some(wait) = memory.patience.wait(&bundle, now) {
                return Ok(Next::In(wait));
            }
            if count(&counters.published, cluster.publish(read, &bundle).await?) {
                tracing::info!(authorities = bundle.len(), "wrote the bundle of both webhook configurations");
                memory.patience.wrote(bundle, now);
                if memory.patience.is_fighting() {
                    tracing::warn!(
                        "somebody else writes caBundle of our webhooks again and again; leave it out of what you apply"
                    );
                }
            }
        }
        Step::Settle => return Ok(Next::In(left.unwrap_or_default())),
        Step::IssueLeaf => {
            if count(&counters.leaves, cluster.issue_leaf(read).await?) {
                tracing::info!("issued a certificate for the webhook");
            }
        }
        Step::Retire { keep } => {
            if count(&counters.retired, cluster.retire(read, &keep).await?) {
                tracing::info!("dropped authorities that nobody serves a certificate of any more");
            }
        }
        // Dialled already where that was the step.
        Step::Dial | Step::WaitForEndpoints => return Ok(Next::In(DIAL_EVERY)),
        Step::Rest { until } => {
            return Ok(Next::In(until.duration_since(SystemTime::now()).unwrap_or_default()));
        }
    }
    Ok(Next::Soon)
}

fn note_ends(counters: &RotationCounters, picture: &Picture) {
    let seconds = |end: Option<SystemTime>| {
        let since = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    };
    let leaf = match picture.leaf {
        Leaf::Unusable => None,
        Leaf::Usable { not_after, .. } => Some(not_after),
    };
    counters.leaf_not_after.store(seconds(leaf), Ordering::Relaxed);
    let authority = picture.authorities.issuing.as_ref().map(|authority| authority.not_after);
    counters.authority_not_after.store(seconds(authority), Ordering::Relaxed);
}

/// One item whenever something that we look at changed. Metadata only: no Secret's data is kept here. What a watch cannot
/// see, the next look does.
fn changes(client: &Client, settings: &Settings) -> futures::stream::SelectAll<BoxStream<'static, ()>> {
    fn of<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        let config = Config::default().fields(&format!("metadata.name={name}"));
        watcher(api, config).default_backoff().filter_map(|event| std::future::ready(event.ok().map(drop))).boxed()
    }
    let namespace = settings.namespace.as_str();
    select_all([
        of::<MutatingWebhookConfiguration>(Api::all(client.clone()), &settings.configuration),
        of::<ValidatingWebhookConfiguration>(Api::all(client.clone()), &settings.configuration),
        of::<Secret>(Api::namespaced(client.clone(), namespace), &settings.tls_secret),
        of::<Secret>(Api::namespaced(client.clone(), namespace), &settings.ca_secret),
    ])
}
