//! A deserialiser over a JSON value that notes unknown fields and accepts what Go's decoder accepts.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use super::{ShapeProblem, UnknownField};
use crate::manifest::join_field;

/// Unknown fields that are listed for one object; more say nothing new.
const MAX_UNKNOWN: usize = 100;

/// Collects unknown fields during [`read`].
#[derive(Default)]
pub(super) struct Unknown(RefCell<Vec<UnknownField>>);

impl Unknown {
    pub(super) fn into_fields(self) -> Vec<UnknownField> {
        self.0.into_inner()
    }

    fn note(&self, path: &Path<'_>, known: &[&str]) {
        let mut fields = self.0.borrow_mut();
        if fields.len() < MAX_UNKNOWN {
            let name = if let Path::Key(_, name) = path { name } else { "" };
            fields.push(UnknownField { field: path.render(), nearest: nearest(name, known).map(str::to_owned) });
        }
    }
}

/// The known name that `name` is probably a misspelling of: other case, or an edit for each three letters.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = name.to_lowercase();
    let candidates = known.iter().map(|candidate| {
        let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
        (distance, *candidate)
    });
    let (distance, best) = candidates.min_by_key(|(distance, _)| *distance)?;
    let limit = (name.chars().count().min(best.chars().count()) / 3).max(1);
    (distance <= limit).then_some(best)
}

/// Deserialises `value` as `T`.
///
/// # Errors
/// The first value with a type that `T` does not take.
pub(super) fn read<T: for<'de> Deserialize<'de>>(value: &Value, unknown: &Unknown) -> Result<(), ShapeProblem> {
    let root = Path::Root;
    let reader = Reader { value, path: &root, siblings: &[], unknown };
    match T::deserialize(reader) {
        Ok(_) => Ok(()),
        Err(Refused { field, message }) => Err(ShapeProblem { field: field.unwrap_or_default(), message }),
    }
}

/// Where the reader is, as a list on the stack.
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn render(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, key) => join_field(&parent.render(), key),
            Self::Index(parent, index) => format!("{}[{index}]", parent.render()),
        }
    }
}

/// Why a value was refused. Messages tell types, never values.
#[derive(Debug)]
struct Refused {
    field: Option<String>,
    message: String,
}

impl Refused {
    fn at(mut self, path: &Path<'_>) -> Self {
        self.field.get_or_insert_with(|| path.render());
        self
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: Display>(_: T) -> Self {
        // The text may quote the value, as that of a time does.
        Self { field: None, message: "found a value that its field does not take".to_owned() }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let mut message = format!("expected {}, found {}", expectation(&expected), kind_of(found));
        let scalar = matches!(
            found,
            de::Unexpected::Bool(_)
                | de::Unexpected::Signed(_)
                | de::Unexpected::Unsigned(_)
                | de::Unexpected::Float(_)
        );
        if scalar && expected == "a string" {
            message.push_str("; put it in quotes");
        }
        Self { field: None, message }
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let message =
            format!("expected {}, found {} outside its range", expectation(&expected.to_string()), kind_of(found));
        Self { field: None, message }
    }
}

fn expectation(expected: &str) -> &str {
    match expected {
        "i32" | "i64" | "u16" | "a 32-bit integer" => "a whole number",
        "f32" | "f64" => "a number",
        "IntOrString" => "a whole number or a string",
        "Quantity" => "a quantity",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other => other,
    }
}

fn kind_of(found: de::Unexpected<'_>) -> &'static str {
    match found {
        de::Unexpected::Bool(_) => "a boolean",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
        de::Unexpected::Float(_) => "a number with a fraction",
        de::Unexpected::Str(_) | de::Unexpected::Char(_) => "a string",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a mapping",
        de::Unexpected::Unit | de::Unexpected::Option => "null",
        _ => "a value of another type",
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    value: &'a Value,
    path: &'a Path<'a>,
    /// The fields that the type around this value has.
    siblings: &'a [&'static str],
    unknown: &'a Unknown,
}

impl<'a> Reader<'a> {
    fn unexpected(&self) -> de::Unexpected<'a> {
        match self.value {
            Value::Null => de::Unexpected::Unit,
            Value::Bool(value) => de::Unexpected::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => de::Unexpected::Signed(value),
                (_, Some(value), _) => de::Unexpected::Unsigned(value),
                (_, _, value) => de::Unexpected::Float(value.unwrap_or_default()),
            },
            Value::String(text) => de::Unexpected::Str(text),
            Value::Array(_) => de::Unexpected::Seq,
            Value::Object(_) => de::Unexpected::Map,
        }
    }

    fn refuse<T>(&self, expected: &dyn de::Expected) -> Result<T, Refused> {
        Err(<Refused as de::Error>::invalid_type(self.unexpected(), expected).at(self.path))
    }

    fn fields<'de, V: Visitor<'de>>(self, known: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Fields { reader: self, known, entries: map.iter(), value: None }),
            // Go leaves a struct or map alone when it meets null.
            Value::Null => {
                let empty = Map::new();
                let entries = empty.iter();
                visitor.visit_map(Fields { reader: self, known, entries, value: None })
            }
            _ => self.refuse(&"a mapping"),
        }
        .map_err(|error| error.at(self.path))
    }
}

/// Methods for numbers: null is zero, text is refused, whatever is larger than the type is for the visitor to refuse.
macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            match self.value {
                Value::Null => visitor.visit_i64(0),
                Value::Number(_) => self.deserialize_any(visitor),
                _ => self.refuse(&visitor),
            }
            .map_err(|error: Refused| error.at(self.path))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_i64(value),
                (_, Some(value), _) => visitor.visit_u64(value),
                (_, _, value) => visitor.visit_f64(value.unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
        .map_err(|error: Refused| error.at(self.path))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => self.refuse(&visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text),
            _ => self.refuse(&visitor),
        }
        .map_err(|error: Refused| error.at(self.path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        match (name, self.value) {
            // Which spellings of a time are taken is for the API server to say; the type must be right.
            ("Time" | "MicroTime", Value::String(_) | Value::Null) => {
                let time: de::value::StrDeserializer<'_, Refused> = "1970-01-01T00:00:00.000000Z".into_deserializer();
                visitor.visit_newtype_struct(time)
            }
            ("Quantity", Value::Null) => {
                let zero: de::value::StrDeserializer<'_, Refused> = "0".into_deserializer();
                visitor.visit_newtype_struct(zero)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { reader: self, items: items.iter().enumerate() }),
            Value::Null => visitor.visit_seq(Items { reader: self, items: [].iter().enumerate() }),
            _ => self.refuse(&"a list"),
        }
        .map_err(|error| error.at(self.path))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.fields(&[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.fields(fields, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.unknown.note(self.path, self.siblings);
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Fields<'a> {
    reader: Reader<'a>,
    known: &'static [&'static str],
    entries: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        let key: de::value::StrDeserializer<'_, Refused> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        let (key, value) = self.value.take().unwrap_or(("", &Value::Null));
        let path = Path::Key(self.reader.path, key);
        let reader = Reader { value, path: &path, siblings: self.known, ..self.reader };
        seed.deserialize(reader).map_err(|error| error.at(&path))
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        let path = Path::Index(self.reader.path, index);
        let reader = Reader { value, path: &path, siblings: &[], ..self.reader };
        seed.deserialize(reader).map(Some).map_err(|error| error.at(&path))
    }
}
