//! prometheus-adapter's configuration: which names its rules give to which series.
//!
//! The adapter computes a name as `as`, expanded with the groups of `matches` in the series' name (`pkg/naming/metric_namer.go`
//! of kubernetes-sigs/prometheus-adapter); `matches` is `.*` when unset, and `as` is then `$0`, or `$1` beside one group.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::super::engine::MetricKind;
use super::super::finding::ObjectRef;
use super::super::objects::ConfigMap;
use super::{Made, MakerKind, Makers, Pattern, pattern, promql, series};

/// Most rules of one configuration that are read; an expression of each meets every catalogued name.
const MAX_RULES: usize = 500;

/// Queries of one rule that are parsed for their series; more series than that are taken to be read by their own names.
const MAX_PARSED: usize = 8;

/// Why an adapter configuration cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key of the ConfigMap's data.
    pub key: String,
    /// Line within the value, from 1, when known.
    pub line: Option<usize>,
    /// Column in that line, from 1, in characters, when known.
    pub column: Option<usize>,
    /// What is wrong, as a clause. Holds nothing of the value.
    pub message: String,
    /// prometheus-adapter cannot load it either. Otherwise it is only not read here: a form that its YAML or its regular
    /// expressions may allow.
    pub proven: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AdapterConfiguration {
    rules: Option<Vec<AdapterRule>>,
    external_rules: Option<Vec<AdapterRule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AdapterRule {
    series_query: Option<Spanned<String>>,
    series_filters: Option<Vec<SeriesFilter>>,
    resources: Option<Resources>,
    name: Option<NameRule>,
    metrics_query: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    template: Option<String>,
    overrides: Option<BTreeMap<String, Resource>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    resource: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SeriesFilter {
    is: Option<String>,
    is_not: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NameRule {
    matches: Option<Spanned<String>>,
    #[serde(rename = "as")]
    to: Option<Spanned<String>>,
}

/// One rule of a configuration that can be read, and where its parts stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The key of the ConfigMap's data.
    pub key: String,
    /// Which of the adapter's APIs it serves.
    pub by: MakerKind,
    /// The rule's path in the value, as in `rules[0]`.
    pub path: String,
    /// The one series that `seriesQuery` names; `None` when it takes several.
    pub series: Option<String>,
    /// The name in the metrics API where that is one: of [`Listed::series`], or a fixed one for all. `None` also when
    /// `name.matches` or a filter does not take the series.
    pub made: Option<String>,
    /// `name.as`, when it is a fixed name.
    pub fixed: Option<String>,
    /// Why `series` gets no name, as a clause.
    pub refused: Option<&'static str>,
    /// `resources` ties the series to pods, without which no metric of pods is served.
    pub of_pods: bool,
    /// Why `metricsQuery` cannot be read as PromQL once its template is written out.
    pub query_fault: Option<String>,
    /// Where `seriesQuery` stands in the value: line and column from 1.
    pub at: Option<(usize, usize)>,
    /// Where `name.as` stands, or else as `at`.
    pub as_at: Option<(usize, usize)>,
    /// Where `name.matches` stands, or else as `at`.
    pub matches_at: Option<(usize, usize)>,
    /// Where `metricsQuery` stands, or else as `at`.
    pub query_at: Option<(usize, usize)>,
}

/// The first value of a ConfigMap that evidently is an adapter configuration but cannot be read.
pub fn fault(config_map: &ConfigMap) -> Option<Fault> {
    config_map.data.iter().find_map(|(key, value)| Reading::of(key, value).err())
}

/// Whether a ConfigMap holds an adapter configuration, readable or not.
pub fn is_adapter_configuration(config_map: &ConfigMap) -> bool {
    config_map.data.iter().any(|(key, value)| !matches!(Reading::of(key, value), Ok(None)))
}

/// The rules of a ConfigMap's values that can be read, in order.
pub fn rules(config_map: &ConfigMap) -> Vec<Listed> {
    let values = config_map.data.iter().filter_map(|(key, value)| Some((key, Reading::of(key, value).ok()??)));
    values.flat_map(|(key, reading)| reading.rules.iter().map(|rule| rule.listed(key)).collect::<Vec<_>>()).collect()
}

/// What the adapter serves by a ConfigMap's rules.
pub(super) fn read(config_map: &ConfigMap, object: &ObjectRef, makers: &mut Makers) {
    for (key, value) in &config_map.data {
        match Reading::of(key, value) {
            Ok(None) => {}
            Ok(Some(reading)) => {
                for rule in &reading.rules {
                    rule.make(object, makers);
                }
            }
            Err(fault) => makers.unreadable = Some(fault.to_string()),
        }
    }
}

struct Reading {
    rules: Vec<Namer>,
}

/// A rule whose expressions are compiled.
struct Namer {
    by: MakerKind,
    /// What it selects; `None` when `seriesQuery` is not a selector that can be read.
    selector: Option<promql::Selector>,
    filters: Vec<(Regex, bool)>,
    matches: Regex,
    to: String,
    metrics_query: Option<String>,
    of_pods: bool,
    path: String,
    /// Of `seriesQuery`, `name.as`, `name.matches` and `metricsQuery`.
    places: [Option<(usize, usize)>; 4],
}

/// Why a rule gives no names: the field and what is wrong with it.
struct Unusable {
    field: &'static str,
    proven: bool,
}

// === impl Unusable ===

impl Unusable {
    /// RE2 allows a few forms that the crate `regex` does not.
    fn expression(field: &'static str) -> Self {
        Self { field, proven: false }
    }
}

// === impl Fault ===

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

// === impl Reading ===

impl Reading {
    /// Reads a value of a ConfigMap. `None` when it is not an adapter configuration.
    fn of(key: &str, value: &str) -> Result<Option<Self>, Fault> {
        if !value.contains("seriesQuery") {
            return Ok(None);
        }
        let fault =
            |message: String, proven: bool| Fault { key: key.to_owned(), line: None, column: None, message, proven };
        let configuration: AdapterConfiguration = match serde_saphyr::from_str_with_options(value, options()) {
            Ok(configuration) => configuration,
            Err(error) if looks_like_rules(value) => {
                let location = error.location();
                let place = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
                return Err(syntax_fault(key, value).unwrap_or_else(|| Fault {
                    line: location.and_then(|location| place(location.line())),
                    column: location.and_then(|location| place(location.column())),
                    // The error's own words would quote the value.
                    ..fault("does not have the form of prometheus-adapter's configuration".to_owned(), false)
                }));
            }
            Err(_) => return Ok(None),
        };
        let (rules, external) =
            (configuration.rules.unwrap_or_default(), configuration.external_rules.unwrap_or_default());
        if !rules.iter().chain(&external).any(|rule| rule.series_query.is_some()) {
            return Ok(None);
        }
        if rules.len().saturating_add(external.len()) > MAX_RULES {
            return Err(fault(format!("holds more than {MAX_RULES} rules, which is more than is read"), false));
        }
        let mut namers = Vec::new();
        for (list, by, rules) in
            [("rules", MakerKind::AdapterRule, rules), ("externalRules", MakerKind::ExternalAdapterRule, external)]
        {
            for (index, rule) in rules.into_iter().enumerate() {
                let path = format!("{list}[{index}]");
                let place = rule.series_query.as_ref().and_then(place);
                let namer = Namer::of(rule, by, &path).map_err(|Unusable { field, proven }| Fault {
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    ..fault(format!("{path}.{field}"), proven)
                })?;
                namers.push(namer);
            }
        }
        Ok(Some(Self { rules: namers }))
    }
}

/// Line and column of a value, from 1, when they are known.
fn place(text: &Spanned<String>) -> Option<(usize, usize)> {
    let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
    Some((number(text.defined.line())?, number(text.defined.column())?))
}

fn options() -> serde_saphyr::Options {
    // Long comments are common in these files; emitted, they count against a limit.
    serde_saphyr::options! { with_snippet: false, emit_comments: false }
}

/// Where a value is not YAML at all, whatever it was meant to be.
fn syntax_fault(key: &str, value: &str) -> Option<Fault> {
    let mut options = granit_parser::Options::default();
    options.emit_comments = false;
    let error = granit_parser::Parser::new_from_str_with_options(value, options).find_map(Result::err)?;
    Some(Fault {
        key: key.to_owned(),
        line: Some(error.marker().line()),
        column: Some(error.marker().col().saturating_add(1)),
        message: "is not valid YAML, so prometheus-adapter cannot load its rules".to_owned(),
        proven: true,
    })
}

/// Whether a text that does not parse was evidently meant as an adapter configuration: a top-level list of rules, and a
/// `seriesQuery` that is a key.
fn looks_like_rules(value: &str) -> bool {
    let list = value.lines().any(|line| {
        let key = line.trim_start_matches(['"', '\'']);
        key.starts_with("rules") || key.starts_with("externalRules")
    });
    list && value.lines().any(|line| {
        let key = line.trim_start().trim_start_matches("- ").trim_start_matches(['"', '\'', ' ']);
        key.strip_prefix("seriesQuery").is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    })
}

// === impl Resources ===

impl Resources {
    /// A template finds the resource in the label; an override names it, in the singular or the plural.
    fn have_pods(&self) -> bool {
        let template = self.template.as_ref().is_some_and(|template| !template.is_empty());
        let mut overrides = self.overrides.iter().flatten();
        template || overrides.any(|(_, of)| matches!(of.resource.as_deref(), Some("pod" | "pods")))
    }
}

// === impl Namer ===

impl Namer {
    fn of(rule: AdapterRule, by: MakerKind, path: &str) -> Result<Self, Unusable> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let name = rule.name.unwrap_or_default();
        let places = [&rule.series_query, &name.to, &name.matches, &rule.metrics_query];
        let places = places.map(|text| text.as_ref().and_then(place));
        let matches = given(name.matches.map(|text| text.value)).unwrap_or_else(|| ".*".to_owned());
        let matches = pattern::compile(&matches)
            .ok_or(Unusable::expression("name.matches is not a regular expression that can be read"))?;
        let to = match (given(name.to.map(|text| text.value)), matches.captures_len()) {
            (Some(to), _) => to,
            (None, 1) => "$0".to_owned(),
            (None, 2) => "$1".to_owned(),
            (None, _) => {
                let field = "name.as must be given, since name.matches has several groups";
                return Err(Unusable { field, proven: true });
            }
        };
        let mut filters = Vec::new();
        for filter in rule.series_filters.unwrap_or_default() {
            for (expression, expected) in [(given(filter.is), true), (given(filter.is_not), false)] {
                if let Some(expression) = expression {
                    let regex = pattern::compile(&expression)
                        .ok_or(Unusable::expression("seriesFilters has a regular expression that cannot be read"))?;
                    filters.push((regex, expected));
                }
            }
        }
        let selector = rule
            .series_query
            .and_then(|query| promql::parse(&query.value).ok())
            .and_then(|query| query.series.into_iter().next());
        let metrics_query = rule.metrics_query.map(|query| query.value);
        let of_pods = rule.resources.as_ref().is_some_and(Resources::have_pods);
        Ok(Self { by, selector, filters, matches, to, metrics_query, of_pods, path: path.to_owned(), places })
    }

    fn listed(&self, key: &str) -> Listed {
        let series = self.selector.as_ref().and_then(|selector| selector.name.clone());
        let fixed = (!pattern::has_reference(&self.to)).then(|| self.to.clone());
        let (mut refused, mut made) = (None, fixed.clone().filter(|_| series.is_none()));
        if let Some(series) = &series {
            let name = pattern::expand(&self.matches, &self.to, series);
            if !self.takes(series) {
                refused = Some("seriesFilters does not take it");
            } else if name.is_none() {
                refused = Some("name.matches does not match it");
            } else {
                made = name;
            }
        }
        let query_fault = self.metrics_query.as_deref().and_then(|query| {
            let query =
                promql::expand_adapter_template(query, series.as_deref().unwrap_or("vllm:num_requests_running"));
            promql::parse(&query).err().map(|error| error.message)
        });
        let [at, as_at, matches_at, query_at] = self.places;
        Listed {
            key: key.to_owned(),
            by: self.by,
            path: self.path.clone(),
            series,
            made,
            fixed,
            refused,
            of_pods: self.of_pods,
            query_fault,
            at,
            as_at: as_at.or(at),
            matches_at: matches_at.or(at),
            query_at: query_at.or(at),
        }
    }

    fn make(&self, object: &ObjectRef, makers: &mut Makers) {
        if let Some(name) = self.selector.as_ref().and_then(|selector| selector.name.as_deref()) {
            if self.takes(name)
                && let Some(made) = pattern::expand(&self.matches, &self.to, name)
            {
                let (from, kind) = self.result(name);
                makers.add(Made { name: made, by: self.by, object: object.clone(), from, kind });
            }
            return;
        }
        let names = self.selector.as_ref().and_then(|selector| selector.name_regex.as_deref());
        let names = names.and_then(pattern::compile_anchored);
        let selects = |name: &str| self.takes(name) && names.as_ref().is_none_or(|regex| regex.is_match(name));
        if !pattern::has_reference(&self.to) {
            let (from, kind) = self.result_of_any(series::catalogued().filter(|(name, _)| selects(name)));
            makers.add(Made { name: self.to.clone(), by: self.by, object: object.clone(), from, kind });
            return;
        }
        // The result is the same for all series of a kind, and queries are slow to parse beside the rest.
        let mut results: Vec<(MetricKind, &str, Vec<String>, Option<MetricKind>)> = Vec::new();
        for (name, kind) in series::catalogued().filter(|(name, _)| selects(name)) {
            let Some(made) = pattern::expand(&self.matches, &self.to, name) else { continue };
            let known = results.iter().find(|(of, ..)| *of == kind).cloned();
            let (_, first, from, result) = known.unwrap_or_else(|| {
                let (from, result) = self.result(name);
                results.push((kind, name, from.clone(), result));
                (kind, name, from, result)
            });
            let from = from.iter().map(|series| series.replace(first, name)).collect();
            makers.add(Made { name: made, by: self.by, object: object.clone(), from, kind: result });
        }
        // `$0` of an unanchored `.*` is the whole name: the rule hands on what it selects.
        let passes_through = self.to == "$0" && self.matches.as_str() == ".*";
        let regex = match names {
            Some(names) if passes_through => names.as_str().to_owned(),
            _ => pattern::of_template(&self.to, &self.matches),
        };
        makers.add_pattern(Pattern::new(regex, self.by, object.clone(), passes_through));
    }

    /// As [`Namer::result`], for whichever of several series there is: all that they read, and the kind where they agree.
    fn result_of_any(
        &self,
        names: impl Iterator<Item = (&'static str, MetricKind)>,
    ) -> (Vec<String>, Option<MetricKind>) {
        let mut kinds: Vec<(MetricKind, Option<MetricKind>)> = Vec::new();
        let mut all: Vec<String> = Vec::new();
        for (name, kind) in names {
            let first = !kinds.iter().any(|(of, _)| *of == kind);
            // Queries are slow to parse, and those over series of one kind differ by the name alone.
            let read = if first || all.len() < MAX_PARSED {
                let (read, result) = self.result(name);
                kinds.push((kind, result));
                read
            } else {
                vec![name.to_owned()]
            };
            for series in read {
                if !all.contains(&series) {
                    all.push(series);
                }
            }
        }
        let kind = kinds
            .first()
            .and_then(|(_, kind)| *kind)
            .filter(|kind| kinds.iter().all(|(_, other)| *other == Some(*kind)));
        (all, kind)
    }

    /// Whether the filters leave a series.
    fn takes(&self, name: &str) -> bool {
        self.filters.iter().all(|(regex, expected)| regex.is_match(name) == *expected)
    }

    /// The series that the query over `name` reads, and what its result is.
    fn result(&self, name: &str) -> (Vec<String>, Option<MetricKind>) {
        let query = self.metrics_query.as_deref().map(|query| promql::expand_adapter_template(query, name));
        match query.and_then(|query| promql::parse(&query).ok()) {
            Some(query) if !query.names().is_empty() => (query.names(), query.kind),
            Some(query) => (vec![name.to_owned()], query.kind),
            None => (vec![name.to_owned()], None),
        }
    }
}
