use super::super::super::chain::Adapter;
use super::super::super::chain::adapter::Served;
use super::super::super::view::{MetricApi, MetricKey, MetricPresence};
use super::*;

use MetricPresence::{Absent, Present, Unknown};

const NAME: &str = "vllm_num_requests_running";

fn wanted(adapter: Adapter, pods: bool) -> Wanted {
    Wanted {
        key: MetricKey { api: MetricApi::Custom, name: NAME.to_owned(), namespace: "ml".to_owned() },
        served: Some(Served { adapter, version: "v1beta2", unavailable: None }),
        pods,
        ready_since: Some(0),
    }
}

fn stackdriver() -> Wanted {
    wanted(Adapter::Stackdriver, true)
}

fn prometheus(pods: bool) -> Wanted {
    wanted(Adapter::PrometheusAdapter, pods)
}

const VALUES: Answer<'_> = Answer::Status {
    status: 200,
    body: br#"{"kind":"MetricValueList","apiVersion":"custom.metrics.k8s.io/v1beta2","items":[{"value":"4"}]}"#,
};
const EMPTY: Answer<'_> = Answer::Status { status: 200, body: br#"{"kind":"MetricValueList","items":[]}"# };
const NULL: Answer<'_> = Answer::Status { status: 200, body: br#"{"kind":"ExternalMetricValueList","items":null}"# };
const NOT_FOUND: Answer<'_> =
    Answer::Status { status: 404, body: br#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"# };
const NO_SUCH_PATH: Answer<'_> = Answer::Status { status: 404, body: b"404 page not found\n" };

fn status(status: u16) -> Answer<'static> {
    Answer::Status { status, body: br#"{"kind":"Status","status":"Failure","reason":"X"}"# }
}

fn list(names: &[&str]) -> Listing {
    let resources: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
    let body = serde_json::json!({ "kind": "APIResourceList", "resources": resources });
    Listing::parse(MetricApi::Custom, body.to_string().as_bytes()).unwrap()
}

/// What was seen, the answers to the metric and to the control, the list, and what they prove.
type Row<'a> = (&'a str, Wanted, Answer<'a>, Option<Answer<'a>>, Option<&'a Listing>, MetricPresence);

#[test]
fn every_row_of_the_table_has_its_verdict() {
    let (with, without, empty) = (list(&["pods/vllm_num_requests_running"]), list(&["pods/other"]), list(&[]));
    let elsewhere = list(&["services/vllm_num_requests_running", "pods/other"]);
    let other = || wanted(Adapter::Other("x/kube-metrics-adapter".to_owned()), true);
    let table: Vec<Row<'_>> = vec![
        ("200 with items", stackdriver(), VALUES, None, None, Present),
        ("200 with items, prometheus-adapter", prometheus(true), VALUES, None, None, Present),
        ("200 with items, another adapter", other(), VALUES, None, None, Present),
        ("200 empty, Stackdriver: the descriptor exists", stackdriver(), EMPTY, None, None, Present),
        ("200 null, Stackdriver", stackdriver(), NULL, None, None, Present),
        ("200 empty, another adapter", other(), EMPTY, None, None, Unknown),
        ("200 empty, prometheus-adapter, listed", prometheus(true), EMPTY, None, Some(&with), Present),
        ("200 empty, prometheus-adapter, not listed", prometheus(true), EMPTY, None, Some(&without), Unknown),
        ("404, the control has values", stackdriver(), NOT_FOUND, Some(VALUES), None, Absent),
        ("404, the control is known", stackdriver(), NOT_FOUND, Some(EMPTY), None, Absent),
        ("404, the control is 404 too", stackdriver(), NOT_FOUND, Some(NOT_FOUND), None, Unknown),
        ("404, the control is 503", stackdriver(), NOT_FOUND, Some(status(503)), None, Unknown),
        ("404, no control is configured", stackdriver(), NOT_FOUND, None, None, Unknown),
        ("404 of the API server", stackdriver(), NO_SUCH_PATH, Some(VALUES), None, Unknown),
        ("404, pods, not listed", prometheus(true), NOT_FOUND, Some(VALUES), Some(&without), Absent),
        (
            "404, pods, not listed, the listed one is known",
            prometheus(true),
            NOT_FOUND,
            Some(EMPTY),
            Some(&without),
            Absent,
        ),
        ("404, pods, listed for another resource", prometheus(true), NOT_FOUND, Some(VALUES), Some(&elsewhere), Absent),
        (
            "404, pods, not listed, the listed one is 500",
            prometheus(true),
            NOT_FOUND,
            Some(status(500)),
            Some(&without),
            Unknown,
        ),
        (
            "404, pods, not listed, the listed one is 404",
            prometheus(true),
            NOT_FOUND,
            Some(NOT_FOUND),
            Some(&without),
            Unknown,
        ),
        ("404, pods, not listed, no listed one was asked", prometheus(true), NOT_FOUND, None, Some(&without), Unknown),
        ("404, pods, listed", prometheus(true), NOT_FOUND, None, Some(&with), Unknown),
        ("404, pods, the list is empty", prometheus(true), NOT_FOUND, None, Some(&empty), Unknown),
        ("404, pods, no list", prometheus(true), NOT_FOUND, None, None, Unknown),
        ("404, pods, a control does not help", prometheus(true), NOT_FOUND, Some(VALUES), None, Unknown),
        ("404, no pods, listed", prometheus(false), NOT_FOUND, None, Some(&with), Present),
        ("404, no pods, not listed", prometheus(false), NOT_FOUND, None, Some(&without), Unknown),
        ("404, another adapter", other(), NOT_FOUND, Some(VALUES), Some(&without), Unknown),
        ("403", stackdriver(), status(403), Some(VALUES), None, Unknown),
        ("429", stackdriver(), status(429), Some(VALUES), None, Unknown),
        ("500", prometheus(true), status(500), None, Some(&without), Unknown),
        ("501", stackdriver(), status(501), Some(VALUES), None, Unknown),
        ("503", prometheus(true), status(503), None, Some(&without), Unknown),
        ("timeout", stackdriver(), Answer::None(Failure::TimedOut), Some(VALUES), None, Unknown),
        ("TLS", stackdriver(), Answer::None(Failure::Unreachable), Some(VALUES), None, Unknown),
        ("too long", prometheus(true), Answer::None(Failure::TooLong), None, Some(&without), Unknown),
        ("garbage", stackdriver(), Answer::Status { status: 200, body: b"<html>" }, Some(VALUES), None, Unknown),
        ("another kind", stackdriver(), Answer::Status { status: 200, body: b"{\"items\":[1]}" }, None, None, Unknown),
        ("redirect", stackdriver(), Answer::Status { status: 302, body: b"" }, Some(VALUES), None, Unknown),
    ];
    for (what, wanted, live, control, list, expected) in table {
        let (presence, reason) = read(&Evidence { wanted: &wanted, live: Some(live), control, list });
        assert_eq!(presence, expected, "{what}: {reason}");
        assert!(!reason.to_string().is_empty());
    }
}

#[test]
fn an_api_that_nobody_serves_or_reaches_is_unknown_and_says_why() {
    let unserved = Wanted { served: None, ..stackdriver() };
    let evidence = |wanted| Evidence { wanted, live: Some(NOT_FOUND), control: Some(VALUES), list: None };
    assert_eq!(read(&evidence(&unserved)), (Unknown, Reason::NotRegistered));
    let mut unavailable = stackdriver();
    unavailable.served =
        unavailable.served.map(|served| Served { unavailable: Some("MissingEndpoints".to_owned()), ..served });
    assert_eq!(read(&evidence(&unavailable)), (Unknown, Reason::Unavailable("MissingEndpoints".to_owned())));
    assert_eq!(unserved.strategy(), Strategy::Nothing);
    assert_eq!(unavailable.strategy(), Strategy::Nothing);
}

#[test]
fn external_metrics_need_no_pods_and_are_listed_in_lower_case() {
    let mut wanted = prometheus(false);
    wanted.key.api = MetricApi::External;
    let body = br#"{"kind":"APIResourceList","resources":[{"name":"Queue"},{"name":"Vllm_Num_Requests_Running"}]}"#;
    let list = Listing::parse(MetricApi::External, body).unwrap();
    let evidence = |wanted| Evidence { wanted, live: Some(NOT_FOUND), control: Some(VALUES), list: Some(&list) };
    assert_eq!(read(&evidence(&wanted)), (Unknown, Reason::ListedOnly));
    let mut other = wanted.clone();
    other.key.name = "no_such".to_owned();
    assert_eq!(read(&evidence(&other)), (Absent, Reason::NotListed));
}

#[test]
fn a_sample_of_a_list_is_the_preferred_metric_or_one_that_can_be_asked_about() {
    let names = list(&["pods/a%2Fb", "pods/other", "pods/up", "services/front"]);
    assert_eq!(names.sample(None), Some("other"));
    assert_eq!(names.sample(Some("up")), Some("up"));
    assert_eq!(names.sample(Some("front")), Some("other"));
    assert_eq!(list(&["services/front"]).sample(Some("front")), None);
}

#[test]
fn what_is_no_list_is_none() {
    for body in ["", "[]", "{}", "{\"kind\":\"Status\"}", "{\"kind\":\"APIResourceList\",\"resources\":3}", "\u{0}"] {
        assert_eq!(Listing::parse(MetricApi::Custom, body.as_bytes()), None, "{body:?}");
    }
    assert!(Listing::parse(MetricApi::Custom, br#"{"kind":"APIResourceList","resources":null}"#).unwrap().is_empty());
}

#[test]
fn a_refusal_is_an_honest_answer_and_a_broken_adapter_is_not() {
    for (answer, failure) in [
        (VALUES, false),
        (NOT_FOUND, false),
        (status(403), false),
        (Answer::None(Failure::TooLong), false),
        (status(429), true),
        (status(503), true),
        (Answer::None(Failure::TimedOut), true),
        (Answer::None(Failure::Unreachable), true),
    ] {
        assert_eq!(answer.is_failure(), failure, "{answer:?}");
    }
}
