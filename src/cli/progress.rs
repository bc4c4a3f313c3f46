//! How far long work has come, on a terminal.

use std::io::{self, IsTerminal, Write};

/// One line on standard error that is written over and over. Nothing where standard error is no terminal.
pub(super) struct Progress {
    shown: bool,
    last: String,
}

impl Progress {
    /// Nothing is written yet.
    pub(super) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), last: String::new() }
    }

    /// Replaces the line.
    pub(super) fn say(&mut self, text: &str) {
        if self.shown && self.last != text {
            // A terminal that is gone has nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[K{text}").and_then(|()| io::stderr().flush());
            text.clone_into(&mut self.last);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.last.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
