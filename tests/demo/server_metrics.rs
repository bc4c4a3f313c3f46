//! What vLLM 0.11.0 shows on `/metrics`: every family that a genuine server of that release showed after one chat request,
//! with its type and labels, the `_created` companions left out.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The release whose families these are.
pub const RELEASE: &str = "v0.11.0";

/// Upper bounds of seconds.
const SECONDS: [f64; 12] = [0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 120.0];

/// Upper bounds of tokens and counts.
const COUNTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Tokens that the simulated cache holds for each sequence.
const CACHE_PER_SEQUENCE: u32 = 2_048;

/// Tokens that a sequence holds while it is computed, about.
const HELD: u32 = 512;

/// How a finished request went.
pub struct Done {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens of the answer.
    pub tokens: u32,
    /// From arrival to a place.
    pub queued: Duration,
    /// From a place to the first token.
    pub prefill: Duration,
    /// From one token to the next.
    pub per_token: Duration,
}

/// The numbers of one server.
pub struct Numbers {
    model: String,
    max_num_seqs: u32,
    waiting: AtomicU32,
    running: AtomicU32,
    ended: Mutex<Ended>,
}

/// What finished requests left.
#[derive(Default)]
struct Ended {
    requests: u32,
    prompt_tokens: u64,
    tokens: u64,
    queue: Histogram,
    first_token: Histogram,
    between_tokens: Histogram,
    per_token: Histogram,
    prefill: Histogram,
    decode: Histogram,
    inference: Histogram,
    whole: Histogram,
    prompt: Histogram,
    generated: Histogram,
    asked: Histogram,
    choices: Histogram,
    iteration: Histogram,
}

/// One request in a gauge. It leaves the gauge when it is dropped.
pub struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Numbers {
    pub fn new(model: &str, max_num_seqs: u32) -> Self {
        Self {
            model: model.to_owned(),
            max_num_seqs,
            waiting: AtomicU32::default(),
            running: AtomicU32::default(),
            ended: Mutex::default(),
        }
    }

    /// A request waits for a place.
    pub fn wait(&self) -> Counted<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Counted(&self.waiting)
    }

    /// A request is computed.
    pub fn run(&self) -> Counted<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Counted(&self.running)
    }

    /// The requests that are computed now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// A request is answered.
    pub fn done(&self, done: &Done) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = &mut *ended;
        let tokens = f64::from(done.tokens);
        let decode = done.per_token.mul_f64(tokens);
        ended.requests += 1;
        ended.prompt_tokens += u64::from(done.prompt);
        ended.tokens += u64::from(done.tokens);
        let times = [
            (&mut ended.queue, done.queued),
            (&mut ended.first_token, done.queued + done.prefill),
            (&mut ended.per_token, done.per_token),
            (&mut ended.prefill, done.prefill),
            (&mut ended.decode, decode),
            (&mut ended.inference, done.prefill + decode),
            (&mut ended.whole, done.queued + done.prefill + decode),
        ];
        for (histogram, time) in times {
            histogram.observe(time.as_secs_f64(), 1, &SECONDS);
        }
        ended.between_tokens.observe(done.per_token.as_secs_f64(), done.tokens.saturating_sub(1), &SECONDS);
        let counts = [
            (&mut ended.prompt, f64::from(done.prompt)),
            (&mut ended.generated, tokens),
            (&mut ended.asked, tokens),
            (&mut ended.choices, 1.0),
        ];
        for (histogram, count) in counts {
            histogram.observe(count, 1, &COUNTS);
        }
        ended.iteration.observe(1.0, done.tokens, &COUNTS);
    }

    /// The text that a scraper gets.
    pub fn exposition(&self) -> String {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text =
            Exposition { labels: format!("engine=\"0\",model_name=\"{}\"", self.model), text: String::new() };
        let (running, waiting) = (self.running(), self.waiting.load(Ordering::Relaxed));
        let used = f64::from(running * HELD) / f64::from(self.max_num_seqs.max(1) * CACHE_PER_SEQUENCE);
        text.gauge("num_requests_running", f64::from(running));
        text.gauge("num_requests_waiting", f64::from(waiting));
        text.gauge("kv_cache_usage_perc", used.min(1.0));
        text.counter("prefix_cache_queries", ended.prompt_tokens, "");
        text.counter("prefix_cache_hits", 0, "");
        text.counter("num_preemptions", 0, "");
        text.counter("prompt_tokens", ended.prompt_tokens, "");
        text.counter("generation_tokens", ended.tokens, "");
        text.counter("request_success", u64::from(ended.requests), ",finished_reason=\"length\"");
        text.histogram("request_prompt_tokens", &ended.prompt, &COUNTS);
        text.histogram("request_generation_tokens", &ended.generated, &COUNTS);
        text.histogram("iteration_tokens_total", &ended.iteration, &COUNTS);
        text.histogram("request_max_num_generation_tokens", &ended.asked, &COUNTS);
        text.histogram("request_params_n", &ended.choices, &COUNTS);
        text.histogram("request_params_max_tokens", &ended.asked, &COUNTS);
        text.histogram("time_to_first_token_seconds", &ended.first_token, &SECONDS);
        text.histogram("time_per_output_token_seconds", &ended.between_tokens, &SECONDS);
        text.histogram("inter_token_latency_seconds", &ended.between_tokens, &SECONDS);
        text.histogram("request_time_per_output_token_seconds", &ended.per_token, &SECONDS);
        text.histogram("e2e_request_latency_seconds", &ended.whole, &SECONDS);
        text.histogram("request_queue_time_seconds", &ended.queue, &SECONDS);
        text.histogram("request_inference_time_seconds", &ended.inference, &SECONDS);
        text.histogram("request_prefill_time_seconds", &ended.prefill, &SECONDS);
        text.histogram("request_decode_time_seconds", &ended.decode, &SECONDS);
        text.labels.push_str(",block_size=\"16\",cache_dtype=\"auto\",gpu_memory_utilization=\"0.85\"");
        text.gauge("cache_config_info", 1.0);
        text.text
    }
}

/// A histogram; its bounds are given with each use.
#[derive(Default)]
struct Histogram {
    /// By bound, what is at most that and more than the one before.
    buckets: [u64; 12],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, value: f64, times: u32, bounds: &[f64]) {
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket] += u64::from(times);
        }
        self.count += u64::from(times);
        self.sum += value * f64::from(times);
    }
}

struct Exposition {
    labels: String,
    text: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP vllm:{name} Simulated.\n# TYPE vllm:{name} {kind}");
    }

    fn gauge(&mut self, name: &str, value: f64) {
        self.family(name, "gauge");
        let _ = writeln!(self.text, "vllm:{name}{{{}}} {value}", self.labels);
    }

    /// Python's client ends a counter's name with `_total`.
    fn counter(&mut self, name: &str, value: u64, more_labels: &str) {
        self.family(&format!("{name}_total"), "counter");
        let _ = writeln!(self.text, "vllm:{name}_total{{{}{more_labels}}} {value}", self.labels);
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram, bounds: &[f64]) {
        self.family(name, "histogram");
        let labels = &self.labels;
        let mut below = 0;
        for (bound, bucket) in bounds.iter().zip(histogram.buckets) {
            below += bucket;
            let _ = writeln!(self.text, "vllm:{name}_bucket{{{labels},le=\"{bound:?}\"}} {below}");
        }
        let _ = writeln!(self.text, "vllm:{name}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(self.text, "vllm:{name}_count{{{labels}}} {}", histogram.count);
        let _ = writeln!(self.text, "vllm:{name}_sum{{{labels}}} {}", histogram.sum);
    }
}
