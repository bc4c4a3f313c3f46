//! What only shows on a real connection: whether it can be used again, and whether a refused client gets to read why.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::{allow_with_patch, deciding, review};
use crate::admission::oracle;
use crate::admission::{Limits, Phase, Verdict};
use crate::tls::tests::{Server, patient};

fn object() -> serde_json::Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}})
}

#[tokio::test]
async fn reviews_of_any_size_share_one_connection() {
    let (router, counters) = deciding(Limits::default(), |_, _| {
        allow_with_patch(&json!([{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]))
    });
    let server = Server::start(router, patient()).await;
    let mut client = server.client().await;
    for size in [0, 4_000, 60_000, 500_000, 6_900_000] {
        let mut object = object();
        object["filler"] = json!("x".repeat(size));
        let body = review("u", "CREATE", &object);
        let answer = client.post("/mutate?timeout=10s", body.as_bytes()).await;
        assert!(!answer.closes());
        let taken = oracle::judge(Phase::Mutating, "u", &object, answer.status, &answer.body).expect("taken");
        assert_eq!(taken.patched.expect("changed")["metadata"]["annotations"]["a"], "b");
    }
    assert_eq!(counters.patched.get(), 5);
    assert_eq!(server.count(|c| &c.accepted), 1);
}

#[tokio::test]
async fn every_small_refusal_leaves_the_connection_usable() {
    let (router, _) = deciding(Limits::default(), |_, request| {
        assert!(&*request.uid != "boom", "a decision that panics, on purpose");
        Verdict::silent()
    });
    let server = Server::start(router, patient()).await;
    let mut client = server.client().await;
    let good = review("u", "CREATE", &object());
    let boom = review("boom", "CREATE", &object());
    for (path, body, status) in [
        ("/validate", "nonsense", 400),
        ("/validate", "", 400),
        ("/elsewhere", good.as_str(), 404),
        ("/validate", &boom, 500),
        ("/validate", &good, 200),
    ] {
        let answer = client.post(path, body.as_bytes()).await;
        assert_eq!((answer.status, answer.closes()), (status, false), "{path} {body}");
    }
    client.send("GET /validate HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!(answer.status, 405);
    assert!(answer.head.to_ascii_lowercase().contains("\r\nallow: post\r\n"));
    client.send(format!("POST /validate HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{good}", good.len())).await;
    assert_eq!(client.answer().await.expect("an answer").status, 415);
    assert_eq!(client.post("/validate", good.as_bytes()).await.status, 200);
    assert_eq!(server.count(|c| &c.accepted), 1);
    assert_eq!(server.count(|c| &c.panics), 0);
}

#[tokio::test]
async fn a_client_that_sends_too_much_reads_why_it_was_refused() {
    let (router, counters) = deciding(Limits::default(), |_, _| Verdict::silent());
    let server = Server::start(router, patient()).await;
    let mut client = server.client().await;
    let body = vec![b' '; 12 << 20];
    // The whole body is sent before the answer is read, as simple clients do.
    let answer = client.post("/mutate", &body).await;
    assert_eq!(answer.status, 413);
    assert!(answer.closes() || client.post("/mutate", b"{}").await.status == 400);
    assert_eq!(counters.too_large.get(), 1);

    // One that asks first is refused before it has sent anything.
    let mut asking = server.client().await;
    asking
        .send(
            "POST /mutate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
             content-length: 99000000\r\n\r\n",
        )
        .await;
    let answer = asking.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.closes()), (413, true));
    assert!(asking.ends_without_answer().await);
}

#[tokio::test]
async fn large_reviews_beyond_the_budget_are_shed_in_full_sight() {
    let (release, wait) = mpsc::channel::<()>();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let wait = Mutex::new(wait);
    let limits = Limits { max_bytes_in_flight: 10 << 20, ..Limits::default() };
    let (router, counters) = deciding(limits, move |_, _| {
        begun.send(()).expect("the test listens");
        wait.lock().expect("whole").recv().expect("the test releases");
        Verdict::silent()
    });
    let server = Server::start(router, patient()).await;
    let large = review("u", "CREATE", &json!({"a": "x".repeat(6_000_000)}));
    let mut first = server.client().await;
    let mut second = server.client().await;
    let deciding = async {
        let answer = first.post("/validate", large.as_bytes()).await;
        (answer.status, first)
    };
    let shedding = async {
        begins.recv().await.expect("the first one decides");
        let shed = second.post("/validate", large.as_bytes()).await;
        release.send(()).expect("the first one waits");
        shed
    };
    let ((status, _), shed) = tokio::join!(deciding, shedding);
    assert_eq!(status, 200);
    assert_eq!(shed.status, 429);
    assert!(shed.head.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n"));
    assert!(!shed.closes());
    // What was held is given back, and the client that was shed succeeds on the same connection.
    release.send(()).expect("room for one more");
    assert_eq!(second.post("/validate", large.as_bytes()).await.status, 200);
    assert_eq!(counters.shed.get(), 1);
}

#[tokio::test]
async fn a_dripped_body_gets_408_and_a_cut_one_the_end() {
    let limits = Limits { body_timeout: Duration::from_millis(200), ..Limits::default() };
    let (router, counters) = deciding(limits, |_, _| Verdict::silent());
    let server = Server::start(router, patient()).await;
    let head = "POST /mutate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    let mut client = server.client().await;
    client.send(head).await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.closes()), (408, true));
    assert!(client.ends_without_answer().await);
    assert_eq!(counters.slow_bodies.get(), 1);

    let mut client = server.client().await;
    client.send(head).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.expect("sent");
    if let Some(answer) = client.answer().await {
        assert_eq!(answer.status, 400);
    }
    assert!(client.ends_without_answer().await);
    assert_eq!(server.client().await.post("/validate", review("u", "CREATE", &object()).as_bytes()).await.status, 200);
}
