//! The metrics of vLLM's OpenAI server, by release.
//!
//! Source: the released wheels of the package `vllm` at the releases of [`SAMPLES`], in which every `name="vllm:..."` of
//! `vllm/engine/metrics.py` (engine v0) and `vllm/v1/**/metrics*.py` and `loggers.py` (engine v1) was listed; hiding and
//! units from the same files, checked on running servers of 0.11.0, 0.12.0 and 0.25.1. `declared.tsv` is that listing, and a
//! test holds the two together. Counters stand under the name that the server exposes, with `_total`.

use super::{Engine, Exporter, Metric, MetricKind, Unit, Version};

use MetricKind::{Counter, Gauge, Histogram, Info};
use Unit::{Milliseconds, Other, Ratio, Requests, Seconds, Tokens};

/// The releases whose wheels were read, oldest first. What changes between two of them is not known there.
pub(super) const SAMPLES: [Version; 21] = [
    v(4, 3),
    v(6, 6),
    v(8, 0),
    v(8, 5),
    v(9, 0),
    v(9, 2),
    v(10, 0),
    v(10, 2),
    v(11, 0),
    v(11, 1),
    v(11, 2),
    v(12, 0),
    v(13, 0),
    v(14, 1),
    v(15, 1),
    v(18, 1),
    v(19, 1),
    v(20, 2),
    v(22, 1),
    v(26, 0),
    v(33, 0),
];

/// One metric, and the samples that declare it.
pub(super) struct Row {
    /// The metric.
    pub metric: Metric,
    /// Where engine v0 declares it.
    pub v0: Option<Span>,
    /// Where engine v1 declares it.
    pub v1: Option<Span>,
    /// Where engine v0 hides it unless an option is given; part of `v0`.
    pub v0_hidden: Option<Span>,
    /// Where engine v1 hides it unless an option is given; part of `v1`.
    pub v1_hidden: Option<Span>,
    /// Exposed only with a feature of its own (LoRA, speculative decoding, KV cache metrics): that it is declared proves
    /// nothing.
    pub optional: bool,
}

/// Samples from the first to the last that declare a metric.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The first.
    pub first: Version,
    /// The last; `None` while the newest sample still does.
    pub last: Option<Version>,
}

/// The catalogue, by name.
pub(super) static TABLE: [Row; 69] = [
    Row::new("vllm:admission_rejections_total", Counter, Requests).v1_on(v(33, 0)),
    Row::new("vllm:avg_generation_throughput_toks_per_s", Gauge, Other)
        .v0(v(4, 3), v(6, 6))
        .then(&["vllm:generation_tokens_total"]),
    Row::new("vllm:avg_prompt_throughput_toks_per_s", Gauge, Other)
        .v0(v(4, 3), v(6, 6))
        .then(&["vllm:prompt_tokens_total"]),
    Row::new("vllm:cache_config_info", Info, Other).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:corrupted_requests_total", Counter, Requests).v1_on(v(11, 1)).optional(),
    Row::new("vllm:cpu_cache_usage_perc", Gauge, Ratio).v0(v(4, 3), v(9, 0)).v0_hidden(v(8, 5), v(9, 0)),
    Row::new("vllm:cpu_prefix_cache_hit_rate", Gauge, Ratio).v0(v(6, 6), v(9, 0)).v0_hidden(v(8, 5), v(9, 0)),
    Row::new("vllm:e2e_request_latency_seconds", Histogram, Seconds).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:engine_sleep_state", Gauge, Other).v1_on(v(11, 1)),
    Row::new("vllm:estimated_flops_per_gpu_total", Counter, Other).v1_on(v(18, 1)),
    Row::new("vllm:estimated_read_bytes_per_gpu_total", Counter, Other).v1_on(v(18, 1)),
    Row::new("vllm:estimated_write_bytes_per_gpu_total", Counter, Other).v1_on(v(18, 1)),
    Row::new("vllm:external_prefix_cache_hits_total", Counter, Tokens).v1_on(v(11, 1)),
    Row::new("vllm:external_prefix_cache_queries_total", Counter, Tokens).v1_on(v(11, 1)),
    Row::new("vllm:generation_tokens_total", Counter, Tokens).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:gpu_cache_usage_perc", Gauge, Ratio)
        .v0(v(4, 3), v(11, 0))
        .v1(v(8, 0), v(11, 2))
        .v1_hidden(v(11, 0), v(11, 2))
        .then(&["vllm:kv_cache_usage_perc"]),
    Row::new("vllm:gpu_prefix_cache_hit_rate", Gauge, Ratio)
        .v0(v(6, 6), v(9, 0))
        .v0_hidden(v(8, 5), v(9, 0))
        .then(&["vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"]),
    Row::new("vllm:gpu_prefix_cache_hits_total", Counter, Other)
        .v1(v(8, 0), v(11, 2))
        .v1_hidden(v(11, 0), v(11, 2))
        .then(&["vllm:prefix_cache_hits_total"]),
    Row::new("vllm:gpu_prefix_cache_queries_total", Counter, Other)
        .v1(v(8, 0), v(11, 2))
        .v1_hidden(v(11, 0), v(11, 2))
        .then(&["vllm:prefix_cache_queries_total"]),
    Row::new("vllm:inter_token_latency_seconds", Histogram, Seconds).v0(v(10, 2), v(11, 0)).v1_on(v(10, 2)),
    Row::new("vllm:iteration_tokens_total", Histogram, Tokens).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:kv_block_idle_before_evict_seconds", Histogram, Seconds).v1_on(v(12, 0)).optional(),
    Row::new("vllm:kv_block_lifetime_seconds", Histogram, Seconds).v1_on(v(12, 0)).optional(),
    Row::new("vllm:kv_block_reuse_gap_seconds", Histogram, Seconds).v1_on(v(12, 0)).optional(),
    Row::new("vllm:kv_cache_usage_perc", Gauge, Ratio).v1_on(v(9, 2)),
    Row::new("vllm:lora_requests_info", Info, Other).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)).optional(),
    Row::new("vllm:mm_cache_hits_total", Counter, Other).v1_on(v(11, 1)),
    Row::new("vllm:mm_cache_queries_total", Counter, Other).v1_on(v(11, 1)),
    Row::new("vllm:model_execute_time_milliseconds", Histogram, Milliseconds)
        .v0(v(6, 6), v(9, 0))
        .v0_hidden(v(8, 5), v(9, 0)),
    Row::new("vllm:model_forward_time_milliseconds", Histogram, Milliseconds)
        .v0(v(6, 6), v(9, 0))
        .v0_hidden(v(8, 5), v(9, 0)),
    Row::new("vllm:num_preemptions_total", Counter, Other).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:num_requests_kv_fetch_by_stage", Gauge, Requests).v1_on(v(33, 0)),
    Row::new("vllm:num_requests_running", Gauge, Requests).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:num_requests_swapped", Gauge, Requests).v0(v(4, 3), v(9, 0)).v0_hidden(v(8, 5), v(9, 0)),
    Row::new("vllm:num_requests_waiting", Gauge, Requests).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:num_requests_waiting_by_reason", Gauge, Requests).v1_on(v(20, 2)),
    Row::new("vllm:prefix_cache_hits_total", Counter, Tokens).v1_on(v(9, 2)),
    Row::new("vllm:prefix_cache_queries_total", Counter, Tokens).v1_on(v(9, 2)),
    Row::new("vllm:prompt_tokens_by_source_total", Counter, Tokens).v1_on(v(18, 1)),
    Row::new("vllm:prompt_tokens_cached_by_source_total", Counter, Tokens).v1_on(v(33, 0)),
    Row::new("vllm:prompt_tokens_cached_total", Counter, Tokens).v1_on(v(18, 1)),
    Row::new("vllm:prompt_tokens_recomputed_total", Counter, Tokens).v1(v(18, 1), v(19, 1)).optional(),
    Row::new("vllm:prompt_tokens_total", Counter, Tokens).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_decode_time_seconds", Histogram, Seconds).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_generation_tokens", Histogram, Tokens).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_inference_time_seconds", Histogram, Seconds).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_max_num_generation_tokens", Histogram, Tokens).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_num_preemptions", Histogram, Other).v1_on(v(33, 0)),
    Row::new("vllm:request_params_best_of", Histogram, Other).v0(v(4, 3), v(4, 3)),
    Row::new("vllm:request_params_max_tokens", Histogram, Tokens).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_params_n", Histogram, Other).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_prefill_kv_computed_tokens", Histogram, Tokens).v1_on(v(13, 0)),
    Row::new("vllm:request_prefill_time_seconds", Histogram, Seconds).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_prompt_tokens", Histogram, Tokens).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_queue_time_seconds", Histogram, Seconds).v0(v(6, 6), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_success_total", Counter, Requests).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:request_time_per_output_token_seconds", Histogram, Seconds).v1_on(v(11, 0)),
    Row::new("vllm:spec_decode_draft_acceptance_rate", Gauge, Ratio).v0(v(6, 6), v(9, 2)).optional(),
    Row::new("vllm:spec_decode_efficiency", Gauge, Ratio).v0(v(6, 6), v(9, 2)).optional(),
    Row::new("vllm:spec_decode_num_accepted_tokens_per_pos_total", Counter, Tokens).v1_on(v(8, 5)).optional(),
    Row::new("vllm:spec_decode_num_accepted_tokens_total", Counter, Tokens)
        .v0(v(6, 6), v(9, 2))
        .v1(v(8, 5), v(22, 1))
        .optional(),
    Row::new("vllm:spec_decode_num_draft_tokens_total", Counter, Tokens)
        .v0(v(6, 6), v(9, 2))
        .v1(v(8, 5), v(22, 1))
        .optional(),
    Row::new("vllm:spec_decode_num_drafts_total", Counter, Other).v1(v(8, 5), v(22, 1)).optional(),
    Row::new("vllm:spec_decode_num_emitted_tokens_total", Counter, Tokens).v0(v(6, 6), v(9, 2)).optional(),
    Row::new("vllm:time_in_queue_requests", Histogram, Seconds)
        .v0(v(6, 6), v(9, 0))
        .v0_hidden(v(8, 5), v(9, 0))
        .then(&["vllm:request_queue_time_seconds"]),
    Row::new("vllm:time_per_output_token_seconds", Histogram, Seconds)
        .v0(v(4, 3), v(11, 0))
        .v1(v(8, 0), v(14, 1))
        .v1_hidden(v(12, 0), v(14, 1))
        .then(&["vllm:inter_token_latency_seconds", "vllm:request_time_per_output_token_seconds"]),
    Row::new("vllm:time_to_first_token_seconds", Histogram, Seconds).v0(v(4, 3), v(11, 0)).v1_on(v(8, 0)),
    Row::new("vllm:tokens_total", Counter, Tokens)
        .v0(v(6, 6), v(6, 6))
        .then(&["vllm:prompt_tokens_total", "vllm:generation_tokens_total"]),
    Row::new("vllm:watermark_requests_total", Counter, Requests).v1_on(v(33, 0)),
];

/// Release 0.`minor`.`patch`.
const fn v(minor: u16, patch: u16) -> Version {
    Version::new(0, minor, patch)
}

// === impl Row ===

impl Row {
    const fn new(name: &'static str, kind: MetricKind, unit: Unit) -> Self {
        let metric =
            Metric { name, exporter: Exporter::Engine(Engine::Vllm), kind, unit, up_only: false, successors: &[] };
        Self { metric, v0: None, v1: None, v0_hidden: None, v1_hidden: None, optional: false }
    }

    const fn v0(mut self, first: Version, last: Version) -> Self {
        self.v0 = Some(Span { first, last: Some(last) });
        self
    }

    const fn v1(mut self, first: Version, last: Version) -> Self {
        self.v1 = Some(Span { first, last: Some(last) });
        self
    }

    const fn v1_on(mut self, first: Version) -> Self {
        self.v1 = Some(Span { first, last: None });
        self
    }

    const fn v0_hidden(mut self, first: Version, last: Version) -> Self {
        self.v0_hidden = Some(Span { first, last: Some(last) });
        self
    }

    const fn v1_hidden(mut self, first: Version, last: Version) -> Self {
        self.v1_hidden = Some(Span { first, last: Some(last) });
        self
    }

    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    const fn then(mut self, successors: &'static [&'static str]) -> Self {
        self.metric.successors = successors;
        self
    }
}
