//! Two short deadlines on a connection that hyper does not have.
//!
//! hyper's one head timer also runs while a connection waits for its next request, so it has to be as long as clients
//! keep idle connections, which is minutes; a client that drips a request head could use all of it. [`Guard`] starts a
//! short deadline at the first byte of a head and ends it when the request reaches the service. The other deadline is
//! for a client that does not take its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Between requests: no byte of the next head has come.
const IDLE: u8 = 0;
/// Some bytes of a head have come.
const HEAD: u8 = 1;
/// A request is with the service; what is read is its body.
const BUSY: u8 = 2;

/// Where a connection stands; shared by its guard, which sees bytes, and its service, which sees requests.
#[derive(Debug, Default)]
pub struct Stage(AtomicU8);

impl Stage {
    /// The head is complete: the service was called.
    pub fn request_begins(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// The answer is made. Its request's body was read to the end, or the answer closes the connection.
    pub fn request_ends(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    /// True when these bytes are the first of a head.
    fn bytes_arrive(&self) -> bool {
        self.0.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn in_head(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HEAD
    }
}

/// A stream whose reads fail when a head takes too long, and whose writes fail when they stall for too long.
pub struct Guard<S> {
    inner: S,
    stage: Arc<Stage>,
    head_timeout: Duration,
    head_deadline: Instant,
    write_timeout: Duration,
    // Made once and moved afterwards: most requests arrive in one read and need neither.
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    write_stalls: bool,
}

impl<S> Guard<S> {
    /// Wraps `inner`. `stage` is told by the service when requests begin and end.
    pub fn new(inner: S, stage: Arc<Stage>, head_timeout: Duration, write_timeout: Duration) -> Self {
        Self {
            inner,
            stage,
            head_timeout,
            head_deadline: Instant::now(),
            write_timeout,
            head_timer: None,
            write_timer: None,
            write_stalls: false,
        }
    }

    /// Passes a write's result on, unless writes have been stalling for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_stalls = false;
            return result;
        }
        let deadline = Instant::now() + self.write_timeout;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.write_stalls {
            self.write_stalls = true;
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the client does not read its answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        if buf.filled().len() > before && this.stage.bytes_arrive() {
            this.head_deadline = Instant::now() + this.head_timeout;
            return result;
        }
        if !this.stage.in_head() {
            return result;
        }
        let late = if result.is_ready() {
            // A steady drip never leaves the read pending.
            Instant::now() >= this.head_deadline
        } else {
            let deadline = this.head_deadline;
            let timer = this.head_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx).is_ready()
        };
        if late { Poll::Ready(Err(timed_out("the request head takes too long"))) } else { result }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.written(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    /// Always has one more byte.
    struct Drip;

    impl AsyncRead for Drip {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(b"x");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_drip_that_never_pauses_is_cut_in_a_head_and_only_there() {
        let stage = Arc::new(Stage::default());
        let mut guard = Guard::new(Drip, Arc::clone(&stage), Duration::from_millis(50), Duration::from_secs(1));
        let begun = std::time::Instant::now();
        let mut buffer = [0; 1];
        let mut cut = false;
        while !cut && begun.elapsed() < Duration::from_secs(30) {
            cut = guard.read(&mut buffer).await.is_err();
        }
        assert!(cut);

        stage.request_begins();
        for _ in 0..3 {
            assert!(guard.read(&mut buffer).await.is_ok(), "a body is read although its head's deadline has passed");
        }
        stage.request_ends();
        // The next head has a deadline of its own.
        assert!(guard.read(&mut buffer).await.is_ok());
    }
}
