//! The admin port: plain HTTP for the kubelet and for Prometheus, apart from the webhook's port, which may ask for client
//! certificates.
//!
//! Nothing here answers with what a cluster's users wrote, and nothing here changes anything: whoever reaches the port
//! learns how many requests there were, and no more.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;

use super::{Metrics, Readiness};
use crate::tls::{ConnectionCounters, ServeSettings, serve_plain};

/// Connections at once: the kubelet's and those of a few Prometheus replicas.
const CONNECTIONS: usize = 64;
/// From the first byte of a request head to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the usual scrape interval, so that a scraper's connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an answer may wait for its reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer that has begun may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Text in OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`, `/readyz` and `/metrics`, and nothing else.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route("/metrics", get(move || async move { scrape(&metrics) }))
}

/// Serves the admin port until `shutdown` resolves.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future) {
    let settings = ServeSettings {
        handshake_timeout: HEAD_TIMEOUT,
        head_timeout: HEAD_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        max_connections: CONNECTIONS,
        // Whoever probes us comes back by itself; the quiet period is the webhook port's.
        quiet_period: Duration::ZERO,
        drain_timeout: DRAIN_TIMEOUT,
        counters: Arc::new(ConnectionCounters::default()),
    };
    serve_plain(listener, router, settings, shutdown).await;
}

fn ready(readiness: &Readiness) -> Response {
    let waiting = readiness.waiting_for();
    if waiting.is_empty() {
        return text(StatusCode::OK, "ready\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for:\n{}\n", waiting.join("\n")))
}

fn scrape(metrics: &Metrics) -> Response {
    match metrics.text() {
        Ok(body) => answer(StatusCode::OK, OPENMETRICS, body),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
