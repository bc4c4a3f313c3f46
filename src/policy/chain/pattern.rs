//! Regular expressions of other people's documents, compiled within limits, and the Go templates that use their groups.
//!
//! Prometheus and its adapter use RE2's syntax. The crate `regex` knows nearly all of it and matches in linear time; what
//! does not compile here is never taken as wrong, only as unknown.

use regex::{Regex, RegexBuilder};

/// Longest expression that is compiled, in bytes. The GMP custom resources allow as many characters.
const MAX_LENGTH: usize = 10_000;
/// Largest compiled program, in bytes: hundreds of alternatives fit, `(a{1000}){1000}` does not.
pub(super) const MAX_COMPILED: usize = 1 << 18;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 50;

/// Compiles an expression that may match anywhere in a name. `None` when it does not compile within the limits.
pub(super) fn compile(expression: &str) -> Option<Regex> {
    if expression.len() > MAX_LENGTH {
        return None;
    }
    RegexBuilder::new(expression).size_limit(MAX_COMPILED).nest_limit(MAX_NESTING).build().ok()
}

/// Compiles an expression that must match a whole value, as Prometheus anchors those of matchers and relabelling.
pub(super) fn compile_anchored(expression: &str) -> Option<Regex> {
    // Alone first: `a)|(b` compiles only inside other parentheses.
    compile(expression)?;
    compile(&format!("^(?s:{expression})$"))
}

/// The names that an expression lists, when it is nothing but a list of names: `a`, `^a$`, `a|b`, `(a|b)`.
pub(super) fn listed_names(expression: &str) -> Option<Vec<&str>> {
    let inner = expression.strip_prefix('^').unwrap_or(expression);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    inner.split('|').map(|name| is_metric_name(name).then_some(name)).collect()
}

/// Whether a text may be the name of a series.
pub(super) fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// The name that a template (`$1`, `${name}`) gives to `name`, when `regex` matches it.
pub(super) fn expand(regex: &Regex, template: &str, name: &str) -> Option<String> {
    let captures = regex.captures(name)?;
    let mut expanded = String::new();
    captures.expand(template, &mut expanded);
    Some(expanded)
}

/// The anchored expression of all names that a template may give: its text literally, `.+` for each group that `regex`
/// has, nothing for one that it has not (as Go expands it). `$$` is a dollar.
pub(super) fn of_template(template: &str, regex: &Regex) -> String {
    let mut expression = String::from("^");
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('$') {
        expression.push_str(&regex::escape(literal));
        if let Some(after) = after.strip_prefix('$') {
            expression.push_str(r"\$");
            rest = after;
            continue;
        }
        let (reference, after) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some(braced) => braced,
            None => match after.split_at(reference_length(after)) {
                // A dollar that refers to nothing stands for itself.
                ("", after) => {
                    expression.push_str(r"\$");
                    rest = after;
                    continue;
                }
                reference => reference,
            },
        };
        if has_group(regex, reference) && !expression.ends_with(".+") {
            expression.push_str(".+");
        }
        rest = after;
    }
    expression.push_str(&regex::escape(rest));
    expression.push('$');
    expression
}

fn reference_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Whether a template refers to groups at all.
pub(super) fn has_reference(template: &str) -> bool {
    template.contains('$')
}

fn has_group(regex: &Regex, reference: &str) -> bool {
    match reference.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == reference),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_becomes_the_expression_of_its_names() {
        let one = compile("^vllm:(.*)$").unwrap();
        let table = [
            ("vllm_$1", "^vllm_.+$"),
            ("vllm_${1}_per_second", "^vllm_.+_per_second$"),
            ("$1_per_second", "^$"),
            ("$0", "^.+$"),
            ("${1}${1}", "^.+$"),
            ("a.b", r"^a\.b$"),
            ("$2", "^$"),
            ("cost$$", r"^cost\$$"),
            ("${1", r"^\$\{1$"),
        ];
        for (template, expression) in table {
            assert_eq!(of_template(template, &one), expression, "{template}");
        }
    }

    #[test]
    fn a_list_of_names_is_told_from_an_expression() {
        let table = [
            ("DCGM_FI_DEV_GPU_UTIL", Some(vec!["DCGM_FI_DEV_GPU_UTIL"])),
            ("^(a|b)$", Some(vec!["a", "b"])),
            ("(?:a|b:c)", Some(vec!["a", "b:c"])),
            ("DCGM_.*", None),
            ("a|", None),
            ("", None),
        ];
        for (expression, names) in table {
            assert_eq!(listed_names(expression), names, "{expression}");
        }
    }

    #[test]
    fn what_would_cost_too_much_does_not_compile() {
        assert!(compile("(a{1000}){1000}").is_none());
        assert!(compile(&"(".repeat(60)).is_none());
        assert!(compile(&"a".repeat(10_001)).is_none());
        assert!(compile_anchored("a)|(b").is_none());
        assert!(!compile_anchored("a|b").unwrap().is_match("ab"));
    }

    proptest! {
        #[test]
        fn no_template_makes_it_panic_and_what_it_expands_to_matches_its_pattern(
            template in "[a-z_$:{}0-9]{0,12}",
            name in "vllm:[a-z]{1,8}",
        ) {
            let regex = compile("^vllm:(.*)$").unwrap();
            let expanded = expand(&regex, &template, &name).unwrap();
            let pattern = of_template(&template, &regex);
            prop_assert!(Regex::new(&pattern).unwrap().is_match(&expanded), "{} {} {}", template, pattern, expanded);
        }

        #[test]
        fn no_expression_makes_it_panic(expression in ".*") {
            if let Some(regex) = compile_anchored(&expression) {
                of_template("$1", &regex);
            }
            let _names = listed_names(&expression);
        }
    }
}
