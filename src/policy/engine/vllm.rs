//! Which vLLM release exports which metric.

use std::collections::BTreeSet;

use super::vllm_table::{Row, SAMPLES, Span, TABLE};
use super::{Metric, Presence, Version};

/// Engine v1 can be chosen from this release on (0.7.0's release notes), and is the default from 0.8.0.
const V1_SINCE: Version = Version::new(0, 7, 0);

/// Engine v0 is gone from this release on (0.11.0's release notes; its metrics file stayed in the wheel for one release more).
const V0_UNTIL: Version = Version::new(0, 11, 0);

/// The metric's row; `None` for a metric of somebody else.
fn row(metric: &Metric) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.metric.name == metric.name)
}

/// See [`super::presence`].
pub(super) fn presence(metric: &Metric, version: Version, hidden_for: Option<&str>, use_v1: Option<bool>) -> Presence {
    let Some(row) = row(metric) else { return Presence::Unknown };
    let show = format!("{}.{}", version.major, version.minor.saturating_sub(1));
    let shown = hidden_for == Some(show.as_str());
    let of = |v1: bool| {
        let (span, hidden) = if v1 { (row.v1, row.v1_hidden) } else { (row.v0, row.v0_hidden) };
        state(row, span, hidden, version, shown)
    };
    let states: Vec<State> = engines(version, use_v1).into_iter().map(of).collect();
    match states.as_slice() {
        // With both engines possible, v1 is what starts by itself (0.8.0 and later), so what it exports is there unless v0
        // is chosen; what v0 alone exports is not provably absent.
        [State::Exported] | [State::Exported | State::Absent, State::Exported] => Presence::Exported,
        [State::Absent] | [State::Absent, State::Absent] => negative(row, version),
        [State::Hidden] | [State::Hidden, State::Hidden | State::Absent] | [State::Absent, State::Hidden] => {
            Presence::Hidden { show }
        }
        _ => Presence::Unknown,
    }
}

/// What one engine generation of a release does with a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Exported,
    Hidden,
    Absent,
    Unknown,
}

/// The engine generations that may run, v0 (`false`) before v1 (`true`).
fn engines(version: Version, use_v1: Option<bool>) -> BTreeSet<bool> {
    let mut engines = BTreeSet::new();
    if version < V0_UNTIL && (version < V1_SINCE || use_v1 != Some(true)) {
        engines.insert(false);
    }
    if version >= V0_UNTIL || (version >= V1_SINCE && use_v1 != Some(false)) {
        engines.insert(true);
    }
    engines
}

fn state(row: &Row, span: Option<Span>, hidden: Option<Span>, version: Version, shown: bool) -> State {
    let Some(span) = span else { return State::Absent };
    match side(span, version) {
        Side::Within => {}
        Side::Before | Side::After => return State::Absent,
        Side::Between => return State::Unknown,
    }
    match hidden.map(|hidden| side(hidden, version)) {
        Some(Side::Within) if !shown => State::Hidden,
        Some(Side::Between | Side::After) => State::Unknown,
        _ if row.optional => State::Unknown,
        _ => State::Exported,
    }
}

/// Where a release stands to the samples that declare a metric.
enum Side {
    Before,
    Within,
    After,
    /// Between the last sample on one side of a change and the first on the other, or older than every sample.
    Between,
}

fn side(span: Span, version: Version) -> Side {
    if version < span.first {
        let before = SAMPLES.iter().rev().find(|sample| **sample < span.first);
        let oldest = SAMPLES.first().is_some_and(|oldest| version < *oldest);
        return if !oldest && before.is_some_and(|before| version <= *before) { Side::Before } else { Side::Between };
    }
    match span.last {
        Some(last) if version > last => {
            let after = SAMPLES.iter().find(|sample| **sample > last);
            if after.is_some_and(|after| version >= *after) { Side::After } else { Side::Between }
        }
        _ => Side::Within,
    }
}

/// What to say of a metric that no possible engine exports: not yet, or gone. Nothing proves what a release outside the
/// samples lacks, and speculative decoding builds names at run time, which the wheels do not show.
fn negative(row: &Row, version: Version) -> Presence {
    let oldest = SAMPLES.first().is_none_or(|oldest| version < *oldest);
    let newest = SAMPLES.last().is_none_or(|newest| version > *newest);
    let built = row.metric.name.starts_with("vllm:spec_decode_");
    if oldest || newest || built {
        return Presence::Unknown;
    }
    let first = [row.v0, row.v1].into_iter().flatten().map(|span| span.first).min();
    match (first, last(row)) {
        (Some(since), _) if version < since => Presence::NotYet { since },
        (_, Some(last)) if version > last => Presence::Gone { last },
        // The other engine generation of this release has it.
        _ => Presence::Unknown,
    }
}

/// The last release that declares the metric; `None` while the newest sample does.
fn last(row: &Row) -> Option<Version> {
    let spans: Vec<Span> = [row.v0, row.v1].into_iter().flatten().collect();
    if spans.iter().any(|span| span.last.is_none()) { None } else { spans.iter().filter_map(|span| span.last).max() }
}

#[cfg(test)]
mod tests {
    use super::super::lookup;
    use super::*;

    fn at(name: &str, version: (u16, u16), hidden_for: Option<&str>, use_v1: Option<bool>) -> Presence {
        let metric = lookup(name).unwrap_or_else(|| panic!("{name}"));
        presence(metric, Version::new(0, version.0, version.1), hidden_for, use_v1)
    }

    /// The first and the last sample that declare a name; no last one while the newest does.
    type Declared = Option<(Version, Option<Version>)>;

    /// What the wheels declare: exposed name, and the samples in which each engine does.
    fn declared() -> Vec<(String, [Declared; 2])> {
        let range = |text: &str| {
            let (first, last) = text.split_once("..")?;
            Some((Version::parse(first).unwrap(), Version::parse(last)))
        };
        let lines = include_str!("declared.tsv").lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                let suffix = if fields[1] == "counter" && !fields[0].ends_with("_total") { "_total" } else { "" };
                // prometheus_client's `Info` adds `_info`.
                let name = if fields[0] == "cache_config" { "cache_config_info" } else { fields[0] };
                (format!("vllm:{name}{suffix}"), [range(fields[2]), range(fields[3])])
            })
            .collect()
    }

    /// Whether some declaration of the name holds in the release, for one engine.
    fn declares(name: &str, engine: usize, version: Version) -> bool {
        declared()
            .iter()
            .filter(|row| row.0 == name)
            .filter_map(|row| row.1[engine])
            .any(|(first, last)| first <= version && last.is_none_or(|last| version <= last))
    }

    #[test]
    fn every_sampled_release_answers_as_its_wheel_declares() {
        let names: BTreeSet<String> = declared().into_iter().map(|row| row.0).collect();
        assert_eq!(names.len(), TABLE.len(), "the table and the listing name the same metrics");
        for name in &names {
            let row = TABLE.iter().find(|row| row.metric.name == name).unwrap_or_else(|| panic!("{name}"));
            for version in SAMPLES {
                for use_v1 in [None, Some(false), Some(true)] {
                    let possible = engines(version, use_v1);
                    let there: Vec<bool> =
                        possible.iter().map(|v1| declares(name, usize::from(*v1), version)).collect();
                    let answer = presence(&row.metric, version, None, use_v1);
                    let context = format!("{name} at {version} with VLLM_USE_V1={use_v1:?}: {answer:?}");
                    match &answer {
                        Presence::Exported => assert!(there.contains(&true), "{context}"),
                        Presence::Gone { last } => {
                            assert!(!there.contains(&true) && *last < version, "{context}");
                        }
                        Presence::NotYet { since } => {
                            assert!(!there.contains(&true) && *since > version, "{context}");
                        }
                        Presence::Hidden { show } => {
                            assert!(there.contains(&true), "{context}");
                            assert_eq!(
                                presence(&row.metric, version, Some(show), use_v1),
                                if possible.len() == 1 { Presence::Exported } else { Presence::Unknown },
                                "{context}"
                            );
                        }
                        Presence::Unknown => {
                            let undecided = row.optional || (there.contains(&true) && there.contains(&false));
                            // 0.8.0 may hide what 0.8.5 does; and an engine may lack what the other has.
                            let hiding = row.v0_hidden.is_some() && version == Version::new(0, 8, 0);
                            let other = !there.contains(&true) && (0..2).any(|engine| declares(name, engine, version));
                            assert!(undecided || hiding || other, "{context}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_running_servers_exposed_is_exported() {
        // Measured on servers of these releases after one request.
        for (name, releases) in [
            ("vllm:kv_cache_usage_perc", [true, true, true]),
            ("vllm:num_requests_running", [true, true, true]),
            ("vllm:num_requests_waiting_by_reason", [false, false, true]),
            ("vllm:engine_sleep_state", [false, true, true]),
            ("vllm:external_prefix_cache_hits_total", [false, true, true]),
            ("vllm:gpu_cache_usage_perc", [false, false, false]),
            ("vllm:gpu_prefix_cache_hits_total", [false, false, false]),
            ("vllm:time_per_output_token_seconds", [true, false, false]),
            ("vllm:prefix_cache_queries_total", [true, true, true]),
            ("vllm:estimated_flops_per_gpu_total", [false, false, true]),
            ("vllm:request_prefill_kv_computed_tokens", [false, false, true]),
            ("vllm:request_time_per_output_token_seconds", [true, true, true]),
        ] {
            for (version, expected) in [(11, 0), (12, 0), (25, 1)].into_iter().zip(releases) {
                let answer = at(name, version, None, None);
                assert_eq!(answer == Presence::Exported, expected, "{name} at {version:?}: {answer:?}");
                assert_ne!(answer, Presence::Unknown, "{name} at {version:?}");
            }
        }
    }

    #[test]
    fn the_walkthroughs_release_hides_the_old_cache_gauge_and_one_value_brings_it_back() {
        let name = "vllm:gpu_cache_usage_perc";
        assert_eq!(at(name, (10, 2), None, Some(true)), Presence::Exported);
        assert_eq!(at(name, (11, 0), None, None), Presence::Hidden { show: "0.10".to_owned() });
        assert_eq!(at(name, (11, 0), Some("0.10"), None), Presence::Exported);
        assert_eq!(at(name, (11, 0), Some("0.9"), None), Presence::Hidden { show: "0.10".to_owned() });
        assert_eq!(at(name, (11, 0), Some("0.10.2"), None), Presence::Hidden { show: "0.10".to_owned() });
        assert_eq!(at(name, (12, 0), Some("0.11"), None), Presence::Gone { last: Version::new(0, 11, 2) });
        let name = "vllm:time_per_output_token_seconds";
        assert_eq!(at(name, (13, 0), None, None), Presence::Hidden { show: "0.12".to_owned() });
        assert_eq!(at(name, (13, 0), Some("0.12"), None), Presence::Exported);
    }

    #[test]
    fn between_two_samples_a_change_is_unknown() {
        assert_eq!(at("vllm:time_per_output_token_seconds", (15, 0), None, None), Presence::Unknown);
        assert_eq!(at("vllm:num_requests_waiting_by_reason", (20, 0), None, None), Presence::Unknown);
        assert_eq!(at("vllm:kv_cache_usage_perc", (9, 1), None, Some(true)), Presence::Unknown);
        // No change lies between two samples that agree.
        assert_eq!(at("vllm:num_requests_running", (25, 1), None, None), Presence::Exported);
        assert_eq!(
            at("vllm:num_requests_waiting_by_reason", (19, 0), None, None),
            Presence::NotYet { since: Version::new(0, 20, 2) }
        );
    }

    #[test]
    fn newer_than_the_catalogue_proves_nothing_but_what_is_still_there() {
        assert_eq!(at("vllm:num_requests_running", (40, 0), None, None), Presence::Exported);
        assert_eq!(
            at("vllm:gpu_cache_usage_perc", (33, 0), None, None),
            Presence::Gone { last: Version::new(0, 11, 2) }
        );
        assert_eq!(at("vllm:gpu_cache_usage_perc", (33, 1), None, None), Presence::Unknown);
    }

    #[test]
    fn older_than_the_catalogue_is_unknown() {
        assert_eq!(at("vllm:num_requests_running", (3, 0), None, None), Presence::Unknown);
        assert_eq!(at("vllm:kv_cache_usage_perc", (3, 0), None, None), Presence::Unknown);
    }

    #[test]
    fn with_both_engines_possible_a_metric_of_either_is_not_provably_absent() {
        let swapped = "vllm:num_requests_swapped";
        assert_eq!(at(swapped, (9, 0), None, None), Presence::Hidden { show: "0.8".to_owned() });
        assert_eq!(at(swapped, (9, 0), None, Some(true)), Presence::Unknown);
        assert_eq!(at(swapped, (9, 2), None, None), Presence::Gone { last: Version::new(0, 9, 0) });
        assert_eq!(at("vllm:kv_cache_usage_perc", (10, 0), None, None), Presence::Exported);
        assert_eq!(at("vllm:kv_cache_usage_perc", (10, 0), None, Some(false)), Presence::Unknown);
        assert_eq!(at("vllm:gpu_prefix_cache_hits_total", (8, 5), None, None), Presence::Exported);
    }

    #[test]
    fn what_needs_a_feature_is_never_proven_there() {
        assert_eq!(at("vllm:lora_requests_info", (12, 0), None, None), Presence::Unknown);
        assert_eq!(at("vllm:spec_decode_num_drafts_total", (26, 0), None, None), Presence::Unknown);
        assert_eq!(
            at("vllm:kv_block_lifetime_seconds", (11, 0), None, None),
            Presence::NotYet { since: Version::new(0, 12, 0) }
        );
    }

    #[test]
    fn every_successor_is_catalogued() {
        for row in &TABLE {
            for successor in row.metric.successors {
                assert!(lookup(successor).is_some(), "{}: {successor}", row.metric.name);
            }
        }
    }
}
