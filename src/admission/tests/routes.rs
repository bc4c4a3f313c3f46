use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http::{Method, Request as HttpRequest};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::{allow_with_patch, deciding, post, review, send, silent};
use crate::admission::oracle::{self, Rejected};
use crate::admission::{Limits, Operation, Phase, Verdict};

/// A body that arrives as told, and then ends, breaks or stalls.
struct Told(VecDeque<Result<Bytes, &'static str>>, Then);

#[derive(PartialEq)]
enum Then {
    Ends,
    Breaks,
    Stalls,
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match (self.0.pop_front(), &self.1) {
            (Some(Ok(data)), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
            (Some(Err(_)), _) | (None, Then::Breaks) => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
            (None, Then::Ends) => Poll::Ready(None),
            (None, Then::Stalls) => Poll::Pending,
        }
    }
}

fn in_pieces(text: &str, piece: usize, then: Then) -> Body {
    Body::new(Told(text.as_bytes().chunks(piece).map(|part| Ok(Bytes::copy_from_slice(part))).collect(), then))
}

#[tokio::test]
async fn a_mutating_answer_is_taken_by_the_api_server_and_changes_the_object() {
    let (router, counters) = deciding(Limits::default(), |phase, request| {
        assert_eq!(phase, Phase::Mutating);
        assert_eq!((request.operation, &*request.username), (Operation::Create, "alice"));
        allow_with_patch(&json!([{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]))
    });
    let object = json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"vllm"},"unknown":{"kept":1}});
    let answer = post(&router, "/mutate?timeout=5s", review("u-1", "CREATE", &object)).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let taken = oracle::judge(Phase::Mutating, "u-1", &object, answer.status, &answer.body).expect("taken");
    let patched = taken.patched.expect("changed");
    assert_eq!(patched["metadata"]["annotations"]["a"], "b");
    assert_eq!(patched["unknown"]["kept"], 1);
    assert_eq!((counters.allowed.get(), counters.patched.get(), counters.durations.total().0), (1, 1, 1));
}

#[tokio::test]
async fn a_validating_denial_reaches_the_user_whole() {
    let (router, counters) = deciding(Limits::default(), |phase, _| {
        assert_eq!(phase, Phase::Validating);
        Verdict::Deny {
            code: 403,
            reason: "Forbidden",
            message: "metric-exists: a\nmetric-unit: b".into(),
            warnings: vec!["w".into()],
            audit: vec![("rules".into(), "metric-exists".into())],
        }
    });
    let answer = post(&router, "/validate", review("u-2", "UPDATE", &json!({}))).await;
    let taken = oracle::judge(Phase::Validating, "u-2", &json!({}), answer.status, &answer.body).expect("taken");
    let denial = taken.denial.expect("denied");
    assert_eq!((denial.code, denial.reason.as_str()), (403, "Forbidden"));
    assert!(denial.message("v.scalegate.dev").ends_with("metric-exists: a\nmetric-unit: b"));
    assert_eq!((taken.warnings.len(), taken.audit.len(), taken.losses.len()), (1, 1, 0));
    assert_eq!(counters.denied.get(), 1);
}

#[tokio::test]
async fn only_the_two_paths_answer_and_only_to_post() {
    let (router, counters) = silent();
    for path in ["/", "/mutate/", "/validate/x", "/healthz", "/metrics", "/Mutate", "//mutate"] {
        let answer = post(&router, path, "{}").await;
        assert_eq!(answer.status, 404, "{path}");
        answer.refusal();
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let request = HttpRequest::builder().method(&method).uri("/mutate").body(Body::empty()).expect("a request");
        let answer = send(&router, request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(counters.misdirected.get(), 13);
}

#[tokio::test]
async fn only_uncompressed_json_is_read() {
    let (router, _) = silent();
    let with = |headers: &[(&str, &str)]| {
        let mut request = HttpRequest::post("/validate");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(review("u", "CREATE", &json!({})))).expect("a request")
    };
    for good in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json;",
    ] {
        assert_eq!(send(&router, with(&[("content-type", good)])).await.status, 200, "{good}");
    }
    let json_type = ("content-type", "application/json");
    for bad in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/json; nonsense")],
        &[json_type, json_type],
        &[json_type, ("content-encoding", "gzip")],
        &[json_type, ("content-encoding", "identity")],
    ] {
        let answer = send(&router, with(bad)).await;
        assert_eq!(answer.status, 415, "{bad:?}");
        answer.refusal();
    }
}

#[tokio::test]
async fn a_malformed_body_is_told_what_is_wrong_with_it() {
    let (router, counters) = silent();
    let good = review("u", "CREATE", &json!({"a": 1}));
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    for (body, about) in [
        (String::new(), "JSON"),
        ("[]".to_owned(), "JSON"),
        (good.replace(r#""uid":"u""#, r#""uid":"a","uid":"b""#), "`uid` stands twice"),
        (good.replace(r#"{"a":1}"#, &deep), "deeper than 128"),
        (good.replace("admission.k8s.io/v1", "admission.k8s.io/v2"), "apiVersion"),
        (good.replace(r#""uid":"u","#, ""), "request.uid"),
    ] {
        let answer = post(&router, "/mutate", body.clone()).await;
        assert_eq!(answer.status, 400, "{about}");
        let message = answer.refusal();
        assert!(message.contains(about), "{message}");
        let failed = oracle::judge(Phase::Mutating, "u", &json!({}), answer.status, &answer.body);
        assert!(matches!(failed, Err(Rejected::CallFailed(_))));
    }
    let mut bytes = good.into_bytes();
    bytes.push(0xff);
    assert!(post(&router, "/mutate", bytes).await.refusal().contains("UTF-8"));
    assert_eq!(counters.malformed.get(), 7);
}

#[tokio::test]
async fn a_uid_that_would_break_hand_written_json_comes_back_as_it_was() {
    let (router, _) = silent();
    for uid in ["a\"b", "\\", "\u{0}\u{1f}", "</script>", "\u{1f600}", &"x".repeat(100_000)] {
        let answer = post(&router, "/validate", review(uid, "CREATE", &json!({}))).await;
        oracle::judge(Phase::Validating, uid, &json!({}), answer.status, &answer.body).expect("taken");
    }
}

#[tokio::test]
async fn the_largest_legal_review_passes_and_a_larger_one_does_not() {
    let (router, counters) = deciding(Limits::default(), |_, request| {
        let object = request.object.expect("sent").get().len();
        assert!(object > 6_800_000);
        allow_with_patch(&json!([{"op":"add","path":"/b","value":true}]))
    });
    let object = json!({"a": "x".repeat(6_900_000)});
    let body = review("u", "CREATE", &object);
    for large in [Body::from(body.clone()), in_pieces(&body, 16_384, Then::Ends)] {
        let answer = post(&router, "/mutate", large).await;
        let taken = oracle::judge(Phase::Mutating, "u", &object, answer.status, &answer.body).expect("taken");
        assert!(taken.patched.is_some());
    }
    let body = review("u", "CREATE", &json!({"a": "x".repeat(8_000_000)}));
    let announced =
        HttpRequest::post("/mutate").header("content-type", "application/json").header("content-length", body.len());
    let answer = send(&router, announced.body(Body::from(body.clone())).expect("a request")).await;
    assert_eq!(answer.status, 413);
    answer.refusal();
    let answer = post(&router, "/mutate", in_pieces(&body, 16_384, Then::Ends)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(counters.too_large.get(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400_and_one_that_stalls_is_408_and_both_close() {
    let limits = Limits { body_timeout: Duration::from_millis(50), ..Limits::default() };
    let (router, counters) = deciding(limits, |_, _| Verdict::silent());
    let body = review("u", "CREATE", &json!({}));
    let answer = post(&router, "/validate", in_pieces(&body[..40], 7, Then::Breaks)).await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    answer.refusal();
    let answer = post(&router, "/validate", in_pieces(&body[..40], 7, Then::Stalls)).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    answer.refusal();
    // The timeout of the caller counts too, when it is the shorter one.
    let (router, _) = deciding(Limits::default(), |_, _| Verdict::silent());
    let answer = post(&router, "/validate?timeout=100ms", in_pieces(&body[..40], 7, Then::Stalls)).await;
    assert_eq!(answer.status, 408);
    assert_eq!((counters.malformed.get(), counters.slow_bodies.get()), (1, 1));
    // In many pieces is as good as in one.
    assert_eq!(post(&router, "/validate", in_pieces(&body, 1, Then::Ends)).await.status, 200);
}

#[tokio::test]
async fn too_many_requests_are_shed_with_a_time_to_come_back_and_then_served() {
    let (release, wait) = mpsc::channel::<()>();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let wait = Mutex::new(wait);
    let limits = Limits { max_requests_in_flight: 1, ..Limits::default() };
    let (router, counters) = deciding(limits, move |_, _| {
        begun.send(()).expect("the test listens");
        wait.lock().expect("whole").recv().expect("the test releases");
        Verdict::silent()
    });
    let body = review("u", "CREATE", &json!({}));
    let first = tokio::spawn({
        let (router, body) = (router.clone(), body.clone());
        async move { post(&router, "/validate", body).await.status }
    });
    begins.recv().await.expect("the first one decides");
    let shed = post(&router, "/validate", body.clone()).await;
    assert_eq!((shed.status, shed.header("retry-after")), (429, Some("1")));
    // Its body was read to the end, so the connection lives.
    assert_eq!(shed.header("connection"), None);
    shed.refusal();
    assert_eq!(counters.shed.get(), 1);
    release.send(()).expect("the decision waits");
    assert_eq!(first.await.expect("no panic"), 200);
    release.send(()).expect("room for one more");
    assert_eq!(post(&router, "/validate", body).await.status, 200);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_and_given_back() {
    let limits = Limits { max_bytes_in_flight: 10_000, max_body_bytes: 10_000, ..Limits::default() };
    let (router, counters) = deciding(limits, |_, _| Verdict::silent());
    let body = review("u", "CREATE", &json!({"a": "x".repeat(6_000)}));
    let announced = |body: Body| {
        HttpRequest::post("/validate")
            .header("content-type", "application/json")
            .header("content-length", 9_999)
            .body(body)
            .expect("a request")
    };
    // A slow sender holds what it sent, not what it announced.
    for (sent, status) in [(3_000, 200), (6_000, 429)] {
        let (router, part) = (router.clone(), in_pieces(&body[..sent], 1_000, Then::Stalls));
        let slow = tokio::spawn({
            let (router, request) = (router.clone(), announced(part));
            async move { send(&router, request).await.status }
        });
        // Until the slow one waits for more.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let answer = post(&router, "/validate", in_pieces(&body, 1_000, Then::Ends)).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("retry-after"), (status == 429).then_some("1"));
        if status == 429 {
            let answer = send(&router, announced(in_pieces(&body, 1_000, Then::Ends))).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        }
        slow.abort();
        assert!(slow.await.expect_err("it never ends by itself").is_cancelled());
    }
    assert_eq!(counters.shed.get(), 2);
    for _ in 0..5 {
        assert_eq!(post(&router, "/validate", body.clone()).await.status, 200);
    }
}

#[tokio::test]
async fn twenty_of_the_largest_reviews_at_once_are_served_or_shed() {
    let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (router, counters) = deciding(Limits::default(), {
        let (held, most) = (Arc::clone(&held), Arc::clone(&most));
        move |_, request| {
            let size = request.object.expect("sent").get().len();
            most.fetch_max(held.fetch_add(size, Ordering::SeqCst) + size, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            held.fetch_sub(size, Ordering::SeqCst);
            Verdict::silent()
        }
    });
    let body = Bytes::from(review("u", "CREATE", &json!({"a": "x".repeat(6_000_000)})));
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (router, body) = (router.clone(), body.clone());
            tokio::spawn(async move { post(&router, "/validate", body).await.status })
        })
        .collect();
    let mut served = 0;
    for one in all {
        match one.await.expect("no panic") {
            200 => served += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert!(served >= 1);
    assert_eq!((counters.allowed.get(), counters.shed.get()), (served, 20 - served));
    assert!(most.load(Ordering::SeqCst) <= Limits::default().max_bytes_in_flight);
}

#[tokio::test]
async fn a_panic_costs_one_request_and_is_counted() {
    let (router, counters) = deciding(Limits::default(), |_, request| {
        assert!(&*request.uid != "boom", "a decision that panics, on purpose");
        Verdict::silent()
    });
    for phase in ["/mutate", "/validate"] {
        let answer = post(&router, phase, review("boom", "CREATE", &json!({}))).await;
        assert_eq!(answer.status, 500);
        assert!(!answer.refusal().contains("on purpose"));
        assert_eq!(post(&router, phase, review("u", "CREATE", &json!({}))).await.status, 200);
    }
    assert_eq!(counters.panics.get(), 2);
}

#[tokio::test]
async fn a_decision_that_takes_too_long_is_not_waited_for_but_still_holds_its_place() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let limits = Limits { max_requests_in_flight: 1, ..Limits::default() };
    let (router, counters) = deciding(limits, move |_, request| {
        let left = request.deadline.expect("known").saturating_duration_since(Instant::now());
        assert!(left < Duration::from_millis(200));
        wait.lock().expect("whole").recv().expect("the test releases");
        Verdict::silent()
    });
    let body = review("u", "CREATE", &json!({}));
    let answer = post(&router, "/validate?timeout=200ms", body.clone()).await;
    assert_eq!(answer.status, 504);
    answer.refusal();
    assert_eq!(post(&router, "/validate?timeout=200ms", body.clone()).await.status, 429);
    assert_eq!((counters.late.get(), counters.shed.get()), (1, 1));
    for _ in 0..1_000 {
        // One release for the late decision, and one for whoever gets its place.
        let _ = release.send(());
    }
    let mut status = 429;
    while status == 429 {
        tokio::task::yield_now().await;
        status = post(&router, "/validate?timeout=200ms", body.clone()).await.status;
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn delete_and_connect_pass_through_without_an_object() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (router, _) = deciding(Limits::default(), {
        let seen = Arc::clone(&seen);
        move |_, request| {
            seen.lock().expect("whole").push((request.operation, request.object.is_some()));
            allow_with_patch(&json!([{"op":"add","path":"/a","value":1}]))
        }
    });
    for operation in ["DELETE", "CONNECT"] {
        let answer = post(&router, "/mutate", review("u", operation, &Value::Null)).await;
        let taken = oracle::judge(Phase::Mutating, "u", &Value::Null, answer.status, &answer.body)
            .expect("taken without patch");
        assert_eq!((taken.patch, taken.warnings.len()), (None, 1));
    }
    assert_eq!(*seen.lock().expect("whole"), [(Operation::Delete, false), (Operation::Connect, false)]);
}

#[tokio::test]
async fn a_number_that_no_tree_holds_costs_the_patch_and_not_the_object() {
    let (router, counters) =
        deciding(Limits::default(), |_, _| allow_with_patch(&json!([{"op":"add","path":"/b","value":1}])));
    let body = review("u", "CREATE", &json!({"a": "NUMBER"})).replace("\"NUMBER\"", "1e400");
    let answer = post(&router, "/mutate", body).await;
    assert_eq!(answer.json()["response"]["allowed"], true);
    assert_eq!(counters.patches_withheld.get(), 1);
    for number in ["123456789012345678901234567890", "-1", "0.1", "1E9"] {
        let body = review("u", "CREATE", &json!({"a": "NUMBER"})).replace("\"NUMBER\"", number);
        let answer = post(&router, "/mutate", body).await;
        assert_eq!(answer.json()["response"]["patchType"], "JSONPatch", "{number}");
    }
}
