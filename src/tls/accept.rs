//! The server loop: connections in, requests to a router, and an end that loses no request.
//!
//! The end has three steps, because a pod gets requests for a while after it was told to go, over connections that the
//! API server keeps: (1) for the quiet period everything is served as before, but each answer says
//! `Connection: close`, so clients leave after a finished exchange; (2) no connection is taken any more, idle ones are
//! closed, and what is in flight finishes; (3) what is not finished in time is cut.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::certificate::{ALPN, LiveConfig};
use super::guard::{Guard, Stage};
use super::waiting::{Place, Waiting};

/// What hyper may buffer of one connection, bytes; also the largest request head. The API server's heads are below 2 kB.
const BUFFER: usize = 64 << 10;

/// The pause after the first failed accept, and the longest one: without file handles an accept fails at once, and
/// a loop without a pause would take a core.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// How long a connection has waited for its next request before it may be closed in favour of a new one; far longer
/// than a request that is already on its way needs.
const DISMISS_AFTER: Duration = Duration::from_secs(1);
/// How often room is looked for, and how long a connection that was asked to leave may take before the next is asked.
const DISMISS_PAUSE: Duration = Duration::from_millis(100);
const DISMISS_GRACE: Duration = Duration::from_secs(1);

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// From TCP connection to finished handshake. 10 s is what the API server waits itself.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request. Go clients keep idle connections for 90 s; a shorter time
    /// here would let a request meet a closing connection, and the API server does not repeat a POST.
    pub idle_timeout: Duration,
    /// How long an answer may wait for the client to read.
    pub write_timeout: Duration,
    /// Connections at once. Beyond it new ones wait in the kernel's queue, and meanwhile the connections that have been
    /// idle longest are closed, one at a time, to make room.
    pub max_connections: usize,
    /// Step 1 of the end: how long everything is still served, with `Connection: close`. Longer than it takes until
    /// nobody sends new connections here.
    pub quiet_period: Duration,
    /// Step 2 of the end: how long requests in flight may take.
    pub drain_timeout: Duration,
    /// Where connections are counted.
    pub counters: Arc<ConnectionCounters>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            max_connections: 512,
            quiet_period: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(20),
            counters: Arc::default(),
        }
    }
}

/// What happened to connections. All but `open` only rise.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    /// Connections that are open now, handshakes included.
    pub open: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Accepts that failed.
    pub accept_errors: AtomicU64,
    /// Handshakes that failed: plaintext, an old TLS version, no common protocol, a client without a certificate.
    pub handshakes_failed: AtomicU64,
    /// Handshakes that took too long.
    pub handshakes_late: AtomicU64,
    /// Connections that ended in an error: broken HTTP, a slow head, a client that went away in the middle.
    pub broken: AtomicU64,
    /// Panics in a request's handling outside its decision.
    pub panics: AtomicU64,
    /// Idle connections closed to make room for new ones.
    pub dismissed: AtomicU64,
    /// Connections cut because they were not finished when the drain ended.
    pub cut: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Why serving could not begin. Once it has begun it ends only by the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The TLS settings offer something else than HTTP/1.1, which is all that is spoken here.
    #[error("the TLS settings must offer the protocol http/1.1 and no other")]
    Alpn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Serving,
    Quiet,
    Draining,
    Cutting,
}

/// Serves `router` over TLS on `listener`, each new connection by the settings that `tls` then has, until `shutdown` resolves and the end described above is through.
///
/// # Errors
/// At once, when the TLS settings do not fit.
pub async fn serve(
    listener: TcpListener,
    tls: impl Into<LiveConfig>,
    router: Router,
    settings: ServeSettings,
    shutdown: impl Future,
) -> Result<(), ServeError> {
    let tls = tls.into();
    if tls.current().alpn_protocols != [ALPN] {
        return Err(ServeError::Alpn);
    }
    serve_with(listener, Some(tls), router, settings, shutdown).await;
    Ok(())
}

/// As [`serve`], without TLS: for a port of its own that tells nothing which is worth hiding.
pub async fn serve_plain(listener: TcpListener, router: Router, settings: ServeSettings, shutdown: impl Future) {
    serve_with(listener, None, router, settings, shutdown).await;
}

async fn serve_with(
    listener: TcpListener,
    tls: Option<LiveConfig>,
    router: Router,
    settings: ServeSettings,
    shutdown: impl Future,
) {
    let (step, seen) = watch::channel(Step::Serving);
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let waiting = Arc::new(Waiting::default());
    let shared = Arc::new(Shared { tls, router, settings, step: seen, waiting });

    {
        let mut accepting = pin!(accept(&listener, &slots, &tasks, &shared));
        tokio::select! {
            () = &mut accepting => {}
            _ = shutdown => {}
        }
        step.send_replace(Step::Quiet);
        tokio::select! {
            () = &mut accepting => {}
            () = sleep(shared.settings.quiet_period) => {}
        }
    }
    drop(listener);
    step.send_replace(Step::Draining);
    tasks.close();
    if timeout(shared.settings.drain_timeout, tasks.wait()).await.is_err() {
        step.send_replace(Step::Cutting);
        tasks.wait().await;
    }
}

/// What all connections share.
struct Shared {
    // None: plain HTTP.
    tls: Option<LiveConfig>,
    router: Router,
    settings: ServeSettings,
    step: watch::Receiver<Step>,
    waiting: Arc<Waiting>,
}

/// Takes connections for ever.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>, tasks: &TaskTracker, shared: &Arc<Shared>) {
    let counters = &shared.settings.counters;
    let mut pause = PAUSE_FIRST;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                pause = PAUSE_FIRST;
                count(&counters.accepted);
                // At most this one connection is held without a slot; the next ones stay in the kernel's queue.
                let Some(slot) = slot(slots, shared).await else { return };
                tasks.spawn(connection(stream, Arc::clone(shared), slot));
            }
            Err(error) => {
                count(&counters.accept_errors);
                if let Some(wait) = pause_after(&error, &mut pause) {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(wait).await;
                }
            }
        }
    }
}

/// A place for one more connection, for which idle ones are sent away if need be.
async fn slot(slots: &Arc<Semaphore>, shared: &Shared) -> Option<OwnedSemaphorePermit> {
    let mut slot = pin!(Arc::clone(slots).acquire_owned());
    loop {
        tokio::select! {
            biased;
            slot = &mut slot => return slot.ok(),
            () = std::future::ready(()) => {}
        }
        let wait = if shared.waiting.dismiss_longest(DISMISS_AFTER) {
            count(&shared.settings.counters.dismissed);
            DISMISS_GRACE
        } else {
            DISMISS_PAUSE
        };
        if let Ok(slot) = timeout(wait, &mut slot).await {
            return slot.ok();
        }
    }
}

/// How long to wait after a failed accept; nothing when only the one connection was at fault.
fn pause_after(error: &io::Error, pause: &mut Duration) -> Option<Duration> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return None;
    }
    let wait = *pause;
    *pause = (wait * 2).min(PAUSE_MOST);
    Some(wait)
}

/// Counts an open connection down when it ends, however it ends.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicU64) -> Self {
        count(open);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection from handshake to end.
async fn connection(stream: TcpStream, shared: Arc<Shared>, _slot: OwnedSemaphorePermit) {
    let counters = &shared.settings.counters;
    let _open = Open::new(&counters.open);
    // A small answer goes out at once. A failure here is seen again at the first read.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &shared.tls else { return exchange(stream, &shared).await };

    let mut step = shared.step.clone();
    let handshake = timeout(shared.settings.handshake_timeout, TlsAcceptor::from(tls.current()).accept(stream));
    let stream = tokio::select! {
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                count(&counters.handshakes_failed);
                tracing::debug!(%error, "handshake failed");
                return;
            }
            Err(_) => {
                count(&counters.handshakes_late);
                return;
            }
        },
        _ = step.wait_for(|step| *step >= Step::Draining) => return,
    };
    exchange(stream, &shared).await;
}

/// Requests and answers over one connection, to its end.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: &Shared) {
    let Shared { router, settings, step, waiting, .. } = shared;
    let counters = &settings.counters;
    let mut step = step.clone();
    let stage = Arc::new(Stage::default());
    let guarded = Guard::new(stream, Arc::clone(&stage), settings.head_timeout, settings.write_timeout);
    let ending = step.clone();
    let place = Arc::new(Place::new(waiting));
    let served_place = Arc::clone(&place);
    let service = service_fn(move |request: Request<Incoming>| {
        stage.request_begins();
        served_place.is_busy();
        let answer = router.clone().oneshot(request.map(Body::new));
        let (stage, ending, counters) = (Arc::clone(&stage), ending.clone(), Arc::clone(counters));
        let place = Arc::clone(&served_place);
        async move {
            let mut response = without_panic(answer, &counters).await;
            if *ending.borrow() != Step::Serving {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            stage.request_ends();
            place.waits();
            Ok::<_, Infallible>(response)
        }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.idle_timeout)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(guarded), service)
    );
    let mut closing = false;
    loop {
        let next = if closing { Step::Cutting } else { Step::Draining };
        tokio::select! {
            done = &mut served => {
                if let Err(error) = done {
                    count(&counters.broken);
                    tracing::debug!(%error, "connection ended in an error");
                }
                return;
            }
            _ = step.wait_for(|step| *step >= next) => {
                if closing {
                    count(&counters.cut);
                    return;
                }
                closing = true;
                served.as_mut().graceful_shutdown();
            }
            // A request that came at the same moment is still answered.
            () = place.dismissed(), if !closing => {
                closing = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers 500 when handling panics. Decisions catch their own panics; this is for everything around them.
async fn without_panic(
    answer: impl Future<Output = Result<Response, Infallible>>,
    counters: &ConnectionCounters,
) -> Response {
    let mut answer = pin!(answer);
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(response),
        Ok(Poll::Ready(Err(never))) => match never {},
        Err(_) => {
            count(&counters.panics);
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            // Its request's body may not have been read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Poll::Ready(response)
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_file_handles_the_loop_pauses_longer_and_longer() {
        // EMFILE on Linux: too many open files.
        let error = io::Error::from_raw_os_error(24);
        let mut pause = PAUSE_FIRST;
        let waits: Vec<Duration> = (0..10).filter_map(|_| pause_after(&error, &mut pause)).collect();
        assert_eq!(waits.len(), 10);
        assert_eq!((waits[0], waits[1], waits[9]), (PAUSE_FIRST, PAUSE_FIRST * 2, PAUSE_MOST));
    }

    #[test]
    fn a_connection_that_went_away_before_it_was_accepted_delays_nobody() {
        let mut pause = PAUSE_FIRST;
        assert_eq!(pause_after(&io::ErrorKind::ConnectionAborted.into(), &mut pause), None);
        assert_eq!(pause, PAUSE_FIRST);
    }

    #[test]
    fn by_default_idle_connections_outlive_the_pools_of_go_clients_and_slow_heads_do_not() {
        let settings = ServeSettings::default();
        assert!(settings.idle_timeout >= Duration::from_secs(180), "Go keeps idle connections for 90 s");
        assert!(settings.head_timeout <= Duration::from_secs(30));
        assert!(settings.quiet_period >= Duration::from_secs(15));
    }
}
