//! `metric-exists`: a name that no exporter has and nothing in view makes.

mod live;
mod queries;
mod spelling;

use strsim::damerau_levenshtein;

use self::live::{Live, live, missing};
use self::spelling::{
    alias_on_stackdriver, is_respelled, respelled, total_of, undecorated, without_suffix, without_total, wrong_suffix,
};
use super::naming::{adapter, adapter_seen, has_upper_case, judged_elsewhere, may_coin, one_of, spell};
use super::{Checks, Rule};
use crate::policy::chain::adapter::Adapter;
use crate::policy::chain::spelling::Form;
use crate::policy::chain::{self, MakerKind};
use crate::policy::configuration::Level;
use crate::policy::engine::{self, MetricKind, Resolved, Version};
use crate::policy::facts::{Context, HpaFacts, MetricUse, Source};
use crate::policy::finding::{Finding, Severity};
use crate::policy::presence;
use crate::policy::workload::Reading;

/// The newest release that the catalogue was read from.
const CATALOGUED_TO: Version = Version::new(0, 33, 0);

/// Bytes of the longest name that is compared with the names that are made in view.
const LONGEST: usize = 120;

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
    checks: Checks { hpa: Some(check), scaled_object: Some(queries::check), ..Checks::NONE },
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
    if matches!(live, Some(Live::Served)) {
        return None;
    }
    let case_is_at_fault = case_is_at_fault(usage, facts);
    if case_is_at_fault && keeps_case(usage, facts) {
        return None;
    }
    let recognised =
        matches!(facts.target.workload().map(|workload| &workload.server), Some(Reading::Recognised { .. }));
    let named = if recognised || case_is_at_fault { None } else { by_name(usage, facts, context) };
    match (named, live) {
        (Some(finding), _) if finding.severity == Severity::Deny => Some(finding),
        (_, Some(Live::Missing { minutes })) if !may_coin(usage) && !presence::scraped(usage, facts, context) => {
            Some(missing(usage, facts, minutes))
        }
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

/// Whether what answers for an External metric has no name in lower case for it, so that upper case alone is refused.
/// Elsewhere the name in lower case may be served or not, which the metrics API tells.
fn keeps_case(usage: &MetricUse<'_>, facts: &HpaFacts<'_>) -> bool {
    matches!(facts.external_adapter, Adapter::Stackdriver | Adapter::Keda) || usage.spelling.form != Form::Plain
}

fn by_name(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    let name = usage.spelling.name;
    match usage.spelling.form {
        Form::GoogleApis => return None,
        Form::GmpWithoutSuffix => return Some(without_suffix(usage, facts)),
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
            Form::Plain if usage.source != Source::Object => undecorated(metric, usage, facts, fixed),
            _ => None,
        },
        Resolved::Alias { metric, .. } => match usage.spelling.form {
            Form::Gmp if is_respelled(name, metric) => Some(respelled(metric, usage, facts, context, fixed)),
            Form::Gmp => wrong_suffix(usage, facts),
            Form::Plain if usage.source != Source::Object => alias_on_stackdriver(metric, usage, facts, fixed),
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
            let gauge = engine::lookup(stem).is_some_and(|metric| metric.kind == MetricKind::Gauge);
            let hint = if gauge {
                format!("add the rule that makes it, or write `{}`", spell(stem, usage, facts))
            } else {
                "add the recording rule or the adapter rule that makes it".to_owned()
            };
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
    !newer && makers_are_there(context)
}

/// Kinds whose objects make names, as far as a live cluster is watched for them.
const MAKER_KINDS: [&str; 10] = [
    "AutoscalingMetric",
    "ClusterPodMonitoring",
    "ClusterRules",
    "ConfigMap",
    "GlobalRules",
    "PodMonitor",
    "PodMonitoring",
    "PrometheusRule",
    "Rules",
    "ServiceMonitor",
];

/// Whether a maker that is not in view does not exist, and none will come after the autoscaler.
fn makers_are_there(context: &Context<'_>) -> bool {
    (context.view.complete || context.configuration.makers_first) && !makers_may_be_missing(context)
}

/// Whether the cluster may have a maker that the view does not show at present.
fn makers_may_be_missing(context: &Context<'_>) -> bool {
    MAKER_KINDS.iter().any(|kind| context.view.is_partial(kind))
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
    if other_dcgm_field(name, nearest) {
        return Finding::note(field, usage.name, by_list(name));
    }
    let message = format!("nothing exports a metric `{name}`, and nothing in view makes it");
    let finding = if certain && near_enough && !makers_may_be_missing(context) {
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

/// Who does not know a name, as the beginning of a sentence. DCGM has more fields than its exporter's lists name.
fn unknown_to(name: &str) -> &'static str {
    if name.starts_with("DCGM_") { "no shipped list of the DCGM exporter names" } else { "no known release exports" }
}

/// What there is to say of a DCGM field that the shipped lists leave out.
fn by_list(name: &str) -> String {
    format!("the DCGM exporter exports `{name}` only where its list of counters names it")
}

/// Whether a name near a DCGM field differs from it by a part that other DCGM fields really have.
fn other_dcgm_field(name: &str, nearest: &[&'static str]) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    nearest.iter().filter(|other| other.starts_with("DCGM_")).any(|other| {
        let others: Vec<&str> = other.split('_').collect();
        let mut differing = parts.iter().zip(&others).filter(|(one, other)| one != other);
        parts.len() == others.len()
            && differing.all(|(one, other)| DCGM_PARTS.contains(one) || same_but_number(one, other))
    })
}

/// Whether two parts differ by a number alone: the links and engines of a GPU are numbered (`L3`, `NVDEC1`).
fn same_but_number(one: &str, other: &str) -> bool {
    let (word, number) = one.split_at(one.trim_end_matches(|c: char| c.is_ascii_digit()).len());
    !number.is_empty() && word == other.trim_end_matches(|c: char| c.is_ascii_digit()) && word != other
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
    let message = format!("{} `{name}`, and nothing in view makes it", unknown_to(name));
    let finding = made_nowhere(usage.name_field(), usage.name, message, facts, context);
    let near: Vec<&str> = nearest.iter().copied().filter(|other| looks_like(name, other)).collect();
    if near.is_empty() {
        return finding.hint("add the recording rule or the adapter rule that makes it");
    }
    let spelled: Vec<String> = near.into_iter().map(|name| spell(name, usage, facts)).collect();
    finding.hint(nearest_known(&spelled))
}

/// The known names that come nearest to one that nobody knows.
fn nearest_known<T: AsRef<str>>(names: &[T]) -> String {
    let what = if names.len() == 1 { "name is" } else { "names are" };
    format!("the nearest known {what} {}", one_of(names))
}

/// Whether a known metric that can be scaled on is near enough to a name to be worth a mention: most of its letters agree.
fn looks_like(name: &str, known: &str) -> bool {
    let usable =
        engine::lookup(known).is_some_and(|metric| matches!(metric.kind, MetricKind::Gauge | MetricKind::Counter));
    usable && damerau_levenshtein(&name.replace('_', ":"), &known.replace('_', ":")) * 3 <= known.len()
}

/// Where nothing else is known about a name: it differs by little from one that is made in view.
fn beside_a_maker(usage: &MetricUse<'_>, facts: &HpaFacts<'_>, context: &Context<'_>) -> Option<Finding> {
    if usage.spelling.form != Form::Plain && usage.spelling.form != Form::Gmp {
        return None;
    }
    let name = usage.spelling.name;
    // Long names are compared with nothing: the comparison costs their product.
    let comparable = |other: &str| (7..=LONGEST).contains(&name.len()) && name.len().abs_diff(other.len()) <= 2;
    let near = |other: &str| comparable(other) && matches!(damerau_levenshtein(name, other), 1 | 2);
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
    // Even where all of them are in view: the AutoscalingMetric may be applied after the autoscaler.
    let finding = if makers_are_there(context) {
        Finding::deny(field, usage.name, message)
    } else if context.view.is_closed("AutoscalingMetric") {
        Finding::suspect(field, usage.name, message)
    } else {
        Finding::note(field, usage.name, message)
    };
    Some(finding.hint("the AutoscalingMetric has to be in the autoscaler's namespace and list that name"))
}

#[cfg(test)]
mod tests;
