//! `metric-exists`: a name that no exporter has and nothing in view makes.

use strsim::damerau_levenshtein;

use super::naming::{
    adapter, adapter_seen, exporter, has_upper_case, judged_elsewhere, may_coin, one_of, queries, query_fault, spell,
    stackdriver,
};
use super::{Checks, Rule};
use crate::policy::chain::{self, Adapter, Form, MakerKind, promql};
use crate::policy::configuration::Level;
use crate::policy::engine::{self, Exporter, Metric, MetricKind, Resolved, Version};
use crate::policy::facts::{Context, HpaFacts, MetricUse, ScaledObjectFacts, Source, Target};
use crate::policy::finding::Finding;
use crate::policy::view::{MetricApi, MetricKey, MetricPresence};
use crate::policy::workload::Reading;

/// The newest release that the catalogue was read from.
const CATALOGUED_TO: Version = Version::new(0, 33, 0);

/// Parts that tell real DCGM fields from one another although they differ by a letter or two; such a name may be a field
/// that the exporter's default list leaves out.
const DCGM_PARTS: &[&str] =
    &["TX", "RX", "SBE", "DBE", "VOL", "AGG", "FP16", "FP32", "FP64", "SM", "MEM", "ENC", "DEC"];

pub(super) static RULE: Rule = Rule {
    id: "metric-exists",
    default: Level::Deny,
    at_admission: true,
    summary: "The autoscaler scales on a metric that nothing exports and nothing makes",
    explain: "\
Nobody checks an autoscaler's metric name when it is created: the controller asks the metrics API later, gets no answer, \
and the workload stays at its present size while every object looks healthy.

Refused: a name one letter away from a catalogued metric; a name that the backend cannot have, such as \
`prometheus.googleapis.com|vllm:num_requests_running` without `|gauge`, or with the suffix of another type; and, once the \
target's pods were Ready for `probes.settle`, a name that the metrics API does not know.
Warned about: any other name under a server's prefix that nothing in view makes. `review --complete` and \
`makersFirst: true` refuse those too, since then everything that makes metrics is in view.

Write the name in the spelling of the backend, or add the recording rule, the relabelling or the adapter rule that makes it.

Silent when something in view makes the name or may make it, about names without any tie to inference, and about metrics \
of KEDA and Datadog, which their own objects answer for.",
    failing: FAILING,
    passing: PASSING,
    checks: Checks { hpa: Some(check), scaled_object: Some(check_queries), ..Checks::NONE },
};

const FAILING: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:num_request_running|gauge
      target: {type: AverageValue, averageValue: 4}
";

const PASSING: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gemma-server-hpa
  namespace: default
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm-gemma-deployment}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_running|gauge
      target: {type: AverageValue, averageValue: 4}
";

/// How sure it is that the backend takes only its own spelling of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fixed {
    /// The name or an APIService says so.
    Seen,
    /// The configuration says so.
    Configured,
    /// An adapter rule may give a metric any name.
    No,
}

fn check(facts: &HpaFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    let judged = facts.metrics.iter().filter(|usage| !judged_elsewhere(usage, facts));
    judged.filter_map(|usage| judge(usage, facts, context)).collect()
}

fn judge(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    if let Form::GkeManaged { object } = &usage.spelling.form {
        return managed(object, usage, context);
    }
    let live = live(usage, facts, context);
    if matches!(live, Some(Live::Served)) || case_is_at_fault(usage, facts) {
        return None;
    }
    let recognised =
        matches!(facts.target.workload().map(|workload| &workload.server), Some(Reading::Recognised { .. }));
    let named = if recognised { None } else { by_name(usage, facts, context) };
    match (named, live) {
        (Some(finding), _) if finding.severity == crate::policy::finding::Severity::Deny => Some(finding),
        (_, Some(Live::Missing { minutes })) if !may_coin(usage) => Some(missing(usage, facts, minutes)),
        (named, _) => named,
    }
}

/// Whether `external-metric-case` says what is wrong with the name.
fn case_is_at_fault(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> bool {
    usage.source == Source::External
        && has_upper_case(usage.name)
        && !matches!(facts.external_adapter, Adapter::Datadog)
        && usage.spelling.form != Form::GmpWithoutSuffix
}

// === What the metrics API said ===

/// A usable answer of the metrics API.
enum Live {
    Served,
    Missing { minutes: i64 },
}

/// The cached answer for a metric, when it is fresh and the target had the time to be scraped.
fn live(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Live> {
    let namespace = facts.hpa.metadata.namespace.clone()?;
    let api = if usage.source == Source::External { MetricApi::External } else { MetricApi::Custom };
    let key = |name: &str| MetricKey { api, name: name.to_owned(), namespace: namespace.clone() };
    let metrics = &context.view.metrics;
    let observed = metrics.get(&key(usage.name)).or_else(|| metrics.get(&key(&usage.name.to_ascii_lowercase())))?;
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let probes = &context.configuration.probes;
    let now = context.view.now;
    if now.saturating_sub(observed.observed_at) > seconds(probes.stale_after_seconds) {
        return None;
    }
    match observed.presence {
        MetricPresence::Present => Some(Live::Served),
        MetricPresence::Unknown => None,
        MetricPresence::Absent => {
            let ready = now.saturating_sub(observed.ready_since?);
            (ready >= seconds(probes.settle_seconds)).then_some(Live::Missing { minutes: ready / 60 })
        }
    }
}

fn missing(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, minutes: i64) -> Finding {
    let api = if usage.source == Source::External { "external" } else { "custom" };
    let target = &facts.hpa.spec.scale_target_ref;
    let message = format!(
        "the {api} metrics API does not serve `{}`, although the pods of {} {} are Ready for {minutes} minutes, and \
         nothing in view makes it",
        usage.name, target.kind, target.name
    );
    let hint = match usage.metric() {
        Some(metric) if stackdriver(usage, facts) && matches!(metric.exporter, Exporter::Engine(_)) => {
            let port = facts.target.workload().and_then(|workload| workload.server()?.port.number());
            let port = port.map(|port| format!(" on port {port}")).unwrap_or_default();
            format!("a PodMonitoring that scrapes these pods{port} has to exist first")
        }
        Some(Metric { exporter: Exporter::Dcgm, .. }) => {
            "the scrape object of the DCGM exporter, and the recording rule that makes this name, have to exist first"
                .to_owned()
        }
        _ if stackdriver(usage, facts) => {
            "a scrape object that collects this metric, or a recording rule that makes it, has to exist first"
                .to_owned()
        }
        _ => "a scrape object that collects its series, and an adapter rule that serves this name, have to exist first"
            .to_owned(),
    };
    Finding::deny(usage.name_field(), usage.name, message).hint(hint)
}

// === GKE's managed adapter ===

fn managed(object: &str, usage: &MetricUse<'_>, context: &Context<'_>) -> Option<Finding> {
    if usage.makers.may() {
        return None;
    }
    let field = usage.name_field();
    if object.is_empty() {
        let message = format!("`{}` names no AutoscalingMetric", usage.name);
        let hint = format!("write `autoscaling.gke.io|OBJECT|{}`", usage.spelling.name);
        return Some(Finding::deny(field, usage.name, message).hint(hint));
    }
    let metric = usage.spelling.name;
    let message = format!("no AutoscalingMetric `{object}` in view exports a metric `{metric}`");
    let finding = if context.view.is_closed("AutoscalingMetric") || context.view.complete {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::note(field, usage.name, message)
    };
    Some(finding.hint("the AutoscalingMetric has to be in the autoscaler's namespace and list that name"))
}

// === Names ===

fn by_name(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let name = usage.spelling.name;
    match usage.spelling.form {
        Form::GoogleApis => return None,
        Form::GmpWithoutSuffix => return without_suffix(usage, facts),
        Form::Gmp if may_coin(usage) => return wrong_suffix(usage, facts),
        _ if may_coin(usage) || engine::histogram_child(name).is_some() => return None,
        _ => {}
    }
    let fixed = fixed(usage, facts, context);
    if let Some(metric) = total_of(name) {
        return without_total(metric, usage, facts, fixed);
    }
    match &usage.resolved {
        Resolved::Catalogued(metric) => match usage.spelling.form {
            Form::Gmp => wrong_suffix(usage, facts),
            Form::Plain => undecorated(metric, usage, facts, fixed),
            _ => None,
        },
        Resolved::Alias { metric, .. } => match usage.spelling.form {
            Form::Gmp if is_respelled(name, metric) => Some(respelled(metric, usage, facts, context, fixed)),
            Form::Gmp => wrong_suffix(usage, facts),
            Form::Plain => alias_on_stackdriver(metric, usage, facts, fixed),
            _ => None,
        },
        Resolved::Respelled { metric, .. } => Some(respelled(metric, usage, facts, context, fixed)),
        Resolved::NearMiss { nearest, distance, .. } => {
            Some(near_miss(nearest, *distance, usage, facts, context, fixed))
        }
        Resolved::UnderPrefix { nearest, optional_family, .. } => {
            Some(under_prefix(nearest, *optional_family, usage, facts, context))
        }
        Resolved::SuffixedStem { stem, .. } => {
            let message = format!("nothing exports `{name}`, and nothing in view makes it from `{}`", *stem);
            let hint = format!("add the rule that makes it, or write `{}`", spell(stem, usage, facts));
            Some(made_nowhere(usage.name_field(), usage.name, message, facts, context).hint(hint))
        }
        Resolved::Foreign => beside_a_maker(usage, facts, context),
    }
}

fn fixed(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Fixed {
    match usage.spelling.form {
        Form::Gmp | Form::GmpWithoutSuffix | Form::GkeSystem => Fixed::Seen,
        Form::Plain if *adapter(usage, facts) == Adapter::Stackdriver => {
            if adapter_seen(usage, context.view) {
                Fixed::Seen
            } else {
                Fixed::Configured
            }
        }
        _ => Fixed::No,
    }
}

/// Whether everything that makes metrics is in view, and the target cannot be newer than the catalogue.
fn closed(facts: &HpaFacts<'_>, context: &Context<'_>) -> bool {
    let newer = version(facts).is_some_and(|version| version > CATALOGUED_TO);
    !newer && (context.view.complete || context.configuration.makers_first)
}

fn version(facts: &HpaFacts<'_>) -> Option<Version> {
    facts.target.workload()?.server()?.version
}

/// A name that only a maker could bring about, and none is in view: wrong where all of them are in view, else a suspicion.
fn made_nowhere(field: String, value: &str, message: String, facts: &HpaFacts<'_>, context: &Context<'_>) -> Finding {
    if closed(facts, context) { Finding::deny(field, value, message) } else { Finding::suspect(field, value, message) }
}

fn near_miss(
    nearest: &[&'static str],
    distance: usize,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    context: &Context<'_>,
    fixed: Fixed,
) -> Finding {
    let name = usage.spelling.name;
    let raw = name.contains(':') || name.starts_with("DCGM_") || usage.spelling.form == Form::GkeSystem;
    let certain = fixed == Fixed::Seen || raw || closed(facts, context);
    let near_enough = match distance {
        0 | 1 => true,
        2 => version(facts).is_some_and(|version| version <= CATALOGUED_TO),
        _ => closed(facts, context),
    };
    let field = usage.name_field();
    let message = format!("nothing exports a metric `{name}`, and nothing in view makes it");
    let finding = if certain && near_enough && !other_dcgm_field(name, nearest) {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    with_nearest(finding, nearest, usage, facts)
}

fn with_nearest(finding: Finding, nearest: &[&'static str], usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> Finding {
    let spelled: Vec<String> = nearest.iter().take(3).map(|name| spell(name, usage, facts)).collect();
    if spelled.is_empty() { finding } else { finding.hint(format!("write {}", one_of(&spelled))) }
}

/// Whether a name near a DCGM field differs from it by a part that other DCGM fields really have.
fn other_dcgm_field(name: &str, nearest: &[&'static str]) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    nearest.iter().filter(|other| other.starts_with("DCGM_")).any(|other| {
        let others: Vec<&str> = other.split('_').collect();
        let mut differing = parts.iter().zip(&others).filter(|(one, other)| one != other);
        parts.len() == others.len() && differing.all(|(one, _)| DCGM_PARTS.contains(one) || is_link(one))
    })
}

/// A link's number, as in `DCGM_FI_DEV_NVLINK_BANDWIDTH_L3`.
fn is_link(part: &str) -> bool {
    part.strip_prefix('L').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn under_prefix(
    nearest: &[&'static str],
    optional: bool,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    context: &Context<'_>,
) -> Finding {
    let name = usage.spelling.name;
    if optional {
        let message = format!("`{name}` is exported only where its feature is switched on");
        return Finding::note(usage.name_field(), usage.name, message);
    }
    let message = format!("no known release exports `{name}`, and nothing in view makes it");
    let finding = made_nowhere(usage.name_field(), usage.name, message, facts, context);
    let spelled: Vec<String> = nearest.iter().take(3).map(|name| spell(name, usage, facts)).collect();
    if spelled.is_empty() {
        finding.hint("add the recording rule or the adapter rule that makes it")
    } else {
        finding.hint(format!("the nearest known names are {}", one_of(&spelled)))
    }
}

/// Where nothing else is known about a name: it differs by little from one that is made in view.
fn beside_a_maker(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    if usage.spelling.form != Form::Plain && usage.spelling.form != Form::Gmp {
        return None;
    }
    let name = usage.spelling.name;
    let near = |other: &str| name.len() > 6 && matches!(damerau_levenshtein(name, other), 1 | 2);
    let made = context.view.makers().flat_map(|(_, makers)| &makers.made);
    let made = made.filter(|made| made.by != MakerKind::AutoscalingMetric);
    let nearest = made.into_iter().find(|made| near(&made.name))?;
    let object = &nearest.object;
    let message = format!("nothing in view makes `{name}`; {} {} makes `{}`", object.kind, object.name, nearest.name);
    let spelled = if usage.spelling.form == Form::Gmp {
        chain::spelling::gmp(&nearest.name, usage.spelling.suffix.unwrap_or("gauge"))
    } else {
        nearest.name.clone()
    };
    let finding = made_nowhere(usage.name_field(), usage.name, message, facts, context);
    Some(finding.hint(format!("write `{spelled}`")))
}

// === Spelling ===

/// Case and separators put aside.
fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a name is a server's own name but for case and separators. Of DCGM's fields the lower-case name is a customary
/// one, which recording rules give.
fn is_respelled(name: &str, metric: &Metric) -> bool {
    let own = metric.name.strip_suffix("_total").unwrap_or(metric.name);
    matches!(metric.exporter, Exporter::Engine(_)) && [metric.name, own].map(folded).contains(&folded(name))
}

fn respelled(
    metric: &Metric,
    usage: &MetricUse<'_>,
    facts: &HpaFacts<'_>,
    context: &Context<'_>,
    fixed: Fixed,
) -> Finding {
    let name = usage.spelling.name;
    let field = usage.name_field();
    let message =
        format!("{} exports `{}`, not `{name}`, and nothing in view renames it", exporter(metric), metric.name);
    // What relabelling renames loses its type, so `unknown` is evidence of a rename out of view.
    let renamed = usage.spelling.suffix.is_some_and(|suffix| suffix.starts_with("unknown"));
    let finding = if (fixed == Fixed::Seen && !renamed) || closed(facts, context) {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    finding.hint(format!("write `{}`", spell(metric.name, usage, facts)))
}

/// A server's own name where Cloud Monitoring wants `prometheus.googleapis.com|NAME|TYPE`.
fn undecorated(metric: &Metric, usage: &MetricUse<'_>, facts: &HpaFacts<'_>, fixed: Fixed) -> Option<Finding> {
    if fixed == Fixed::No || matches!(metric.kind, MetricKind::Histogram | MetricKind::Info) {
        return None;
    }
    let message = format!(
        "the Stackdriver adapter takes `{}` for a custom metric; metrics of Managed Service for Prometheus have a prefix \
         and a type",
        usage.name
    );
    let field = usage.name_field();
    let finding = if fixed == Fixed::Seen {
        Finding::deny(field, usage.name, message)
    } else {
        Finding::suspect(field, usage.name, message)
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}

fn alias_on_stackdriver(metric: &Metric, usage: &MetricUse<'_>, facts: &HpaFacts<'_>, fixed: Fixed) -> Option<Finding> {
    let message = format!(
        "the Stackdriver adapter takes `{}` for a custom metric; {} exports `{}`",
        usage.name,
        exporter(metric),
        metric.name
    );
    let finding = match fixed {
        Fixed::Seen => Finding::suspect(usage.name_field(), usage.name, message),
        Fixed::Configured => Finding::note(usage.name_field(), usage.name, message),
        Fixed::No => return None,
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}

fn without_suffix(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> Option<Finding> {
    let name = usage.spelling.name;
    let kind = usage.metric().map(|metric| metric.kind);
    let message = format!("`{}` lacks the type that Managed Service for Prometheus adds to every name", usage.name);
    let field = usage.name_field();
    if !usage.in_scope() {
        return Some(Finding::suspect(field, usage.name, message).hint(format!("write `{}|gauge`", usage.name)));
    }
    let right = match (kind, &usage.resolved) {
        (Some(_), Resolved::Catalogued(metric)) => spell(metric.name, usage, facts),
        (Some(_), Resolved::Alias { metric, .. }) if is_respelled(name, metric) => spell(metric.name, usage, facts),
        (_, Resolved::Respelled { metric, .. }) => spell(metric.name, usage, facts),
        (_, Resolved::NearMiss { nearest, .. }) => {
            nearest.first().map_or_else(|| chain::spelling::gmp(name, "gauge"), |name| spell(name, usage, facts))
        }
        _ => chain::spelling::gmp(name, "gauge"),
    };
    Some(Finding::deny(field, usage.name, message).hint(format!("write `{right}`")))
}

/// The suffix of another type. `unknown` proves nothing: metadata may be lost on the way.
fn wrong_suffix(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> Option<Finding> {
    let name = usage.spelling.name;
    let suffix = usage.spelling.suffix?;
    if suffix.starts_with("unknown") {
        return None;
    }
    let made_by = |kind: MakerKind| usage.makers.made.iter().any(|made| made.by == kind);
    let recorded = made_by(MakerKind::RecordingRule);
    let relabelled = made_by(MakerKind::Relabelling);
    // Histograms and infos are `metric-kind`'s.
    if !recorded
        && !relabelled
        && usage.metric().is_some_and(|m| matches!(m.kind, MetricKind::Histogram | MetricKind::Info))
    {
        return None;
    }
    let catalogued = usage.metric().map(|metric| metric.kind);
    let alias = matches!(usage.resolved, Resolved::Alias { .. });
    let mut possible: Vec<&str> = Vec::new();
    if recorded || (alias && !relabelled) {
        possible.extend(chain::spelling::gmp_suffixes(MetricKind::Gauge, true));
    }
    if let Some(kind) = catalogued.filter(|_| !relabelled || !alias) {
        possible.extend(chain::spelling::gmp_suffixes(kind, false));
    }
    if relabelled {
        possible.push("unknown");
    }
    if possible.is_empty() || possible.contains(&suffix) {
        return None;
    }
    let right = possible.first().copied().unwrap_or("gauge");
    let why = if recorded {
        "a recording rule makes it, so"
    } else if relabelled && (alias || catalogued.is_none()) {
        "it is renamed by relabelling, so"
    } else {
        match catalogued {
            Some(MetricKind::Counter) => "it is a counter, so",
            _ => "it is a gauge, so",
        }
    };
    let message =
        format!("Managed Service for Prometheus has no `{name}` of type `{suffix}`: {why} its type is `{right}`");
    let other_makers = relabelled || usage.makers.patterns.iter().any(|pattern| pattern.by == MakerKind::Relabelling);
    let field = usage.name_field();
    let finding = if other_makers || catalogued.is_none() && !usage.in_scope() {
        Finding::suspect(field, usage.name, message)
    } else {
        Finding::deny(field, usage.name, message)
    };
    let right = if catalogued.is_some() && !recorded && !relabelled && !alias {
        usage.metric().map_or_else(|| chain::spelling::gmp(name, right), |metric| spell(metric.name, usage, facts))
    } else {
        chain::spelling::gmp(name, right)
    };
    Some(finding.hint(format!("write `{right}`")))
}

/// The counter that a name means which leaves `_total` away.
fn total_of(name: &str) -> Option<&'static Metric> {
    if engine::lookup(name).is_some() {
        return None;
    }
    engine::lookup(&format!("{name}_total")).filter(|metric| metric.kind == MetricKind::Counter)
}

fn without_total(metric: &Metric, usage: &MetricUse<'_>, facts: &HpaFacts<'_>, fixed: Fixed) -> Option<Finding> {
    let message = format!("{} exports this counter as `{}`", exporter(metric), metric.name);
    let field = usage.name_field();
    let finding = match fixed {
        Fixed::Seen => Finding::deny(field, usage.name, message),
        Fixed::Configured => Finding::suspect(field, usage.name, message),
        // prometheus-adapter's stock rules take `_total` away themselves.
        Fixed::No => return None,
    };
    Some(finding.hint(format!("write `{}`", spell(metric.name, usage, facts))))
}

// === Queries of ScaledObjects ===

fn check_queries(facts: &ScaledObjectFacts<'_>, context: &Context<'_>) -> Vec<Finding> {
    if matches!(&facts.target, Target::Workload(workload) if matches!(workload.server, Reading::Recognised { .. })) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (field, query) in queries(facts) {
        let selectors = query.series.iter();
        findings.extend(selectors.filter_map(|selector| in_query(selector, &field, facts, context)));
    }
    findings
}

fn in_query(
    selector: &promql::Selector,
    field: &str,
    facts: &ScaledObjectFacts<'_>,
    context: &Context<'_>,
) -> Option<Finding> {
    let name = selector.name.as_deref()?;
    let namespace = facts.scaled_object.metadata.namespace.as_deref();
    if engine::histogram_child(name).is_some() || chain::makers_for(context.view, name, namespace).may_coin() {
        return None;
    }
    let release = facts.target.workload().and_then(|workload| workload.server()?.version);
    let newer = release.is_some_and(|version| version > CATALOGUED_TO);
    let closed = !newer && (context.view.complete || context.configuration.makers_first);
    let uncertain = |message: String| {
        if closed { query_fault(field, name, message, context) } else { Finding::suspect(field, name, message) }
    };
    let resolved = engine::resolve(name);
    if let Some(metric) = total_of(name) {
        let message = format!("the query selects `{name}`, but {} exports `{}`", exporter(metric), metric.name);
        return Some(query_fault(field, name, message, context).hint(format!("write `{}`", metric.name)));
    }
    match resolved {
        Resolved::NearMiss { nearest, distance, .. } => {
            let message = format!("the query selects `{name}`, which nothing exports and nothing in view records");
            let readable = release.is_some_and(|version| version <= CATALOGUED_TO);
            let proven = distance <= 1 || (distance == 2 && readable) || closed;
            let finding = if proven && !other_dcgm_field(name, &nearest) {
                query_fault(field, name, message, context)
            } else {
                Finding::suspect(field, name, message)
            };
            Some(if nearest.is_empty() { finding } else { finding.hint(format!("write {}", one_of(&nearest))) })
        }
        Resolved::Respelled { metric, .. } => {
            let message = format!("the query selects `{name}`, but {} exports `{}`", exporter(metric), metric.name);
            Some(uncertain(message).hint(format!("write `{}`", metric.name)))
        }
        Resolved::UnderPrefix { optional_family: true, .. } => {
            let message = format!("`{name}` is exported only where its feature is switched on");
            Some(Finding::note(field, name, message))
        }
        Resolved::UnderPrefix { nearest, .. } => {
            let message =
                format!("the query selects `{name}`, which no known release exports and nothing in view records");
            let finding = uncertain(message);
            if nearest.is_empty() {
                return Some(finding);
            }
            let nearest: Vec<&str> = nearest.into_iter().take(3).collect();
            Some(finding.hint(format!("the nearest known names are {}", one_of(&nearest))))
        }
        Resolved::SuffixedStem { stem, .. } => {
            let message = format!("the query selects `{name}`, which nothing exports and nothing in view records");
            Some(uncertain(message).hint(format!("write a function of `{stem}`, or add the rule that records it")))
        }
        Resolved::Catalogued(_) | Resolved::Alias { .. } | Resolved::Foreign => None,
    }
}

#[cfg(test)]
mod tests;
