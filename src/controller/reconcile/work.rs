//! One look at the workloads of a name: what of their plans may be done now, and what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::policy::objects::{Key, WorkloadKind};
use crate::policy::reconcile::{Plan, Prune, Say, Write};

use super::TO_TELL;
use super::apply::{self, How, Removed, Written};
use super::counters::{Outcome, ReconcileCounters};
use super::events::{Told, number};
use super::memory::{Kind, May, Memory};
use super::queue::Item;
use super::rest::{Class, Fault, Rest};

/// Things told of one workload that are remembered.
const REMEMBERED: usize = 64;

/// What is to be done for the workloads of one name.
pub(super) struct Job {
    pub(super) item: Item,
    parts: Vec<Part>,
}

/// What is to be done for one workload: removals first.
struct Part {
    workload: Key,
    uid: String,
    prunes: Vec<Prune>,
    /// With whether it is a repair.
    writes: Vec<(Write, bool)>,
}

/// What became of a job.
pub(super) struct Report {
    pub(super) item: Item,
    pub(super) began: Instant,
    /// Why the rest of it was not even tried.
    pub(super) unavailable: Option<Fault>,
    done: Vec<(Key, String, Done)>,
}

enum Done {
    Prune(Prune, Result<Removed, Fault>),
    Write(Box<Write>, Result<Written, Fault>),
}

/// What is remembered of workloads, and what their owners are yet to be told.
pub(super) struct Work<'a> {
    counters: &'a ReconcileCounters,
    workloads: BTreeMap<Key, Workload>,
    pub(super) to_tell: VecDeque<Told>,
}

#[derive(Default)]
struct Workload {
    uid: String,
    told: Vec<Remembered>,
    /// Boxed, since a node of a map has room for eleven.
    objects: BTreeMap<Key, Box<Memory>>,
}

/// Something that was told.
struct Remembered {
    /// By [`number`].
    number: u64,
    /// Whether it holds at present.
    holds: bool,
    /// How often it was told.
    times: u32,
}

/// Carries a job out, and stops where the API server takes nothing.
pub(super) async fn carry_out(rest: &Rest, job: Job) -> Report {
    let Job { item, parts } = job;
    let mut report = Report { item, began: Instant::now(), unavailable: None, done: Vec::new() };
    for part in parts {
        let Part { workload, uid, prunes, writes } = part;
        let mut pruned = true;
        for prune in prunes {
            let removed = apply::prune(rest, &uid, &prune).await;
            pruned &= removed.is_ok();
            report.note(&workload, &uid, Done::Prune(prune, removed));
            if report.unavailable.is_some() {
                return report;
            }
        }
        // What still stands may be an autoscaler, beside which another one would be the second.
        for (write, repair) in if pruned { writes } else { Vec::new() } {
            let written = apply::write(rest, &uid, &write, repair).await;
            report.note(&workload, &uid, Done::Write(Box::new(write), written));
            if report.unavailable.is_some() {
                return report;
            }
        }
    }
    report
}

// === impl Report ===

impl Report {
    fn note(&mut self, workload: &Key, uid: &str, done: Done) {
        let fault = match &done {
            Done::Prune(_, removed) => removed.as_ref().err(),
            Done::Write(_, written) => written.as_ref().err(),
        };
        self.unavailable = fault.filter(|fault| fault.class == Class::Unavailable).cloned();
        self.done.push((workload.clone(), uid.to_owned(), done));
    }
}

// === impl Work ===

impl<'a> Work<'a> {
    pub(super) fn new(counters: &'a ReconcileCounters) -> Self {
        Self { counters, workloads: BTreeMap::new(), to_tell: VecDeque::new() }
    }

    /// What of the plans for one name may be done now, and when to look again for the rest.
    pub(super) fn decide(&mut self, item: &Item, plans: Vec<Plan>, now: Instant) -> (Option<Job>, Option<Instant>) {
        self.forget_others(item, &plans);
        let mut again = Vec::new();
        let mut parts = Vec::new();
        for plan in plans {
            // What is being deleted, and what nothing is known of for now.
            if plan.uid.is_empty() || !plan.waits_for.is_empty() {
                continue;
            }
            let silent = plan.prune.is_empty() && plan.write.is_empty() && plan.says.is_empty();
            if silent && !self.workloads.contains_key(&plan.workload) {
                continue;
            }
            let known = self.workloads.entry(plan.workload.clone()).or_default();
            if known.uid != plan.uid {
                *known = Workload { uid: plan.uid.clone(), ..Workload::default() };
            }
            let news = known.news(&plan);
            let part = known.part(plan, now, &mut again);
            for told in news {
                self.tell(told);
            }
            if !part.prunes.is_empty() || !part.writes.is_empty() {
                parts.push(part);
            }
        }
        let job = (!parts.is_empty()).then(|| Job { item: item.clone(), parts });
        (job, again.into_iter().min())
    }

    /// Lets go of workloads of that name that are not there.
    fn forget_others(&mut self, (namespace, name): &Item, plans: &[Plan]) {
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::LeaderWorkerSet] {
            let key = Key {
                group: kind.group().to_owned(),
                kind: kind.name().to_owned(),
                namespace: Some(namespace.clone()),
                name: name.clone(),
            };
            if !plans.iter().any(|plan| plan.workload == key) {
                self.workloads.remove(&key);
            }
        }
    }

    /// Lets go of what may be lost.
    pub(super) fn forget_idle(&mut self, now: Instant) {
        self.workloads.retain(|_, known| {
            known.objects.retain(|_, memory| !memory.is_idle(now));
            !known.objects.is_empty() || !known.told.is_empty()
        });
    }

    /// Takes note of what became of a job, and says when to look again.
    pub(super) fn note(&mut self, report: Report, now: Instant) -> Option<Instant> {
        let mut again = Vec::new();
        let mut all = BTreeMap::<(Key, String), News>::new();
        for (workload, uid, done) in report.done {
            let known = self.workloads.entry(workload.clone()).or_default();
            if known.uid.is_empty() {
                known.uid.clone_from(&uid);
            }
            // Replaced meanwhile by another one of its name.
            if known.uid != uid {
                continue;
            }
            let news = all.entry((workload, uid)).or_default();
            again.extend(match done {
                Done::Prune(prune, removed) => known.note_prune(prune, removed, now, self.counters, news),
                Done::Write(write, written) => known.note_write(&write, written, now, self.counters, news),
            });
        }
        for ((workload, uid), news) in all {
            self.told(&workload, &uid, news);
        }
        again.into_iter().min()
    }

    fn told(&mut self, workload: &Key, uid: &str, news: News) {
        for (reason, warning, note) in news.into_notes() {
            let Some(known) = self.workloads.get_mut(workload) else { return };
            let times = known.once_more(number(reason, &note), false);
            self.tell(Told { workload: workload.clone(), uid: uid.to_owned(), reason, warning, note, times });
        }
    }

    /// Has something told after everything else that waits to be; or not at all when that is too much.
    pub(super) fn tell(&mut self, told: Told) {
        tracing::debug!(workload = %told.workload, reason = told.reason, note = told.note, "to tell");
        if self.to_tell.len() < TO_TELL {
            self.to_tell.push_back(told);
        } else {
            self.counters.events_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Workload ===

impl Workload {
    /// What a plan says that it did not say before.
    fn news(&mut self, plan: &Plan) -> Vec<Told> {
        let numbers: Vec<u64> = plan.says.iter().map(|say| number(say.reason, &say.note)).collect();
        let mut news = Vec::new();
        for (Say { reason, warning, note }, number) in plan.says.iter().zip(&numbers) {
            if !self.told.iter().any(|told| told.number == *number && told.holds) {
                let times = self.once_more(*number, true);
                let (workload, uid) = (plan.workload.clone(), plan.uid.clone());
                news.push(Told { workload, uid, reason, warning: *warning, note: note.clone(), times });
            }
        }
        for told in &mut self.told {
            told.holds = numbers.contains(&told.number);
        }
        news
    }

    /// Counts that something is told.
    fn once_more(&mut self, number: u64, holds: bool) -> u32 {
        if let Some(told) = self.told.iter_mut().find(|told| told.number == number) {
            told.holds |= holds;
            told.times = told.times.saturating_add(1);
            return told.times;
        }
        if self.told.len() >= REMEMBERED {
            self.told.retain(|told| told.holds);
        }
        self.told.push(Remembered { number, holds, times: 1 });
        1
    }

    /// What of a plan may be done now. `again` gets the times of the rest.
    fn part(&mut self, plan: Plan, now: Instant, again: &mut Vec<Instant>) -> Part {
        for (key, memory) in &mut self.objects {
            if !plan.write.iter().any(|write| write.key == *key) {
                memory.rests();
            }
        }
        let mut waits = false;
        let prunes = plan.prune.into_iter().filter(|prune| {
            let memory = self.objects.get(&prune.key);
            match memory.map_or(May::Now, |memory| memory.may_prune(&prune.uid, now)) {
                May::At(at) => {
                    again.push(at);
                    waits = true;
                    false
                }
                May::Now | May::Never => true,
            }
        });
        let prunes: Vec<Prune> = prunes.collect();
        let writes = plan.write.into_iter().filter_map(|write| {
            let memory = self.objects.get_mut(&write.key);
            let may = memory.map_or((May::Now, false), |memory| {
                let may = memory.may_write(&write, now);
                (may, memory.is_repair(&write))
            });
            match may {
                (May::Now, repair) if !waits => Some((write, repair)),
                (May::At(at), _) => {
                    again.push(at);
                    None
                }
                _ => None,
            }
        });
        let writes = writes.collect();
        Part { workload: plan.workload, uid: plan.uid, prunes, writes }
    }

    fn note_prune(
        &mut self,
        prune: Prune,
        removed: Result<Removed, Fault>,
        now: Instant,
        counters: &ReconcileCounters,
        news: &mut News,
    ) -> Option<Instant> {
        let memory = self.objects.entry(prune.key.clone()).or_default();
        match removed {
            Ok(removed) => {
                memory.pruned(&prune.uid, now);
                if removed == Removed::Yes {
                    counters.count(&prune.key.kind, Outcome::Pruned);
                    tracing::info!(object = %prune.key, why = prune.why, "removed");
                    news.pruned.push((prune.key, prune.why));
                }
                None
            }
            Err(fault) => Some(failed(memory, &prune.key, "remove", &fault, 0, now, counters, news)),
        }
    }

    fn note_write(
        &mut self,
        write: &Write,
        written: Result<Written, Fault>,
        now: Instant,
        counters: &ReconcileCounters,
        news: &mut News,
    ) -> Option<Instant> {
        let memory = self.objects.entry(write.key.clone()).or_default();
        let Written { answer, how } = match written {
            Ok(written) => written,
            Err(fault) => {
                return Some(failed(memory, &write.key, "write", &fault, write.fingerprint, now, counters, news));
            }
        };
        let (kind, contested) = memory.wrote(write, &answer, how, now);
        let outcome = match kind {
            Kind::Unchanged => Outcome::Unchanged,
            _ if how == How::Created => Outcome::Created,
            _ => Outcome::Applied,
        };
        counters.count(&write.key.kind, outcome);
        if kind == Kind::Unchanged {
            tracing::debug!(object = %write.key, "is so already");
        } else {
            tracing::info!(object = %write.key, what = ?kind, "written");
        }
        if answer.fingerprint != write.fingerprint {
            tracing::warn!(
                object = %write.key,
                "the API server stores it otherwise than it was written; a mutating webhook or another version of its kind \
                 may be the cause; it is left so"
            );
        }
        if contested {
            let others = memory.others();
            let others = if others.is_empty() { "somebody".to_owned() } else { others.join(", ") };
            news.contested.push((write.key.clone(), others));
        }
        match kind {
            Kind::Created => news.created.push(write.key.clone()),
            Kind::Updated => news.updated.push(write.key.clone()),
            Kind::Repaired => news.repaired.push(write.key.clone()),
            Kind::Unchanged => {}
        }
        None
    }
}

#[allow(clippy::too_many_arguments)]
fn failed(
    memory: &mut Memory,
    key: &Key,
    verb: &'static str,
    fault: &Fault,
    fingerprint: u64,
    now: Instant,
    counters: &ReconcileCounters,
    news: &mut News,
) -> Instant {
    let outcome = match fault.class {
        Class::Conflict => Outcome::Conflict,
        Class::Unavailable => Outcome::Failed,
        Class::Refused | Class::NotFound | Class::Terminating => Outcome::Refused,
    };
    counters.count(&key.kind, outcome);
    let (again, new) = memory.failed(fault, fingerprint, now);
    match fault.class {
        Class::Refused | Class::NotFound if new => {
            tracing::warn!(object = %key, error = fault.message, "cannot {verb} it; trying again, later and later");
            news.refused.push(format!("cannot {verb} {} {}: {}", key.kind, key.name, fault.message));
        }
        _ => tracing::debug!(object = %key, error = fault.message, class = ?fault.class, "cannot {verb} it"),
    }
    again
}

/// What was done for one workload.
#[derive(Default)]
struct News {
    created: Vec<Key>,
    updated: Vec<Key>,
    repaired: Vec<Key>,
    pruned: Vec<(Key, String)>,
    contested: Vec<(Key, String)>,
    refused: Vec<String>,
}

// === impl News ===

impl News {
    /// Reason, whether it is a warning, and note of each Event.
    fn into_notes(self) -> Vec<(&'static str, bool, String)> {
        let mut notes = Vec::new();
        for (reason, keys, what) in [
            ("Generated", &self.created, "created"),
            ("Updated", &self.updated, "brought to what the workload and its settings ask for"),
            ("Repaired", &self.repaired, "written again, since somebody else had changed or removed it"),
        ] {
            if !keys.is_empty() {
                notes.push((reason, false, format!("{}: {what}", names(keys))));
            }
        }
        // Mostly all for one reason: that is one Event.
        let mut pruned = BTreeMap::<String, Vec<Key>>::new();
        for (key, why) in self.pruned {
            pruned.entry(why).or_default().push(key);
        }
        for (why, keys) in pruned {
            notes.push(("Pruned", false, format!("{} removed: {why}", names(&keys))));
        }
        for (key, others) in &self.contested {
            let note = format!(
                "{} {} is changed or removed again and again by {others}, and is repaired less and less often; take it out of \
                 what they apply, or remove the label of the workload",
                key.kind, key.name
            );
            notes.push(("Contested", true, note));
        }
        notes.extend(self.refused.into_iter().map(|note| ("Refused", true, note)));
        notes
    }
}

fn names(keys: &[Key]) -> String {
    let names: Vec<String> = keys.iter().map(|key| format!("{} {}", key.kind, key.name)).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests;
