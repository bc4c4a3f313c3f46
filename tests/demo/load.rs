//! Clients: a request at a steady rate, each to the next ready pod, as a Service would spread them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::fleet::Fleet;
use crate::harness::runtime;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the clients of one workload do.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Between two requests.
    pub every: Duration,
    /// The length of the answer that each asks for.
    pub tokens: u32,
    /// Clients that wait at once; a request beyond that is not sent.
    pub at_most: u32,
}

/// The clients of one workload. They send until they are stopped.
#[derive(Clone, Default)]
pub struct Load(Arc<Counts>);

#[derive(Default)]
struct Counts {
    stopped: AtomicBool,
    in_flight: AtomicU32,
    answered: AtomicU32,
    failed: AtomicU32,
}

impl Load {
    /// Begins to send to the pods with that label `app`.
    pub fn begin(&self, fleet: &Fleet, namespace: &str, app: &str, rate: Rate) {
        let (load, fleet) = (self.clone(), fleet.clone());
        let (namespace, app) = (namespace.to_owned(), app.to_owned());
        runtime().spawn(async move {
            let mut tick = interval(rate.every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut turn: usize = 0;
            while !load.0.stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                if load.in_flight() >= rate.at_most {
                    continue;
                }
                let ready = fleet.ready(&namespace, &app);
                turn = turn.wrapping_add(1);
                let Some(seat) = turn.checked_rem(ready.len()).and_then(|next| ready.get(next)) else {
                    load.0.failed.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                load.send(seat.address, rate.tokens);
            }
        });
    }

    fn send(&self, address: SocketAddr, tokens: u32) {
        let load = self.clone();
        load.0.in_flight.fetch_add(1, Ordering::Relaxed);
        runtime().spawn(async move {
            let answer = chat(address, tokens, PATIENCE).await;
            let count = if answer.is_ok() { &load.0.answered } else { &load.0.failed };
            count.fetch_add(1, Ordering::Relaxed);
            load.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Sends no more; what is under way is awaited.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    /// Requests that wait for their answer.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u32 {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Requests that got no answer, or another than 200.
    pub fn failed(&self) -> u32 {
        self.0.failed.load(Ordering::Relaxed)
    }
}

/// Asks for an answer of that many tokens, and reads it to its end.
///
/// # Errors
/// When the server is not there, takes too long, or answers another status than 200.
pub async fn chat(address: SocketAddr, tokens: u32, within: Duration) -> io::Result<()> {
    let body = json!({
        "model": "demo", "max_tokens": tokens, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Say what a node pool is."}],
    })
    .to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len(),
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    timeout(within, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
