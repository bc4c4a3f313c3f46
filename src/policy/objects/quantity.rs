//! Kubernetes quantities (`4`, `800m`, `1.5Gi`, `1e3`), exact.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A quantity as it was written. Compare by [`Quantity::value`]; the text is kept for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantity(String);

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form number and suffix.
    #[error("is not a quantity such as 4, 800m or 1.5Gi")]
    Syntax,
    /// Outside what Kubernetes can hold (2^63-1).
    #[error("is larger than a quantity can be (2^63-1)")]
    Overflow,
}

const NANO: i128 = 1_000_000_000;

// === impl Quantity ===

impl Quantity {
    /// A quantity of that text, which need not be valid.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The exact value in billionths. Finer digits are rounded up, as Kubernetes does.
    ///
    /// # Errors
    /// When the text is no quantity, or none that fits 63 bits.
    pub fn nanos(&self) -> Result<i128, QuantityError> {
        parse(&self.0)
    }

    /// The value as a float, for messages and ratios; `None` when the text is no quantity.
    #[allow(clippy::cast_precision_loss)]
    pub fn value(&self) -> Option<f64> {
        self.nanos().ok().map(|nanos| nanos as f64 / NANO as f64)
    }

    /// The value rounded up to a whole number, as the scheduler counts extended resources; `None` when invalid.
    pub fn units(&self) -> Option<i64> {
        let nanos = self.nanos().ok()?;
        i64::try_from(nanos.div_euclid(NANO) + i128::from(nanos.rem_euclid(NANO) != 0)).ok()
    }

    /// Compares two valid quantities.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos().ok()?.cmp(&other.nanos().ok()?))
    }
}

impl From<i64> for Quantity {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity: a number, or a text such as 800m or 10Gi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The grammar of `k8s.io/apimachinery/pkg/api/resource`: sign, digits with one point, then a binary suffix, a decimal
/// suffix or an exponent.
fn parse(text: &str) -> Result<i128, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(QuantityError::Syntax);
    }
    // Base and exponent of the suffix; the value is digits * base^exponent * 10^-fraction.len().
    let (base, exponent): (u32, i32) = match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Syntax)?;
            (10, exponent.parse().map_err(|_| QuantityError::Syntax)?)
        }
    };
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    let mantissa: i128 = match digits.len() {
        0..=30 => digits.parse().map_err(|_| QuantityError::Syntax)?,
        _ => return Err(QuantityError::Overflow),
    };
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| QuantityError::Overflow)?;
    let scaled = if base == 2 {
        let power = 1i128.checked_shl(exponent.unsigned_abs()).ok_or(QuantityError::Overflow)?;
        mantissa.checked_mul(power).and_then(|value| shift10(value, 9 - fraction_digits))
    } else {
        shift10(mantissa, exponent.saturating_add(9 - fraction_digits))
    };
    let value = scaled.filter(|value| *value <= i128::from(i64::MAX) * NANO).ok_or(QuantityError::Overflow)?;
    Ok(if negative { -value } else { value })
}

/// `value * 10^by`, rounded up when digits are lost; `None` on overflow.
fn shift10(value: i128, by: i32) -> Option<i128> {
    if by >= 0 {
        return value.checked_mul(10i128.checked_pow(by.unsigned_abs())?);
    }
    Some(match 10i128.checked_pow(by.unsigned_abs()) {
        Some(divisor) => value / divisor + i128::from(value % divisor != 0),
        None => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_kubernetes_accepts() {
        for (text, expected) in [
            ("4", 4.0),
            ("800m", 0.8),
            ("1.5Gi", 1_610_612_736.0),
            ("1e3", 1000.0),
            ("2E", 2e18),
            ("1E2", 100.0),
            ("-1", -1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("0", 0.0),
            ("1u", 1e-6),
            ("1e-12", 1e-9),
        ] {
            let value = Quantity::new(text).value().unwrap();
            assert!((value - expected).abs() <= expected.abs() * 1e-12, "{text}: {value}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in ["", "abc", "1 Gi", "1.2.3", "1KiB", "e3", "--1", "1e", "0x10"] {
            assert_eq!(Quantity::new(text).nanos(), Err(QuantityError::Syntax), "{text}");
        }
        for text in ["1e9Gi", "99999999999999999999", "1e99", "16Ei"] {
            assert!(Quantity::new(text).nanos().is_err(), "{text}");
        }
        assert_eq!(Quantity::new("1e99").nanos(), Err(QuantityError::Overflow));
    }

    #[test]
    fn whole_units_round_up() {
        assert_eq!(Quantity::new("500m").units(), Some(1));
        assert_eq!(Quantity::new("-500m").units(), Some(0));
        assert_eq!(Quantity::new("2").units(), Some(2));
    }
}
