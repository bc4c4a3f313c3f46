//! A vLLM server as its clients and its scraper see it: requests queue for `--max-num-seqs` places, an answer takes as long
//! as its tokens do, and `/metrics` follows from that. It computes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::harness::{block_on, runtime};
use crate::server_metrics::{Done, Numbers};

/// Until the first token, for the prompt has to be read.
const PREFILL: Duration = Duration::from_millis(200);

/// From one token to the next. 800 tokens take 20 s.
const PER_TOKEN: Duration = Duration::from_millis(25);

/// What a request gets that names no length.
const DEFAULT_TOKENS: u32 = 16;

/// One server. It stops when it is dropped: it takes no more connections, and finishes the requests that it has.
pub struct Simulated {
    numbers: Arc<Numbers>,
    _stop: oneshot::Sender<()>,
}

struct Server {
    model: String,
    places: Semaphore,
    numbers: Arc<Numbers>,
}

impl Simulated {
    /// Listens on that address.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(address: SocketAddr, model: &str, max_num_seqs: u32) -> Result<Self, String> {
        let numbers = Arc::new(Numbers::new(model, max_num_seqs));
        let places = Semaphore::new(max_num_seqs as usize);
        let server = Arc::new(Server { model: model.to_owned(), places, numbers: Arc::clone(&numbers) });
        let router = Router::new()
            .route("/health", get(|| async {}))
            .route("/metrics", get(metrics))
            .route("/v1/chat/completions", post(answer))
            .with_state(server);
        let stop = serve(address, router)?;
        Ok(Self { numbers, _stop: stop })
    }

    /// The requests that it computes now.
    pub fn running(&self) -> u32 {
        self.numbers.running()
    }
}

/// Serves on that address until the sender is dropped.
///
/// # Errors
/// When the address is taken.
pub fn serve(address: SocketAddr, router: Router) -> Result<oneshot::Sender<()>, String> {
    let listener =
        block_on(TcpListener::bind(address)).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let (stop, stopped) = oneshot::channel::<()>();
    runtime().spawn(async move {
        let stopped = async { drop(stopped.await) };
        let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
    });
    Ok(stop)
}

async fn metrics(State(server): State<Arc<Server>>) -> String {
    server.numbers.exposition()
}

/// Waits for a place, then for the tokens.
async fn answer(State(server): State<Arc<Server>>, request: String) -> (StatusCode, String) {
    let Ok(request) = serde_json::from_str::<Value>(&request) else {
        return (StatusCode::BAD_REQUEST, "the body is not JSON".to_owned());
    };
    let arrived = Instant::now();
    let wanted = request["max_tokens"].as_u64().and_then(|tokens| u32::try_from(tokens).ok());
    let tokens = wanted.unwrap_or(DEFAULT_TOKENS);
    // Some four characters a token.
    let prompt = u32::try_from(request["messages"].to_string().len() / 4).unwrap_or(u32::MAX);
    // Both end with the request, also with one whose client goes away.
    let waiting = server.numbers.wait();
    let place = server.places.acquire().await;
    drop(waiting);
    let running = server.numbers.run();
    let queued = arrived.elapsed();
    tokio::time::sleep(PREFILL + PER_TOKEN * tokens).await;
    drop((running, place));
    server.numbers.done(&Done { prompt, tokens, queued, prefill: PREFILL, per_token: PER_TOKEN });
    let choice = json!({
        "index": 0, "finish_reason": "length",
        "message": {"role": "assistant", "content": "word ".repeat(tokens as usize)},
    });
    let answer = json!({
        "object": "chat.completion", "model": server.model, "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt.saturating_add(tokens)},
    });
    (StatusCode::OK, answer.to_string())
}
