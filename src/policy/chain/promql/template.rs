//! prometheus-adapter's `metricsQuery`, which is a Go template with the delimiters `<<` and `>>`.

/// Writes a template out as the adapter would for the pods of a namespace, so that it can be parsed: `.Series` becomes
/// `series`, `.LabelMatchers` a matcher that every series of a pod satisfies, `.GroupBy` `pod`, a value of
/// `.LabelValuesByName` `.+`. Other actions write nothing. A `<<` without its `>>` stays as it is.
pub fn expand_adapter_template(query: &str, series: &str) -> String {
    let mut expanded = String::with_capacity(query.len());
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((action, after)) = after.split_once(">>") else { break };
        expanded.push_str(before);
        expanded.push_str(value(action, series));
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

fn value<'a>(action: &str, series: &'a str) -> &'a str {
    let action = action.strip_prefix("- ").unwrap_or(action);
    let action = action.strip_suffix(" -").unwrap_or(action).trim();
    // `if` and `range` choose between texts; they write nothing themselves.
    if ["if ", "range ", "with ", "else", "end"].iter().any(|control| action.starts_with(control)) {
        return "";
    }
    let fields: [(&str, &'a str); 4] = [
        (".Series", series),
        (".LabelMatchers", r#"namespace=~".+""#),
        (".GroupBy", "pod"),
        (".LabelValuesByName", ".+"),
    ];
    fields.iter().find(|(field, _)| action.contains(field)).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    #[test]
    fn published_templates_become_queries() {
        let table = [
            (
                "sum(vllm:num_requests_running{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
                r#"sum(vllm:num_requests_running{namespace=~".+"}) by (pod)"#,
            ),
            (
                r#"sum(rate(<<.Series>>{<<.LabelMatchers>>,container!="POD"}[5m])) by (<<.GroupBy>>)"#,
                r#"sum(rate(s{namespace=~".+",container!="POD"}[5m])) by (pod)"#,
            ),
            (
                r#"max(<< .Series >>{pod=~"<<index .LabelValuesByName "pod">>",<<- .LabelMatchers ->>}) by (<< .GroupBy >>)"#,
                r#"max(s{pod=~".+",namespace=~".+"}) by (pod)"#,
            ),
            (r#"avg(<<.Series>>{namespace=~"<<.LabelValuesByName.namespace>>"})"#, r#"avg(s{namespace=~".+"})"#),
            ("sum(<<.Series>>) by (<<.GroupBySlice>>)", "sum(s) by (pod)"),
            ("<<if .GroupBy>>sum(<<.Series>>)<<end>>", "sum(s)"),
        ];
        for (template, query) in table {
            assert_eq!(expand_adapter_template(template, "s"), query);
            assert!(parse(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn an_action_that_never_ends_stays() {
        assert_eq!(expand_adapter_template("sum(<<.Series", "s"), "sum(<<.Series");
        assert_eq!(expand_adapter_template("<<.Series>><<", "s"), "s<<");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(query in "(<<|>>|.|\\.Series|\\.GroupBy){0,30}", series in ".*") {
            expand_adapter_template(&query, &series);
        }
    }
}
