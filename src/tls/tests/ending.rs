use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{DevCa, HANGS, Server, YEAR, pair, patient, soon, until};
use crate::tls::{LiveCertificate, ServeError, ServeSettings, serve, server_config};

/// `/slow` waits for a permit, everything else is 404 at once.
fn slow() -> (Router, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let router = Router::new().route(
        "/slow",
        post(move || {
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.expect("open").forget();
                "done"
            }
        }),
    );
    (router, gate)
}

const SLOW: &str = "POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn what_is_in_flight_finishes_idle_connections_end_and_new_ones_are_refused() {
    let (router, gate) = slow();
    let mut server = Server::start(router, patient()).await;
    let mut idle = server.client().await;
    assert_eq!(idle.post("/", b"").await.status, 404);
    let mut busy = server.client().await;
    busy.send(SLOW).await;
    let handshaking = server.tcp().await;
    until(|| server.count(|c| &c.accepted) == 3).await;

    server.stop();
    assert!(idle.ends_without_answer().await);
    until(|| server.count(|c| &c.open) == 1).await;
    assert!(soon(TcpStream::connect(server.address)).await.is_err());
    gate.add_permits(1);
    let answer = busy.answer().await.expect("the answer is not lost");
    assert_eq!((answer.status, answer.body.as_slice(), answer.closes()), (200, b"done".as_slice(), true));
    assert!(busy.ends_without_answer().await);
    let counters = Arc::clone(&server.counters);
    server.ended().await;
    assert_eq!(counters.cut.load(std::sync::atomic::Ordering::Relaxed), 0);
    drop(handshaking);
}

#[tokio::test]
async fn in_the_quiet_period_everything_is_served_and_clients_are_sent_away() {
    let (router, _gate) = slow();
    let mut server = Server::start(router, ServeSettings { quiet_period: HANGS, ..patient() }).await;
    let mut idle = server.client().await;
    assert!(!idle.post("/", b"").await.closes());
    server.stop();
    // New connections are sent away after their first answer, once the end has begun.
    soon(async { while !server.client().await.post("/", b"").await.closes() {} }).await;
    // The idle connection was not closed under its client: its next request is answered.
    let answer = idle.post("/", b"").await;
    assert_eq!((answer.status, answer.closes()), (404, true));
    assert!(idle.ends_without_answer().await);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let (router, _gate) = slow();
    let settings = ServeSettings { drain_timeout: Duration::from_millis(100), ..patient() };
    let mut server = Server::start(router, settings).await;
    let mut busy = server.client().await;
    busy.send(SLOW).await;
    until(|| server.count(|c| &c.open) == 1).await;
    server.stop();
    assert!(busy.ends_without_answer().await);
    let counters = Arc::clone(&server.counters);
    server.ended().await;
    assert_eq!(counters.open.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn tls_settings_that_offer_another_protocol_are_refused_at_once() {
    let ca = DevCa::generate("t", YEAR).expect("a CA");
    for protocols in [vec![], vec![b"h2".to_vec(), b"http/1.1".to_vec()]] {
        let mut tls = (*server_config(LiveCertificate::new(pair(&ca, &["a"])), None).expect("settings")).clone();
        tls.alpn_protocols = protocols;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ended = soon(serve(listener, Arc::new(tls), Router::new(), patient(), std::future::pending::<()>())).await;
        assert!(matches!(ended, Err(ServeError::Alpn)));
    }
}
