//! JSON text to documents: one value, or several one after another.
//!
//! JSON is nearly YAML, and a YAML reader would take most of it; this one also takes what YAML restricts (tabs, keys
//! of any length) and is exact about numbers and escapes.

use super::Span;
use super::position::Style;
use super::scalar::{Scalar, float_value};
use super::tree::{ALIAS_BUDGET, Builder, Fault, Tree};

/// Reads every JSON value of `text`, up to the first that is not JSON.
///
/// Between values there may be white space and lines of `---`, as kubectl allows.
///
/// # Errors
/// The values before the fault are given with it.
pub(super) fn read(text: &str) -> Result<Vec<Tree>, (Vec<Tree>, Fault)> {
    let mut reader = Reader { text, at: 0 };
    let mut trees = Vec::new();
    loop {
        reader.skip_between();
        if reader.at >= text.len() {
            return Ok(trees);
        }
        let mut budget = ALIAS_BUDGET;
        match reader.value(&mut budget) {
            Ok(Some(tree)) => trees.push(tree),
            Ok(None) => return Ok(trees),
            Err(fault) => return Err((trees, fault)),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_between(&mut self) {
        loop {
            self.skip_space();
            let separator = self.text.get(self.at..).is_some_and(|rest| {
                rest.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', '\r', ' ']))
            });
            if !separator {
                return;
            }
            self.at += 3;
        }
    }

    fn fault(&self, expected: &str) -> Fault {
        let end =
            self.text.get(self.at..).and_then(|rest| rest.chars().next()).map_or(self.at, |c| self.at + c.len_utf8());
        Fault::new(Span { start: self.at, end }, format!("this is not JSON: {expected} is expected here"))
    }

    /// One value with all that is in it. An explicit loop, so that depth costs no stack.
    fn value(&mut self, budget: &mut usize) -> Result<Option<Tree>, Fault> {
        let mut builder = Builder::new(budget);
        // The closing brackets that are still to come.
        let mut open: Vec<u8> = Vec::new();
        let mut first = true;
        loop {
            self.skip_space();
            let innermost = open.last().copied();
            if let Some(close) = innermost {
                if self.peek() == Some(close) {
                    builder.close(Span { start: self.at, end: self.at + 1 })?;
                    self.at += 1;
                    open.pop();
                    first = false;
                    if open.is_empty() {
                        return Ok(builder.tree());
                    }
                    continue;
                }
                if !first {
                    if self.peek() != Some(b',') {
                        return Err(self.fault(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }));
                    }
                    self.at += 1;
                    self.skip_space();
                }
            }
            if innermost == Some(b'}') {
                if self.peek() != Some(b'"') {
                    return Err(self.fault("a key in double quotes"));
                }
                self.scalar(&mut builder)?;
                self.skip_space();
                if self.peek() != Some(b':') {
                    return Err(self.fault("`:`"));
                }
                self.at += 1;
                self.skip_space();
            }
            if let Some(bracket @ (b'{' | b'[')) = self.peek() {
                builder.open(bracket == b'{', true, Span { start: self.at, end: self.at + 1 }, 0)?;
                self.at += 1;
                open.push(if bracket == b'{' { b'}' } else { b']' });
                first = true;
            } else {
                self.scalar(&mut builder)?;
                first = false;
                if open.is_empty() {
                    return Ok(builder.tree());
                }
            }
        }
    }

    fn scalar(&mut self, builder: &mut Builder<'_>) -> Result<(), Fault> {
        let start = self.at;
        let (scalar, style) = match self.peek() {
            Some(b'"') => (Scalar::Text(self.string()?), Style::DoubleQuoted),
            Some(b'-' | b'0'..=b'9') => (self.number()?, Style::Plain),
            _ => (self.word()?, Style::Plain),
        };
        builder.scalar(Ok(scalar), Span { start, end: self.at }, style, 0, false)
    }

    fn word(&mut self) -> Result<Scalar, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, scalar) in [("true", Scalar::Bool(true)), ("false", Scalar::Bool(false)), ("null", Scalar::Null)] {
            if rest.strip_prefix(word).is_some_and(|after| !after.starts_with(char::is_alphanumeric)) {
                self.at += word.len();
                return Ok(scalar);
            }
        }
        Err(self.fault("a value"))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Scalar, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || zero && whole > 1 {
            return Err(self.fault("a number without leading zeros"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.fault("a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.fault("a digit"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if let Ok(value) = text.parse::<i64>() {
            return Ok(Scalar::Int(value));
        }
        let value = text.parse::<f64>().ok().filter(|value| float_value(*value).is_some());
        value
            .map(Scalar::Float)
            .ok_or_else(|| Fault::new(Span { start, end: self.at }, "this number is too large for a 64-bit float"))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.at += 1;
        let mut decoded = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(stop) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') else {
                self.at = self.text.len();
                return Err(Fault::new(Span { start, end: start + 1 }, "this is not JSON: the string is never closed"));
            };
            decoded.push_str(rest.get(..stop).unwrap_or_default());
            self.at += stop;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(decoded);
                }
                Some(b'\\') => decoded.push(self.escape()?),
                _ => return Err(self.fault("a string without line breaks and control characters")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let kind = self.text.as_bytes().get(self.at + 1).copied();
        let simple = match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fault("a JSON escape")),
        };
        self.at += 2;
        Ok(simple)
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let hex = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).ok()).flatten()
    }

    /// `\uXXXX`, or two of them for a surrogate pair. As in Go, half a pair reads as the replacement character.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.unit(self.at).ok_or_else(|| self.fault("four hexadecimal digits"))?;
        self.at += 6;
        let low = self.unit(self.at).filter(|unit| (0xDC00..0xE000).contains(unit));
        if let (0xD800..0xDC00, Some(second)) = (first, low) {
            self.at += 6;
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}
