//! A moment's patience before a denial: the view follows by watches, and what a denial rests on may have gone or changed
//! just before the request. `kubectl delete` of one autoscaler and `kubectl apply` of the next, or an apply of a folder
//! that mends a workload and then creates its autoscaler, must not be refused for what was there a moment ago.
//!
//! Only denials wait. An admission that rests on an old view is mended by the controller, which looks again; a denial is
//! final.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::FOR_THE_ANSWER;
use crate::policy::decision::Decision;

/// How long a denial waits for news. An event is here within some 10 ms of the write, and within some 100 ms where an API
/// server other than the one that we watch took the write.
const LONGEST: Duration = Duration::from_millis(300);

/// How often it is looked whether the view changed. Many changes in a row cost one judgement.
const LOOK: Duration = Duration::from_millis(20);

/// Denials that wait at once. Each holds one of the threads that decide; the denials beyond are given at once.
const AT_ONCE: usize = 4;

/// Who waits before a denial.
#[derive(Debug)]
pub(super) struct Patience {
    places: Semaphore,
}

// === impl Patience ===

impl Patience {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(AT_ONCE) }
    }

    /// Judges, and when that denies judges again after each change of the view, until something is allowed or the time is
    /// over; the last decision counts. Blocks the thread.
    pub(super) fn judge(
        &self,
        mut changes: watch::Receiver<u64>,
        deadline: Option<Instant>,
        judge: impl Fn() -> Decision,
    ) -> Decision {
        changes.mark_unchanged();
        let mut decision = judge();
        if decision.allowed() {
            return decision;
        }
        let Ok(_place) = self.places.try_acquire() else { return decision };
        let own = Instant::now() + LONGEST;
        // What the request has left is for the answer too.
        let until =
            deadline.map_or(own, |deadline| deadline.checked_sub(FOR_THE_ANSWER).map_or(own, |left| left.min(own)));
        while !decision.allowed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(LOOK));
            // An error says that nobody can change the view any more.
            match changes.has_changed() {
                Ok(false) => {}
                Ok(true) => {
                    changes.mark_unchanged();
                    decision = judge();
                }
                Err(_) => break,
            }
        }
        decision
    }
}
