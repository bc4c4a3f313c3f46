//! Which connections wait for a request, and since when: when all places are taken, the one that waits longest makes
//! room. Otherwise whoever opens connections and sends nothing would keep everybody else out for the idle timeout.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// All connections of one server that are between requests.
#[derive(Debug, Default)]
pub struct Waiting {
    // In order of arrival, so the first one has waited longest.
    line: Mutex<BTreeMap<u64, (Instant, Arc<Notify>)>>,
    next: AtomicU64,
}

impl Waiting {
    fn line(&self) -> MutexGuard<'_, BTreeMap<u64, (Instant, Arc<Notify>)>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the connection that waits longest to leave, if it has waited for `least`. True when one was asked.
    pub fn dismiss_longest(&self, least: Duration) -> bool {
        let mut line = self.line();
        match line.first_entry() {
            Some(first) if first.get().0.elapsed() >= least => {
                let (_, leave) = first.remove();
                leave.notify_one();
                true
            }
            _ => false,
        }
    }
}

/// One connection's place in the line. It leaves the line when dropped.
#[derive(Debug)]
pub struct Place {
    line: Arc<Waiting>,
    leave: Arc<Notify>,
    ticket: AtomicU64,
}

/// No ticket: a request is being handled.
const BUSY: u64 = u64::MAX;

impl Place {
    /// A new connection, which waits from now on.
    pub fn new(line: &Arc<Waiting>) -> Self {
        let place = Self { line: Arc::clone(line), leave: Arc::default(), ticket: AtomicU64::new(BUSY) };
        place.waits();
        place
    }

    /// Goes to the end of the line: an answer was given.
    pub fn waits(&self) {
        let ticket = self.line.next.fetch_add(1, Ordering::Relaxed);
        self.line.line().insert(ticket, (Instant::now(), Arc::clone(&self.leave)));
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    /// Leaves the line: a request came.
    pub fn is_busy(&self) {
        let ticket = self.ticket.swap(BUSY, Ordering::Relaxed);
        self.line.line().remove(&ticket);
    }

    /// Resolves when the connection is asked to leave.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_busy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(place: &Place) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(place.dismissed()).poll(&mut cx).is_ready()
    }

    #[test]
    fn the_longest_waiting_leaves_first_and_busy_ones_never() {
        let line = Arc::new(Waiting::default());
        let places: Vec<Place> = (0..3).map(|_| Place::new(&line)).collect();
        places[0].is_busy();
        places[0].waits();
        places[1].is_busy();
        assert!(line.dismiss_longest(Duration::ZERO));
        assert_eq!(places.iter().map(asked).collect::<Vec<_>>(), [false, false, true]);
        assert!(line.dismiss_longest(Duration::ZERO));
        assert_eq!(places.iter().map(asked).collect::<Vec<_>>(), [true, false, false]);
        assert!(!line.dismiss_longest(Duration::ZERO));
    }

    #[test]
    fn nobody_leaves_early_and_the_gone_are_forgotten() {
        let line = Arc::new(Waiting::default());
        let place = Place::new(&line);
        assert!(!line.dismiss_longest(Duration::from_secs(3_600)));
        drop(place);
        assert!(!line.dismiss_longest(Duration::ZERO));
    }
}
