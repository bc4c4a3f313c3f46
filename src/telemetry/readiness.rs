//! Whether requests should be sent here, and if not, what is waited for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Says what it waits for; nothing when it is ready. Called at each request for `/readyz`: it must not wait.
type Condition = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// All conditions of one process. What they say is shown to anybody who asks, so it names things of ours and never holds
/// what a cluster's users wrote.
pub struct Readiness {
    conditions: Mutex<Vec<Condition>>,
    ending: CancellationToken,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("waiting_for", &self.waiting_for()).finish_non_exhaustive()
    }
}

impl Readiness {
    /// Not ready before the first condition is added, then while none says otherwise, until `ending` is cancelled. The
    /// admin port answers before the process knows what it has to wait for.
    pub fn new(ending: CancellationToken) -> Arc<Self> {
        Arc::new(Self { conditions: Mutex::default(), ending })
    }

    /// Adds a condition.
    pub fn require(&self, condition: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(condition));
    }

    /// What is waited for, one line each; nothing when the process is ready.
    pub fn waiting_for(&self) -> Vec<String> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<String> = conditions.iter().flat_map(|condition| condition()).collect();
        if conditions.is_empty() {
            lines.push("the start of the process".to_owned());
        }
        if self.ending.is_cancelled() {
            lines.insert(0, "the process is ending".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn it_is_ready_when_nothing_is_waited_for_any_more_and_never_again_once_it_ends() {
        let ending = CancellationToken::new();
        let readiness = Readiness::new(ending.clone());
        assert_eq!(readiness.waiting_for(), ["the start of the process"]);
        let filled = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&filled);
        readiness.require(move || if seen.load(Ordering::Relaxed) { Vec::new() } else { vec!["the cache".to_owned()] });
        readiness.require(Vec::new);
        assert_eq!(readiness.waiting_for(), ["the cache"]);
        filled.store(true, Ordering::Relaxed);
        assert!(readiness.waiting_for().is_empty());
        ending.cancel();
        assert_eq!(readiness.waiting_for(), ["the process is ending"]);
    }
}
