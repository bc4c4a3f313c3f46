//! The integration tests: one binary, one module a subject.
//!
//! `BLESS=1 cargo test` (or `make bless`) rewrites the golden files of `tests/cases/` and the generated files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "nobody reads these as an interface")]

mod reference;
mod support;

mod agreement;
mod cases;
mod chart;
mod command_line;
mod coverage;
mod crd_schemas;
mod deploy;
mod documents;
mod generated;
mod house;
mod properties;
mod published;
mod ratchet;
mod snapshots;
mod walkthrough;
