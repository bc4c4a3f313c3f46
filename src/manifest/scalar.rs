//! What a YAML scalar means, by the rules kubectl applies.
//!
//! kubectl reads manifests with sigs.k8s.io/yaml, which resolves scalars as go-yaml v2 does: YAML 1.1 booleans (`y`,
//! `yes`, `on`), octal numbers with a leading zero, underscores in numbers. A reader that follows YAML 1.2 would see
//! the string `yes` where the cluster sees `true`.

use base64::Engine as _;
use serde_json::{Number, Value};

/// A scalar after resolution, before it becomes a JSON value or a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the largest signed integer.
    UInt(u64),
    Float(f64),
    Text(String),
}

/// The tag written before a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    None,
    /// A tag of the YAML name space, without its prefix: `str`, `int`, `binary`.
    Core(&'a str),
    /// Any other tag: the scalar stays text.
    Other,
}

/// Resolves a scalar. `plain` says that it was written without quotes and not as a block.
///
/// # Errors
/// The tag contradicts the text, in words fit for a message.
pub(super) fn resolve(text: &str, plain: bool, tag: Tag<'_>) -> Result<Scalar, String> {
    let name = match tag {
        Tag::None if plain => return Ok(implicit(text)),
        Tag::Core("binary") => return binary(text).map(Scalar::Text),
        Tag::Core("timestamp") if looks_like_timestamp(text) => return Ok(Scalar::Text(text.to_owned())),
        Tag::Core(name @ ("null" | "bool" | "int" | "float" | "timestamp")) => name,
        // !!str, tags of applications, and !!map, !!set and the like, which say nothing about a scalar.
        _ => return Ok(Scalar::Text(text.to_owned())),
    };
    match (name, implicit(text)) {
        ("null", value @ Scalar::Null)
        | ("bool", value @ Scalar::Bool(_))
        | ("int", value @ (Scalar::Int(_) | Scalar::UInt(_)))
        | ("float", value @ Scalar::Float(_)) => Ok(value),
        #[expect(clippy::cast_precision_loss, reason = "go-yaml converts in the same way")]
        ("float", Scalar::Int(value)) => Ok(Scalar::Float(value as f64)),
        _ => Err(format!("the value cannot be read as !!{name}")),
    }
}

fn implicit(text: &str) -> Scalar {
    let Some(&first) = text.as_bytes().first() else { return Scalar::Null };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => {
            word(text).unwrap_or_else(|| Scalar::Text(text.to_owned()))
        }
        b'.' | b'+' | b'-' | b'0'..=b'9' => {
            word(text).or_else(|| number(text)).unwrap_or_else(|| Scalar::Text(text.to_owned()))
        }
        _ => Scalar::Text(text.to_owned()),
    }
}

/// The words with a meaning of their own (go-yaml v2 `resolve.go`, `resolveMapList`).
fn word(text: &str) -> Option<Scalar> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Scalar> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    integer(&plain).or_else(|| float(&plain))
}

/// An integer as Go's `strconv.ParseInt(text, 0, 64)` reads it, else `ParseUint`.
fn integer(text: &str) -> Option<Scalar> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (Some(true), text.get(1..)?),
        b'+' => (Some(false), text.get(1..)?),
        _ => (None, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some(two) if two.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        Some(true) => 0_i64.checked_sub_unsigned(magnitude).map(Scalar::Int),
        Some(false) => i64::try_from(magnitude).ok().map(Scalar::Int),
        None => Some(i64::try_from(magnitude).map_or(Scalar::UInt(magnitude), Scalar::Int)),
    }
}

/// A float of the form go-yaml takes: digits, an optional fraction, an optional exponent. Out of range is no float.
fn float(text: &str) -> Option<Scalar> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    rest = rest.get(whole..)?;
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole == 0 && fraction == 0 {
            return None;
        }
        rest = after.get(fraction..)?;
    } else if whole == 0 {
        return None;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        let exponent = digits(after);
        if exponent == 0 {
            return None;
        }
        rest = after.get(exponent..)?;
    }
    let value: f64 = text.parse().ok()?;
    (rest.is_empty() && value.is_finite()).then_some(Scalar::Float(value))
}

fn binary(text: &str) -> Result<String, String> {
    let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed)
        .map_err(|_| "the value cannot be read as !!binary: it is not base64".to_owned())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn looks_like_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes.iter().take(4).all(u8::is_ascii_digit) && bytes.get(4) == Some(&b'-')
}

impl Scalar {
    /// The JSON value that kubectl sends.
    ///
    /// # Errors
    /// Infinity and not-a-number have no JSON form.
    pub(super) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::from(value),
            #[expect(clippy::cast_precision_loss, reason = "kubectl keeps only what a float64 can hold here")]
            Self::UInt(value) => Value::from(value as f64),
            Self::Float(value) => float_value(value).ok_or("infinity and not-a-number cannot be written in JSON")?,
            Self::Text(value) => Value::String(value),
        })
    }

    /// The string that this scalar becomes as a key of a mapping.
    ///
    /// # Errors
    /// Null and integers above the signed range are refused as keys.
    pub(super) fn into_key(self) -> Result<String, String> {
        Ok(match self {
            Self::Null => return Err("a key is null; kubectl refuses it".to_owned()),
            Self::UInt(value) => return Err(format!("{value} is too large an integer for a key; kubectl refuses it")),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => float_key(value),
            Self::Text(value) => value,
        })
    }
}

/// A float as Go's encoder and kubectl's decoder leave it: written in its shortest digits, and an integer when these
/// are one that fits. `None` for infinity and not-a-number.
pub(super) fn float_value(value: f64) -> Option<Value> {
    // From 1e21 on Go writes an exponent, and kubectl reads a float.
    if value.fract() == 0.0 && value.abs() < 1e21 {
        let text = value.to_string();
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Value::from(whole));
        }
    }
    Number::from_f64(value).map(Value::Number)
}

/// A float as a key: Go's `FormatFloat(value, 'g', -1, 32)`, which sigs.k8s.io/yaml uses, single precision included.
fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "sigs.k8s.io/yaml narrows to 32 bits too")]
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        // Go's shortest `g` form has no exponent while the decimal exponent lies in -4..6.
        Ok(power) if !(-4..6).contains(&power) => {
            format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.unsigned_abs())
        }
        _ => value.to_string(),
    }
}
