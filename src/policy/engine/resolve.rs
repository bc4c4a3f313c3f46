//! A metric name as somebody wrote it -> the catalogued metric that it means, or comes near to.

use super::{Engine, Exporter, Metric, MetricKind, lookup, metrics};

/// How an alias is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasKind {
    /// `_` for `:`, as adapters and OpenTelemetry write it: `vllm_num_requests_waiting`.
    Underscore,
    /// Without the prefix, as NIM exports it: `num_requests_running`.
    Bare,
    /// `.` for `:`, as OpenTelemetry's own names have it: `vllm.num_requests_waiting`.
    Dotted,
    /// A counter without its `_total`.
    WithoutTotal,
    /// `dcgm_fi_dev_gpu_util`.
    LowerCase,
    /// A GKE system metric with `/` for `|`.
    Slashes,
}

/// What a name means. The name comes without a backend's decoration (`prometheus.googleapis.com|...|gauge`).
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// A catalogued name, or a series of a catalogued histogram: see [`histogram_child`].
    Catalogued(&'static Metric),
    /// Another accepted spelling. An adapter that makes it is likely, so it is never wrong by itself.
    Alias {
        /// The metric.
        metric: &'static Metric,
        /// The spelling.
        spelling: AliasKind,
    },
    /// The same letters, but another case or other separators.
    Respelled {
        /// The metric.
        metric: &'static Metric,
    },
    /// One or two edits (a transposition is one) away from a catalogued name.
    NearMiss {
        /// The nearest names, all at this distance.
        nearest: Vec<&'static str>,
        /// Edits: 1 or 2.
        distance: usize,
    },
    /// Another word under an exporter's prefix.
    UnderPrefix {
        /// Catalogued names that come nearest.
        nearest: Vec<&'static str>,
        /// Of a family that the catalogue leaves out (optional connectors, `_created`, the router): it may well exist.
        optional_family: bool,
    },
    /// A catalogued name with a suffix, as recording and adapter rules make it (`_p95`, `_AVG`).
    SuffixedStem {
        /// The catalogued name.
        stem: &'static str,
    },
    /// None of ours.
    Foreign,
}

/// Names that NIM, which runs vLLM inside, exports without prefix, and those that only vLLM has. Plainer words
/// (`tokens_total`, `request_success_total`) may be anybody's.
const BARE: [&str; 14] = [
    "num_requests_running",
    "num_requests_waiting",
    "num_requests_swapped",
    "kv_cache_usage_perc",
    "gpu_cache_usage_perc",
    "cpu_cache_usage_perc",
    "gpu_prefix_cache_hit_rate",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "prompt_tokens_total",
    "generation_tokens_total",
    "num_preemptions_total",
];

/// Families under `vllm:` that the catalogue leaves out: connectors, speculative decoding (whose names are partly built at
/// run time), and what the production stack's router exports.
const FAMILIES: [&str; 18] = [
    "spec_decode_",
    "mooncake_",
    "simple_kv_",
    "kv_offload_",
    "websocket_",
    "nixl_",
    "lmcache_",
    "kv_transfer_",
    "router_",
    "current_qps",
    "avg_decoding_length",
    "avg_latency",
    "avg_itl",
    "num_prefill_requests",
    "num_decoding_requests",
    "num_incoming_requests",
    "healthy_pods",
    "disagg_",
];

const CHILDREN: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Names longer than this are compared with nothing: no catalogued one is near, and the comparison costs their product.
const LONGEST: usize = 120;

/// How many nearest names a message can hold.
const NEAREST: usize = 3;

/// The histogram that a series belongs to, and which part it is: `bucket`, `sum` or `count`.
pub fn histogram_child(name: &str) -> Option<(&'static Metric, &'static str)> {
    CHILDREN.iter().find_map(|suffix| {
        let metric = lookup(name.strip_suffix(suffix)?)?;
        (metric.kind == MetricKind::Histogram).then(|| (metric, suffix.trim_start_matches('_')))
    })
}

/// What a name means.
pub fn resolve(name: &str) -> Resolved {
    if let Some(metric) = exact(name) {
        return Resolved::Catalogued(metric);
    }
    if name.len() > LONGEST {
        return Resolved::Foreign;
    }
    if let Some((metric, spelling)) = alias(name) {
        return Resolved::Alias { metric, spelling };
    }
    let folded = fold(name);
    let prefix = Prefix::of(&folded);
    if let Some(metric) = respelled(&folded, prefix) {
        return Resolved::Respelled { metric };
    }
    let Some(prefix) = prefix else { return misspelled_prefix(name) };
    let stem = canonical(name, prefix);
    if let Some(base) = stem.strip_suffix("_created").and_then(|base| with_total(base).or_else(|| exact(base))) {
        return Resolved::UnderPrefix { nearest: vec![base.name], optional_family: true };
    }
    if prefix == Prefix::Vllm && FAMILIES.iter().any(|family| stem[prefix.text().len()..].starts_with(family)) {
        return Resolved::UnderPrefix { nearest: Vec::new(), optional_family: true };
    }
    let near = nearest(&stem, prefix);
    let closest = near.first().map_or(usize::MAX, |(distance, _)| *distance);
    let names = |distance: usize| near.iter().filter(|row| row.0 == distance).map(|row| row.1).collect::<Vec<_>>();
    if closest == 1 {
        return Resolved::NearMiss { nearest: names(1), distance: 1 };
    }
    if let Some(stem) = suffixed(&stem, prefix) {
        return Resolved::SuffixedStem { stem };
    }
    // DCGM has hundreds of fields that differ by two letters; two edits prove nothing there.
    if closest == 2 && prefix == Prefix::Vllm {
        return Resolved::NearMiss { nearest: names(2), distance: 2 };
    }
    let nearest = near.iter().take(NEAREST).map(|row| row.1).collect();
    Resolved::UnderPrefix { nearest, optional_family: false }
}

/// A word that shows whose metric a name means to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Vllm,
    Dcgm,
    Gke,
}

// === impl Prefix ===

impl Prefix {
    /// The prefix of a folded name.
    fn of(folded: &str) -> Option<Self> {
        [Self::Vllm, Self::Dcgm, Self::Gke].into_iter().find(|prefix| {
            let word = prefix.folded();
            folded.strip_prefix(word).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
        })
    }

    fn folded(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Dcgm => "dcgm_fi",
            Self::Gke => "kubernetes_io_container_accelerator",
        }
    }

    /// The prefix as catalogued names have it.
    fn text(self) -> &'static str {
        match self {
            Self::Vllm => "vllm:",
            Self::Dcgm => "DCGM_FI_",
            Self::Gke => "kubernetes.io|container|accelerator|",
        }
    }

    fn owns(self, metric: &Metric) -> bool {
        match self {
            Self::Vllm => metric.exporter == Exporter::Engine(Engine::Vllm),
            Self::Dcgm => metric.exporter == Exporter::Dcgm,
            Self::Gke => metric.exporter == Exporter::GkeSystem,
        }
    }
}

fn exact(name: &str) -> Option<&'static Metric> {
    lookup(name).or_else(|| histogram_child(name).map(|(metric, _)| metric))
}

/// A counter by its name without `_total`.
fn with_total(name: &str) -> Option<&'static Metric> {
    lookup(&format!("{name}_total")).filter(|metric| metric.kind == MetricKind::Counter)
}

fn alias(name: &str) -> Option<(&'static Metric, AliasKind)> {
    if let Some(metric) = with_total(name) {
        return Some((metric, AliasKind::WithoutTotal));
    }
    let either = |name: &str| exact(name).or_else(|| with_total(name));
    for (prefix, kind) in [("vllm_", AliasKind::Underscore), ("vllm.", AliasKind::Dotted)] {
        if let Some(metric) = name.strip_prefix(prefix).and_then(|rest| either(&format!("vllm:{rest}"))) {
            return Some((metric, kind));
        }
    }
    let lower = name.starts_with("dcgm_fi_") && !name.contains(|c: char| c.is_ascii_uppercase());
    if let Some(metric) = lower.then(|| name.to_ascii_uppercase()).and_then(|name| lookup(&name)) {
        return Some((metric, AliasKind::LowerCase));
    }
    let slashes = name.starts_with("kubernetes.io/");
    if let Some(metric) = slashes.then(|| name.replace('/', "|")).and_then(|name| lookup(&name)) {
        return Some((metric, AliasKind::Slashes));
    }
    let stem = CHILDREN.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let bare = BARE.contains(&stem) || BARE.iter().any(|known| known.strip_suffix("_total") == Some(stem));
    let metric = if bare { either(&format!("vllm:{name}")) } else { None };
    metric.map(|metric| (metric, AliasKind::Bare))
}

/// Lower case, with `_` for every separator and for runs of them.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        if c != '_' || !folded.ends_with('_') {
            folded.push(c);
        }
    }
    folded
}

/// The metric whose name is the same but for case and separators, missing ones included (`vllm:numRequestsRunning`).
fn respelled(folded: &str, prefix: Option<Prefix>) -> Option<&'static Metric> {
    let plain = |text: &str| fold(text).replace('_', "");
    let wanted = plain(folded);
    let prefixed = prefix.is_some() || wanted.starts_with("vllm") || wanted.starts_with("dcgmfi");
    let same = |metric: &&'static Metric| {
        let name = plain(metric.name);
        name == wanted || name.strip_suffix("total").is_some_and(|name| name == wanted)
    };
    metrics().find(|metric| prefixed && same(metric))
}

/// The name with its prefix spelled as in the catalogue, in the catalogue's case.
fn canonical(name: &str, prefix: Prefix) -> String {
    let folded = fold(name);
    let rest = folded.strip_prefix(prefix.folded()).unwrap_or("").trim_start_matches('_');
    let rest = if prefix == Prefix::Dcgm { rest.to_ascii_uppercase() } else { rest.to_owned() };
    // A separator at the end was meant to be one.
    format!("{}{rest}", prefix.text())
}

/// Catalogued names by their distance, nearest first.
fn nearest(stem: &str, prefix: Prefix) -> Vec<(usize, &'static str)> {
    // A series of a histogram is compared by the histogram's name.
    let base = CHILDREN.iter().find_map(|suffix| stem.strip_suffix(suffix));
    let mut near: Vec<(usize, &'static str)> = metrics()
        .filter(|metric| prefix.owns(metric))
        .map(|metric| {
            let whole = strsim::osa_distance(stem, metric.name);
            let child = match base {
                Some(base) if metric.kind == MetricKind::Histogram => strsim::osa_distance(base, metric.name),
                _ => usize::MAX,
            };
            let total = match metric.name.strip_suffix("_total") {
                Some(name) if metric.kind == MetricKind::Counter => strsim::osa_distance(stem, name),
                _ => usize::MAX,
            };
            (whole.min(child).min(total), metric.name)
        })
        .collect();
    near.sort_unstable();
    near
}

/// The longest catalogued name that the stem continues with `_`.
fn suffixed(stem: &str, prefix: Prefix) -> Option<&'static str> {
    let continues = |name: &str| stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1);
    metrics()
        .filter(|metric| prefix.owns(metric))
        .filter(|metric| continues(metric.name) || metric.name.strip_suffix("_total").is_some_and(continues))
        .map(|metric| metric.name)
        .max_by_key(|name| name.len())
}

/// A name whose prefix is misspelled (`vlm:num_requests_running`): near only when nothing else is wrong with it.
fn misspelled_prefix(name: &str) -> Resolved {
    let Some((prefix, rest)) = name.split_once(':') else { return Resolved::Foreign };
    let metric = if strsim::osa_distance(prefix, "vllm") == 1 { exact(&format!("vllm:{rest}")) } else { None };
    match metric {
        Some(metric) => Resolved::NearMiss { nearest: vec![metric.name], distance: 1 },
        None => Resolved::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Metric {
        lookup(name).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn every_catalogued_name_resolves_to_itself() {
        for metric in metrics() {
            assert_eq!(resolve(metric.name), Resolved::Catalogued(metric), "{}", metric.name);
            assert_eq!(metrics().filter(|other| other.name == metric.name).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn a_series_of_a_histogram_is_its_histogram() {
        let metric = named("vllm:time_to_first_token_seconds");
        for part in ["bucket", "sum", "count"] {
            let name = format!("vllm:time_to_first_token_seconds_{part}");
            assert_eq!(histogram_child(&name), Some((metric, part)));
            assert_eq!(resolve(&name), Resolved::Catalogued(metric));
        }
        assert_eq!(histogram_child("vllm:num_requests_running_sum"), None, "a gauge has no parts");
        assert!(histogram_child("vllm:iteration_tokens_total_bucket").is_some(), "a histogram in spite of its name");
    }

    #[test]
    fn accepted_spellings_are_aliases() {
        for (name, meant, spelling) in [
            ("vllm_num_requests_waiting", "vllm:num_requests_waiting", AliasKind::Underscore),
            ("vllm_time_to_first_token_seconds_bucket", "vllm:time_to_first_token_seconds", AliasKind::Underscore),
            ("vllm_request_success", "vllm:request_success_total", AliasKind::Underscore),
            ("vllm.num_requests_waiting", "vllm:num_requests_waiting", AliasKind::Dotted),
            ("num_requests_running", "vllm:num_requests_running", AliasKind::Bare),
            ("gpu_cache_usage_perc", "vllm:gpu_cache_usage_perc", AliasKind::Bare),
            ("e2e_request_latency_seconds_sum", "vllm:e2e_request_latency_seconds", AliasKind::Bare),
            ("vllm:num_preemptions", "vllm:num_preemptions_total", AliasKind::WithoutTotal),
            ("dcgm_fi_dev_gpu_util", "DCGM_FI_DEV_GPU_UTIL", AliasKind::LowerCase),
            (
                "kubernetes.io/container/accelerator/duty_cycle",
                "kubernetes.io|container|accelerator|duty_cycle",
                AliasKind::Slashes,
            ),
        ] {
            assert_eq!(resolve(name), Resolved::Alias { metric: named(meant), spelling }, "{name}");
        }
    }

    #[test]
    fn every_name_with_an_underscore_for_the_colon_is_an_alias() {
        for metric in metrics().filter(|metric| metric.name.starts_with("vllm:")) {
            let name = metric.name.replacen(':', "_", 1);
            assert_eq!(resolve(&name), Resolved::Alias { metric, spelling: AliasKind::Underscore }, "{name}");
        }
    }

    #[test]
    fn one_edit_or_a_transposition_is_a_near_miss() {
        for (name, meant) in [
            ("vllm:num_requests_runing", "vllm:num_requests_running"),
            ("vllm:num_requests_wiating", "vllm:num_requests_waiting"),
            ("vllm_num_requests_waitin", "vllm:num_requests_waiting"),
            ("vllm:num_request_waiting", "vllm:num_requests_waiting"),
            ("vllm:kv_cache_usage_prec", "vllm:kv_cache_usage_perc"),
            ("vllm:request_sucess_total", "vllm:request_success_total"),
            ("vllm:time_to_first_token_second_bucket", "vllm:time_to_first_token_seconds"),
            ("vlm:num_requests_running", "vllm:num_requests_running"),
            ("DCGM_FI_DEV_GPU_UTILS", "DCGM_FI_DEV_GPU_UTIL"),
            ("dcgm_fi_dev_gpu_utl", "DCGM_FI_DEV_GPU_UTIL"),
        ] {
            assert_eq!(resolve(name), Resolved::NearMiss { nearest: vec![meant], distance: 1 }, "{name}");
        }
        assert_eq!(
            resolve("vllm:nm_request_waiting"),
            Resolved::NearMiss { nearest: vec!["vllm:num_requests_waiting"], distance: 2 }
        );
    }

    #[test]
    fn another_case_or_separator_is_a_respelling() {
        for name in [
            "vllm:Num_Requests_Running",
            "VLLM_NUM_REQUESTS_RUNNING",
            "vllm:num-requests-running",
            "vllm__num_requests_running",
            "vllm:numRequestsRunning",
            "vllm:num_requests_running_",
        ] {
            assert_eq!(resolve(name), Resolved::Respelled { metric: named("vllm:num_requests_running") }, "{name}");
        }
        assert_eq!(resolve("Dcgm-Fi-Dev-Gpu-Util"), Resolved::Respelled { metric: named("DCGM_FI_DEV_GPU_UTIL") });
    }

    #[test]
    fn a_suffix_on_a_known_name_is_no_misspelling() {
        for (name, stem) in [
            ("vllm:num_requests_running_p95", "vllm:num_requests_running"),
            ("vllm_num_requests_running_AVG", "vllm:num_requests_running"),
            ("vllm:num_requests_waiting_by_model", "vllm:num_requests_waiting"),
            ("vllm:request_success_rate", "vllm:request_success_total"),
            ("dcgm_fi_dev_gpu_util_avg", "DCGM_FI_DEV_GPU_UTIL"),
        ] {
            assert_eq!(resolve(name), Resolved::SuffixedStem { stem }, "{name}");
        }
    }

    #[test]
    fn another_word_under_a_prefix_names_what_is_nearest() {
        let Resolved::UnderPrefix { nearest, optional_family: false } = resolve("vllm:gpu_cache_usage_percent") else {
            panic!("{:?}", resolve("vllm:gpu_cache_usage_percent"));
        };
        assert_eq!(nearest.first(), Some(&"vllm:gpu_cache_usage_perc"));
        for name in
            ["vllm:queue_depth", "vllm_queue", "DCGM_FI_DEV_SOMETHING", "kubernetes.io|container|accelerator|load"]
        {
            assert!(matches!(resolve(name), Resolved::UnderPrefix { optional_family: false, .. }), "{name}");
        }
    }

    #[test]
    fn families_that_the_catalogue_leaves_out_may_exist() {
        for name in [
            "vllm:spec_decode_num_accepted_token_total",
            "vllm:mooncake_transfers_total",
            "vllm:kv_offload_bytes",
            "vllm:websocket_connections",
            "vllm:simple_kv_loads",
            "vllm:num_preemptions_created",
            "vllm:time_to_first_token_seconds_created",
            "vllm:current_qps",
        ] {
            assert!(matches!(resolve(name), Resolved::UnderPrefix { optional_family: true, .. }), "{name}");
        }
    }

    #[test]
    fn what_carries_no_prefix_is_somebody_elses() {
        for name in [
            "num_requests_waitin",
            "num_requests",
            "requests_running",
            "tokens_total",
            "request_success_total",
            "vllm",
            "vllmfoo_bar",
            "http_requests",
            "gpu_util",
            "dcgm",
            "",
            "vllm:",
            "sglang:num_queue_reqs",
            "num_requests_running_p95",
            "container_accelerator_duty_cycle",
            "llm:num_requests_waitng",
        ] {
            assert_eq!(resolve(name), Resolved::Foreign, "{name}");
        }
    }

    #[test]
    fn catalogued_names_one_edit_apart_are_no_misspellings_of_each_other() {
        for name in ["DCGM_FI_PROF_PCIE_RX_BYTES", "vllm:cpu_cache_usage_perc", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"] {
            assert!(matches!(resolve(name), Resolved::Catalogued(_)), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "(vllm[:_.]|DCGM_FI_|dcgm_|kubernetes.io.)?\\PC{0,60}") {
            let _ = resolve(&name);
            let _ = histogram_child(&name);
        }
    }
}
