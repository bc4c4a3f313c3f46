//! Which series a PromQL query reads, and what its result is.

use std::collections::BTreeSet;
use std::fmt;

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::VectorSelector;

use super::super::engine::MetricKind;

mod analysis;
mod guard;
mod template;

pub use template::expand_adapter_template;

/// A query, as far as rules look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What it selects, in the order of the text.
    pub series: Vec<Selector>,
    /// What the result is: a rate or a quantile is a gauge, a counter (or a sum of it) a counter. `None` when a series is
    /// not known. A series that no engine exports but whose name ends in `_total` counts as a counter.
    pub kind: Option<MetricKind>,
    /// Whether the result comes out of aggregations, so that it has fewer series than it reads.
    pub aggregated: bool,
    /// The only labels that the result can have; `None` when any may be there.
    pub labels: Option<BTreeSet<String>>,
    /// Functions and aggregations that it uses (`rate`, `sum`).
    pub functions: BTreeSet<String>,
}

/// What a query selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The series' name, when one is given.
    pub name: Option<String>,
    /// Label, operator, value; `__name__` is not among them.
    pub matchers: Vec<(String, Op, String)>,
    /// The anchored expression on names, when that is given instead of a name.
    pub name_regex: Option<String>,
    /// The query has a result without it: it is a side of `or`, is taken away by `unless`, or is what `absent` looks for.
    pub optional: bool,
}

/// Operator of a matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored.
    Regex,
    /// `!~`, anchored.
    NotRegex,
}

/// Why a text is not a query, or was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PromqlError {
    /// What is wrong, as a clause.
    pub message: String,
    /// Where, in bytes from the text's start, when known.
    pub offset: Option<usize>,
}

/// Reads a query.
///
/// # Errors
/// When the text is not PromQL, or is larger or deeper than queries that people write (64 KiB, 100 parentheses, 400
/// operators), which would cost too much stack to read.
pub fn parse(text: &str) -> Result<Query, PromqlError> {
    guard::check(text)?;
    let expression = promql_parser::parser::parse(text).map_err(|message| PromqlError { message, offset: None })?;
    Ok(analysis::of(&expression))
}

// === impl Query ===

impl Query {
    /// Whether the result is one number at most, whatever is scraped.
    pub fn single(&self) -> bool {
        self.labels.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether it still measures something when one of its series is not there: it has a result without it, made from another.
    pub fn spares(&self, selector: &Selector) -> bool {
        selector.optional && self.series.iter().any(|other| other.name != selector.name)
    }

    /// Names of the series that it reads, each once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.series.iter().filter_map(|selector| selector.name.as_ref()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

// === impl Op ===

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

// === impl Selector ===

impl Selector {
    fn of(selector: &VectorSelector) -> Self {
        let mut read = Self { name: selector.name.clone(), matchers: Vec::new(), name_regex: None, optional: false };
        // Alternatives (`{a="b" or c="d"}`, an extension) restrict nothing that could be said of every series.
        let Matchers { matchers, or_matchers } = &selector.matchers;
        if !or_matchers.is_empty() {
            return read;
        }
        for matcher in matchers {
            let op = match matcher.op {
                MatchOp::Equal => Op::Equal,
                MatchOp::NotEqual => Op::NotEqual,
                MatchOp::Re(_) => Op::Regex,
                MatchOp::NotRe(_) => Op::NotRegex,
            };
            match (matcher.name.as_str(), op) {
                ("__name__", Op::Equal) => read.name = Some(matcher.value.clone()),
                ("__name__", Op::Regex) => read.name_regex = Some(matcher.value.clone()),
                ("__name__", _) => {}
                (label, op) => read.matchers.push((label.to_owned(), op, matcher.value.clone())),
            }
        }
        read
    }
}

#[cfg(test)]
mod tests;
