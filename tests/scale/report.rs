//! What is printed, and whether what has to hold does.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Counts;
use crate::harness::metrics::Metrics;
use crate::objects::Size;

/// How often progress is printed.
const EVERY: Duration = Duration::from_secs(10);

/// Lines with the time since the beginning.
pub struct Report {
    size: Size,
    began: Instant,
    printed: Instant,
    part: Instant,
    failed: Vec<String>,
    missed: Vec<String>,
}

impl Report {
    pub fn new(size: Size) -> Self {
        let now = Instant::now();
        let mut report = Self { size, began: now, printed: now, part: now, failed: Vec::new(), missed: Vec::new() };
        let Size { workloads, nodes, namespaces } = size;
        report.line(&format!("{workloads} labelled Deployments in {namespaces} namespaces, {nodes} nodes"));
        report.line(&format!("load of the machine at the beginning: {}", load()));
        report
    }

    pub fn line(&mut self, text: &str) {
        eprintln!("scale {:6.1} s  {text}", self.began.elapsed().as_secs_f64());
        self.printed = Instant::now();
    }

    pub fn part(&mut self, text: &str) {
        eprintln!();
        self.line(&format!("== {text} (load {})", load()));
        self.part = Instant::now();
    }

    /// How far something is, now and then.
    pub fn progress(&mut self, what: &str, done: u32, total: u32) {
        if self.printed.elapsed() >= EVERY {
            self.line(&format!("{done} of {total} {what}"));
        }
    }

    pub fn done(&mut self, what: &str, done: u32) {
        let took = self.part.elapsed().as_secs_f64();
        self.line(&format!("{done} {what} ({took:.1} s)"));
        self.part = Instant::now();
    }

    /// Waits until a number has grown to what is wanted.
    pub fn until(&mut self, what: &str, within: Duration, wanted: f64, mut look: impl FnMut() -> f64) {
        let began = Instant::now();
        loop {
            let now = look();
            if now >= wanted {
                return;
            }
            assert!(began.elapsed() < within, "after {} s {now} of {wanted} {what}", within.as_secs());
            if self.printed.elapsed() >= EVERY {
                self.line(&format!("{now} of {wanted} {what}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Something that has to hold.
    pub fn must(&mut self, holds: bool, what: &str) {
        self.line(&format!("{} {what}", if holds { "ok:" } else { "WRONG:" }));
        if !holds {
            self.failed.push(what.to_owned());
        }
    }

    /// Something that should be at most so much.
    pub fn goal(&mut self, what: &str, value: f64, most: f64, unit: &str) {
        let missed = value > most;
        let verdict = if missed { "missed" } else { "met" };
        let line = format!("{what}: {value:.2} {unit} (goal {most} {unit}: {verdict})");
        self.line(&line);
        if missed {
            self.missed.push(line);
        }
    }

    /// What was asked of the API server, in all and by object.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn calls(&mut self, when: &str, counts: &Counts) {
        let total = counts.total();
        let each = total as f64 / f64::from(self.size.written());
        self.line(&format!("calls {when}: {total}, {each:.2} for each object"));
        let (mut lists, mut watches) = (0, 0);
        for ((verb, what, refused), count) in &counts.0 {
            match verb.as_str() {
                "list" => lists += count,
                "watch" => watches += count,
                _ => {}
            }
            if matches!(verb.as_str(), "list" | "watch") {
                continue;
            }
            let refused = if *refused { " (refused)" } else { "" };
            self.line(&format!("  {count:7} {verb} {what}{refused}"));
        }
        self.line(&format!("  {lists:7} list, {watches} watch, of all kinds"));
    }

    pub fn numbers(&mut self, what: &str, metrics: &Metrics, names: &[&str]) {
        self.line(&format!("{what}:"));
        let mine = |line: &&str| names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0.0");
        for line in metrics.text().lines().filter(mine) {
            self.line(&format!("  {line}"));
        }
    }

    /// Memory of a process: in use, of that what files do not back, and the most that was in use.
    pub fn memory(&mut self, whose: &str, pid: u32, goal: f64) {
        let Memory { resident, own, most } = memory(pid);
        self.line(&format!("{whose}: {own:.1} MB of its own (RssAnon), {most:.1} MB at most (VmHWM)"));
        self.goal(&format!("{whose}: VmRSS"), resident, goal, "MB");
    }

    /// Time of the processor that a process has had, all its threads together.
    pub fn processor(&mut self, whose: &str, pid: u32) {
        self.line(&format!("{whose}: {:.2} s of one processor so far", processor(pid)));
    }

    /// The end: what was missed, what is wrong, and whether nothing is.
    pub fn end(mut self) -> bool {
        self.part("What came of it");
        for line in std::mem::take(&mut self.missed) {
            self.line(&format!("missed: {line}"));
        }
        for what in std::mem::take(&mut self.failed) {
            self.line(&format!("WRONG: {what}"));
            self.failed.push(what);
        }
        self.failed.is_empty()
    }
}

/// In MB.
struct Memory {
    resident: f64,
    own: f64,
    most: f64,
}

fn memory(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kb.unwrap_or_default() / 1_024.0
    };
    Memory { resident: of("VmRSS:"), own: of("RssAnon:"), most: of("VmHWM:") }
}

/// In seconds. Linux counts hundredths for programs (`USER_HZ`), in the 14th and 15th field.
fn processor(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The load averages of the machine.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
