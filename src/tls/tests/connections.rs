use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Client, DevCa, Server, YEAR, client_config, pair, patient, soon, until};
use crate::tls::ServeSettings;

fn echo() -> Router {
    Router::new().route("/echo", post(|body: Bytes| async move { body })).route("/panic", get(panics))
}

async fn panics() -> &'static str {
    panic!("a handler that panics, on purpose")
}

const GET: &str = "GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn tls_1_2_and_1_3_are_served_and_keep_their_connection() {
    let server = Server::start(echo(), patient()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client_config(&server.ca, &[version], &[b"http/1.1"], None);
        let mut client = server.handshake(config).await.expect("a handshake");
        for _ in 0..3 {
            let answer = client.post("/echo", b"{}").await;
            assert_eq!((answer.status, answer.body.as_slice(), answer.closes()), (200, b"{}".as_slice(), false));
        }
    }
    assert_eq!(server.count(|c| &c.accepted), 2);
}

#[tokio::test]
async fn http_1_1_is_the_only_protocol_on_offer() {
    let server = Server::start(echo(), patient()).await;
    let versions = rustls::ALL_VERSIONS;
    assert!(server.handshake(client_config(&server.ca, versions, &[b"h2"], None)).await.is_err());
    until(|| server.count(|c| &c.handshakes_failed) == 1).await;
    let both = server.handshake(client_config(&server.ca, versions, &[b"h2", b"http/1.1"], None)).await;
    let mut both = both.expect("a handshake");
    assert_eq!(both.stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert_eq!(both.post("/echo", b"1").await.status, 200);
    let silent = server.handshake(client_config(&server.ca, versions, &[], None)).await;
    assert_eq!(silent.expect("a handshake").post("/echo", b"1").await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_for_heads() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(150), ..patient() };
    let server = Server::start(echo(), settings).await;
    let mut used = server.client().await;
    assert_eq!(used.post("/echo", b"1").await.status, 200);
    // One that never sent anything, as a client's pool may hold, lives too.
    let mut fresh = server.client().await;
    for _ in 0..3 {
        sleep(Duration::from_millis(400)).await;
        assert_eq!(used.post("/echo", b"2").await.status, 200);
    }
    assert_eq!(fresh.post("/echo", b"3").await.status, 200);
    assert_eq!(server.count(|c| &c.broken), 0);
}

#[tokio::test]
async fn an_idle_connection_ends_at_the_idle_timeout() {
    let settings = ServeSettings { idle_timeout: Duration::from_millis(200), ..patient() };
    let server = Server::start(echo(), settings).await;
    let mut client = server.client().await;
    assert_eq!(client.post("/echo", b"1").await.status, 200);
    assert!(client.ends_without_answer().await);
    let mut fresh = server.client().await;
    assert!(fresh.ends_without_answer().await);
    until(|| server.count(|c| &c.open) == 0).await;
}

#[tokio::test]
async fn a_slow_body_is_not_the_head_guards_business() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(100), ..patient() };
    let server = Server::start(echo(), settings).await;
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\n").await;
    for byte in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        sleep(Duration::from_millis(60)).await;
        client.send(byte).await;
    }
    assert_eq!(client.answer().await.expect("an answer").body, b"abcdef");
    assert_eq!(client.post("/echo", b"1").await.status, 200);
}

#[tokio::test]
async fn beyond_the_cap_connections_wait_while_all_others_are_busy() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let router = echo().route(
        "/slow",
        post(move || async move {
            held.acquire().await.expect("open").forget();
        }),
    );
    let server = Server::start(router, ServeSettings { max_connections: 2, ..patient() }).await;
    let mut busy = [server.client().await, server.client().await];
    for client in &mut busy {
        client.send("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    }
    let waiting = server.client();
    tokio::pin!(waiting);
    tokio::select! {
        _ = &mut waiting => panic!("a third connection was served beside two"),
        () = sleep(Duration::from_millis(1_500)) => {}
    }
    assert_eq!((server.count(|c| &c.open), server.count(|c| &c.dismissed)), (2, 0));
    gate.add_permits(2);
    for client in &mut busy {
        assert_eq!(client.answer().await.expect("an answer").status, 200);
    }
    drop(busy);
    assert_eq!(soon(waiting).await.post("/echo", b"1").await.status, 200);
}

#[tokio::test]
async fn at_the_cap_the_connection_that_is_idle_longest_makes_room() {
    let server = Server::start(echo(), ServeSettings { max_connections: 2, ..patient() }).await;
    let mut recent = server.client().await;
    let mut longest = server.client().await;
    assert_eq!(longest.post("/echo", b"1").await.status, 200);
    assert_eq!(recent.post("/echo", b"1").await.status, 200);
    assert_eq!(server.client().await.post("/echo", b"1").await.status, 200);
    assert!(longest.ends_without_answer().await);
    assert_eq!(server.count(|c| &c.dismissed), 1);
    assert_eq!(recent.post("/echo", b"1").await.status, 200);
}

#[tokio::test]
async fn a_panic_outside_a_decision_costs_one_request() {
    let server = Server::start(echo(), patient()).await;
    let mut client = server.client().await;
    client.send("GET /panic HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.closes()), (500, true));
    assert_eq!(server.count(|c| &c.panics), 1);
    assert_eq!(server.client().await.post("/echo", b"1").await.status, 200);
}

#[tokio::test]
async fn a_waiting_client_is_told_to_go_on() {
    let server = Server::start(echo(), patient()).await;
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(client.answer().await.expect("an answer").status, 100);
    client.send("ok").await;
    assert_eq!(client.answer().await.expect("an answer").body, b"ok");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let large = Router::new().route("/large", get(|| async { vec![b'x'; 64 << 20] }));
    let settings = ServeSettings { write_timeout: Duration::from_millis(200), ..patient() };
    let server = Server::start(large, settings).await;
    let mut client = server.client().await;
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| server.count(|c| &c.broken) == 1).await;
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_where_an_authority_is_named() {
    let server = Server::start_with(echo(), patient(), |ca| Some(ca.certificate_pem())).await;
    let config = |identity| client_config(&server.ca, rustls::ALL_VERSIONS, &[b"http/1.1"], identity);

    let issued = server.ca.issue(&["apiserver"]).expect("a certificate");
    let known = server.handshake(config(Some((&issued.chain_pem, &issued.key_pem)))).await;
    assert_eq!(known.expect("a handshake").post("/echo", b"1").await.status, 200);

    let foreign = DevCa::generate("somebody else", YEAR).expect("a CA").issue(&["apiserver"]).expect("a certificate");
    for identity in [None, Some((foreign.chain_pem.as_str(), foreign.key_pem.as_str()))] {
        // With TLS 1.3 the client is through before the server has looked.
        if let Ok(mut client) = server.handshake(config(identity)).await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, GET.as_bytes()).await;
            assert!(client.ends_without_answer().await);
        }
    }
    until(|| server.count(|c| &c.handshakes_failed) == 2).await;
}

#[tokio::test]
async fn a_replaced_certificate_serves_new_handshakes_and_old_connections_go_on() {
    let server = Server::start(echo(), patient()).await;
    let mut old = server.client().await;
    let leaf = |client: &Client<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>| {
        client.stream.get_ref().1.peer_certificates().expect("a chain")[0].to_vec()
    };
    let before = leaf(&old);
    for _ in 0..3 {
        let next = pair(&server.ca, &["localhost"]);
        let expected = next.leaf().to_vec();
        server.live.replace(next);
        assert_eq!(leaf(&server.client().await), expected);
        assert_eq!(old.post("/echo", b"1").await.status, 200);
    }
    assert_eq!(leaf(&old), before);
}

#[tokio::test]
async fn a_client_of_another_authority_refuses_us() {
    let server = Server::start(echo(), patient()).await;
    let other = DevCa::generate("another", YEAR).expect("a CA");
    assert!(server.handshake(client_config(&other, rustls::ALL_VERSIONS, &[b"http/1.1"], None)).await.is_err());
    until(|| server.count(|c| &c.handshakes_failed) == 1).await;
}

#[tokio::test]
async fn a_stalled_handshake_is_given_up() {
    let server =
        Server::start(echo(), ServeSettings { handshake_timeout: Duration::from_millis(150), ..patient() }).await;
    let mut silent = server.tcp().await;
    let mut buffer = [0; 64];
    assert!(matches!(soon(silent.read(&mut buffer)).await, Ok(0) | Err(_)));
    assert_eq!(server.count(|c| &c.handshakes_late), 1);
}
