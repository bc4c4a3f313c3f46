//! Files in the repository that are made from code are what the code makes. `BLESS=1 cargo test --test generated`
//! rewrites them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use scalegate::policy::configuration::{self, BackendKind};
use scalegate::policy::render;

/// What the files' own headings tell the reader to run.
const COMMAND: &str = "BLESS=1 cargo test --test generated";

/// Compares a file of the repository with what it is made from, or writes it.
fn assert_generated(path: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some_and(|value| !value.is_empty()) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wanted).unwrap();
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}; write it with `{COMMAND}`"));
    let differs = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let line = differs.unwrap_or_else(|| found.lines().count().min(wanted.lines().count())) + 1;
    assert!(
        found == wanted,
        "{path} differs from line {line} on from what the code makes; rewrite it with `{COMMAND}`"
    );
}

#[test]
fn the_schema_of_the_configuration_is_the_one_that_the_code_reads_by() {
    let mut text = serde_json::to_string_pretty(&configuration::schema()).unwrap();
    text.push('\n');
    assert_generated("docs/configuration.schema.json", &text);
}

#[test]
fn the_walkthroughs_shared_objects_are_those_that_render_prints_for_gmp() {
    let mut text = format!(
        "# What scrapes NVIDIA's DCGM exporter, and the rule that makes one number a pod of it: installed once by an\n\
         # administrator. Generated from src/policy/render/dcgm.rs by `{COMMAND}`; do not edit.\n"
    );
    for object in render::shared_gpu_objects(BackendKind::Gmp) {
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(&object).unwrap().trim_end());
        text.push('\n');
    }
    assert_generated("deploy/walkthrough/gpu-metrics/shared.yaml", &text);
}
