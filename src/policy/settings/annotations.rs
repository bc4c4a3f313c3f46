//! The values of the annotations, over the profile's.

use crate::policy::configuration::{Configuration, Profile, ProfileTarget, Signal};
use crate::policy::finding::Finding;
use crate::policy::objects::{ObjectMeta, Quantity, ScalingRules};

use super::keys::annotation_field;
use super::values::{self, BadValue, MAX_COUNT, MAX_SCRAPE_SECONDS, MAX_WINDOW_SECONDS, bad};
use super::{PREFIX, SCRAPE_INTERVAL_SECONDS, SKIP, Settings, nearest};

/// Engines that have a catalogue, as the `engine` annotation names them.
const ENGINES: [&str; 1] = ["vllm"];
/// Each target annotation, its signal and the most it may be.
const TARGETS: [(&str, Signal, Option<i64>); 4] = [
    ("target-requests-running", Signal::RequestsRunning, None),
    ("target-requests-waiting", Signal::RequestsWaiting, None),
    ("target-kv-cache-usage", Signal::KvCacheUsage, Some(1)),
    ("target-gpu-utilization", Signal::GpuUtilization, Some(100)),
];

/// The annotation that gives a signal's target, without the prefix.
pub(super) fn target_key(signal: Signal) -> &'static str {
    TARGETS.iter().find(|(_, of, _)| *of == signal).map_or("", |(key, _, _)| key)
}

struct Reader<'a> {
    metadata: &'a ObjectMeta,
    denied: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    /// The annotation's value, read; `None` when it is not there, or wrong, which is then said.
    fn read<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, BadValue>) -> Option<T> {
        let key = format!("{PREFIX}{name}");
        let value = self.metadata.annotations.get(&key)?;
        match parse(value) {
            Ok(read) => Some(read),
            Err(BadValue { problem, allowed }) => {
                let message = format!("annotation {key}: {} {problem}", values::shown(value));
                self.denied.push(Finding::deny(annotation_field(&key), value.as_str(), message).hint(allowed));
                None
            }
        }
    }
}

/// Refuses a share where per cent are asked for: a target of 0.8 per cent keeps a workload at its maximum.
fn in_unit(signal: Signal, target: Quantity) -> Result<Quantity, BadValue> {
    const ONE: i128 = 1_000_000_000;
    if signal == Signal::GpuUtilization && target.nanos().is_ok_and(|nanos| nanos <= ONE) {
        return bad("is at most 1 per cent", "write per cent, such as 80");
    }
    Ok(target)
}

/// The settings of a labelled workload. They count only when nothing was added to `denied`.
pub(super) fn settings(
    profile_name: String,
    profile: Profile,
    metadata: &ObjectMeta,
    configuration: &Configuration,
    denied: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) -> Settings {
    let mut reader = Reader { metadata, denied };
    let mut metrics: Vec<(Signal, ProfileTarget)> =
        profile.metrics.into_iter().map(|metric| (metric.signal, metric.target)).collect();
    let mut explicit_targets = Vec::new();
    for (name, signal, most) in TARGETS {
        let Some(quantity) = reader.read(name, |text| in_unit(signal, values::target(text, most)?)) else { continue };
        explicit_targets.push(signal);
        let target = ProfileTarget::Fixed(quantity);
        match metrics.iter_mut().find(|(of, _)| *of == signal) {
            Some(metric) => metric.1 = target,
            None => metrics.push((signal, target)),
        }
    }
    let mut behavior = profile.behavior;
    let mut window = |name, rules: &mut Option<ScalingRules>| {
        if let Some(seconds) = reader.read(name, |text| values::seconds(text, 0, MAX_WINDOW_SECONDS)) {
            rules.get_or_insert_default().stabilization_window_seconds = i64::try_from(seconds).ok();
        }
    };
    window("scale-up-stabilization", &mut behavior.scale_up);
    window("scale-down-stabilization", &mut behavior.scale_down);

    let min = reader.read("min-replicas", |text| values::count(text, 0, MAX_COUNT));
    let max = reader.read("max-replicas", |text| values::count(text, 1, MAX_COUNT));
    let min_replicas = min.or(profile.min_replicas).unwrap_or(1);
    let max_replicas = max.or(profile.max_replicas).unwrap_or(configuration.max_replicas);
    check_range(&mut reader, (min, max), (min_replicas, max_replicas), &profile_name);

    let settings = Settings {
        profile: profile_name,
        metrics,
        explicit_targets,
        min_replicas,
        max_replicas,
        max_explicit: max.is_some(),
        behavior,
        metrics_port: reader.read("metrics-port", values::port),
        metrics_path: reader.read("metrics-path", values::path),
        scrape_interval_seconds: reader
            .read("scrape-interval", |text| values::seconds(text, 1, MAX_SCRAPE_SECONDS))
            .unwrap_or(SCRAPE_INTERVAL_SECONDS),
        container: reader.read("container", values::dns_label),
        engine: reader.read("engine", engine),
        paused: reader.read("paused", values::flag).unwrap_or(false),
        generate: reader.read("generate", values::flag).unwrap_or(true),
        skip: skipped_rules(metadata, configuration),
        backend: configuration.backend.kind,
    };
    warn_of_skips(metadata, configuration, warnings);
    settings
}

/// Fewest and most replicas together: the annotation that the owner wrote bears the finding.
fn check_range(reader: &mut Reader<'_>, (min, max): (Option<i64>, Option<i64>), range: (i64, i64), profile: &str) {
    let (least, most) = range;
    if least <= most {
        return;
    }
    let finding = |name: &str, value: i64, message: String, hint: String| {
        let key = format!("{PREFIX}{name}");
        Finding::deny(annotation_field(&key), value.to_string(), format!("annotation {key}: {message}")).hint(hint)
    };
    reader.denied.push(match (min, max) {
        (Some(least), None) => finding(
            "min-replicas",
            least,
            format!("{least} is above the most replicas, {most}, that apply without {PREFIX}max-replicas"),
            format!("set {PREFIX}max-replicas to {least} or more"),
        ),
        (None, _) => finding(
            "max-replicas",
            most,
            format!("{most} is below the fewest replicas of profile {profile}, {least}"),
            format!("write {least} or more, or set {PREFIX}min-replicas too"),
        ),
        (Some(least), Some(most)) => finding(
            "max-replicas",
            most,
            format!("{most} is below {PREFIX}min-replicas, {least}"),
            format!("write {least} or more"),
        ),
    });
}

fn engine(text: &str) -> Result<String, BadValue> {
    let name = text.trim();
    if ENGINES.contains(&name) {
        return Ok(name.to_owned());
    }
    let problem = "is no engine whose metrics are known";
    match nearest(name, ENGINES) {
        Some(meant) => bad(problem, format!("did you mean {meant:?}?")),
        None => bad(problem, format!("write one of {}", ENGINES.join(", "))),
    }
}

fn named_rules(metadata: &ObjectMeta) -> impl Iterator<Item = &str> {
    let text = metadata.annotations.get(SKIP).map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|rule| !rule.is_empty())
}

/// The rules that a workload's or HPA's `skip` annotation names and the configuration allows to skip.
pub fn skipped_rules(metadata: &ObjectMeta, configuration: &Configuration) -> Vec<String> {
    let allowed = |rule: &&str| configuration.allow_skip.iter().any(|allowed| allowed == rule);
    let mut rules: Vec<String> = named_rules(metadata).filter(allowed).map(str::to_owned).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// Entries of a `skip` annotation that are looked at for a warning: the nearest rule of each takes time.
const MOST_SKIPS: usize = 20;

/// A rule that may not be skipped is judged all the same, which its owner should know.
fn warn_of_skips(metadata: &ObjectMeta, configuration: &Configuration, warnings: &mut Vec<Finding>) {
    for rule in named_rules(metadata).take(MOST_SKIPS) {
        if configuration.allow_skip.iter().any(|allowed| allowed == rule) {
            continue;
        }
        let message = format!("annotation {SKIP} names {}, which may not be skipped here", values::shown(rule));
        let hint = match nearest(rule, configuration.allow_skip.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if configuration.allow_skip.is_empty() => "the configuration allows no rule to be skipped".to_owned(),
            None => format!("the configuration allows {}", configuration.allow_skip.join(", ")),
        };
        warnings.push(Finding::warn(annotation_field(SKIP), rule, message).hint(hint));
    }
}
