//! Relabelling that writes `__name__`: the renamed series is a name that something makes.

use super::super::finding::ObjectRef;
use super::super::objects::RelabelRule;
use super::{Made, MakerKind, Makers, Pattern, pattern, series};

/// What the rules of one endpoint make. On Google Managed Prometheus the result has lost its metadata and is stored as
/// `unknown`.
pub(super) fn read(rules: &[RelabelRule], object: &ObjectRef, makers: &mut Makers) {
    // The names that reach a rule, when the rules before it leave only listed ones.
    let mut reaching: Option<Vec<String>> = None;
    for rule in rules {
        let by_name = matches!(rule.source_labels.as_slice(), [label] if label == "__name__");
        let action = rule.action.as_deref().unwrap_or("replace").to_ascii_lowercase();
        if action == "keep" && by_name {
            let listed = rule.regex.as_deref().and_then(pattern::listed_names);
            if let Some(listed) = listed {
                reaching = Some(listed.into_iter().map(str::to_owned).collect());
            }
            continue;
        }
        if rule.target_label.as_deref() != Some("__name__") {
            continue;
        }
        let step = Step { object, by_name, reaching: reaching.as_deref() };
        match action.as_str() {
            "replace" => step.replace(rule, makers),
            "lowercase" => step.change_case(str::to_lowercase, "^[^A-Z]+$", makers),
            "uppercase" => step.change_case(str::to_uppercase, "^[^a-z]+$", makers),
            _ => continue,
        }
        // What later rules get is no longer a name that the exporter gave.
        reaching = None;
    }
}

struct Step<'a> {
    object: &'a ObjectRef,
    /// The rule reads `__name__` and nothing else.
    by_name: bool,
    reaching: Option<&'a [String]>,
}

// === impl Step ===

impl Step<'_> {
    fn replace(&self, rule: &RelabelRule, makers: &mut Makers) {
        let expression = rule.regex.as_deref().unwrap_or("(.*)");
        let replacement = rule.replacement.as_deref().unwrap_or("$1");
        let listed = pattern::listed_names(expression).unwrap_or_default();
        let regex = pattern::compile_anchored(expression);
        if !pattern::has_reference(replacement) {
            let from = if self.by_name { listed.iter().map(|name| (*name).to_owned()).collect() } else { Vec::new() };
            makers.add(self.made(replacement.to_owned(), from));
            return;
        }
        let Some(regex) = regex else {
            makers.add_pattern(self.pattern("^.+$".to_owned(), false));
            return;
        };
        if self.by_name {
            for name in self.candidates(&listed) {
                if let Some(made) = pattern::expand(&regex, replacement, name)
                    && made != name
                {
                    makers.add(self.made(made, vec![name.to_owned()]));
                }
            }
            if self.reaching.is_some() {
                return;
            }
        }
        let passes_through = self.by_name && rule.regex.is_none() && matches!(replacement, "$1" | "${1}");
        makers.add_pattern(self.pattern(pattern::of_template(replacement, &regex), passes_through));
    }

    fn change_case(&self, change: fn(&str) -> String, expression: &str, makers: &mut Makers) {
        if self.by_name {
            for name in self.candidates(&[]) {
                let made = change(name);
                if made != name {
                    makers.add(self.made(made, vec![name.to_owned()]));
                }
            }
            if self.reaching.is_some() {
                return;
            }
        }
        makers.add_pattern(self.pattern(expression.to_owned(), self.by_name));
    }

    /// Names that a rule over `__name__` may meet: those that are left, or else all that are known.
    fn candidates<'b>(&'b self, listed: &'b [&'b str]) -> Vec<&'b str> {
        match self.reaching {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => listed.iter().copied().chain(series::catalogued().map(|(name, _)| name)).collect(),
        }
    }

    fn made(&self, name: String, from: Vec<String>) -> Made {
        let kind = match from.as_slice() {
            [one] => series::kind(one),
            _ => None,
        };
        Made { name, by: MakerKind::Relabelling, object: self.object.clone(), from, kind }
    }

    fn pattern(&self, regex: String, passes_through: bool) -> Pattern {
        Pattern::new(regex, MakerKind::Relabelling, self.object.clone(), passes_through)
    }
}
