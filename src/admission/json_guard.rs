//! Looks over a body before any parser sees it: is it UTF-8, and does it nest no deeper than we allow.
//!
//! The scan is one loop over the bytes. It never recurses and allocates nothing, so no body can exhaust the stack or
//! the memory here, and the parsers behind it may rely on the depth.

/// How deeply a body may nest, counting the envelope. Kubernetes objects stay below 40; 128 is also the depth at which
/// serde_json's own tree parser stops, so nothing that passes here is refused there.
pub const MAX_DEPTH: usize = 128;

/// Why a body is refused before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Some bytes are not UTF-8.
    NotUtf8,
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Gives the body back as text, or says why nobody may parse it. Whether it is JSON at all is left to the parser.
pub fn check(body: &[u8]) -> Result<&str, Unfit> {
    let text = std::str::from_utf8(body).map_err(|_| Unfit::NotUtf8)?;
    if depth_exceeds(body, MAX_DEPTH) { Err(Unfit::TooDeep) } else { Ok(text) }
}

/// True when brackets outside strings are ever open more than `limit` times.
fn depth_exceeds(body: &[u8], limit: usize) -> bool {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_up_to_the_limit_and_not_beyond() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(check(nested(MAX_DEPTH + 1).as_bytes()), Err(Unfit::TooDeep));
        assert_eq!(check(nested(2_000_000).as_bytes()), Err(Unfit::TooDeep));
    }

    #[test]
    fn brackets_in_strings_do_not_count_and_neither_do_siblings() {
        let text = format!(r#"{{"a":"{}","b\"[":"\\","c":[{}]}}"#, "[{".repeat(500), "[],".repeat(500) + "[]");
        assert!(check(text.as_bytes()).is_ok());
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let text = format!(r#"["\"{}"]"#, "[".repeat(500));
        assert!(check(text.as_bytes()).is_ok());
        // After an escaped backslash the quote does end it.
        let text = format!(r#"["\\"{}"#, ",[".repeat(500));
        assert_eq!(check(text.as_bytes()), Err(Unfit::TooDeep));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        assert_eq!(check(b"{\"a\":\"\xff\"}"), Err(Unfit::NotUtf8));
        // A lone surrogate, encoded.
        assert_eq!(check(b"{\"a\":\"\xed\xa0\x80\"}"), Err(Unfit::NotUtf8));
    }
}
