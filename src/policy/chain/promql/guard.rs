//! What is too large to be read. The parser builds a tree as deep as the text's chain of operators and compiles every
//! regular expression without a small limit; both are bounded here, before it starts.

use promql_parser::util::unquote_string;
use regex::RegexBuilder;

use super::super::pattern::MAX_COMPILED;
use super::PromqlError;

/// Longest query, in bytes.
const MAX_LENGTH: usize = 64 * 1024;
/// Most parentheses, brackets and braces that stand open at one place.
const MAX_NESTING: usize = 100;
/// Most operators: a chain of them nests as deep in the tree as parentheses do.
const MAX_OPERATORS: usize = 400;
/// Most regular expressions.
const MAX_EXPRESSIONS: usize = 100;

/// Whether the parser may have the text.
///
/// # Errors
/// When it may not; the place is named.
pub(super) fn check(text: &str) -> Result<(), PromqlError> {
    let refuse = |message: String, offset: usize| Err(PromqlError { message, offset: Some(offset) });
    if text.len() > MAX_LENGTH {
        return refuse(format!("is longer than {MAX_LENGTH} bytes"), MAX_LENGTH);
    }
    let mut open: Vec<u8> = Vec::new();
    let mut operators = 0_usize;
    let mut expressions = 0_usize;
    // Whether `=~` or `!~` stands directly before.
    let mut expression_follows = false;
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        let mut next = at + 1;
        match byte {
            b'"' | b'\'' | b'`' => {
                next = end_of_string(text, at)?;
                if expression_follows {
                    expressions += 1;
                    if expressions > MAX_EXPRESSIONS {
                        return refuse(format!("has more than {MAX_EXPRESSIONS} regular expressions"), at);
                    }
                    if let Some(Ok(expression)) = text.get(at..next).map(unquote_string)
                        && too_big(&expression)
                    {
                        return refuse("has a regular expression that is too large".to_owned(), at);
                    }
                }
            }
            b'#' => {
                next = text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length);
            }
            b'(' | b'[' | b'{' => {
                open.push(byte);
                if open.len() > MAX_NESTING {
                    return refuse(format!("nests deeper than {MAX_NESTING} levels"), at);
                }
                // `x[5m:1m][5m:1m]` is a chain as well.
                operators += usize::from(byte == b'[');
            }
            b')' | b']' | b'}' => {
                open.pop();
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' | b'!' if open.last() != Some(&b'{') => {
                operators += 1;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => {
                next = end_of_word(text, at);
                operators += usize::from(text.get(at..next).is_some_and(is_operator));
            }
            _ => {}
        }
        if operators > MAX_OPERATORS {
            return refuse(format!("has more than {MAX_OPERATORS} operators"), at);
        }
        expression_follows = byte == b'~' || (expression_follows && byte.is_ascii_whitespace());
        at = next;
    }
    Ok(())
}

/// The place behind the string that starts at `start`. Without a closing quote: the end of the text.
fn end_of_string(text: &str, start: usize) -> Result<usize, PromqlError> {
    let bytes = text.as_bytes();
    let quote = bytes.get(start).copied();
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        if Some(byte) == quote {
            return Ok(at + 1);
        }
        if byte == b'\\' && quote != Some(b'`') {
            // No such escape exists, and promql-parser 0.11 cuts such a text inside the character.
            if bytes.get(at + 1).is_some_and(|escaped| !escaped.is_ascii()) {
                return Err(PromqlError { message: "has an unknown escape sequence".to_owned(), offset: Some(at) });
            }
            at += 1;
        }
        at += 1;
    }
    Ok(bytes.len())
}

fn end_of_word(text: &str, start: usize) -> usize {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    start + text.as_bytes().iter().skip(start).take_while(|byte| word(byte)).count()
}

fn is_operator(word: &str) -> bool {
    ["and", "or", "unless", "atan2"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

/// Only size counts here: an expression that does not compile is left to the parser, which knows RE2's differences.
fn too_big(expression: &str) -> bool {
    matches!(RegexBuilder::new(expression).size_limit(MAX_COMPILED).build(), Err(regex::Error::CompiledTooBig(_)))
}
