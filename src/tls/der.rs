//! Reads one thing from a certificate: until when it holds. rustls checks certificates of others but does not say when
//! our own ends, and a whole X.509 library for two dates is more than it is worth.

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notBefore` and `notAfter` of a DER certificate (RFC 5280, section 4.1), or nothing if it does not read as one.
pub fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = tagged(SEQUENCE, certificate)?;
    let (to_be_signed, _) = tagged(SEQUENCE, certificate)?;
    let mut rest = to_be_signed;
    // Version is optional; then serial number, signature algorithm and issuer come before the validity.
    if let Some((_, after)) = tagged(EXPLICIT_0, rest) {
        rest = after;
    }
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (validity, _) = tagged(SEQUENCE, rest)?;
    let (tag, text, rest) = element(validity)?;
    let not_before = time(tag, text)?;
    let (tag, text, _) = element(rest)?;
    Some((not_before, time(tag, text)?))
}

/// The content of an element that has to have `tag`, and what follows it.
fn tagged(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content, rest.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        // Four bytes of length are far beyond any certificate.
        let count = usize::from(*first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (length, rest) = rest.split_at_checked(count)?;
        let length = length.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        (usize::try_from(length).ok()?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ` (years 1950-2049) or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME if text.len() == 14 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |index: usize| rest.get(index * 2..index * 2 + 2).and_then(|digits| digits.parse::<i64>().ok());
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + part(2)? * 3_600 + part(3)? * 60 + part(4)?;
    match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// Days of the Gregorian calendar; the year is taken to begin in March, which puts the leap day at its end.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + days_before_month + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        time(tag, text.as_bytes()).and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|d| d.as_secs())
    }

    #[test]
    fn both_spellings_of_time_are_read() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "260724120000Z"), Some(1_784_894_400));
        assert_eq!(seconds(GENERALIZED_TIME, "20000229235959Z"), Some(951_868_799));
        assert_eq!(seconds(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
    }

    #[test]
    fn what_is_not_a_time_is_nothing() {
        for text in ["", "Z", "2607241200Z", "261324120000Z", "260732120000Z", "26072412000\u{e9}Z", "260724120000"] {
            assert_eq!(seconds(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(seconds(0x16, "260724120000Z"), None);
    }

    #[test]
    fn a_cut_or_foreign_certificate_is_nothing_and_never_panics() {
        let ca = crate::tls::DevCa::generate("der test", Duration::from_secs(3_600)).expect("a CA");
        let der = ca.certificate_der();
        assert!(validity(der).is_some());
        // The dates stand in the first half; every shorter piece lacks the outer length.
        for end in 0..der.len() {
            assert!(validity(&der[..end]).is_none());
        }
        for length in [b"\x30\x84\xff\xff\xff\xff".as_slice(), b"\x30\x80", b"\x30\x89\x01", b"\x30"] {
            assert!(validity(length).is_none());
        }
    }
}
