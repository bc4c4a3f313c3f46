use proptest::prelude::*;

use super::*;

fn set(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

#[test]
fn the_kind_of_a_result_follows_what_is_done_to_the_series() {
    use MetricKind::{Counter, Gauge, Histogram};
    let table = [
        ("vllm:num_requests_running", Some(Gauge)),
        ("sum(vllm:num_requests_running)", Some(Gauge)),
        ("sum(vllm:num_requests_waiting) / count(vllm:num_requests_waiting)", Some(Gauge)),
        ("vllm:prompt_tokens_total", Some(Counter)),
        ("sum(vllm:prompt_tokens_total) by (pod)", Some(Counter)),
        ("sum(vllm:prompt_tokens_total) * 2", Some(Counter)),
        ("avg_over_time(vllm:prompt_tokens_total[5m])", Some(Counter)),
        ("sum(rate(vllm:prompt_tokens_total[2m])) by (pod)", Some(Gauge)),
        ("increase(http_requests_total[1m])", Some(Gauge)),
        ("delta(vllm:prompt_tokens_total[1m])", Some(Gauge)),
        ("deriv(anything[1m])", Some(Gauge)),
        ("rate(anything[5m:1m])", Some(Gauge)),
        ("histogram_quantile(0.95, sum(rate(vllm:e2e_request_latency_seconds_bucket[5m])) by (le))", Some(Gauge)),
        ("sum(vllm:e2e_request_latency_seconds_sum) / sum(vllm:e2e_request_latency_seconds_count)", Some(Gauge)),
        ("my_latency_sum / my_latency_count", Some(Gauge)),
        ("vllm:prompt_tokens_total - vllm:generation_tokens_total", Some(Gauge)),
        ("vllm:prompt_tokens_total + vllm:generation_tokens_total", Some(Counter)),
        ("100 * vllm:kv_cache_usage_perc", Some(Gauge)),
        ("vllm:kv_cache_usage_perc > 0.5", Some(Gauge)),
        ("vllm:prompt_tokens_total > bool 5", Some(Gauge)),
        ("sum(vllm:num_requests_waiting) or vector(0)", Some(Gauge)),
        ("vllm:e2e_request_latency_seconds", Some(Histogram)),
        ("count(anything)", Some(Gauge)),
        ("anything", None),
        ("sum(anything) * 100", None),
        ("-vllm:prompt_tokens_total", None),
        ("vector(1)", None),
        ("1 + 1", None),
        ("label_replace(DCGM_FI_DEV_GPU_UTIL, \"pod\", \"$1\", \"exported_pod\", \"(.+)\")", Some(Gauge)),
    ];
    for (text, kind) in table {
        assert_eq!(parse(text).unwrap().kind, kind, "{text}");
    }
}

#[test]
fn the_labels_of_a_result_are_known_as_far_as_the_query_tells() {
    let table = [
        ("x", None, false),
        ("sum(x)", Some(set(&[])), true),
        ("sum by (pod, namespace) (x)", Some(set(&["pod", "namespace"])), true),
        ("sum(sum by (pod, node) (x)) by (pod, y)", Some(set(&["pod"])), true),
        ("sum without (gpu) (x)", None, true),
        ("sum without (pod) (sum by (pod, node) (x))", Some(set(&["node"])), true),
        ("sum(x) * 100", Some(set(&[])), true),
        ("x * 100", None, false),
        ("sum(x) / sum(y)", Some(set(&[])), true),
        ("sum(x) by (pod) / on (pod) sum(y) by (pod)", Some(set(&["pod"])), true),
        ("sum(x) by (a, b) / on (a) group_left (c) sum(y) by (a, c)", Some(set(&["a", "b", "c"])), true),
        ("sum(x) or vector(0)", Some(set(&[])), true),
        ("topk(3, x)", None, false),
        ("topk(3, sum(x) by (pod))", Some(set(&["pod"])), true),
        ("histogram_quantile(0.9, sum(rate(x_bucket[5m])) by (le))", Some(set(&[])), true),
        ("label_replace(sum(x), \"pod\", \"a\", \"b\", \"c\")", Some(set(&["pod"])), true),
        ("count_values(\"v\", x)", None, true),
        ("absent(x)", Some(set(&[])), true),
        ("scalar(x)", Some(set(&[])), false),
        ("hour()", Some(set(&[])), true),
    ];
    for (text, labels, aggregated) in table {
        let query = parse(text).unwrap();
        assert_eq!(query.labels, labels, "{text}");
        assert_eq!(query.aggregated, aggregated, "{text}");
        assert_eq!(query.single(), labels.is_some_and(|labels| labels.is_empty()), "{text}");
    }
}

#[test]
fn what_a_query_can_do_without_is_told() {
    let optional =
        |text: &str| -> Vec<bool> { parse(text).unwrap().series.iter().map(|selector| selector.optional).collect() };
    assert_eq!(optional("sum(a) + (sum(b) or vector(0))"), [false, true]);
    assert_eq!(optional("avg(a or b) * 100"), [true, true]);
    assert_eq!(optional("a unless b"), [false, true]);
    assert_eq!(optional("absent(a) and b"), [true, false]);
    assert_eq!(optional("sum(a) / sum(b)"), [false, false]);
}

#[test]
fn selectors_are_read_with_their_matchers() {
    let query = parse(
        r#"sum(vllm:num_requests_running{model_name="m", pod=~"a.*", namespace!="x", b!~"c"}) + {__name__=~"vllm:.*"} + {__name__="y"}"#,
    )
    .unwrap();
    let matcher = |label: &str, op, value: &str| (label.to_owned(), op, value.to_owned());
    assert_eq!(
        query.series,
        vec![
            Selector {
                name: Some("vllm:num_requests_running".to_owned()),
                matchers: vec![
                    matcher("model_name", Op::Equal, "m"),
                    matcher("pod", Op::Regex, "a.*"),
                    matcher("namespace", Op::NotEqual, "x"),
                    matcher("b", Op::NotRegex, "c"),
                ],
                name_regex: None,
                optional: false,
            },
            Selector { name: None, matchers: vec![], name_regex: Some("vllm:.*".to_owned()), optional: false },
            Selector { name: Some("y".to_owned()), matchers: vec![], name_regex: None, optional: false },
        ]
    );
    assert_eq!(query.names(), ["vllm:num_requests_running", "y"]);
    assert_eq!(query.functions, set(&["sum"]));
}

#[test]
fn what_is_not_promql_is_an_error() {
    for text in ["", "sum(", "sum(x", "x{", "x{y=~\"(\"}", "{}", "sum(x) by", "prometheus.googleapis.com|x|gauge"] {
        let error = parse(text).unwrap_err();
        assert!(!error.message.is_empty(), "{text}");
    }
}

#[test]
fn a_query_that_would_cost_too_much_is_refused_before_it_is_parsed() {
    let table = [
        format!("{}x{}", "(".repeat(101), ")".repeat(101)),
        format!("x{}", "+x".repeat(401)),
        format!("x{}", " or x".repeat(401)),
        format!("{}1", "-".repeat(401)),
        format!("x{}", "[5m:1m]".repeat(401)),
        format!("x{{y=\"{}\"}}", "a".repeat(64 * 1024)),
        "x{y=~\"(a{1000}){1000}\"}".to_owned(),
        "x{y=~  \"(a\\x7b1000}){1000}\"}".to_owned(),
        format!("x{{{}}}", "y=~\"a\",".repeat(101)),
    ];
    for text in table {
        assert!(parse(&text).unwrap_err().offset.is_some(), "{}", text.chars().take(40).collect::<String>());
    }
    assert!(parse("x{y=\"\\é\"}").is_err());
}

#[test]
fn what_is_allowed_fits_the_stack_of_a_thread() {
    let texts = [
        format!("{}x{}", "(".repeat(100), ")".repeat(100)),
        format!("x{}", "+x".repeat(400)),
        format!("x{}", "^x".repeat(400)),
        format!("{}x", "-".repeat(400)),
    ];
    for text in texts {
        std::thread::Builder::new()
            .stack_size(1024 * 1024)
            .spawn(move || assert!(parse(&text).is_ok(), "{text}"))
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn operators_inside_strings_and_comments_do_not_count() {
    let text = format!("x{{y=\"{}\"}} # {}", "+(".repeat(500), "-[".repeat(500));
    assert_eq!(parse(&text).unwrap().series.len(), 1);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _outcome = parse(&text);
    }

    #[test]
    fn nothing_that_looks_like_promql_makes_it_panic(
        text in "(sum|rate|x|by|on|group_left|or|offset|@|bool|\\(|\\)|\\{|\\}|\\[5m\\]|\\[[0-9]{1,22}[a-z]\\]|,|\"|'|`|\\\\|é|=~|=|!=|[0-9.]{1,25}|[+*/^-]| |\n|#){0,40}",
    ) {
        let _outcome = parse(&text);
    }
}
