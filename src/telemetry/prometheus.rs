//! The metrics, as text in OpenMetrics 1.0.
//!
//! Nothing is counted here: every value is read at the scrape from whoever counts it, through a closure that returns rows
//! of label values and a number. There are no globals, so two servers in one process count apart.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::admission::FindingCounts;
use crate::admission::counters::{Counters, Durations};
use crate::tls::ConnectionCounters;

/// What all names begin with.
const PREFIX: &str = "scalegate";

/// One row: label values in the order of the family's label names, and the value.
pub type Row = (Vec<String>, f64);

/// Name and description of a family whose rows are read at each scrape.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Without the prefix, the unit and `_total`.
    pub name: &'static str,
    /// One sentence without its full stop, which is added.
    pub help: &'static str,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// Whether the value is in seconds, which the name then ends in.
    pub seconds: bool,
}

/// Everything that a process exports.
pub struct Metrics(RwLock<Registry>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// With `scalegate_build_info` alone.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
        Arc::new(Self(RwLock::new(registry)))
    }

    /// Adds a family of numbers that only rise.
    pub fn counters(&self, family: Family, read: impl Fn() -> Vec<Row> + Send + Sync + 'static) {
        self.add(Rows { family, rising: true, read: Box::new(read) });
    }

    /// Adds a family of numbers that rise and fall.
    pub fn gauges(&self, family: Family, read: impl Fn() -> Vec<Row> + Send + Sync + 'static) {
        self.add(Rows { family, rising: false, read: Box::new(read) });
    }

    /// Adds what the webhook counts.
    pub fn admission(&self, counters: &Arc<Counters>, findings: &Arc<FindingCounts>) {
        let family = |name, help, labels| Family { name, help, labels, seconds: false };
        let counted = Arc::clone(counters);
        let help =
            "Admission calls by what they were about and how they ended; `unread` was refused before it was read";
        self.counters(family("admission_requests", help, &["kind", "operation", "decision"]), move || {
            let rows = counted.requests.rows();
            rows.map(|(kind, operation, outcome, count)| row(&[kind, operation, outcome.as_str()], count)).collect()
        });
        let found = Arc::clone(findings);
        let help = "Findings by rule and by what became of them; `audit` was not shown to the user";
        self.counters(family("admission_findings", help, &["rule", "severity"]), move || {
            found.rows().map(|(rule, severity, count)| row(&[rule, severity], count)).collect()
        });
        self.add(DurationRows(Arc::clone(counters)));
        for (name, help, read) in [
            (
                "admission_patches_withheld",
                "Patches that would not have applied",
                (|counters| counters.patches_withheld.get()) as Read,
            ),
            (
                "admission_warnings_shortened",
                "Answers whose warnings were cut to the API server's limits",
                |counters| counters.warnings_shortened.get(),
            ),
        ] {
            let counted = Arc::clone(counters);
            self.counters(family(name, help, &[]), move || vec![row(&[], read(&counted))]);
        }
    }

    /// Adds panics: those of decisions and those of whatever stands around them.
    pub fn panics(&self, counters: &Arc<Counters>, connections: &Arc<ConnectionCounters>) {
        let family = Family {
            name: "admission_panics",
            help: "Requests that ended in a panic, each with one answer 500",
            labels: &[],
            seconds: false,
        };
        let (counters, connections) = (Arc::clone(counters), Arc::clone(connections));
        self.counters(family, move || vec![row(&[], counters.panics.get().saturating_add(load(&connections.panics)))]);
    }

    /// Adds the connections of the webhook's port.
    pub fn connections(&self, connections: &Arc<ConnectionCounters>) {
        let family = |name, help, labels| Family { name, help, labels, seconds: false };
        let counted = Arc::clone(connections);
        self.gauges(family("connections_open", "Connections to the webhook's port", &[]), move || {
            vec![row(&[], load(&counted.open))]
        });
        let counted = Arc::clone(connections);
        self.counters(family("connections_accepted", "Connections that the webhook took", &[]), move || {
            vec![row(&[], load(&counted.accepted))]
        });
        let counted = Arc::clone(connections);
        let help = "Connections that ended otherwise than by a finished exchange";
        self.counters(family("connection_failures", help, &["reason"]), move || {
            let reasons = [
                ("accept", &counted.accept_errors),
                ("handshake", &counted.handshakes_failed),
                ("handshake_timeout", &counted.handshakes_late),
                ("broken", &counted.broken),
                ("dismissed", &counted.dismissed),
                ("cut", &counted.cut),
            ];
            reasons.into_iter().map(|(reason, count)| row(&[reason], load(count))).collect()
        });
    }

    /// All of it as text.
    ///
    /// # Errors
    /// Only if a value cannot be written as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0.read().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }

    fn add(&self, collector: impl Collector) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }
}

/// A number out of the webhook's counters.
type Read = fn(&Counters) -> u64;

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A row of a counted number.
#[allow(clippy::cast_precision_loss, reason = "a count beyond 2^53 would take centuries, and gauges of ours are small")]
pub fn row(labels: &[&str], value: u64) -> Row {
    (labels.iter().map(|label| (*label).to_owned()).collect(), value as f64)
}

struct Rows {
    family: Family,
    rising: bool,
    read: Box<dyn Fn() -> Vec<Row> + Send + Sync>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("family", &self.family).finish_non_exhaustive()
    }
}

impl Rows {
    fn value(&self, encoder: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
        if self.rising { encoder.encode_counter(&value, NO_EXEMPLAR) } else { encoder.encode_gauge(&value) }
    }
}

/// No observation is singled out.
const NO_EXEMPLAR: Option<&Exemplar<Vec<(&str, &str)>, f64>> = None;

impl Collector for Rows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Family { name, help, labels, seconds } = self.family;
        let unit = seconds.then_some(Unit::Seconds);
        let of = if self.rising { MetricType::Counter } else { MetricType::Gauge };
        let mut encoder = encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), of)?;
        for (values, value) in (self.read)() {
            let set: Vec<(&str, &str)> = labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            if set.is_empty() {
                self.value(&mut encoder, value)?;
            } else {
                self.value(&mut encoder.encode_family(&set)?, value)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DurationRows(Arc<Counters>);

impl Collector for DurationRows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "admission_duration";
        let help = "From a request's head to its answer, for those that got a decision.";
        let unit = Some(Unit::Seconds);
        let mut encoder = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        let (sum, count, buckets) = histogram(&self.0.durations);
        encoder.encode_histogram::<Vec<(&str, &str)>>(sum, count, &buckets, None)
    }
}

/// Sum in seconds, count, and for each bound (seconds, then infinity) the requests between it and the bound before: the
/// encoder adds them up itself.
fn histogram(durations: &Durations) -> (f64, u64, Vec<(f64, u64)>) {
    // The total is read after the buckets, each of which is counted first: so no bucket can exceed it.
    let cumulative: Vec<_> = durations.cumulative().collect();
    let (count, sum) = durations.total();
    let mut before = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(cumulative.len() + 1);
    for (bound, at_most) in cumulative {
        // A request that is counted in its bucket and not yet in the total is left for the next scrape.
        let at_most = at_most.min(count);
        buckets.push((bound.as_secs_f64(), at_most.saturating_sub(before)));
        before = at_most.max(before);
    }
    buckets.push((f64::INFINITY, count.saturating_sub(before)));
    (sum.as_secs_f64(), count, buckets)
}
