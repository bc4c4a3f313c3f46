//! `POST /mutate` and `POST /validate`: the order of the checks, and the thread on which a decision runs.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::body::{self, Held, Unread};
use super::counters::{Counters, Outcome, Subject};
use super::limits::Limits;
use super::refuse::Refusal;
use super::registration::{MUTATING_PATH, VALIDATING_PATH};
use super::wire::{Phase, Review};
use super::{Decide, answer};

/// Objects above this many bytes become a tree one at a time when their patch is tried: the tree of a large object is
/// several times its text, and the byte budget counts only the text.
const LARGE_TREE: usize = 256 << 10;

/// The webhook's routes over `decide`, and nothing else on their port. Counts for nobody; see [`router_counting`].
pub fn router(decide: Arc<dyn Decide>, limits: Limits) -> Router {
    router_counting(decide, limits, Arc::new(Counters::default()))
}

/// As [`router`], counting into `counters`.
pub fn router_counting(decide: Arc<dyn Decide>, limits: Limits, counters: Arc<Counters>) -> Router {
    let gate = Arc::new(Gate {
        decide,
        requests: permits(limits.max_requests_in_flight),
        // A budget below one body would shed that body for ever.
        bytes: permits(limits.max_bytes_in_flight.max(limits.max_body_bytes)),
        decisions: permits(limits.max_decisions),
        large_trees: permits(1),
        counters,
        limits,
    });
    let route = |phase: Phase| {
        let (answering, refusing) = (Arc::clone(&gate), Arc::clone(&gate));
        post(move |request| async move { answering.handle(phase, request).await })
            .fallback(move |request| async move { refusing.turn_away(Refusal::Method, request).await })
    };
    Router::new()
        .route(MUTATING_PATH, route(Phase::Mutating))
        .route(VALIDATING_PATH, route(Phase::Validating))
        .fallback(move |request| async move { gate.turn_away(Refusal::UnknownPath, request).await })
}

/// At least one permit, and no more than tokio can count.
fn permits(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

/// What every request passes.
struct Gate {
    decide: Arc<dyn Decide>,
    limits: Limits,
    counters: Arc<Counters>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    decisions: Arc<Semaphore>,
    large_trees: Arc<Semaphore>,
}

impl Gate {
    async fn handle(&self, phase: Phase, request: axum::extract::Request) -> Response {
        let start = Instant::now();
        let subject = Arc::new(OnceLock::new());
        let answer = self.answer(phase, request, start, &subject).await;
        let outcome = match &answer {
            Ok((_, outcome)) => *outcome,
            Err(unread) => unread.refusal.outcome(),
        };
        self.counters.requests.increment(subject.get().copied().unwrap_or(Subject::UNREAD), outcome);
        match answer {
            Ok((bytes, _)) => {
                self.counters.durations.observe(start.elapsed());
                let mut response = Response::new(Body::from(bytes));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(Unread { refusal, close }) => self.refused(&refusal, close),
        }
    }

    /// The order matters: what costs nothing to check comes first, and nothing is read for a request without a place.
    async fn answer(
        &self,
        phase: Phase,
        request: axum::extract::Request,
        start: Instant,
        subject: &Arc<OnceLock<Subject>>,
    ) -> Result<(Vec<u8>, Outcome), Unread> {
        let (head, body) = request.into_parts();
        let deadline = start + self.limits.time_for(head.uri.query());
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::Busy);
        let place = match media(&head.headers).and(place) {
            Ok(place) => place,
            Err(refusal) => return Err(self.discard(refusal, &head.headers, body).await),
        };
        let arrives_by = deadline.min(start + self.limits.body_timeout);
        let held = body::read(&head.headers, body, self.limits.max_body_bytes, &self.bytes, arrives_by).await?;
        let decided = self.decide(phase, held, place, deadline, Arc::clone(subject)).await;
        decided.map_err(|refusal| Unread { refusal, close: false })
    }

    /// Decides on a thread that may block. Everything the work holds goes along with it, so a decision that comes too
    /// late still counts as in flight until it ends.
    async fn decide(
        &self,
        phase: Phase,
        held: Held,
        place: OwnedSemaphorePermit,
        deadline: Instant,
        subject: Arc<OnceLock<Subject>>,
    ) -> Result<(Vec<u8>, Outcome), Refusal> {
        let turn = timeout_at(deadline, Arc::clone(&self.decisions).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refusal::Late) };
        let large = if held.bytes.len() > LARGE_TREE && phase == Phase::Mutating {
            let Ok(Ok(large)) = timeout_at(deadline, Arc::clone(&self.large_trees).acquire_owned()).await else {
                return Err(Refusal::Late);
            };
            Some(large)
        } else {
            None
        };
        let (decide, counters) = (Arc::clone(&self.decide), Arc::clone(&self.counters));
        let work = tokio::task::spawn_blocking(move || {
            let _held_until_the_end = (place, turn, large);
            let mut request = Review::parse(&held.bytes).map_err(|bad| Refusal::Malformed(bad.to_string()))?;
            // Told before the decision, which may panic or come too late.
            let _ = subject.set(Subject::of(&request.kind, request.operation));
            request.deadline = Some(deadline.into_std());
            let verdict = match phase {
                Phase::Mutating => decide.mutate(&request),
                Phase::Validating => decide.validate(&request),
            };
            answer::write_telling(phase, &request, verdict, &counters).map_err(|_| Refusal::Failed)
        });
        match timeout_at(deadline, work).await {
            Ok(Ok(answer)) => answer,
            // The panic's own message went to the log through the panic hook.
            Ok(Err(_panicked)) => Err(Refusal::Failed),
            Err(_) => Err(Refusal::Late),
        }
    }

    async fn turn_away(&self, refusal: Refusal, request: axum::extract::Request) -> Response {
        let (head, body) = request.into_parts();
        let unread = self.discard(refusal, &head.headers, body).await;
        self.counters.requests.increment(Subject::UNREAD, unread.refusal.outcome());
        self.refused(&unread.refusal, unread.close)
    }

    async fn discard(&self, refusal: Refusal, headers: &HeaderMap, body: Body) -> Unread {
        let waits = headers.contains_key(http::header::EXPECT);
        body::refuse(refusal, body, self.limits.max_body_bytes, waits).await
    }

    fn refused(&self, refusal: &Refusal, close: bool) -> Response {
        refusal.count(&self.counters);
        refusal.response(close)
    }
}

/// `application/json`, in UTF-8 if a character set is named, and not compressed: a compressed body could be a bomb.
fn media(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::ContentEncoding);
    }
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::ContentType) };
    let mut parts = value.to_str().map_err(|_| Refusal::ContentType)?.split(';').map(str::trim);
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::ContentType);
    }
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(Refusal::ContentType)?;
        let utf8 = value.trim_matches('"').eq_ignore_ascii_case("utf-8");
        if name.eq_ignore_ascii_case("charset") && !utf8 {
            return Err(Refusal::ContentType);
        }
    }
    Ok(())
}
