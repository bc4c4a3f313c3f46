use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Client, Server, client_config, patient, soon, until};
use crate::tls::ServeSettings;

/// The path and body of each request.
type Seen = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Answers everything, and notes what it saw.
fn noting() -> (Router, Seen) {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| {
        let notes = Arc::clone(&notes);
        async move {
            let path = request.uri().path().to_owned();
            match request.into_body().collect().await {
                Ok(body) => {
                    notes.lock().expect("whole").push((path, body.to_bytes()));
                    http::StatusCode::OK
                }
                Err(_) => http::StatusCode::BAD_REQUEST,
            }
        }
    });
    (router, seen)
}

async fn start(settings: ServeSettings) -> (Server, Seen) {
    let (router, seen) = noting();
    (Server::start(router, settings).await, seen)
}

/// Afterwards the server still serves.
async fn serves(server: &Server) {
    assert_eq!(server.client().await.post("/well", b"").await.status, 200);
}

#[tokio::test]
async fn a_dripped_head_is_cut_however_steadily_it_drips() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(300), ..patient() };
    let (server, seen) = start(settings).await;
    for warm in [false, true] {
        let mut client = server.client().await;
        if warm {
            assert_eq!(client.post("/warm", b"").await.status, 200);
        }
        let (mut from, mut to) = tokio::io::split(client.stream);
        // It would drip for minutes if it were let.
        let drip = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat_n(&b'a', 20_000)) {
                if to.write_all(&[*byte]).await.is_err() || to.flush().await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
            panic!("a head of 20 kB dripped to its end");
        });
        let mut buffer = [0; 64];
        assert!(matches!(soon(from.read(&mut buffer)).await, Ok(0) | Err(_)));
        drop(from);
        soon(drip).await.expect("cut");
    }
    assert_eq!(seen.lock().expect("whole").len(), 1);
    assert_eq!(server.count(|c| &c.broken), 2);
    serves(&server).await;
}

#[tokio::test]
async fn a_head_that_stops_half_way_is_cut() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(200), ..patient() };
    let (server, _) = start(settings).await;
    let mut client = server.client().await;
    client.send("POST /mutate HTTP/1.1\r\nhost: a\r\n").await;
    assert!(client.ends_without_answer().await);
    assert_eq!(server.count(|c| &c.broken), 1);
    serves(&server).await;
}

#[tokio::test]
async fn many_slow_heads_do_not_keep_good_requests_waiting() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(500), max_connections: 1_000, ..patient() };
    let (server, _) = start(settings).await;
    let mut good = server.client().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = server.client().await;
        client.send("GET / HTTP/1.1\r\nx:").await;
        slow.push(client);
    }
    assert_eq!(good.post("/good", b"1").await.status, 200);
    for client in &mut slow {
        assert!(client.ends_without_answer().await);
    }
    assert_eq!(good.post("/good", b"1").await.status, 200);
    drop(good);
    until(|| server.count(|c| &c.open) == 0).await;
}

#[tokio::test]
async fn a_preface_of_http_2_gets_no_http_2() {
    let (server, seen) = start(patient()).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for alpn in [&[][..], &[b"http/1.1".as_slice()]] {
        let mut client =
            server.handshake(client_config(&server.ca, rustls::ALL_VERSIONS, alpn, None)).await.expect("a handshake");
        client.send(preface).await;
        // A refusal in HTTP/1.1 or none at all, and the end.
        if let Some(answer) = client.answer().await {
            assert!((400..=505).contains(&answer.status), "{answer:?}");
        }
        assert!(client.ends_without_answer().await);
    }
    assert!(seen.lock().expect("whole").is_empty());
    serves(&server).await;
}

#[tokio::test]
async fn plaintext_and_garbage_are_refused_at_the_handshake() {
    let (server, seen) = start(patient()).await;
    let garbage = [0xff; 600];
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &garbage,
        // A record that announces more than TLS allows.
        b"\x16\x03\x01\xff\xff",
    ] {
        let mut client = Client { stream: server.tcp().await, unread: Vec::new() };
        client.send(bytes).await;
        client.ends_without_answer().await;
        // A TLS alert may come; an HTTP answer never.
        assert!(!client.unread.starts_with(b"HTTP"));
    }
    until(|| server.count(|c| &c.handshakes_failed) == 4).await;
    assert!(seen.lock().expect("whole").is_empty());
    serves(&server).await;
}

#[tokio::test]
async fn tls_1_0_and_1_1_are_refused() {
    let (server, _) = start(patient()).await;
    for minor in [1u8, 2] {
        // A whole ClientHello: version, random, no session, two cipher suites, no compression, no extensions.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
        let length = u8::try_from(hello.len()).expect("short");
        let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        let mut client = Client { stream: server.tcp().await, unread: Vec::new() };
        client.send(record).await;
        client.ends_without_answer().await;
        // Nothing but a fatal alert.
        assert_eq!(client.unread.first(), Some(&0x15), "{:?}", client.unread);
        assert_eq!(client.unread.get(5), Some(&2), "{:?}", client.unread);
    }
    assert_eq!(server.count(|c| &c.handshakes_failed), 2);
    serves(&server).await;
}

#[tokio::test]
async fn two_lengths_are_refused_and_the_connection_ends() {
    let (server, seen) = start(patient()).await;
    for head in [
        "content-length: 5\r\ncontent-length: 50\r\n",
        "content-length: 5, 50\r\n",
        "content-length: -1\r\n",
        "content-length: +5\r\n",
        "content-length: 99999999999999999999999\r\n",
        "content-length: 0x5\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding\t: chunked\r\n",
    ] {
        let mut client = server.client().await;
        client.send(format!("POST /a HTTP/1.1\r\nhost: a\r\n{head}\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n")).await;
        let answer = client.answer().await.expect("a refusal");
        assert_eq!(answer.status, 400, "{head:?}");
        assert!(client.ends_without_answer().await, "{head:?}");
    }
    assert!(seen.lock().expect("whole").is_empty());
    serves(&server).await;
}

#[tokio::test]
async fn a_chunked_body_that_also_has_a_length_is_never_read_by_its_length() {
    let (server, seen) = start(patient()).await;
    for head in
        ["content-length: 44\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 44\r\n"]
    {
        seen.lock().expect("whole").clear();
        let mut client = server.client().await;
        client.send(format!("POST /a HTTP/1.1\r\nhost: a\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        let answer = client.answer().await.expect("an answer");
        if answer.status == 200 {
            assert_eq!(*seen.lock().expect("whole"), [("/a".to_owned(), Bytes::from_static(b"hello"))]);
        } else {
            assert_eq!(answer.status, 400);
            assert!(seen.lock().expect("whole").is_empty());
        }
    }
    serves(&server).await;
}

#[tokio::test]
async fn broken_chunks_and_early_ends_are_400_or_the_end() {
    let (server, seen) = start(patient()).await;
    for body in ["ZZ\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n", "fffffffffffffffff\r\nx", "-5\r\nhello\r\n"] {
        let mut client = server.client().await;
        client.send(format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        if let Some(answer) = client.answer().await {
            assert_eq!(answer.status, 400, "{body:?}");
        }
        assert!(client.ends_without_answer().await, "{body:?}");
    }
    let mut client = server.client().await;
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhello").await;
    soon(client.stream.shutdown()).await.expect("sent");
    if let Some(answer) = client.answer().await {
        assert_eq!(answer.status, 400);
    }
    assert!(seen.lock().expect("whole").is_empty());
    serves(&server).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (server, seen) = start(patient()).await;
    let mut client = server.client().await;
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    client.send([post("/1", "a"), post("/2", "bb"), post("/3", "")].concat()).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.expect("an answer").status, 200);
    }
    let seen: Vec<String> = seen.lock().expect("whole").iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(seen, ["/1", "/2", "/3"]);
}

#[tokio::test]
async fn a_head_without_end_or_without_sense_is_refused() {
    let (server, _) = start(patient()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(2_000));
    for head in [long.as_str(), &many, "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  / HTTP/1.1\r\n bad\r\n\r\n"]
    {
        let client = server.client().await;
        let (from, mut to) = tokio::io::split(client.stream);
        let head = head.as_bytes().to_vec();
        // The server may have refused and closed before all of it is sent.
        let sending = tokio::spawn(async move {
            let _ = to.write_all(&head).await;
            let _ = to.flush().await;
            to
        });
        let mut reading = from;
        let mut all = Vec::new();
        let _ = soon(reading.read_to_end(&mut all)).await;
        let text = String::from_utf8_lossy(&all);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        soon(sending).await.expect("no panic");
    }
    serves(&server).await;
}
