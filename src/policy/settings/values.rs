//! Values of annotations and of the configuration: what is accepted, and what to write instead. Every error is a clause
//! that follows the value (`"abc" is not a whole number`).

use crate::policy::objects::Quantity;

/// The largest replica count (`int32` in every scalable kind).
pub const MAX_COUNT: i64 = i32::MAX as i64;
/// The longest stabilisation window that an HPA may have, in seconds (autoscaling/v2 validation).
pub const MAX_WINDOW_SECONDS: u64 = 3600;
/// The longest scrape interval, in seconds: adapters and Prometheus look back five minutes for a sample.
pub const MAX_SCRAPE_SECONDS: u64 = 300;
/// The longest label value, in bytes (Kubernetes).
pub const MAX_LABEL_VALUE: usize = 63;

/// Why a value is refused, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// A clause that follows the value.
    pub problem: String,
    /// What is allowed, as a sentence without a full stop.
    pub allowed: String,
}

pub(crate) fn bad<T>(problem: impl Into<String>, allowed: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue { problem: problem.into(), allowed: allowed.into() })
}

/// Shortens a value for a message: what a user typed may be of any length, and hold anything.
pub(crate) fn shown(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut text: String = value.chars().take(LONGEST).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    format!("{text:?}")
}

/// A whole number within bounds.
pub fn count(text: &str, least: i64, most: i64) -> Result<i64, BadValue> {
    let allowed = format!("write a whole number from {least} to {most}");
    let digits = text.trim();
    match digits.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(number) if number < least => bad(format!("is below {least}"), allowed),
        Ok(_) => bad(format!("is above {most}"), allowed),
        Err(_) if is_digits(digits) => bad("is out of range", allowed),
        Err(_) => bad("is not a whole number", allowed),
    }
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A positive quantity, at most `most` when given.
pub fn target(text: &str, most: Option<i64>) -> Result<Quantity, BadValue> {
    let allowed = match most {
        Some(1) => "write a share above 0 and at most 1, such as 0.8".to_owned(),
        Some(most) => format!("write a number above 0 and at most {most}"),
        None => "write a positive number or quantity, such as 4 or 500m".to_owned(),
    };
    let quantity = Quantity::new(text.trim());
    let nanos = match quantity.nanos() {
        Ok(nanos) => nanos,
        Err(error) => return bad(error.to_string(), allowed),
    };
    if nanos <= 0 {
        return bad(if nanos == 0 { "is zero" } else { "is negative" }, allowed);
    }
    match most {
        Some(most) if nanos > i128::from(most) * 1_000_000_000 => bad(format!("is above {most}"), allowed),
        _ => Ok(quantity),
    }
}

/// A duration in milliseconds: `30s`, `5m`, `1h30m`, `300ms`. A bare number is refused, for its unit is a guess.
pub fn milliseconds(text: &str) -> Result<u64, BadValue> {
    const ALLOWED: &str = "write a duration with its unit, such as 30s, 5m or 1h";
    let mut rest = text.trim();
    if rest.is_empty() {
        return bad("is empty", ALLOWED);
    }
    if rest.starts_with('-') {
        return bad("is negative", ALLOWED);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return bad("is not a duration", ALLOWED);
        }
        let scale: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return bad("has no unit", format!("{ALLOWED}: {number}s?")),
            _ => return bad("is not a duration", ALLOWED),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        match part.and_then(|part| total.checked_add(part)) {
            Some(sum) => total = sum,
            None => return bad("is out of range", ALLOWED),
        }
        rest = tail;
    }
    Ok(total)
}

/// A duration of whole seconds within bounds.
pub fn seconds(text: &str, least: u64, most: u64) -> Result<u64, BadValue> {
    let allowed = format!("write whole seconds from {least}s to {most}s, such as 30s");
    let milliseconds = milliseconds(text)
        .map_err(|bad| BadValue { allowed: format!("{}; {least}s to {most}s", bad.allowed), ..bad })?;
    let seconds = milliseconds / 1000;
    if milliseconds % 1000 != 0 {
        return bad("is not a whole number of seconds", allowed);
    }
    if seconds < least {
        return bad(format!("is below {least}s"), allowed);
    }
    if seconds > most {
        return bad(format!("is above {most}s"), allowed);
    }
    Ok(seconds)
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, BadValue> {
    let number = count(text, 1, i64::from(u16::MAX))?;
    u16::try_from(number).or_else(|_| bad("is not a port", format!("write a whole number from 1 to {}", u16::MAX)))
}

/// An HTTP path.
pub fn path(text: &str) -> Result<String, BadValue> {
    const ALLOWED: &str = "write a path such as /metrics";
    let path = text.trim();
    if !path.starts_with('/') {
        return bad("does not start with /", ALLOWED);
    }
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
        return bad("is not a path (white space, ? and # cannot stand in one)", ALLOWED);
    }
    Ok(path.to_owned())
}

/// `true` or `false`.
pub fn flag(text: &str) -> Result<bool, BadValue> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bad("is neither true nor false", "write \"true\" or \"false\", in quotes"),
    }
}

/// A DNS label, as container names are.
pub fn dns_label(text: &str) -> Result<String, BadValue> {
    let name = text.trim();
    let valid = !name.is_empty()
        && name.len() <= MAX_LABEL_VALUE
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        Ok(name.to_owned())
    } else {
        bad("is not a name", "write lower-case letters, digits and -, at most 63 characters")
    }
}

/// A label value of Kubernetes; an empty one is valid there, but means nothing to us.
pub fn label_value(text: &str) -> Result<(), BadValue> {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let valid = text.len() <= MAX_LABEL_VALUE
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && edge(text.bytes().next())
        && edge(text.bytes().next_back());
    if valid {
        Ok(())
    } else {
        bad(
            "is not a label value",
            "write letters, digits, -, _ and ., at most 63 characters, with a letter or digit at both ends",
        )
    }
}

/// A label key of Kubernetes: an optional DNS prefix and a name.
pub fn label_key(text: &str) -> Result<(), BadValue> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let domain = |prefix: &str| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|part| dns_label(part).is_ok_and(|read| read.len() == part.len()))
    };
    if label_value(name).is_ok() && prefix.is_none_or(domain) {
        Ok(())
    } else {
        bad("is not a label key", "write a key such as team or example.com/team")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T, BadValue>) -> String {
        result.unwrap_err().problem
    }

    #[test]
    fn counts() {
        assert_eq!(count("5", 1, MAX_COUNT), Ok(5));
        assert_eq!(count(" 5\n", 1, MAX_COUNT), Ok(5));
        assert_eq!(problem(count("abc", 1, 9)), "is not a whole number");
        assert_eq!(problem(count("1.5", 1, 9)), "is not a whole number");
        assert_eq!(problem(count("", 1, 9)), "is not a whole number");
        assert_eq!(problem(count("0", 1, 9)), "is below 1");
        assert_eq!(problem(count("10", 1, 9)), "is above 9");
        assert_eq!(problem(count("99999999999999999999", 1, 9)), "is out of range");
    }

    #[test]
    fn targets() {
        assert_eq!(target("4", None), Ok(Quantity::new("4")));
        assert_eq!(target("0.8", Some(1)), Ok(Quantity::new("0.8")));
        assert_eq!(target("800m", Some(1)), Ok(Quantity::new("800m")));
        assert_eq!(problem(target("-4", None)), "is negative");
        assert_eq!(problem(target("0", None)), "is zero");
        assert_eq!(problem(target("80", Some(1))), "is above 1");
        assert_eq!(problem(target("101", Some(100))), "is above 100");
        assert!(problem(target("1e99", None)).contains("larger than a quantity can be"));
        assert!(problem(target("80%", Some(100))).contains("is not a quantity"));
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("30s", 0, 3600), Ok(30));
        assert_eq!(seconds("1m30s", 0, 3600), Ok(90));
        assert_eq!(seconds("0s", 0, 3600), Ok(0));
        assert_eq!(milliseconds("300ms"), Ok(300));
        assert_eq!(problem(seconds("30", 0, 3600)), "has no unit");
        assert_eq!(problem(seconds("-30s", 0, 3600)), "is negative");
        assert_eq!(problem(seconds("500ms", 0, 3600)), "is not a whole number of seconds");
        assert_eq!(problem(seconds("2h", 0, 3600)), "is above 3600s");
        assert_eq!(problem(seconds("0s", 1, 300)), "is below 1s");
        assert_eq!(problem(seconds("99999999999999999999h", 0, 1)), "is out of range");
        for text in ["", "s", "5 m", "1.5m", "5min", "µs", "5µ"] {
            assert!(seconds(text, 0, 3600).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ports_paths_flags_and_names() {
        assert_eq!(port("8081"), Ok(8081));
        assert!(port("0").is_err() && port("65536").is_err() && port("http").is_err());
        assert_eq!(path("/metrics"), Ok("/metrics".to_owned()));
        assert!(path("metrics").is_err() && path("/a b").is_err() && path("/m?x=1").is_err());
        assert_eq!(flag("true"), Ok(true));
        assert!(flag("yes").is_err() && flag("True").is_err());
        assert!(dns_label("server").is_ok() && dns_label("Server").is_err() && dns_label("").is_err());
        assert!(label_key("release").is_ok() && label_key("example.com/a_b").is_ok());
        assert!(label_key("/x").is_err() && label_key("a b").is_err() && label_key("-x").is_err());
        assert!(label_value("").is_err() && label_value("a..b").is_ok());
    }

    #[test]
    fn a_long_value_is_cut_in_messages() {
        assert_eq!(shown("abc"), "\"abc\"");
        assert!(shown(&"é".repeat(1000)).chars().count() < 70);
    }
}
