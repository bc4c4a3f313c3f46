//! A strict reader of OpenMetrics 1.0 text, for tests: what it takes, every scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// A family as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FamilyRead {
    pub of: String,
    pub help: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

/// A sample as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl FamilyRead {
    /// The value of the one sample with these labels.
    pub fn value(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.iter().find(|sample| sample.labels == wanted).map(|sample| sample.value)
    }
}

/// Reads a whole exposition.
///
/// # Errors
/// Says what breaks the format, and where.
pub fn parse(text: &str) -> Result<BTreeMap<String, FamilyRead>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("does not end in # EOF")?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("the last line is not ended".to_owned());
    }
    let mut families: BTreeMap<String, FamilyRead> = BTreeMap::new();
    let mut open: Option<String> = None;
    let mut series = BTreeSet::new();
    for line in body.lines() {
        let read = match line.strip_prefix("# ") {
            Some(metadata) => read_metadata(metadata, &mut families, &mut open),
            None => read_sample(line, &mut families, open.as_deref(), &mut series),
        };
        read.map_err(|error| format!("{line:?}: {error}"))?;
    }
    for (name, family) in &families {
        check(name, family).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(families)
}

fn read_metadata(
    line: &str,
    families: &mut BTreeMap<String, FamilyRead>,
    open: &mut Option<String>,
) -> Result<(), String> {
    let mut words = line.splitn(3, ' ');
    let (word, name) = (words.next().ok_or("empty")?, words.next().ok_or("no name")?);
    let rest = words.next().ok_or("nothing said")?;
    if !is_name(name) {
        return Err("bad name".to_owned());
    }
    if open.as_deref() != Some(name) {
        if families.contains_key(name) {
            return Err("the family was left before".to_owned());
        }
        *open = Some(name.to_owned());
    }
    let family = families.entry(name.to_owned()).or_default();
    if !family.samples.is_empty() {
        return Err("metadata after samples".to_owned());
    }
    match word {
        "TYPE" if family.of.is_empty() => rest.clone_into(&mut family.of),
        "HELP" if family.help.is_empty() => rest.clone_into(&mut family.help),
        "UNIT" if family.unit.is_none() => family.unit = Some(rest.to_owned()),
        _ => return Err("unknown or repeated metadata".to_owned()),
    }
    Ok(())
}

fn read_sample(
    line: &str,
    families: &mut BTreeMap<String, FamilyRead>,
    open: Option<&str>,
    series: &mut BTreeSet<String>,
) -> Result<(), String> {
    let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        other if other.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            other.parse().map_err(|_| "the value is no number".to_owned())?
        }
        _ => return Err("the value is no number".to_owned()),
    };
    if !series.insert(key.to_owned()) {
        return Err("the series is there twice".to_owned());
    }
    let (name, labels) = match key.split_once('{') {
        None => (key, BTreeMap::new()),
        Some((name, rest)) => (name, read_labels(rest.strip_suffix('}').ok_or("labels not closed")?)?),
    };
    if !is_name(name) {
        return Err("bad name".to_owned());
    }
    let open = open.ok_or("no family before it")?;
    let family = families.get_mut(open).ok_or("no family before it")?;
    let suffix = name.strip_prefix(open).ok_or("belongs to no open family")?;
    let fits = match family.of.as_str() {
        "gauge" => suffix.is_empty(),
        "counter" => suffix == "_total" && value >= 0.0 && value.is_finite(),
        "info" => suffix == "_info" && (value - 1.0).abs() < f64::EPSILON,
        "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count") && value >= 0.0,
        _ => false,
    };
    if !fits || labels.contains_key("le") != (suffix == "_bucket") {
        return Err(format!("does not fit a {}", family.of));
    }
    family.samples.push(Sample { name: name.to_owned(), labels, value });
    Ok(())
}

fn read_labels(mut rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut value = String::new();
        let mut chars = tail.char_indices();
        let end = loop {
            match chars.next().ok_or("a label's value is not closed")? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('"' | '\\'))) => c,
                    _ => return Err("bad escape".to_owned()),
                }),
                (_, c) => value.push(c),
            }
        };
        if !is_name(name) || name.contains(':') || labels.insert(name.to_owned(), value).is_some() {
            return Err("a label's name is bad or there twice".to_owned());
        }
        rest = &tail[end..];
        if let Some(next) = rest.strip_prefix(',').filter(|next| !next.is_empty()) {
            rest = next;
        } else if !rest.is_empty() {
            return Err("labels run together".to_owned());
        }
    }
    Ok(labels)
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn check(name: &str, family: &FamilyRead) -> Result<(), String> {
    if family.of.is_empty() || family.help.is_empty() {
        return Err("no type or no help".to_owned());
    }
    for suffix in ["_total", "_created", "_count", "_sum", "_bucket", "_info"] {
        if name.ends_with(suffix) {
            return Err(format!("the family's name ends in {suffix}"));
        }
    }
    if family.unit.as_ref().is_some_and(|unit| !name.ends_with(&format!("_{unit}"))) {
        return Err("the unit is not in the name".to_owned());
    }
    if family.of != "histogram" {
        return Ok(());
    }
    let (mut bound, mut below) = (f64::NEG_INFINITY, 0.0);
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let text = sample.labels.get("le").ok_or("a bucket without le")?;
        let le = if text == "+Inf" { f64::INFINITY } else { text.parse().map_err(|_| "a bad le".to_owned())? };
        if le <= bound || sample.value < below {
            return Err("buckets do not rise".to_owned());
        }
        (bound, below) = (le, sample.value);
    }
    let count = family.samples.iter().find(|sample| sample.name.ends_with("_count")).ok_or("no count")?;
    if bound.is_finite() || (below - count.value).abs() > f64::EPSILON {
        return Err("the last bucket is not the count".to_owned());
    }
    Ok(())
}

#[test]
fn what_breaks_the_format_is_not_taken() {
    let head = "# HELP a A.\n# TYPE a counter\n";
    assert!(parse(&format!("{head}a_total{{b=\"c\\n\\\"\"}} 1.0\n# EOF\n")).is_ok());
    for wrong in [
        format!("{head}a_total 1\n"),
        format!("{head}a 1\n# EOF\n"),
        format!("{head}a_total -1\n# EOF\n"),
        format!("{head}a_total 1\na_total 1\n# EOF\n"),
        format!("{head}a_total{{b=\"c\"\n# EOF\n"),
        format!("{head}a_total{{b=\"\\t\"}} 1\n# EOF\n"),
        format!("{head}a_total{{b=\"c\",b=\"d\"}} 1\n# EOF\n"),
        format!("{head}b_total 1\n# EOF\n"),
        format!("{head}\n# EOF\n"),
        format!("{head}{head}# EOF\n"),
        format!("{head}# UNIT a seconds\n# EOF\n"),
        "# HELP a A.\n# TYPE a nonsense\na 1\n# EOF\n".to_owned(),
        "# TYPE a gauge\na 1\n# EOF\n".to_owned(),
        "# HELP a_total A.\n# TYPE a_total gauge\n# EOF\n".to_owned(),
        "# HELP h H.\n# TYPE h histogram\nh_count 2\nh_sum 1\nh_bucket{le=\"+Inf\"} 1\n# EOF\n".to_owned(),
        "# HELP h H.\n# TYPE h histogram\nh_count 1\nh_sum 1\nh_bucket{le=\"1.0\"} 1\n# EOF\n".to_owned(),
    ] {
        assert!(parse(&wrong).is_err(), "{wrong}");
    }
}
