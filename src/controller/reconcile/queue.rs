//! Which workloads are to be looked at, each once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

/// Workloads by namespace and name.
pub(super) type Item = (String, String);

/// A set of workloads in the order in which they came. Those that something happened to go before those that are looked at
/// with all others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    urgent: VecDeque<Item>,
    later: VecDeque<Item>,
    /// What is queued, and whether in `urgent`. What is in a deque and not here has left it.
    queued: BTreeMap<Item, bool>,
    busy: BTreeSet<Item>,
    /// Of those that are busy, what has to be looked at again.
    again: BTreeSet<Item>,
    due: BTreeMap<Item, Instant>,
    times: BTreeSet<(Instant, Item)>,
}

// === impl Queue ===

impl Queue {
    /// Adds a workload that something happened to.
    pub(super) fn add(&mut self, item: Item) {
        if self.busy.contains(&item) {
            self.again.insert(item);
        } else if self.queued.insert(item.clone(), true) != Some(true) {
            self.urgent.push_back(item);
        }
    }

    /// Adds a workload that is looked at with all others.
    pub(super) fn add_later(&mut self, item: Item) {
        if self.busy.contains(&item) {
            self.again.insert(item);
        } else if !self.queued.contains_key(&item) {
            self.queued.insert(item.clone(), false);
            self.later.push_back(item);
        }
    }

    /// Adds a workload at that time, or before when it was to be looked at before.
    pub(super) fn add_at(&mut self, item: Item, at: Instant) {
        match self.due.get(&item) {
            Some(before) if *before <= at => return,
            Some(before) => drop(self.times.remove(&(*before, item.clone()))),
            None => {}
        }
        self.due.insert(item.clone(), at);
        self.times.insert((at, item));
    }

    /// Adds what is due, and returns when the next is.
    pub(super) fn wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, _)) = self.times.first() {
            if *at > now {
                return Some(*at);
            }
            if let Some((_, item)) = self.times.pop_first() {
                self.due.remove(&item);
                self.add(item);
            }
        }
        None
    }

    /// Takes the next one. It is busy until [`Queue::done`].
    pub(super) fn take(&mut self) -> Option<Item> {
        loop {
            let (item, urgent) = match self.urgent.pop_front() {
                Some(item) => (item, true),
                None => (self.later.pop_front()?, false),
            };
            if self.queued.get(&item) == Some(&urgent) {
                self.queued.remove(&item);
                self.busy.insert(item.clone());
                return Some(item);
            }
        }
    }

    /// One is not busy any more.
    pub(super) fn done(&mut self, item: Item) {
        self.busy.remove(&item);
        if self.again.remove(&item) {
            self.add(item);
        }
    }

    /// Whether there is one to take.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queued.is_empty()
    }

    /// How many wait, those for their time included.
    pub(super) fn len(&self) -> usize {
        self.queued.len() + self.again.len() + self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(name: &str) -> Item {
        ("ml".to_owned(), name.to_owned())
    }

    #[test]
    fn what_something_happened_to_goes_first_and_nothing_goes_twice() {
        let mut queue = Queue::default();
        queue.add_later(item("a"));
        queue.add_later(item("b"));
        queue.add(item("b"));
        queue.add(item("b"));
        queue.add_later(item("b"));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.take(), Some(item("b")));
        assert_eq!(queue.take(), Some(item("a")));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn what_is_busy_comes_back_once_when_it_is_done() {
        let mut queue = Queue::default();
        queue.add(item("a"));
        assert_eq!(queue.take(), Some(item("a")));
        queue.add(item("a"));
        queue.add_later(item("a"));
        assert_eq!(queue.take(), None, "never twice at a time");
        queue.done(item("a"));
        assert_eq!(queue.take(), Some(item("a")));
        queue.done(item("a"));
        assert_eq!((queue.take(), queue.len()), (None, 0));
    }

    #[test]
    fn what_is_due_is_added_at_its_earliest_time() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add_at(item("a"), now + Duration::from_secs(9));
        queue.add_at(item("a"), now + Duration::from_secs(5));
        queue.add_at(item("a"), now + Duration::from_secs(7));
        assert_eq!(queue.wake(now), Some(now + Duration::from_secs(5)));
        assert_eq!(queue.take(), None);
        assert_eq!(queue.wake(now + Duration::from_secs(5)), None);
        assert_eq!((queue.take(), queue.len()), (Some(item("a")), 0));
    }
}
