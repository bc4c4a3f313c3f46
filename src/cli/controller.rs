//! `scalegate controller`: looks after labelled workloads and after certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::EXIT_OK;
use super::serve::{ConfigArgs, Known, Live, Process, ProcessArgs, Watched};
use crate::admission::registration::{MUTATING_NAME, VALIDATING_NAME};
use crate::controller::ca_rotation::plan::Validity;
use crate::controller::ca_rotation::{self, RotationCounters, Settings};
use crate::controller::health::{self, HealthRows};
use crate::controller::reconcile::{self, ReconcileCounters};
use crate::leader::{self, Election};
use crate::policy::view::ClusterView;
use crate::telemetry::Metrics;
use crate::telemetry::prometheus::{Family, row};

/// Where the kubelet mounts the namespace of a pod's service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

const DAY: u64 = 86_400;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  scalegate controller --namespace scalegate-system --service scalegate")]
pub(super) struct ControllerArgs {
    /// Namespace of the webhook; the one this runs in by default.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The webhook's Service.
    #[arg(long, default_value = "scalegate", value_name = "NAME")]
    service: String,
    /// The name of both webhook configurations.
    #[arg(long, default_value = "scalegate", value_name = "NAME")]
    webhook_configuration: String,
    /// The Secret that the webhook reads its certificate from.
    #[arg(long, default_value = "scalegate-tls", value_name = "NAME")]
    tls_secret: String,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    lead: LeadArgs,
}

/// What is done by one process at a time, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Controller")]
pub(in crate::cli) struct LeadArgs {
    /// The name of that Service's port which the API server calls.
    #[arg(long, default_value = "webhook", value_name = "NAME")]
    port_name: String,
    /// The Secret with the certificate authority, which only the controller reads.
    #[arg(long, default_value = "scalegate-ca", value_name = "NAME")]
    ca_secret: String,
    /// The Lease by which one of several controllers leads.
    #[arg(long, default_value = "scalegate", value_name = "NAME")]
    lease: String,
    /// Where a replica of the webhook listens, in place of the Service's endpoints; repeatable.
    #[arg(long = "endpoint", value_name = "ADDRESS:PORT")]
    endpoints: Vec<SocketAddr>,
    /// How long a certificate authority holds: 365d, 12h, 30m or 60s.
    #[arg(long, default_value = "365d", value_parser = duration, value_name = "DURATION")]
    ca_validity: Duration,
    /// How long a certificate of the webhook holds, at most half of --ca-validity.
    #[arg(long, default_value = "90d", value_parser = duration, value_name = "DURATION")]
    leaf_validity: Duration,
    /// How long before its end each is replaced; a third of its validity by default.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    renew_before: Option<Duration>,
    /// How long a change has to stand before the next one relies on it.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    settle: Duration,
    /// Leave certificates alone: they are files, or cert-manager's.
    #[arg(long)]
    no_certificates: bool,
}

/// The webhook that is looked after, by its names in the cluster.
pub(in crate::cli) struct Looked<'a> {
    /// Its namespace.
    pub(in crate::cli) namespace: &'a str,
    /// Its Service.
    pub(in crate::cli) service: &'a str,
    /// Both webhook configurations.
    pub(in crate::cli) configuration: &'a str,
    /// The Secret that it reads its certificate from; none when that is files.
    pub(in crate::cli) tls_secret: Option<&'a str>,
}

/// What a leader does with certificates, and where its Lease is.
pub(in crate::cli) struct Leading {
    namespace: String,
    lease: String,
    /// None: somebody else makes the certificates.
    rotation: Option<Settings>,
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &ControllerArgs) -> anyhow::Result<u8> {
    // What cannot be used is said before anything begins.
    let leading = args.leading()?;
    Process::run(&args.process, |process| control(process, leading, args))?;
    Ok(EXIT_OK)
}

async fn control(process: Process, leading: Leading, args: &ControllerArgs) -> anyhow::Result<()> {
    // Whoever waits for its turn is as ready as who leads: a rollout must not wait for the Lease.
    let reached = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reached);
    let waits = format!("the Lease {}, which the API server does not give yet", leading.lease);
    process.readiness.require(move || if seen.load(Ordering::Relaxed) { Vec::new() } else { vec![waits.clone()] });
    let live = Live::infer().await.context("no cluster: run in a pod with a service account, or set KUBECONFIG")?;
    // Everything that runs beside the election, until that has ended.
    let beside = CancellationToken::new();
    let _ends_with_us = beside.clone().drop_guard();
    let known = Known::begin(Some(live), ClusterView::default(), &args.config, &process.metrics, &beside);
    let condition = known.configuration.clone();
    process.readiness.require(move || condition.waits_for());
    lead(leading, &process, &known, &reached, &beside).await
}

/// Takes part in the election, and while leading generates and rotates, until the process is told to end; then the Lease is
/// released. `reached` becomes true when the Lease could be read. What runs beside it ends with `beside`.
///
/// # Errors
/// When the election ends by itself, so that another process may lead.
pub(in crate::cli) async fn lead(
    leading: Leading,
    process: &Process,
    known: &Known,
    reached: &AtomicBool,
    beside: &CancellationToken,
) -> anyhow::Result<()> {
    let Process { shutdown, metrics, .. } = process;
    let ending = &shutdown.draining;
    let Leading { namespace, lease, rotation } = leading;
    let Some(Watched { live: Live { client, asking }, caches, .. }) = &known.watched else {
        bail!("a saved picture of a cluster cannot be written to");
    };
    // Told from the start, so that nobody takes a controller without its Lease for one that does not count.
    let (leads, counters) = (Arc::<AtomicBool>::default(), Arc::<ReconcileCounters>::default());
    export(metrics, &leads, &counters);
    let rows = Arc::<HealthRows>::default();
    export_health(metrics, &rows);
    let rotation = rotation.map(|settings| {
        let counters = Arc::<RotationCounters>::default();
        export_rotation(metrics, &counters);
        (settings, counters)
    });
    let identity = leader::identity();
    let mut election = tokio::select! {
        election = Election::join(client.clone(), &namespace, &lease, &identity) => election,
        () = ending.cancelled() => return Ok(()),
    };
    reached.store(true, Ordering::Relaxed);
    tracing::info!(namespace, identity, "the controller runs");
    // Whoever holds a receiver of the election keeps the Lease from being released, so these end before.
    let mut parts = JoinSet::new();
    parts.spawn(note(election.leading(), leads));
    let leading = election.leading();
    let certificates = async move {
        let Some((settings, counters)) = rotation else { return std::future::pending().await };
        ca_rotation::run(client.clone(), settings, leading, counters).await;
    };
    let shared = || (asking.clone(), Arc::clone(&known.state), Arc::clone(caches));
    let (leading, cancel, configuration) = (election.leading(), beside.clone(), known.configuration.clone());
    let (asks, state, known_kinds) = shared();
    parts.spawn(async move {
        configuration.valid().await;
        health::run(asks, state, known_kinds, leading, rows, cancel).await;
    });
    let (leading, cancel, configuration) = (election.leading(), beside.clone(), known.configuration.clone());
    let (asks, state, known_kinds) = shared();
    parts.spawn(async move {
        configuration.valid().await;
        reconcile::run(asks, state, known_kinds, leading, counters, cancel).await;
    });
    let failed = tokio::select! {
        () = certificates => Some("the election ended".to_owned()),
        _ = parts.join_next() => Some("the election ended".to_owned()),
        failed = election.failed() => Some(failed),
        () = ending.cancelled() => None,
    };
    parts.shutdown().await;
    match failed {
        Some(why) => bail!("the leader election of the Lease {lease} failed: {why}"),
        None => election.release().await,
    }
    Ok(())
}

/// Notes whether this process leads, until the election ends.
async fn note(mut leading: Receiver<bool>, leads: Arc<AtomicBool>) {
    while leading.changed().await.is_ok() {
        leads.store(*leading.borrow_and_update(), Ordering::Relaxed);
    }
}

/// Whether this process leads, and what was written for workloads.
fn export(metrics: &Metrics, leads: &Arc<AtomicBool>, counters: &Arc<ReconcileCounters>) {
    let read = Arc::clone(leads);
    let help = "1 while this process leads, and so looks after workloads and certificates";
    let family = Family { name: "leader", help, labels: &[], seconds: false };
    metrics.gauges(family, move || vec![row(&[], u64::from(read.load(Ordering::Relaxed)))]);
    let read = Arc::clone(counters);
    let help = "Writes and removals of generated objects by what became of them";
    let family = Family { name: "apply", help, labels: &["kind", "result"], seconds: false };
    metrics.counters(family, move || read.rows().map(|(kind, result, count)| row(&[kind, result], count)).collect());
    for (name, help, count) in [
        (
            "reconcile_looks",
            "Looks at workloads, whether or not something was to be done",
            (|counters| &counters.plans) as Read,
        ),
        ("events_failed", "Events on workloads that could not be written", |counters| &counters.events_failed),
    ] {
        let read = Arc::clone(counters);
        let family = Family { name, help, labels: &[], seconds: false };
        metrics.counters(family, move || vec![row(&[], count(&read).load(Ordering::Relaxed))]);
    }
    let read = Arc::clone(counters);
    let help = "Workloads that wait for a look, those that are tried again later included";
    let family = Family { name: "reconcile_queue", help, labels: &[], seconds: false };
    metrics.gauges(family, move || vec![row(&[], read.queued.load(Ordering::Relaxed))]);
}

/// How the chain of each labelled workload is, and what stands in the cluster that rules find fault with.
fn export_health(metrics: &Metrics, rows: &Arc<HealthRows>) {
    let read = Arc::clone(rows);
    let help =
        "1 while a link of the chain from a labelled workload's server to its replicas holds, 0 while it is broken";
    let labels = HealthRows::WORKLOAD_LABELS;
    metrics.gauges(Family { name: "workload_healthy", help, labels, seconds: false }, move || read.workloads());
    let read = Arc::clone(rows);
    let help = "Findings that stand in the cluster, by rule and severity, when it was last judged";
    let labels = HealthRows::FINDING_LABELS;
    metrics.gauges(Family { name: "findings", help, labels, seconds: false }, move || read.findings());
}

/// One of the counters.
type Read = fn(&ReconcileCounters) -> &AtomicU64;

/// What the rotation did and what it looks after. The times are there only while this process leads, since only then they
/// are up to date.
fn export_rotation(metrics: &Metrics, counters: &Arc<RotationCounters>) {
    let read = Arc::clone(counters);
    let help = "Steps of certificate rotation: a new authority, a new leaf, bundles written, old authorities dropped";
    let family = Family { name: "rotation_steps", help, labels: &["step"], seconds: false };
    metrics.counters(family, move || {
        let steps = [
            ("authority", &read.authorities),
            ("leaf", &read.leaves),
            ("publish", &read.published),
            ("retire", &read.retired),
        ];
        steps.into_iter().map(|(step, count)| row(&[step], count.load(Ordering::Relaxed))).collect()
    });
    let read = Arc::clone(counters);
    let help = "Looks at certificates that failed, and are tried again";
    let family = Family { name: "rotation_failures", help, labels: &[], seconds: false };
    metrics.counters(family, move || vec![row(&[], read.failures.load(Ordering::Relaxed))]);
    let read = Arc::clone(counters);
    let help =
        "When the webhook's leaf and the authority that issues end, in seconds since 1970; none while not leading";
    let family = Family { name: "rotation_not_after", help, labels: &["certificate"], seconds: true };
    metrics.gauges(family, move || {
        if !read.leads.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let ends = [("leaf", &read.leaf_not_after), ("authority", &read.authority_not_after)];
        let known = ends.into_iter().filter_map(|(name, end)| {
            let end = u64::try_from(end.load(Ordering::Relaxed)).ok().filter(|end| *end > 0)?;
            Some(row(&[name], end))
        });
        known.collect()
    });
}

// === impl ControllerArgs ===

impl ControllerArgs {
    fn leading(&self) -> anyhow::Result<Leading> {
        let namespace = match &self.namespace {
            Some(namespace) => namespace.clone(),
            None => own_namespace(Path::new(NAMESPACE_FILE))
                .context("cannot tell the namespace; give --namespace, which is the webhook's")?,
        };
        self.lead.leading(&Looked {
            namespace: &namespace,
            service: &self.service,
            configuration: &self.webhook_configuration,
            tls_secret: Some(&self.tls_secret),
        })
    }
}

// === impl LeadArgs ===

impl LeadArgs {
    /// What a leader does for that webhook.
    ///
    /// # Errors
    /// When the validities would never let a rotation rest.
    pub(in crate::cli) fn leading(&self, webhook: &Looked<'_>) -> anyhow::Result<Leading> {
        let Self { ca_validity, leaf_validity, renew_before, .. } = self;
        if *ca_validity < *leaf_validity * 2 {
            bail!(
                "--ca-validity has to be at least twice --leaf-validity, so that no authority ends before its certificates"
            );
        }
        if renew_before.is_some_and(|before| before >= *leaf_validity) {
            bail!(
                "--renew-before has to be shorter than --leaf-validity, or each certificate would be replaced at once"
            );
        }
        let tls_secret = webhook.tls_secret.filter(|_| !self.no_certificates);
        let rotation = tls_secret.map(|tls_secret| Settings {
            namespace: webhook.namespace.to_owned(),
            service: webhook.service.to_owned(),
            port_name: self.port_name.clone(),
            configuration: webhook.configuration.to_owned(),
            mutating_webhook: MUTATING_NAME.to_owned(),
            validating_webhook: VALIDATING_NAME.to_owned(),
            tls_secret: tls_secret.to_owned(),
            ca_secret: self.ca_secret.clone(),
            endpoints: self.endpoints.clone(),
            validity: Validity { authority: *ca_validity, leaf: *leaf_validity, renew_before: *renew_before },
            settle: self.settle,
        });
        Ok(Leading { namespace: webhook.namespace.to_owned(), lease: self.lease.clone(), rotation })
    }
}

/// The namespace that the service account's mount or the variable POD_NAMESPACE names.
fn own_namespace(file: &Path) -> Option<String> {
    let mounted = std::fs::read_to_string(file).ok();
    let named = mounted.or_else(|| std::env::var("POD_NAMESPACE").ok())?;
    Some(named.trim().to_owned()).filter(|name| !name.is_empty())
}

/// `365d`, `12h`, `30m`, `60s`. At least a second, and at most 100 years, which every date can hold.
fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is not a whole number of d, h, m or s above 0 and up to 36500d, as in 90d");
    let unit = text.chars().next_back().ok_or_else(problem)?;
    let seconds = match unit {
        'd' => DAY,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(problem()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(problem)?;
    let seconds = number.checked_mul(seconds).filter(|seconds| (1..=36_500 * DAY).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn given(flags: &[&str]) -> anyhow::Result<Leading> {
        Line::try_parse_from(["controller", "--namespace", "ns"].iter().chain(flags))?.args.leading()
    }

    #[test]
    fn by_default_an_authority_outlives_its_leaves_and_the_name_is_the_services() {
        let settings = given(&[]).unwrap().rotation.unwrap();
        assert_eq!(settings.server_name(), "scalegate.ns.svc");
        assert!(settings.validity.authority >= settings.validity.leaf * 2);
    }

    #[test]
    fn certificates_of_somebody_else_are_left_alone() {
        assert!(given(&["--no-certificates"]).unwrap().rotation.is_none());
    }

    #[test]
    fn validities_that_would_never_rest_are_refused_by_flag() {
        for (flags, named) in [
            (&["--ca-validity", "100d"][..], "--ca-validity"),
            (&["--renew-before", "90d"], "--renew-before"),
            (&["--leaf-validity", "0s"], "--leaf-validity"),
            (&["--leaf-validity", "90"], "--leaf-validity"),
            (&["--settle", "99999999999999999999d"], "--settle"),
            (&["--settle", "\u{e9}"], "--settle"),
        ] {
            let error = given(flags).err().unwrap().to_string();
            assert!(error.contains(named), "{flags:?}: {error}");
        }
    }

    #[test]
    fn a_folder_that_is_no_mount_tells_no_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("namespace");
        std::fs::write(&file, "scalegate-system\n").unwrap();
        assert_eq!(own_namespace(&file).as_deref(), Some("scalegate-system"));
    }

    #[test]
    fn the_ends_of_certificates_are_exported_by_the_leader_alone() {
        let (metrics, counters) = (Metrics::new(), Arc::<RotationCounters>::default());
        export_rotation(&metrics, &counters);
        let leads = Arc::<AtomicBool>::default();
        export(&metrics, &leads, &Arc::default());
        counters.leaves.store(3, Ordering::Relaxed);
        counters.leaf_not_after.store(1_700_000_000, Ordering::Relaxed);
        let text = metrics.text().unwrap();
        assert!(
            text.contains("scalegate_rotation_steps_total{step=\"leaf\"} 3") && text.contains("scalegate_leader 0")
        );
        assert!(!text.contains("scalegate_rotation_not_after_seconds{"), "{text}");
        counters.leads.store(true, Ordering::Relaxed);
        leads.store(true, Ordering::Relaxed);
        let text = metrics.text().unwrap();
        assert!(text.contains("scalegate_rotation_not_after_seconds{certificate=\"leaf\"} 1700000000"), "{text}");
        // There is no authority yet.
        assert!(text.contains("scalegate_leader 1") && !text.contains("certificate=\"authority\""), "{text}");
    }
}
