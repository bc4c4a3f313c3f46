//! Cuts the texts of an answer to what the API server and a terminal take.
//!
//! Limits of kubernetes/apiserver `pkg/endpoints/filters/warning.go`: warnings of one request share 4096 runes; once
//! they are exceeded every warning is cut to 256; a warning with a control character vanishes. Kubernetes asks webhook
//! authors to stay within 120 characters a warning.

use std::collections::BTreeSet;

/// Runes of all warnings of one answer.
pub const WARNINGS_BUDGET: usize = 4096;
/// Runes of one warning when all of them together exceed the budget, as the API server would cut them.
pub const WARNING_MOST: usize = 256;
/// Runes of one warning when there are too many to let each have more.
pub const WARNING_SHORT: usize = 120;
/// Runes of a denial's message. A terminal full; answers stay small whatever the object holds.
pub const MESSAGE_MOST: usize = 8192;

/// The warnings to send, and whether anything was cut or left out.
pub fn warnings(texts: &[String]) -> (Vec<String>, bool) {
    let mut seen = BTreeSet::new();
    let clean: Vec<String> =
        texts.iter().map(|text| one_line(text)).filter(|text| !text.is_empty() && seen.insert(text.clone())).collect();
    let within = |limit: usize| -> Vec<String> {
        // Cutting can make two warnings equal, and the API server would drop the second.
        let mut seen = BTreeSet::new();
        clean.iter().map(|text| cut(text, limit)).filter(|text| seen.insert(text.clone())).collect()
    };
    let length = |texts: &[String]| texts.iter().map(|text| text.chars().count()).sum::<usize>();

    // The hint stands at the end of a warning, so a long one is cut only when the budget asks for it.
    let mut sent = within(WARNINGS_BUDGET);
    if length(&sent) > WARNINGS_BUDGET {
        sent = within(WARNING_MOST);
    }
    if length(&sent) > WARNINGS_BUDGET {
        sent = within(WARNING_SHORT);
    }
    if length(&sent) > WARNINGS_BUDGET {
        let all = sent.len();
        let mut left = WARNINGS_BUDGET - WARNING_SHORT;
        sent = sent
            .into_iter()
            .map_while(|text| {
                left = left.checked_sub(text.chars().count())?;
                Some(text)
            })
            .collect();
        sent.push(format!("{} more warnings; scalegate review shows them all", all - sent.len()));
    }
    let shortened = sent != clean;
    (sent, shortened)
}

/// The message of a denial: lines stay lines, nothing that steers a terminal stays, and the end of a very long one goes.
pub fn message(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(without_controls).collect();
    cut(lines.join("\n").trim(), MESSAGE_MOST)
}

/// Whether the API server takes this as the name half of an audit annotation's key: at most 63 characters, letters and
/// digits at both ends, and `-`, `_`, `.` between (kubernetes/apimachinery `IsQualifiedName`, without a prefix, because
/// the server puts the webhook's name before it).
pub fn is_audit_key(key: &str) -> bool {
    let alphanumeric_at = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    key.len() <= 63
        && alphanumeric_at(key.chars().next())
        && alphanumeric_at(key.chars().next_back())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What of a tenant's text may stand in a line of the log: no more than the longest name of an object, and nothing that steers
/// or deceives a terminal. JSON escapes control characters and leaves the invisible ones that turn a text around.
pub fn in_log(text: &str) -> String {
    const LONGEST: usize = 253;
    without_controls(text).chars().take(LONGEST).collect()
}

/// One line without control characters and without blanks at its ends.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in without_controls(&text.replace(['\n', '\r', '\t'], " ")).split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Drops control characters, and the invisible ones that turn the direction of a text around: the texts quote what
/// tenants wrote, and a terminal prints them.
fn without_controls(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).collect()
}

/// At most `limit` characters; a cut one ends in an ellipsis.
fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(3)).chain("...".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(texts: &[&str]) -> Vec<String> {
        warnings(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).0
    }

    #[test]
    fn empty_and_repeated_warnings_are_dropped() {
        assert_eq!(sent(&["a", "", "  \n", "a", "b", " a "]), ["a", "b"]);
    }

    #[test]
    fn control_characters_go_and_line_breaks_become_blanks() {
        assert_eq!(sent(&["one\ntwo\u{1b}[31m\u{7}\u{202e} three\u{0}"]), ["one two[31m three"]);
    }

    #[test]
    fn long_warnings_are_whole_while_the_budget_lasts_and_else_cut_by_characters_not_bytes() {
        let long = |n: usize| format!("{n:02}{}", "\u{e9}".repeat(298));
        assert_eq!(sent(&[&long(0)]), [long(0)]);
        let texts: Vec<String> = (0..14).map(long).collect();
        let (cut, shortened) = warnings(&texts);
        assert!(shortened);
        assert_eq!(cut.len(), 14);
        assert!(cut.iter().all(|text| text.chars().count() == WARNING_MOST && text.ends_with("...")));
    }

    #[test]
    fn many_long_warnings_are_all_cut_to_the_short_length() {
        let texts: Vec<String> = (0..30).map(|n| format!("{n} {}", "x".repeat(250))).collect();
        let (sent, shortened) = warnings(&texts);
        assert!(shortened);
        assert_eq!(sent.len(), 30);
        assert!(sent.iter().all(|text| text.chars().count() == WARNING_SHORT));
    }

    #[test]
    fn too_many_warnings_end_with_how_many_are_missing() {
        let texts: Vec<String> = (0..500).map(|n| format!("{n} {}", "x".repeat(250))).collect();
        let (sent, _) = warnings(&texts);
        assert!(sent.iter().map(|text| text.chars().count()).sum::<usize>() <= WARNINGS_BUDGET);
        let left_out = 500 - (sent.len() - 1);
        assert!(sent.last().expect("there are some").starts_with(&format!("{left_out} more warnings")));
    }

    #[test]
    fn a_message_keeps_its_lines_and_loses_what_steers_a_terminal() {
        assert_eq!(message("first\n  second\u{1b}[2J\r\nthird\n"), "first\n  second[2J\nthird");
        assert_eq!(message(&"m".repeat(20_000)).chars().count(), MESSAGE_MOST);
    }

    #[test]
    fn what_is_logged_of_a_text_is_short_and_plain() {
        assert_eq!(in_log("na\u{202e}me\u{1b}[2J\u{200b}\n"), "name[2J");
        assert_eq!(in_log(&"\u{e9}".repeat(300)).chars().count(), 253);
    }

    #[test]
    fn audit_keys_are_plain_qualified_names() {
        for good in ["a", "findings", "a.b-c_d", "A9", &"k".repeat(63)] {
            assert!(is_audit_key(good), "{good}");
        }
        for bad in ["", "a/b", "-a", "a-", "a b", "\u{e9}", &"k".repeat(64)] {
            assert!(!is_audit_key(bad), "{bad}");
        }
    }
}
