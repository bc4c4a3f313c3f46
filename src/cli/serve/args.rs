//! Flags that several commands have.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::admission::Limits;
use crate::admission::registration::{Installation, webhook_configurations};
use crate::telemetry::log::Format;
use crate::tls::{ConnectionCounters, ServeSettings};

/// Log and admin port.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ProcessArgs {
    /// Address of the admin port: /healthz, /readyz and /metrics, over plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    pub(super) admin_listen: SocketAddr,
    /// How the log looks, which goes to standard error.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: Format,
    /// A level (error, warn, info, debug, trace) or a filter such as `info,kube=debug`. Without it RUST_LOG counts, then
    /// `info`.
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

/// Which cluster is watched.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ClusterArgs {
    /// A saved picture of the cluster instead of the live one: a snapshot, or what `kubectl get -o yaml` printed.
    ///
    /// Without it the API server is watched: the one of the pod that this runs in, else that of KUBECONFIG.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cluster: Option<PathBuf>,
}

/// How we are registered, as far as the process must know it to check it.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RegistrationArgs {
    /// Name of both webhook configurations, which are watched for changes that nobody ordered.
    #[arg(long, default_value_t = Installation::default().name, value_name = "NAME")]
    pub(in crate::cli) webhook_configuration: String,
    /// Namespace that we run in.
    #[arg(long, default_value_t = Installation::default().namespace, value_name = "NAMESPACE")]
    pub(in crate::cli) namespace: String,
    /// Name of the webhook's Service. The certificate has to be for SERVICE.NAMESPACE.svc.
    #[arg(long, default_value_t = Installation::default().service, value_name = "NAME")]
    pub(in crate::cli) service: String,
    /// Port of that Service.
    #[arg(long, default_value_t = Installation::default().port, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    service_port: u16,
    /// The configurations were installed to refuse while no webhook answers.
    #[arg(long)]
    fail_closed: bool,
    /// Seconds that the API server waits for an answer, as installed.
    #[arg(long, default_value_t = Installation::default().timeout_seconds, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=30))]
    webhook_timeout: u32,
    /// A namespace whose objects are never sent, as installed; may be given several times.
    #[arg(long, value_name = "NAMESPACE")]
    exclude_namespace: Vec<String>,
}

/// How much is taken on at once, and how connections end.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct LimitArgs {
    /// How long everything is still served after SIGTERM, so that no client meets a closed port. Bare numbers are seconds.
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = duration)]
    quiet_period: Duration,
    /// How long requests in flight may take after that. Both together must be shorter than the pod's
    /// terminationGracePeriodSeconds.
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = duration)]
    drain_timeout: Duration,
    /// Requests at once; one more is answered 429 with Retry-After.
    #[arg(long, default_value_t = Limits::default().max_requests_in_flight, value_name = "COUNT", value_parser = positive)]
    max_in_flight: usize,
    /// Bytes of all bodies at once; a body beyond it is answered 429 with Retry-After.
    #[arg(long, default_value_t = Limits::default().max_bytes_in_flight, value_name = "BYTES", value_parser = positive)]
    max_bytes_in_flight: usize,
    /// Bytes of the largest body; a larger one is answered 413.
    #[arg(long, default_value_t = Limits::default().max_body_bytes, value_name = "BYTES", value_parser = positive)]
    max_body_bytes: usize,
    /// Decisions that run at once; further requests wait for their turn.
    #[arg(long, default_value_t = Limits::default().max_decisions, value_name = "COUNT", value_parser = positive)]
    max_decisions: usize,
    /// Connections at once; beyond it the longest idle ones are closed.
    #[arg(long, default_value_t = ServeSettings::default().max_connections, value_name = "COUNT", value_parser = positive)]
    max_connections: usize,
    /// How long a body may take to arrive.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    body_timeout: Duration,
    /// How long a request head may take to arrive.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    head_timeout: Duration,
    /// How long a connection may wait for its next request; at least 120s, since Go clients keep idle ones for 90s.
    #[arg(long, default_value = "300s", value_name = "DURATION", value_parser = duration)]
    idle_timeout: Duration,
}

// === impl ClusterArgs ===

impl ClusterArgs {
    /// The live cluster; none when a saved picture is given.
    ///
    /// # Errors
    /// When there is no cluster to be found.
    pub(in crate::cli) async fn live(&self) -> anyhow::Result<Option<Live>> {
        if self.cluster.is_some() {
            return Ok(None);
        }
        let live = Live::infer().await;
        live.context("no cluster: give --cluster FILE, set KUBECONFIG, or run in a pod").map(Some)
    }
}

/// Two clients of one cluster.
pub(in crate::cli) struct Live {
    /// For watches.
    pub(in crate::cli) client: kube::Client,
    /// For questions that have a deadline: it does not try again by itself.
    pub(in crate::cli) asking: kube::Client,
}

// === impl Live ===

impl Live {
    /// The cluster of KUBECONFIG, else that of the pod that this runs in.
    ///
    /// # Errors
    /// When there is no cluster to be found, or what describes it cannot be used.
    pub(in crate::cli) async fn infer() -> anyhow::Result<Self> {
        let mut config = kube::Config::infer().await?;
        // A node that went away must not keep us from the next address for the usual half minute. Reads keep kube's own
        // deadline, which is longer than the server keeps a watch open.
        config.connect_timeout = Some(Duration::from_secs(5));
        config.write_timeout = Some(Duration::from_secs(30));
        let client = kube::Client::try_from(config.clone())?;
        config.default_retry = false;
        let asking = kube::Client::try_from(config)?;
        Ok(Self { client, asking })
    }
}

// === impl RegistrationArgs ===

impl RegistrationArgs {
    /// The name that the API server asks for.
    pub(super) fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Both configurations as they should stand in the cluster: mutating, validating.
    pub(super) fn expected(&self) -> (serde_json::Value, serde_json::Value) {
        let Self { webhook_configuration, namespace, service, service_port, fail_closed, webhook_timeout, .. } = self;
        webhook_configurations(&Installation {
            name: webhook_configuration.clone(),
            namespace: namespace.clone(),
            service: service.clone(),
            port: *service_port,
            fail_closed: *fail_closed,
            timeout_seconds: *webhook_timeout,
            exclude_namespaces: self.exclude_namespace.clone(),
            ..Installation::default()
        })
    }
}

// === impl LimitArgs ===

impl LimitArgs {
    /// The router's bounds.
    pub(in crate::cli) fn limits(&self) -> Limits {
        Limits {
            max_body_bytes: self.max_body_bytes,
            max_bytes_in_flight: self.max_bytes_in_flight,
            max_requests_in_flight: self.max_in_flight,
            max_decisions: self.max_decisions,
            body_timeout: self.body_timeout,
            ..Limits::default()
        }
    }

    /// The connections' bounds.
    pub(in crate::cli) fn settings(&self, counters: Arc<ConnectionCounters>) -> ServeSettings {
        ServeSettings {
            head_timeout: self.head_timeout,
            idle_timeout: self.idle_timeout,
            max_connections: self.max_connections,
            quiet_period: self.quiet_period,
            drain_timeout: self.drain_timeout,
            counters,
            ..ServeSettings::default()
        }
    }
}

/// Reads `15`, `15s`, `200ms`, `5m` or `1h`; bare numbers are seconds.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as 15s, 200ms or 5m".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    let longest = Duration::from_secs(86_400);
    let duration = Duration::from_millis(milliseconds.ok_or_else(wrong)?);
    if duration > longest { Err("a day is the longest".to_owned()) } else { Ok(duration) }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("write a whole number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn parsed(arguments: &[&str]) -> LimitArgs {
        Command::try_parse_from([&["x"], arguments].concat()).unwrap().limits
    }

    #[test]
    fn durations_are_read_with_their_unit_and_bare_ones_are_seconds() {
        for (text, milliseconds) in [("15", 15_000), ("15s", 15_000), ("200ms", 200), ("5m", 300_000), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "5 s", "5d", "25h", "99999999999999999999", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_flags_the_limits_are_the_defaults_and_each_flag_changes_its_own() {
        let (limits, settings) = (parsed(&[]).limits(), parsed(&[]).settings(Arc::default()));
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
        assert_eq!(format!("{settings:?}"), format!("{:?}", ServeSettings::default()));
        let all = parsed(&[
            "--max-in-flight=1",
            "--max-bytes-in-flight=2",
            "--max-body-bytes=3",
            "--max-decisions=4",
            "--max-connections=5",
            "--body-timeout=6",
            "--head-timeout=7",
            "--idle-timeout=8",
            "--quiet-period=9",
            "--drain-timeout=10",
        ]);
        let (limits, settings) = (all.limits(), all.settings(Arc::default()));
        assert_eq!((limits.max_requests_in_flight, limits.max_bytes_in_flight, limits.max_body_bytes), (1, 2, 3));
        assert_eq!((limits.max_decisions, settings.max_connections, limits.body_timeout.as_secs()), (4, 5, 6));
        assert_eq!((settings.head_timeout.as_secs(), settings.idle_timeout.as_secs()), (7, 8));
        assert_eq!((settings.quiet_period.as_secs(), settings.drain_timeout.as_secs()), (9, 10));
        assert!(Command::try_parse_from(["x", "--max-in-flight=0"]).is_err());
    }
}
