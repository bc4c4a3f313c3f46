//! Findings as one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use super::Located;
use crate::policy::finding::{Finding, Severity};

#[derive(Serialize)]
struct Report<'a> {
    findings: Vec<&'a Finding>,
    deny: usize,
    warn: usize,
    note: usize,
}

/// Prints `{"findings": [...], "deny": N, "warn": N, "note": N}`.
///
/// # Errors
/// When writing fails.
pub fn print(out: &mut dyn Write, findings: &[Located]) -> io::Result<()> {
    let count = |severity: Severity| findings.iter().filter(|found| found.finding.severity == severity).count();
    let report = Report {
        findings: findings.iter().map(|found| &found.finding).collect(),
        deny: count(Severity::Deny),
        warn: count(Severity::Warn),
        note: count(Severity::Note),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}
