//! What is remembered of each object that is written: whether the view knows of the write yet, how often it failed, and
//! whether somebody else writes it too. All of it may be lost: then something is tried once more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::backoff::pause;
use crate::policy::reconcile::{Live, Write};

use super::apply::{Answer, How, is_same};
use super::rest::{Class, Fault};

/// How long the watch may take to tell of our own write before it is doubted.
const LAG: Duration = Duration::from_secs(3);
/// The first pause after a failure, and the longest: for what only somebody else can mend, and while the API server is
/// away, when there is one pause for all objects besides.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
const LONGEST_UNAVAILABLE: Duration = Duration::from_secs(30);
/// So many repairs within so long are a contest; then a repair waits, twice as long each time, until it was quiet.
const REPAIRS: usize = 5;
const WITHIN: Duration = Duration::from_secs(600);
const PATIENCE_FIRST: Duration = Duration::from_secs(60);
const PATIENCE_MOST: Duration = Duration::from_secs(1_800);
const QUIET: Duration = Duration::from_secs(1_800);
/// So many other writers of an object are remembered.
const OTHERS: usize = 8;
/// What was written and is in the view for so long need not be remembered: only a repair that comes later is not counted.
const IDLE: Duration = Duration::from_secs(60);

/// What is remembered of one object.
#[derive(Debug, Default)]
pub(super) struct Memory {
    wrote: Option<Wrote>,
    failures: u32,
    /// Not before, and for which rendering.
    retry: Option<(Instant, u64)>,
    /// Tried at once when something happened.
    conflict: bool,
    /// What was said of the last refusal.
    refused: Box<str>,
    /// The UID of what was removed, and when.
    pruned: Option<(String, Instant)>,
    repairs: VecDeque<Instant>,
    pauses: u32,
    patience: Option<Instant>,
}

/// The last write.
#[derive(Debug)]
struct Wrote {
    wanted: u64,
    answer: Answer,
    at: Instant,
    /// What the view had before.
    before: Option<Live>,
    /// Whether the view has had anything else since.
    seen: bool,
}

/// Whether something may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    Now,
    /// Not before.
    At(Instant),
    /// The API server makes of it what it is.
    Never,
}

/// What a write was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Created,
    Updated,
    /// Somebody had changed or removed what we wrote.
    Repaired,
    /// The API server had it so already.
    Unchanged,
}

// === impl Memory ===

impl Memory {
    /// Whether an object may be written.
    pub(super) fn may_write(&mut self, write: &Write, now: Instant) -> May {
        if let Some(wrote) = self.wrote.as_mut() {
            wrote.seen |= !is_same(write.live.as_ref(), wrote.before.as_ref());
            if wrote.wanted == write.fingerprint {
                let live = write.live.as_ref().and_then(|live| live.fingerprint);
                if wrote.answer.fingerprint != write.fingerprint && live == Some(wrote.answer.fingerprint) {
                    return May::Never;
                }
                if !wrote.seen && now < wrote.at + LAG {
                    return May::At(wrote.at + LAG);
                }
                if let Some(until) = self.patience.filter(|until| *until > now) {
                    return May::At(until);
                }
            }
        }
        match self.retry {
            Some((at, of)) if at > now && of == write.fingerprint && !self.conflict => May::At(at),
            _ => May::Now,
        }
    }

    /// Whether an object of that UID may be removed.
    pub(super) fn may_prune(&self, uid: &str, now: Instant) -> May {
        match (&self.pruned, self.retry) {
            (Some((of, at)), _) if of == uid && now < *at + LAG => May::At(*at + LAG),
            (_, Some((at, _))) if at > now && !self.conflict => May::At(at),
            _ => May::Now,
        }
    }

    /// Nothing is to be written: the view knows of what we wrote.
    pub(super) fn rests(&mut self) {
        if let Some(wrote) = &mut self.wrote {
            wrote.seen = true;
        }
    }

    /// Whether a write would be a repair: what we wrote is not so any more, though it is to be.
    pub(super) fn is_repair(&self, write: &Write) -> bool {
        let adopted = write.live.as_ref().is_some_and(|live| live.adopted);
        !adopted && self.wrote.as_ref().is_some_and(|wrote| wrote.wanted == write.fingerprint && wrote.seen)
    }

    /// Notes a write. Returns what it was, and whether somebody else writes the object again and again.
    pub(super) fn wrote(&mut self, write: &Write, answer: &Answer, how: How, now: Instant) -> (Kind, bool) {
        let before = self.wrote.as_ref().map(|wrote| &wrote.answer);
        let same = before.is_some_and(|before| before.uid == answer.uid && before.revision == answer.revision);
        let (kind, contested) = match how {
            How::Found => (Kind::Unchanged, false),
            _ if same => (Kind::Unchanged, false),
            _ if self.is_repair(write) => (Kind::Repaired, self.repaired(now)),
            How::Created => (Kind::Created, false),
            How::Applied => (Kind::Updated, false),
        };
        let mut answer = answer.clone();
        // Who writes so fast that we look just between two of their writes was seen at another repair.
        if let Some(wrote) = self.wrote.as_mut().filter(|wrote| wrote.wanted == write.fingerprint) {
            answer.others.append(&mut wrote.answer.others);
            answer.others.sort_unstable();
            answer.others.dedup();
            answer.others.truncate(OTHERS);
        }
        self.wrote =
            Some(Wrote { wanted: write.fingerprint, answer, at: now, before: write.live.clone(), seen: false });
        self.worked();
        (kind, contested)
    }

    /// Who else was seen to write the object since it was to be as it is.
    pub(super) fn others(&self) -> &[String] {
        self.wrote.as_ref().map_or(&[], |wrote| &wrote.answer.others)
    }

    /// Notes a repair, and says whether there were too many.
    fn repaired(&mut self, now: Instant) -> bool {
        let last = self.repairs.back().copied().max(self.patience);
        if last.is_some_and(|last| now.saturating_duration_since(last) > QUIET) {
            (self.pauses, self.patience) = (0, None);
            self.repairs.clear();
        }
        self.repairs.retain(|at| now.saturating_duration_since(*at) <= WITHIN);
        self.repairs.push_back(now);
        if self.repairs.len() > REPAIRS {
            self.repairs.pop_front();
        }
        if self.pauses == 0 && self.repairs.len() < REPAIRS {
            return false;
        }
        let pause = PATIENCE_FIRST.saturating_mul(1 << self.pauses.min(10)).min(PATIENCE_MOST);
        self.pauses = self.pauses.saturating_add(1);
        self.patience = Some(now + pause);
        true
    }

    /// Notes a removal, after which nobody contests anything.
    pub(super) fn pruned(&mut self, uid: &str, now: Instant) {
        *self = Self { pruned: Some((uid.to_owned(), now)), ..Self::default() };
    }

    fn worked(&mut self) {
        (self.failures, self.retry, self.conflict) = (0, None, false);
        self.refused = Box::default();
    }

    /// Notes a failure. Returns when to try again, and whether its words are new.
    pub(super) fn failed(&mut self, fault: &Fault, fingerprint: u64, now: Instant) -> (Instant, bool) {
        let longest = if fault.class == Class::Unavailable { LONGEST_UNAVAILABLE } else { LONGEST };
        let wait = pause(self.failures, FIRST, longest).max(fault.wait.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.conflict = fault.class == Class::Conflict;
        self.retry = Some((now + wait, fingerprint));
        let new = *self.refused != *fault.message;
        self.refused = fault.message.as_str().into();
        (now + wait, new)
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let known = |wrote: &Wrote| wrote.seen && wrote.answer.fingerprint == wrote.wanted && now > wrote.at + IDLE;
        self.retry.is_none_or(|(at, _)| now > at + WITHIN)
            && self.wrote.as_ref().is_none_or(known)
            && self.repairs.back().copied().max(self.patience).is_none_or(|last| now > last + QUIET)
            && self.pruned.as_ref().is_none_or(|(_, at)| now > *at + LAG)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::objects::Key;

    const WANTED: u64 = 1;

    fn write(live: Option<u64>) -> Write {
        Write {
            key: Key::default(),
            object: json!({}),
            fingerprint: WANTED,
            live: live.map(|fingerprint| Live { uid: "u".into(), fingerprint: Some(fingerprint), adopted: false }),
        }
    }

    fn answer(fingerprint: u64, revision: u32) -> Answer {
        Answer { uid: "u".into(), fingerprint, revision: revision.to_string(), others: Vec::new() }
    }

    #[test]
    fn nothing_is_written_again_while_the_watch_lags_and_at_once_when_somebody_changes_it() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.may_write(&write(None), now), May::Now);
        assert_eq!(memory.wrote(&write(None), &answer(WANTED, 1), How::Created, now), (Kind::Created, false));
        assert_eq!(memory.may_write(&write(None), now), May::At(now + LAG));
        assert_eq!(memory.may_write(&write(None), now + LAG), May::Now);
        // The view has it, and then something else.
        memory.rests();
        assert_eq!(memory.may_write(&write(Some(2)), now), May::Now);
        assert_eq!(memory.wrote(&write(Some(2)), &answer(WANTED, 3), How::Applied, now), (Kind::Repaired, false));
        // The same once more, after the view had ours again.
        memory.rests();
        assert_eq!(memory.may_write(&write(Some(2)), now), May::Now);
    }

    #[test]
    fn who_was_seen_at_one_repair_is_known_at_the_next() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.wrote(&write(None), &answer(WANTED, 1), How::Created, now);
        for (revision, others) in [(2, vec!["storm".to_owned()]), (3, Vec::new())] {
            memory.rests();
            let seen = Answer { others, ..answer(WANTED, revision) };
            assert_eq!(memory.wrote(&write(Some(2)), &seen, How::Applied, now), (Kind::Repaired, false));
            assert_eq!(memory.others(), ["storm"]);
        }
        // What is wanted now is another thing, which nobody has contested yet.
        memory.wrote(&Write { fingerprint: 9, ..write(Some(WANTED)) }, &answer(9, 4), How::Applied, now);
        assert!(memory.others().is_empty());
    }

    #[test]
    fn what_the_api_server_makes_of_it_is_not_fought() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.wrote(&write(None), &answer(7, 1), How::Created, now);
        assert_eq!(memory.may_write(&write(Some(7)), now + QUIET), May::Never);
        assert_eq!(memory.may_write(&write(Some(8)), now + QUIET), May::Now);
        let other = Write { fingerprint: 9, ..write(Some(7)) };
        assert_eq!(memory.may_write(&other, now), May::Now);
    }

    #[test]
    fn a_contest_is_met_with_patience_that_grows_and_is_forgotten_after_quiet() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        memory.wrote(&write(None), &answer(WANTED, 0), How::Created, now);
        let mut waits = Vec::new();
        for revision in 1..14 {
            memory.rests();
            if let May::At(until) = memory.may_write(&write(Some(2)), now) {
                waits.push((until - now).as_secs() / 60);
                now = until;
            }
            let (kind, contested) = memory.wrote(&write(Some(2)), &answer(WANTED, revision), How::Applied, now);
            assert_eq!((kind, contested), (Kind::Repaired, revision >= 5), "{revision}");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        // Settings that changed are no repair.
        let other = Write { fingerprint: 9, ..write(Some(1)) };
        assert_eq!(memory.may_write(&other, now), May::Now);
        now += PATIENCE_MOST + QUIET + LAG;
        memory.rests();
        assert_eq!(memory.may_write(&write(Some(2)), now), May::Now);
        assert_eq!(memory.wrote(&write(Some(2)), &answer(WANTED, 99), How::Applied, now), (Kind::Repaired, false));
    }

    #[test]
    fn a_refusal_waits_longer_each_time_for_the_same_object_alone_and_is_said_once() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let refused = Fault::new(Class::Refused, "no");
        let (at, new) = memory.failed(&refused, WANTED, now);
        assert!(new && at > now);
        assert_eq!(memory.may_write(&write(None), now), May::At(at));
        assert_eq!(memory.may_write(&Write { fingerprint: 2, ..write(None) }, now), May::Now);
        assert!(!memory.failed(&refused, WANTED, now).1);
        for _ in 0..40 {
            let (at, _) = memory.failed(&refused, WANTED, now);
            assert!(at - now <= LONGEST * 3 / 2);
        }
        let conflict = Fault::new(Class::Conflict, "somebody was faster");
        let (at, _) = memory.failed(&conflict, WANTED, now);
        assert!(at > now);
        assert_eq!(memory.may_write(&write(None), now), May::Now, "a change may have settled it");
    }
}
