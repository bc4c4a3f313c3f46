//! A TCP balancer in the place of a Service: it follows readiness as kube-proxy follows EndpointSlices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::process::until;
use super::{free_port, runtime};

/// How often readiness is asked for. A kubelet asks every few seconds; tests have less time.
const POLL: Duration = Duration::from_millis(200);

/// How long a backend may take to answer that question, or to take a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where readiness is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `GET /readyz` on an admin port answers 200.
    Readyz(SocketAddr),
    /// The backend takes connections.
    Connects,
}

/// Listens on one port of `localhost`, both address families, and hands each new connection to the next ready backend.
/// A connection that stands is left alone, whatever becomes of its backend's readiness. A backend that refuses a
/// connection is unready at once and the next one is tried, so only calls in flight are lost with a killed process.
pub struct Balancer {
    port: u16,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    backends: Mutex<Vec<Arc<Backend>>>,
    next: AtomicUsize,
}

struct Backend {
    address: SocketAddr,
    health: Health,
    ready: AtomicBool,
    /// Connections that it was given.
    connections: AtomicUsize,
}

impl Balancer {
    pub fn start() -> Self {
        let port = free_port();
        let shared = Arc::new(Shared::default());
        let mut tasks = Vec::new();
        for address in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))] {
            match runtime().block_on(TcpListener::bind(address)) {
                Ok(listener) => tasks.push(runtime().spawn(accept(listener, Arc::clone(&shared)))),
                // A machine without IPv6; `localhost` then means the other one.
                Err(error) => assert!(address.is_ipv6(), "{address}: {error}"),
            }
        }
        tasks.push(runtime().spawn(poll(Arc::clone(&shared))));
        Self { port, shared, tasks }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a backend; it gets connections once it is ready.
    pub fn add(&self, address: SocketAddr, health: Health) {
        let (ready, connections) = (AtomicBool::new(false), AtomicUsize::new(0));
        self.shared.lock().push(Arc::new(Backend { address, health, ready, connections }));
    }

    /// Takes a backend away; connections that it has stay.
    pub fn remove(&self, address: SocketAddr) {
        self.shared.lock().retain(|backend| backend.address != address);
    }

    /// The backends that get new connections now.
    pub fn ready(&self) -> Vec<SocketAddr> {
        self.shared.ready().iter().map(|backend| backend.address).collect()
    }

    /// Waits until that many backends are ready.
    pub fn wait_ready(&self, count: usize, within: Duration) {
        until(&format!("{count} backends are ready"), within, || (self.ready().len() == count).then_some(()));
    }

    /// How many connections each backend was given, in the order of their addition.
    pub fn connections(&self) -> Vec<(SocketAddr, usize)> {
        let count = |backend: &Arc<Backend>| (backend.address, backend.connections.load(Ordering::Relaxed));
        self.shared.lock().iter().map(count).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Backend>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Vec<Arc<Backend>> {
        self.lock().iter().filter(|backend| backend.ready.load(Ordering::Relaxed)).cloned().collect()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(hand_over(stream, Arc::clone(&shared)));
    }
}

/// Connects to the next ready backend and carries bytes until both sides are done. Without any, the client's connection
/// closes, as one to a Service without endpoints fails.
async fn hand_over(mut client: TcpStream, shared: Arc<Shared>) {
    let ready = shared.ready();
    let first = shared.next.fetch_add(1, Ordering::Relaxed);
    for step in 0..ready.len() {
        let backend = &ready[first.wrapping_add(step) % ready.len()];
        if let Ok(Ok(mut server)) = timeout(PATIENCE, TcpStream::connect(backend.address)).await {
            backend.connections.fetch_add(1, Ordering::Relaxed);
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
        backend.ready.store(false, Ordering::Relaxed);
    }
}

async fn poll(shared: Arc<Shared>) {
    loop {
        let backends = shared.lock().clone();
        for backend in backends {
            tokio::spawn(async move {
                let ready = timeout(PATIENCE, is_ready(&backend)).await.unwrap_or(false);
                backend.ready.store(ready, Ordering::Relaxed);
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn is_ready(backend: &Backend) -> bool {
    let Health::Readyz(admin) = backend.health else { return TcpStream::connect(backend.address).await.is_ok() };
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /readyz HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(1 << 10).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = asked.await.unwrap_or_default();
    String::from_utf8_lossy(&answer).split_whitespace().nth(1) == Some("200")
}
