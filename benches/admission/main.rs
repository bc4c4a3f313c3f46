//! Instruction counts of one admission, from the bytes of the review to the bytes of the answer, and of parsing the same
//! bytes into a `serde_json::Value` for comparison.
//!
//! `cargo bench` prints the counts; `benches/record.sh` writes them to `benches/RESULTS.md`. Counts are Valgrind's, so
//! they do not depend on what else the machine does.

#![allow(missing_docs, reason = "the macros of the harness make public items")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has to stop")]

mod fixtures;
mod tools;

use std::hint::black_box;

use gungraun::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use scalegate::admission::answer;
use scalegate::admission::service::Service;
use scalegate::admission::{Counters, Decide as _, Phase, Review};
use serde_json::Value;

/// What a benchmark starts from. It is handed back, so that taking it down is not counted.
struct Case {
    body: Vec<u8>,
    service: Service,
    counters: Counters,
}

/// One admission as `admission::routes` makes it, without HTTP.
fn admit(case: &Case, phase: Phase) -> Vec<u8> {
    let request = Review::parse(&case.body).expect("a review");
    let verdict = match phase {
        Phase::Mutating => case.service.mutate(&request),
        Phase::Validating => case.service.validate(&request),
    };
    answer::write(phase, &request, verdict, &case.counters).expect("an answer")
}

#[library_benchmark]
#[bench::deployment_4kb(fixtures::small())]
#[bench::deployment_466kb(fixtures::large())]
#[bench::hpa_view_of_5000(fixtures::hpa())]
fn parse(case: Case) -> (Case, Value) {
    let value = serde_json::from_slice(black_box(&case.body)).expect("JSON");
    (case, value)
}

#[library_benchmark]
#[bench::deployment_4kb(fixtures::small())]
#[bench::deployment_466kb(fixtures::large())]
fn mutate(case: Case) -> (Case, Vec<u8>) {
    let answer = admit(black_box(&case), Phase::Mutating);
    (case, answer)
}

#[library_benchmark]
#[bench::deployment_4kb(fixtures::small())]
#[bench::deployment_466kb(fixtures::large())]
#[bench::hpa_view_of_5000(fixtures::hpa())]
fn validate(case: Case) -> (Case, Vec<u8>) {
    let answer = admit(black_box(&case), Phase::Validating);
    (case, answer)
}

library_benchmark_group!(name = admission, benchmarks = [parse, mutate, validate]);

/// Evaluated once before anything is measured, in the process that starts the runner.
fn configuration() -> LibraryBenchmarkConfig {
    if let Err(missing) = tools::check() {
        eprintln!("\nscalegate: the benchmarks cannot run: {missing}\n");
        std::process::exit(1);
    }
    LibraryBenchmarkConfig::default()
}

main!(config = configuration(), library_benchmark_groups = admission);
