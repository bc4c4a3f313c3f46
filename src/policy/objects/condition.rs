//! Conditions of a status, and the times in them.

use serde::{Deserialize, Serialize};

use super::de::null_default;

/// One condition of a status. Messages are left out: no rule reads them, and they are the larger part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about, such as `Available`.
    #[serde(deserialize_with = "null_default", rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "null_default")]
    pub status: String,
    /// Why, in one word.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the status changed last (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// When the reason or the message changed last (Deployments only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
}

impl Condition {
    /// Whether its status is `True`.
    pub fn holds(&self) -> bool {
        self.status == "True"
    }

    /// When the status changed last, in seconds since the epoch.
    pub fn since(&self) -> Option<i64> {
        seconds(self.last_transition_time.as_deref()?)
    }

    /// When anything of it changed last, in seconds since the epoch: the later of both times.
    pub fn changed(&self) -> Option<i64> {
        let updated = self.last_update_time.as_deref().and_then(seconds);
        self.since().max(updated)
    }
}

/// A time as Kubernetes writes it (RFC 3339, such as `2026-01-31T12:00:00Z`) in seconds since the epoch; a fraction of a
/// second is dropped. `None` for anything else.
pub fn seconds(time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    let at = |index: usize, expected: &[u8]| bytes.get(index).is_some_and(|byte| expected.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = time.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = time.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return None;
            }
            zone
        }
        None => rest,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => offset(zone)?,
    };
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// Seconds that `+HH:MM` or `-HH:MM` is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let two = |text: &str| -> Option<i64> {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. A year begins in March here, so that the leap day is its last;
/// 400 such years have 146097 days, and 719468 of them passed before 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_seconds_since_the_epoch() {
        for (time, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2026-01-31T12:34:56Z", Some(1_769_862_896)),
            ("2026-01-31T12:34:56.789Z", Some(1_769_862_896)),
            ("2026-01-31T14:34:56+02:00", Some(1_769_862_896)),
            ("2026-01-31T11:04:56-01:30", Some(1_769_862_896)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-31T12:34:56", None),
            ("2026-01-31T12:34:56.Z", None),
            ("2026-01-31", None),
            ("+026-01-31T12:34:56Z", None),
            ("2026-01-31T12:34:56Ω", None),
            ("", None),
        ] {
            assert_eq!(seconds(time), expected, "{time}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,40}", year in 0i64..9999, tail in ".{0,8}") {
            seconds(&text);
            seconds(&format!("{year:04}-12-31T23:59:60{tail}"));
        }
    }
}
