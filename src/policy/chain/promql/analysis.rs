//! What a parsed query's result is: walks the tree once, from the leaves up.

use std::collections::BTreeSet;

use promql_parser::label::Labels;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};

use super::super::super::engine::MetricKind;
use super::super::series;
use super::{Query, Selector};

/// Says what rules want to know of a query.
pub(super) fn of(expression: &Expr) -> Query {
    let mut walk = Walk::default();
    let result = walk.result(expression);
    Query {
        kind: match result.value {
            Value::Of(kind) => Some(kind),
            Value::Constant | Value::Unknown => None,
        },
        aggregated: result.aggregated,
        labels: result.labels,
        series: walk.series,
        functions: walk.functions,
    }
}

#[derive(Default)]
struct Walk {
    series: Vec<Selector>,
    functions: BTreeSet<String>,
}

/// What one expression results in.
struct Outcome {
    value: Value,
    /// One number without labels, which takes part in operations without shaping their result.
    scalar: bool,
    aggregated: bool,
    labels: Option<BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The same at all times.
    Constant,
    Of(MetricKind),
    Unknown,
}

const GAUGE: Value = Value::Of(MetricKind::Gauge);
const COUNTER: Value = Value::Of(MetricKind::Counter);

// === impl Walk ===

impl Walk {
    /// Recursion is bounded by the guard's limits on nesting and operators.
    fn result(&mut self, expression: &Expr) -> Outcome {
        match expression {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Unary(unary) => {
                let inner = self.result(&unary.expr);
                Outcome { value: if inner.value == COUNTER { Value::Unknown } else { inner.value }, ..inner }
            }
            Expr::Paren(paren) => self.result(&paren.expr),
            Expr::Subquery(subquery) => self.result(&subquery.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Outcome::scalar(Value::Constant),
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::MatrixSelector(selector) => self.select(&selector.vs),
            Expr::Extension(_) => Outcome { value: Value::Unknown, scalar: false, aggregated: false, labels: None },
        }
    }

    fn select(&mut self, selector: &VectorSelector) -> Outcome {
        let selector = Selector::of(selector);
        let kind = selector.name.as_deref().and_then(series::kind);
        self.series.push(selector);
        Outcome { value: kind.map_or(Value::Unknown, Value::Of), scalar: false, aggregated: false, labels: None }
    }

    /// The result does not hang on what was selected since `from`.
    fn make_optional(&mut self, from: usize) {
        self.series.iter_mut().skip(from).for_each(|selector| selector.optional = true);
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Outcome {
        let op = aggregate.op.to_string();
        if let Some(parameter) = &aggregate.param {
            self.result(parameter);
        }
        let inner = self.result(&aggregate.expr);
        let outcome = match op.as_str() {
            // These choose among series and leave them as they are.
            "topk" | "bottomk" | "limitk" | "limit_ratio" => inner,
            _ => Outcome {
                value: match op.as_str() {
                    "count" | "count_values" | "group" | "stddev" | "stdvar" => GAUGE,
                    _ => inner.value,
                },
                scalar: false,
                aggregated: true,
                // count_values adds a label that its parameter names.
                labels: if op == "count_values" { None } else { kept(aggregate.modifier.as_ref(), inner.labels) },
            },
        };
        self.functions.insert(op);
        outcome
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Outcome {
        let op = binary.op.to_string();
        let before = self.series.len();
        let left = self.result(&binary.lhs);
        let between = self.series.len();
        let right = self.result(&binary.rhs);
        match op.as_str() {
            "or" => self.make_optional(before),
            "unless" => self.make_optional(between),
            _ => {}
        }
        if left.scalar && right.scalar {
            return Outcome::scalar(combine(&op, binary.return_bool(), left.value, right.value));
        }
        let mut value = combine(&op, binary.return_bool(), left.value, right.value);
        if value == Value::Unknown && op == "/" {
            let end = |from: usize, to: usize, suffix: &str| {
                self.series.get(from..to).is_some_and(|series| {
                    series.iter().any(|one| one.name.as_ref().is_some_and(|name| name.ends_with(suffix)))
                })
            };
            // The average of a histogram or summary, which names its series so.
            if end(before, between, "_sum") && end(between, self.series.len(), "_count") {
                value = GAUGE;
            }
        }
        Outcome {
            value,
            scalar: false,
            aggregated: (left.scalar || left.aggregated) && (right.scalar || right.aggregated),
            labels: joined(&op, binary, left, right),
        }
    }

    fn call(&mut self, call: &Call) -> Outcome {
        let name = call.func.name;
        self.functions.insert(name.to_owned());
        let before = self.series.len();
        let mut vector: Option<Outcome> = None;
        let mut text: Vec<Option<&str>> = Vec::new();
        for argument in &call.args.args {
            let outcome = self.result(argument);
            text.push(if let Expr::StringLiteral(literal) = argument.as_ref() { Some(&literal.val) } else { None });
            if vector.is_none() && !outcome.scalar {
                vector = Some(outcome);
            }
        }
        match name {
            "time" | "pi" => return Outcome::scalar(GAUGE),
            "scalar" => return Outcome::scalar(vector.map_or(Value::Constant, |vector| vector.value)),
            "vector" => {
                return Outcome { scalar: false, aggregated: true, ..Outcome::scalar(Value::Constant) };
            }
            // One series at most, whose labels come from the selector's matchers alone.
            "absent" | "absent_over_time" => {
                self.make_optional(before);
                return Outcome { scalar: false, aggregated: true, ..Outcome::scalar(GAUGE) };
            }
            _ => {}
        }
        // `hour()` and its like are of the present time.
        let Some(mut inner) = vector else {
            return Outcome { scalar: false, aggregated: true, ..Outcome::scalar(GAUGE) };
        };
        inner.value = called(name, inner.value);
        match name {
            "histogram_quantile" => {
                if let Some(labels) = &mut inner.labels {
                    labels.remove("le");
                }
            }
            "label_replace" | "label_join" => {
                if let (Some(labels), Some(Some(label))) = (&mut inner.labels, text.get(1)) {
                    labels.insert((*label).to_owned());
                }
            }
            "info" => inner.labels = None,
            _ => {}
        }
        inner
    }
}

// === impl Outcome ===

impl Outcome {
    fn scalar(value: Value) -> Self {
        Self { value, scalar: true, aggregated: false, labels: Some(BTreeSet::new()) }
    }
}

fn set(labels: &Labels) -> BTreeSet<String> {
    labels.labels.iter().cloned().collect()
}

/// The labels that an aggregation keeps of those of its input.
fn kept(modifier: Option<&LabelModifier>, inner: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match modifier {
        None => Some(BTreeSet::new()),
        Some(LabelModifier::Include(labels)) => {
            let by = set(labels);
            Some(match inner {
                Some(inner) => by.intersection(&inner).cloned().collect(),
                None => by,
            })
        }
        Some(LabelModifier::Exclude(labels)) => {
            let without = set(labels);
            inner.map(|inner| inner.difference(&without).cloned().collect())
        }
    }
}

/// The labels of an operation's result.
fn joined(op: &str, binary: &BinaryExpr, left: Outcome, right: Outcome) -> Option<BTreeSet<String>> {
    match op {
        "and" | "unless" => return left.labels,
        "or" => return Some(left.labels?.union(&right.labels?).cloned().collect()),
        _ if left.scalar => return right.labels,
        _ if right.scalar => return left.labels,
        _ => {}
    }
    let modifier = binary.modifier.as_ref();
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(extra)) => Some(left.labels?.union(&set(extra)).cloned().collect()),
        Some(VectorMatchCardinality::OneToMany(extra)) => Some(right.labels?.union(&set(extra)).cloned().collect()),
        _ => match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(on)) => Some(set(on)),
            // Each label must be equal on both sides, or is ignored and dropped.
            _ => match (left.labels, right.labels) {
                (Some(left), Some(right)) => Some(left.intersection(&right).cloned().collect()),
                (one, other) => one.or(other),
            },
        },
    }
}

/// What an operation makes of two values.
fn combine(op: &str, returns_bool: bool, left: Value, right: Value) -> Value {
    use MetricKind::{Counter, Gauge, Info};
    use Value::{Constant, Of, Unknown};
    match op {
        "==" | "!=" | ">" | "<" | ">=" | "<=" => {
            return match left {
                _ if returns_bool => GAUGE,
                // A filter: it hands on the vector's side.
                Constant => right,
                _ => left,
            };
        }
        "and" | "unless" => return left,
        "or" => {
            return match (left, right) {
                (one, Constant) | (Constant, one) => one,
                (one, other) if one == other => one,
                _ => Unknown,
            };
        }
        _ => {}
    }
    match (left, right) {
        (Constant, Constant) => Constant,
        // A join that adds labels multiplies by 1.
        (one, Of(Info)) | (Of(Info), one) if op == "*" => one,
        (Of(Counter), Constant) => match op {
            "%" => GAUGE,
            "+" | "-" | "*" | "/" => COUNTER,
            _ => Unknown,
        },
        (Constant, Of(Counter)) if op == "+" || op == "*" => COUNTER,
        (Constant, Of(Counter)) => Unknown,
        (one, Constant) | (Constant, one) => one,
        (Of(Gauge), Of(Gauge)) => GAUGE,
        (Of(Counter), Of(Counter)) => match op {
            "+" => COUNTER,
            "-" | "/" | "%" => GAUGE,
            _ => Unknown,
        },
        (Of(Gauge), Of(Counter)) if op == "/" => GAUGE,
        _ => Unknown,
    }
}

/// What a function makes of its vector's values.
fn called(function: &str, value: Value) -> Value {
    match function {
        // Of these the result goes up and down, whatever it is computed from.
        "rate"
        | "irate"
        | "increase"
        | "delta"
        | "idelta"
        | "deriv"
        | "predict_linear"
        | "holt_winters"
        | "double_exponential_smoothing"
        | "changes"
        | "resets"
        | "histogram_quantile"
        | "histogram_fraction"
        | "histogram_avg"
        | "histogram_stddev"
        | "histogram_stdvar"
        | "count_over_time"
        | "present_over_time"
        | "stddev_over_time"
        | "stdvar_over_time"
        | "mad_over_time"
        | "timestamp"
        | "sgn"
        | "minute"
        | "hour"
        | "month"
        | "year"
        | "day_of_month"
        | "day_of_week"
        | "day_of_year"
        | "days_in_month" => GAUGE,
        // These keep what a counter is: a moving average of one still only goes up.
        "abs" | "ceil" | "floor" | "round" | "clamp" | "clamp_min" | "clamp_max" | "sort" | "sort_desc"
        | "sort_by_label" | "sort_by_label_desc" | "label_replace" | "label_join" | "info" | "avg_over_time"
        | "min_over_time" | "max_over_time" | "sum_over_time" | "last_over_time" | "first_over_time"
        | "quantile_over_time" => value,
        _ if value == GAUGE => GAUGE,
        _ => Value::Unknown,
    }
}
