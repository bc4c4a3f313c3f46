//! Keeps what is generated as it should be: plans for each workload that something happened to, carried out by conditional
//! writes.
//!
//! ```text
//! State::take_touched -> queue -> plan, some at a time -> what may be done now -> workers -> API server
//!                          ^         (policy::reconcile)     (memory, gate)         |
//!                          '---------------- later, with jitter --------------------'
//! ```
//!
//! | file | what |
//! |---|---|
//! | `queue` | which workloads are to be looked at |
//! | `work` | one look: what of a plan may be done now, and what came of it |
//! | `memory` | what is remembered of each object: lag of the watch, back-off, contests |
//! | `gate` | while the API server takes nothing |
//! | `apply`, `rest` | one write or removal; requests and what refusals mean |
//! | `events` | what owners are told |
//!
//! One process leads and does this. Two at once do no harm: every write says which object it means.

mod apply;
mod counters;
mod events;
mod gate;
mod memory;
mod queue;
mod rest;
mod work;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use counters::{Outcome, ReconcileCounters};

use crate::cluster::backoff::jitter;
use crate::cluster::watch::Caches;
use crate::cluster::{State, Touched};
use crate::leader;
use crate::policy::reconcile::plans;
use crate::policy::settings::LABEL;
use crate::policy::view::ClusterView;

use self::events::{Events, Told};
use self::gate::Gate;
use self::queue::{Item, Queue};
use self::rest::{Class, Fault, Rest};
use self::work::{Job, Report, Work, carry_out};

/// Workloads that are written for at a time.
const WORKERS: usize = 8;
/// Events that are written at a time, and those that wait at most; more are not written.
const TELLERS: usize = 2;
const TO_TELL: usize = 4_096;
/// Plans that are made under one lock of the view, while changes of it wait.
const PLANS: usize = 20;
/// The shortest time between two passes over whole namespaces, or over everything: at first, and when one follows the other.
const WIDE_FIRST: Duration = Duration::from_millis(200);
const WIDE: Duration = Duration::from_secs(5);
/// So long without a pass, the next ones follow quickly again.
const WIDE_QUIET: Duration = Duration::from_secs(30);
/// A pass takes at most this part of the time, so that changes that touch everything leave room for the others.
const WIDE_SHARE: u32 = 4;
/// How often what may be forgotten is.
const FORGET: Duration = Duration::from_secs(60);
/// How often everything is looked at though nothing happened.
const RESYNC: Duration = Duration::from_secs(600);
/// How often it is looked whether the view is filled.
const START_POLL: Duration = Duration::from_millis(100);

/// Keeps what is generated as it should be, while `leading` says so and once `caches` are filled, until `cancel`. `client`
/// should not try again by itself. The only one who may take what the view was touched by ([`State::take_touched`]).
pub async fn run(
    client: Client,
    state: Arc<State>,
    caches: Arc<Caches>,
    mut leading: watch::Receiver<bool>,
    counters: Arc<ReconcileCounters>,
    cancel: CancellationToken,
) {
    let instance = leader::identity();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            leads = leading.wait_for(|leads| *leads) => if leads.is_err() { return },
        }
        let mut lost = leading.clone();
        let rest = Rest::new(client.clone());
        let lead = lead(rest, &instance, &state, &caches, &counters);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            // What is under way may end half-way; the next leader goes on from there.
            lost = lost.wait_for(|leads| !*leads) => match lost {
                Ok(_) => tracing::info!("not leading any more: nothing is generated here"),
                Err(_) => return,
            },
            () = lead => return,
        }
        counters.queued.store(0, Ordering::Relaxed);
    }
}

async fn lead(rest: Rest, instance: &str, state: &State, caches: &Caches, counters: &ReconcileCounters) {
    while !caches.ready() {
        sleep(START_POLL).await;
    }
    tracing::info!("leading: workloads with the label {LABEL} are looked after here");
    let events = Events::new(rest.clone(), instance);
    let mut changes = state.changes();
    let mut wide = Wide::new(Instant::now());
    let mut forget = Instant::now() + FORGET;
    let mut controller = Controller {
        state,
        counters,
        queue: Queue::default(),
        work: Work::new(counters),
        gate: Gate::default(),
        voice: Gate::default(),
        planned: VecDeque::new(),
    };
    let mut running: FuturesUnordered<BoxFuture<'_, Report>> = FuturesUnordered::new();
    let mut telling: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        changes.mark_unchanged();
        let touched = state.take_touched();
        for item in wide.note(touched, now) {
            controller.queue.add(item);
        }
        if let Some(pass) = wide.pass(now) {
            controller.look_widely(&pass);
            wide.passed(now.elapsed(), Instant::now());
        }
        if now >= forget {
            controller.work.forget_idle(now);
            forget = now + FORGET;
        }
        let due = controller.queue.wake(now);
        let free = controller.gate.lets(WORKERS, now).saturating_sub(running.len());
        controller.plan(free).await;
        for job in controller.planned.drain(..free.min(controller.planned.len())) {
            running.push(Box::pin(carry_out(&rest, job)));
        }
        while telling.len() < controller.voice.lets(TELLERS, now) {
            let Some(told) = controller.work.to_tell.pop_front() else { break };
            telling.push(Box::pin(tell(&events, told)));
        }
        let left = controller.queue.len() + controller.planned.len() + running.len();
        counters.queued.store(u64::try_from(left).unwrap_or(u64::MAX), Ordering::Relaxed);

        // More at once, but not before it was seen what happened meanwhile.
        let more = (running.len() < controller.gate.lets(WORKERS, now) && controller.queue.is_waiting()).then_some(now);
        // Without anything under way only a trial can open a closed gate.
        let waits = controller.queue.is_waiting() || !controller.planned.is_empty();
        let trial = controller.gate.until().filter(|_| running.is_empty() && waits);
        let word = controller.voice.until().filter(|_| telling.is_empty() && !controller.work.to_tell.is_empty());
        let next =
            [more, due, trial, word, Some(wide.next()), Some(forget)].into_iter().flatten().min().unwrap_or(now + WIDE);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(report) = running.next() => controller.settle(report),
            Some(answered) = telling.next() => controller.told(answered),
            () = sleep_until(next) => {}
        }
    }
}

/// An Event, when its write began, and how that ended.
type Answered = (Told, Instant, Result<(), Fault>);

async fn tell(events: &Events, told: Told) -> Answered {
    let began = Instant::now();
    let answer = events.tell(&told).await;
    (told, began, answer)
}

/// What the loop holds while leading.
struct Controller<'a> {
    state: &'a State,
    counters: &'a ReconcileCounters,
    queue: Queue,
    work: Work<'a>,
    gate: Gate,
    /// The same for Events, which stop nothing else.
    voice: Gate,
    /// What is to be carried out next, so little that it does not grow old.
    planned: VecDeque<Job>,
}

// === impl Controller ===

impl Controller<'_> {
    /// Plans for some workloads, when so many may be carried out besides and none is ready to be.
    async fn plan(&mut self, free: usize) {
        if free > 0 && self.planned.is_empty() {
            let items: Vec<Item> = std::iter::from_fn(|| self.queue.take()).take(PLANS).collect();
            if items.is_empty() {
                return;
            }
            let planned: Vec<_> = self.state.read(|view, configuration| {
                let plan = |(namespace, name): &Item| plans(namespace, name, view, configuration);
                items.iter().map(plan).collect()
            });
            let now = Instant::now();
            for (item, plans) in items.into_iter().zip(planned) {
                self.counters.plans.fetch_add(1, Ordering::Relaxed);
                let (job, again) = self.work.decide(&item, plans, now);
                if let Some(at) = again {
                    self.queue.add_at(item.clone(), at);
                }
                match job {
                    Some(job) => self.planned.push_back(job),
                    None => self.queue.done(item),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes note of what became of a job.
    fn settle(&mut self, report: Report) {
        let now = Instant::now();
        let closed = self.gate.until().is_some();
        if let Some(fault) = &report.unavailable {
            self.gate.failed(report.began, fault.wait, now);
            if !closed {
                tracing::warn!(error = fault.message, "the API server takes nothing; trying again, later and later");
            }
            // Planned before, it may be wrong by the time it is tried.
            for job in self.planned.drain(..) {
                self.queue.done(job.item.clone());
                self.queue.add(job.item);
            }
        } else {
            self.gate.answered(report.began);
            if closed && self.gate.until().is_none() {
                tracing::info!("the API server takes writes again");
            }
        }
        let item = report.item.clone();
        if let Some(at) = self.work.note(report, now) {
            self.queue.add_at(item.clone(), at);
        }
        self.queue.done(item);
    }

    /// Takes note of what became of an Event.
    fn told(&mut self, (told, began, answer): Answered) {
        let Err(fault) = answer else { return self.voice.answered(began) };
        if fault.class == Class::Unavailable {
            self.voice.failed(began, fault.wait, Instant::now());
            return self.work.tell(told);
        }
        self.voice.answered(began);
        if fault.class != Class::Terminating {
            self.counters.events_failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(workload = %told.workload, reason = told.reason, error = fault.message, "cannot write an Event");
        }
    }

    /// Queues all workloads of some namespaces, or all.
    fn look_widely(&mut self, pass: &Pass) {
        let items: Vec<Item> = self.state.read(|view, _| {
            let workloads = view.workloads().filter(|workload| {
                let namespace = workload.metadata.namespace.as_deref().unwrap_or_default();
                (pass.all || pass.namespaces.contains(namespace)) && concerns_us(workload, view)
            });
            let items = workloads
                .filter_map(|workload| Some((workload.metadata.namespace.clone()?, workload.metadata.name.clone())));
            items.collect()
        });
        for item in items {
            self.queue.add_later(item);
        }
    }
}

/// Whether a workload is labelled, or owns something that may be ours.
fn concerns_us(workload: &crate::policy::workload::Workload, view: &ClusterView) -> bool {
    let metadata = &workload.metadata;
    metadata.labels.contains_key(LABEL) || metadata.uid.as_deref().is_some_and(|uid| view.managed(uid).next().is_some())
}

/// What is looked at as a whole, and when.
struct Wide {
    pass: Pass,
    next: Instant,
    interval: Duration,
    resync: Instant,
}

/// A pass over workloads that nothing happened to themselves.
#[derive(Default)]
struct Pass {
    all: bool,
    namespaces: BTreeSet<String>,
}

// === impl Wide ===

impl Wide {
    /// Everything, at once.
    fn new(now: Instant) -> Self {
        Self {
            pass: Pass { all: true, ..Pass::default() },
            next: now,
            interval: WIDE_FIRST,
            resync: now + jitter(RESYNC),
        }
    }

    /// Notes what was touched, and gives the workloads that were by themselves.
    fn note(&mut self, touched: Touched, now: Instant) -> BTreeSet<Item> {
        let Touched { all, namespaces, names } = touched;
        self.pass.all |= all;
        self.pass.namespaces.extend(namespaces);
        if now >= self.resync {
            self.pass.all = true;
            self.resync = now + jitter(RESYNC);
        }
        names
    }

    /// The pass that is due.
    fn pass(&mut self, now: Instant) -> Option<Pass> {
        let wanted = self.pass.all || !self.pass.namespaces.is_empty();
        (wanted && now >= self.next).then(|| std::mem::take(&mut self.pass))
    }

    /// Notes that a pass was queued, which took so long.
    fn passed(&mut self, took: Duration, now: Instant) {
        self.interval = if now > self.next + WIDE_QUIET { WIDE_FIRST } else { (self.interval * 2).min(WIDE) };
        self.next = now + self.interval.max(took.saturating_mul(WIDE_SHARE));
    }

    /// When something is to be done next.
    fn next(&self) -> Instant {
        let wanted = self.pass.all || !self.pass.namespaces.is_empty();
        if wanted { self.next.min(self.resync) } else { self.resync }
    }
}
