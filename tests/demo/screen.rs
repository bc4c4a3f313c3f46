//! What the demo prints: lines as they come, and on a terminal a table below them that stays up to date.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// In a pipe, how often the table is printed.
const EVERY: Duration = Duration::from_secs(10);

/// What is quoted is broken into lines of at most so many characters.
const WIDTH: usize = 100;

/// Where the demo prints. Clones print to the same place.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<State>>);

struct State {
    began: Instant,
    terminal: bool,
    /// The table that stands at the end of what is printed.
    table: Vec<String>,
    /// When the table was printed last, in a pipe.
    printed: Option<Instant>,
}

/// Colours of a terminal.
#[derive(Clone, Copy)]
enum Style {
    Plain = 0,
    Bold = 1,
    Faint = 2,
    Red = 31,
    Green = 32,
}

impl Screen {
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self(Arc::new(Mutex::new(State { began: Instant::now(), terminal, table: Vec::new(), printed: None })))
    }

    /// Begins a part of the demo.
    pub fn part(&self, title: &str) {
        self.print(&["", title], Style::Bold, "");
    }

    /// Something is under way.
    pub fn step(&self, text: &str) {
        self.print(&[text], Style::Plain, "  .. ");
    }

    /// Something holds.
    pub fn holds(&self, text: &str) {
        self.print(&[text], Style::Green, "  ok ");
    }

    /// Something does not hold.
    pub fn fails(&self, text: &str) {
        self.print(&[text], Style::Red, "  NO ");
    }

    /// What a program said.
    pub fn quote(&self, text: &str) {
        let lines: Vec<String> = text.lines().flat_map(|line| wrap(line, WIDTH)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.print(&lines, Style::Faint, "     | ");
    }

    /// Prints why the demo cannot go on, and ends it.
    pub fn fatal(&self, text: &str) -> ! {
        self.table(&[]);
        self.fails(text);
        std::process::exit(1)
    }

    /// Replaces the table.
    pub fn table(&self, rows: &[String]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        if state.terminal {
            state.erase(&mut out);
            state.table = rows.to_vec();
            state.draw(&mut out);
        } else if !rows.is_empty() && state.printed.is_none_or(|printed| printed.elapsed() >= EVERY) {
            state.printed = Some(Instant::now());
            for row in rows {
                let _ = writeln!(out, "{row}");
            }
        }
        let _ = out.flush();
    }

    fn print(&self, lines: &[&str], style: Style, before: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        state.erase(&mut out);
        let passed = state.began.elapsed().as_secs();
        for line in lines {
            let clock = if line.is_empty() { String::new() } else { format!("{}:{:02} ", passed / 60, passed % 60) };
            let _ = if state.terminal && !matches!(style, Style::Plain) {
                writeln!(out, "{clock}\x1b[{}m{before}{line}\x1b[0m", style as u8)
            } else {
                writeln!(out, "{clock}{before}{line}")
            };
        }
        state.draw(&mut out);
        let _ = out.flush();
    }
}

impl State {
    fn erase(&mut self, out: &mut impl io::Write) {
        if self.terminal && !self.table.is_empty() {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.table.len());
        }
    }

    fn draw(&self, out: &mut impl io::Write) {
        if self.terminal {
            for row in &self.table {
                let _ = writeln!(out, "{row}");
            }
        }
    }
}

/// Breaks a line at its spaces.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.len() + 1 + word.len() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
