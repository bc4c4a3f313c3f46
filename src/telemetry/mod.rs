//! What an operator sees of a running process: its log, its metrics, and whether it is ready.
//!
//! ```text
//! components ── counters, closures ──> prometheus::Metrics ──┐
//! components ── what they wait for ──> Readiness ────────────┴──> admin (plain HTTP: /healthz /readyz /metrics)
//! ```

pub mod admin;
pub mod log;
pub mod prometheus;
pub mod readiness;

pub use prometheus::Metrics;
pub use readiness::Readiness;

#[cfg(test)]
mod openmetrics;
