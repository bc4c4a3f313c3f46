//! Reads a body within its limits: a size, a share of the bytes in flight, a moment by which it must be there.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::refuse::Refusal;

/// How long, and up to how many times the limit, a refused body is read on and thrown away. A client that is still
/// sending when its connection is closed may never see why it was refused.
const DISCARD_TIME: Duration = Duration::from_secs(5);
const DISCARD_LIMITS: usize = 4;

/// A body that arrived, with its share of the budget. The share is given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    /// The whole body.
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// What was wrong, and whether the connection may be used again.
#[derive(Debug)]
pub struct Unread {
    /// Why there is no body.
    pub refusal: Refusal,
    /// Part of the body is still on its way, so the connection has to be closed.
    pub close: bool,
}

/// Reads `body` whole. `budget` counts bytes over all requests; a share is taken as bytes arrive, never for what a
/// client merely announces, so that slow senders cannot claim it all.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    budget: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Held, Unread> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok())
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    // Reading a body is also what tells a client to go on sending it; one that waits for that is not asked to.
    let waits = headers.contains_key(EXPECT);
    if let Some(length) = announced {
        let refusal = if length > limit {
            Some(Refusal::TooLarge { limit })
        } else if length > budget.available_permits() {
            Some(Refusal::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(refuse(refusal, body, limit, waits).await);
        }
    }

    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut whole: Option<Vec<u8>> = None;
    let mut first: Option<Bytes> = None;
    let mut length = 0usize;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Unread { refusal: Refusal::SlowBody, close: true }),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Unread { refusal: Refusal::Truncated, close: true }),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers carry nothing for us.
        let Ok(data) = frame.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        length = length.saturating_add(data.len());
        if length > limit {
            return Err(refuse(Refusal::TooLarge { limit }, body, limit, false).await);
        }
        let granted = u32::try_from(data.len()).ok().and_then(|n| Arc::clone(budget).try_acquire_many_owned(n).ok());
        match (granted, &mut share) {
            (None, _) => {
                drop((share, whole, first, data));
                return Err(refuse(Refusal::Busy, body, limit, false).await);
            }
            (Some(more), Some(share)) => share.merge(more),
            (Some(more), none @ None) => *none = Some(more),
        }
        // A small review is one frame, and is kept as it came.
        match (&mut whole, first.take()) {
            (Some(whole), _) => whole.extend_from_slice(&data),
            (None, None) => first = Some(data),
            (None, Some(start)) => {
                let mut joined = Vec::with_capacity(announced.unwrap_or(0).min(limit).max(start.len() + data.len()));
                joined.extend_from_slice(&start);
                joined.extend_from_slice(&data);
                whole = Some(joined);
            }
        }
    }
    let bytes = whole.map(Bytes::from).or(first).unwrap_or_default();
    Ok(Held { bytes, _share: share })
}

/// Reads on for a moment without keeping anything, so that the client gets to see the refusal.
pub async fn refuse(refusal: Refusal, mut body: Body, limit: usize, waits: bool) -> Unread {
    if waits {
        return Unread { refusal, close: true };
    }
    let mut left = limit.saturating_mul(DISCARD_LIMITS);
    let end = Instant::now() + DISCARD_TIME;
    let ended = loop {
        match timeout_at(end, body.frame()).await {
            Ok(None) => break true,
            Ok(Some(Ok(frame))) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break false,
            },
            Err(_) | Ok(Some(Err(_))) => break false,
        }
    };
    Unread { refusal, close: !ended }
}
