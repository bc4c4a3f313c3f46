//! Shell scripts, read as far as it takes to find the program that they start.
//!
//! This is no shell. It splits a script into simple commands, removes quotes, and puts in the variables that it knows;
//! whatever it does not know becomes [`UNKNOWN`], never a guess.

use std::collections::BTreeMap;

use super::environment::{BUDGET, Environment, UNKNOWN, Variable, is_name};

/// How deep `${A:-${B:-...}}` may nest.
const DEEPEST: usize = 8;

/// Words before a command that steer the script.
const RESERVED: [&str; 15] =
    ["if", "then", "elif", "else", "fi", "while", "until", "for", "do", "done", "case", "esac", "!", "{", "}"];

/// Splits a script into simple commands, each a list of words: quotes removed, variables put in, redirections and leading
/// assignments dropped. `parameters` are `$1`, `$2` and so on.
pub(super) fn commands(script: &str, environment: &Environment, parameters: &[String]) -> Vec<Vec<String>> {
    let mut reader = Reader {
        chars: script.chars().collect(),
        at: 0,
        environment,
        parameters,
        assigned: BTreeMap::new(),
        budget: BUDGET,
        branches: 0,
        sourced: false,
        found: Vec::new(),
    };
    reader.read();
    reader.found
}

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    environment: &'a Environment,
    parameters: &'a [String],
    /// Variables that the script sets.
    assigned: BTreeMap<String, String>,
    /// Bytes that expansions may still add.
    budget: usize,
    /// Open `if`, `case` and loops: what is assigned inside may not happen.
    branches: usize,
    /// Another file was sourced: it may define anything.
    sourced: bool,
    found: Vec<Vec<String>>,
}

/// A word under construction. Unquoted variables may split it into several.
#[derive(Default)]
struct Word {
    done: Vec<String>,
    text: String,
    /// Something was read, be it an empty pair of quotes.
    started: bool,
}

// === impl Reader ===

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at.checked_add(ahead)?).copied()
    }

    fn read(&mut self) {
        let mut words: Vec<String> = Vec::new();
        let mut here_documents: Vec<String> = Vec::new();
        while let Some(c) = self.peek(0) {
            match c {
                '\n' => {
                    self.at += 1;
                    self.end(&mut words);
                    for delimiter in std::mem::take(&mut here_documents) {
                        self.skip_here_document(&delimiter);
                    }
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '\\' if self.peek(1) == Some('\n') => self.at += 2,
                '\\' if self.peek(1) == Some('\r') && self.peek(2) == Some('\n') => self.at += 3,
                '#' => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                '&' if self.peek(1) == Some('>') => self.redirect(&mut here_documents),
                ';' | '&' | '|' | '(' | ')' => {
                    self.at += 1;
                    self.end(&mut words);
                }
                '<' | '>' => {
                    self.redirect(&mut here_documents);
                }
                _ => {
                    let start = self.at;
                    let mut read = self.word(0);
                    // `2>file`: the number belongs to the redirection.
                    let number = matches!(self.peek(0), Some('<' | '>'))
                        && read.len() == 1
                        && read.first().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit()));
                    if !number {
                        words.append(&mut read);
                    }
                    // A character that no branch takes must not stop the reader.
                    if self.at == start {
                        self.at += 1;
                    }
                }
            }
        }
        self.end(&mut words);
    }

    /// Ends a simple command.
    fn end(&mut self, words: &mut Vec<String>) {
        let mut words = std::mem::take(words);
        while let Some(first) = words.first() {
            if !RESERVED.contains(&first.as_str()) {
                break;
            }
            match first.as_str() {
                "if" | "while" | "until" | "case" => self.branches = self.branches.saturating_add(1),
                "for" => {
                    self.branches = self.branches.saturating_add(1);
                    if let Some(name) = words.get(1).cloned() {
                        self.assigned.insert(name, UNKNOWN.to_string());
                    }
                    return;
                }
                "fi" | "done" | "esac" => self.branches = self.branches.saturating_sub(1),
                _ => {}
            }
            words.remove(0);
        }
        let declares = matches!(words.first().map(String::as_str), Some("export" | "declare" | "local" | "readonly"));
        let assignments =
            words.iter().skip(usize::from(declares)).take_while(|word| assignment(word).is_some()).count();
        if declares || assignments == words.len() {
            for (name, value) in words.iter().filter_map(|word| assignment(word)) {
                let value = if self.branches > 0 { UNKNOWN.to_string() } else { value.to_owned() };
                self.assigned.insert(name.to_owned(), value);
            }
            return;
        }
        words.drain(..assignments.min(words.len()));
        match words.first().map(String::as_str) {
            Some("source" | "." | "eval") => self.sourced = true,
            Some("read") => {
                for name in words.iter().skip(1).filter(|word| is_name(word)) {
                    self.assigned.insert(name.clone(), UNKNOWN.to_string());
                }
            }
            _ => {}
        }
        self.found.push(words);
    }

    /// Skips a redirection and what it names; a here-document's delimiter is kept for the end of the line.
    fn redirect(&mut self, here_documents: &mut Vec<String>) {
        let start = self.at;
        while matches!(self.peek(0), Some('<' | '>' | '&')) {
            self.at += 1;
        }
        let operator: String = self.chars.get(start..self.at).unwrap_or(&[]).iter().collect();
        if matches!(self.peek(0), Some('|' | '-')) {
            self.at += 1;
        }
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
        if matches!(self.peek(0), None | Some('\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>')) {
            return;
        }
        let target = self.word(0).concat();
        if operator == "<<" {
            here_documents.push(target);
        }
    }

    fn skip_here_document(&mut self, delimiter: &str) {
        while self.at < self.chars.len() {
            let line: String = self.chars.iter().skip(self.at).take_while(|c| **c != '\n').collect();
            self.at = self.at.saturating_add(line.chars().count()).saturating_add(1);
            if line.trim() == delimiter {
                return;
            }
        }
    }

    /// Reads one word, which ends at an unquoted blank or operator. It becomes several where variables hold blanks, and
    /// none where an unquoted variable is empty.
    fn word(&mut self, depth: usize) -> Vec<String> {
        let mut word = Word::default();
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\\' => {
                    if let Some(next) = self.peek(1) {
                        if next != '\n' {
                            word.push(next);
                        }
                        self.at += 2;
                    } else {
                        self.at += 1;
                    }
                }
                '\'' => self.single_quoted(&mut word),
                '"' => {
                    self.at += 1;
                    word.started = true;
                    self.double_quoted(&mut word, depth);
                }
                '`' => {
                    self.skip_to('`');
                    word.push(UNKNOWN);
                }
                '$' => self.variable(&mut word, false, depth),
                _ => {
                    word.push(c);
                    self.at += 1;
                }
            }
        }
        word.finish()
    }

    fn single_quoted(&mut self, word: &mut Word) {
        self.at += 1;
        word.started = true;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c == '\'' {
                break;
            }
            word.push(c);
        }
    }

    fn double_quoted(&mut self, word: &mut Word, depth: usize) {
        while let Some(c) = self.peek(0) {
            match c {
                '"' => {
                    self.at += 1;
                    break;
                }
                '\\' => {
                    match self.peek(1) {
                        Some('\n') | None => {}
                        Some(next @ ('$' | '`' | '"' | '\\')) => word.push(next),
                        Some(next) => {
                            word.push('\\');
                            word.push(next);
                        }
                    }
                    self.at += 2;
                }
                '`' => {
                    self.skip_to('`');
                    word.push(UNKNOWN);
                }
                '$' => self.variable(word, true, depth),
                _ => {
                    word.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// Puts in what stands behind a dollar sign.
    fn variable(&mut self, word: &mut Word, quoted: bool, depth: usize) {
        self.at += 1;
        match self.peek(0) {
            Some('(') => {
                self.skip_nested('(', ')');
                word.push(UNKNOWN);
            }
            Some('{') => {
                let start = self.at + 1;
                self.skip_nested('{', '}');
                let inner: String = self.chars.get(start..self.at.saturating_sub(1)).unwrap_or(&[]).iter().collect();
                match inner.as_str() {
                    "@" | "*" => self.put_parameters(word, quoted),
                    _ => {
                        let value = self.braced(&inner, depth);
                        self.put(word, &value, quoted);
                    }
                }
            }
            Some('@' | '*') => {
                self.at += 1;
                self.put_parameters(word, quoted);
            }
            Some(c) if c.is_ascii_digit() => {
                self.at += 1;
                let value = self.parameter(c.to_digit(10));
                self.put(word, &value, quoted);
            }
            Some('#' | '?' | '$' | '!' | '-') => {
                self.at += 1;
                word.push(UNKNOWN);
            }
            // `$'...'` and `$"..."`: the quotes are read as usual.
            Some('\'' | '"') if !quoted => {}
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek(0).filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.at += 1;
                }
                let value = self.value(&name).unwrap_or_else(|| UNKNOWN.to_string());
                self.put(word, &value, quoted);
            }
            _ => word.push('$'),
        }
    }

    /// What stands between `${` and `}`: a name, or a name with a default. Every other form is unknown.
    fn braced(&mut self, inner: &str, depth: usize) -> String {
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, operator) = inner.split_at(end);
        let digits = !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
        let colon = operator.starts_with(':');
        let default = operator
            .strip_prefix(":-")
            .or_else(|| operator.strip_prefix(":="))
            .or_else(|| if colon { None } else { operator.strip_prefix('-').or_else(|| operator.strip_prefix('=')) });
        let plain = operator.is_empty() || operator.starts_with(":?") || operator.starts_with('?');
        if !plain && default.is_none() {
            return UNKNOWN.to_string();
        }
        let value = if digits { Some(self.parameter(name.parse().ok())) } else { self.value(name) };
        let Some(default) = default else { return value.unwrap_or_else(|| UNKNOWN.to_string()) };
        match value {
            Some(value) if !(colon && value.is_empty()) => value,
            _ if depth >= DEEPEST => UNKNOWN.to_string(),
            _ => {
                let mut inner = Reader {
                    chars: default.chars().collect(),
                    at: 0,
                    environment: self.environment,
                    parameters: self.parameters,
                    assigned: std::mem::take(&mut self.assigned),
                    budget: self.budget,
                    branches: 0,
                    sourced: self.sourced,
                    found: Vec::new(),
                };
                let mut word = Word::default();
                inner.double_quoted(&mut word, depth + 1);
                self.budget = inner.budget;
                self.assigned = inner.assigned;
                word.text.trim_matches('\'').to_owned()
            }
        }
    }

    /// A variable's value; `None` when nothing in sight defines it and nothing out of sight may.
    fn value(&self, name: &str) -> Option<String> {
        let value = match (self.assigned.get(name), self.environment.get(name)) {
            (Some(value), _) => value,
            (None, Variable::Known(value)) => value,
            (None, Variable::Unknown) => return Some(UNKNOWN.to_string()),
            (None, Variable::Absent) => return self.sourced.then(|| UNKNOWN.to_string()),
        };
        Some(self.affordable(value))
    }

    /// A copy of a value, unless the budget forbids it: a short script can name a long value very often.
    fn affordable(&self, value: &str) -> String {
        if value.len() < self.budget { value.to_owned() } else { UNKNOWN.to_string() }
    }

    fn parameter(&self, number: Option<u32>) -> String {
        let index = number.and_then(|number| usize::try_from(number).ok()).and_then(|number| number.checked_sub(1));
        match index {
            Some(index) => self.parameters.get(index).map(|value| self.affordable(value)).unwrap_or_default(),
            None => UNKNOWN.to_string(),
        }
    }

    fn put_parameters(&mut self, word: &mut Word, quoted: bool) {
        let parameters = self.parameters;
        if parameters.len() >= self.budget {
            word.push(UNKNOWN);
            return;
        }
        for (number, parameter) in parameters.iter().enumerate() {
            if number > 0 {
                word.split();
            }
            self.put(word, parameter, quoted);
            word.started = true;
        }
    }

    /// Appends a value; unquoted, its blanks split the word.
    fn put(&mut self, word: &mut Word, value: &str, quoted: bool) {
        if value.len() >= self.budget {
            word.push(UNKNOWN);
            return;
        }
        // One more than its bytes, so that empty values are not free.
        self.budget -= value.len() + 1;
        if quoted {
            word.started = true;
            word.text.push_str(value);
            return;
        }
        for c in value.chars() {
            if c.is_ascii_whitespace() { word.split() } else { word.push(c) }
        }
    }

    fn skip_to(&mut self, end: char) {
        self.at += 1;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c == end {
                break;
            }
        }
    }

    /// Skips from an opening bracket past the one that closes it; quoted brackets do not count.
    fn skip_nested(&mut self, open: char, close: char) {
        let mut depth = 0usize;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '\\' => self.at += 1,
                '\'' | '"' => {
                    while let Some(inner) = self.peek(0) {
                        self.at += 1;
                        if inner == '\\' && c == '"' {
                            self.at += 1;
                        } else if inner == c {
                            break;
                        }
                    }
                }
                _ if c == open => depth += 1,
                _ if c == close => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

// === impl Word ===

impl Word {
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.started = true;
    }

    fn split(&mut self) {
        if self.started {
            self.done.push(std::mem::take(&mut self.text));
            self.started = false;
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.split();
        self.done
    }
}

/// `NAME=value`, as a shell reads it before a command.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| is_name(name))
}
