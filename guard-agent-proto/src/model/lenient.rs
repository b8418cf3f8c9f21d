//! Fields that any JSON value fits. Much of a record is an attacker's: a header given twice is an array in some
//! frameworks, a query parameter may be an object, a number may have any size. None of that may keep the
//! report of an attack from being read.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use super::{IpAddress, Metadata, Tags};
use crate::text::Text;

/// Type of a field.
pub(super) trait Lenient: Sized {
    /// What is read of it.
    type Read;

    /// What the field becomes, and the value if it could not become the field.
    fn of(value: Self::Read) -> (Self, Option<Value>);
}

impl Lenient for Option<Text> {
    type Read = Value;

    /// A value that is not a string becomes the JSON that it is.
    fn of(value: Value) -> (Self, Option<Value>) {
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(Text::Owned(text)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Some(Text::Owned(value.to_string()))
            }
        };
        (text, None)
    }
}

impl Lenient for Text {
    type Read = Value;

    fn of(value: Value) -> (Self, Option<Value>) {
        let (text, unfit) = Option::of(value);
        (text.unwrap_or_default(), unfit)
    }
}

impl Lenient for IpAddress {
    type Read = Value;

    fn of(value: Value) -> (Self, Option<Value>) {
        let (text, unfit) = Text::of(value);
        (Self::from(&*text), unfit)
    }
}

impl Lenient for Option<i64> {
    type Read = Value;

    /// Whole numbers, as text too.
    fn of(value: Value) -> (Self, Option<Value>) {
        let number = match &value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        (number, unless(number.is_some(), value))
    }
}

impl Lenient for Option<f64> {
    type Read = Value;

    /// Finite numbers, as text too.
    fn of(value: Value) -> (Self, Option<Value>) {
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let number = number.filter(|number| number.is_finite());
        (number, unless(number.is_some(), value))
    }
}

impl Lenient for Option<Uuid> {
    type Read = Value;

    fn of(value: Value) -> (Self, Option<Value>) {
        let key = value.as_str().and_then(|text| Uuid::parse_str(text).ok());
        (key, unless(key.is_some(), value))
    }
}

impl Lenient for Metadata {
    type Read = Members;

    fn of(Members(members): Members) -> (Self, Option<Value>) {
        (members.into_iter().collect(), None)
    }
}

impl Lenient for Tags {
    type Read = Members;

    fn of(Members(members): Members) -> (Self, Option<Value>) {
        (members.into_iter().map(|(name, value)| (name, Text::of(value).0)).collect(), None)
    }
}

/// The members of an object, in order; those of any other value are one, `value`.
pub(super) struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor)
    }
}

struct MembersVisitor;

impl MembersVisitor {
    fn one<E>(value: impl Into<Value>) -> Result<Members, E> {
        Ok(Members(Vec::from([(String::from("value"), value.into())])))
    }
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }

    fn visit_unit<E>(self) -> Result<Members, E> {
        Ok(Members(Vec::new()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Members, E> {
        Self::one(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Members, E> {
        Self::one(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Members, E> {
        Self::one(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Members, E> {
        Self::one(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Members, E> {
        Self::one(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Members, A::Error> {
        Self::one(Value::deserialize(SeqAccessDeserializer::new(seq))?)
    }
}

/// A whole number that a float is exactly.
fn whole(number: f64) -> Option<i64> {
    let nearest = number as i64;
    (nearest as f64 == number && nearest != i64::MAX).then_some(nearest)
}

fn unless(fits: bool, value: Value) -> Option<Value> {
    (!fits && !value.is_null()).then_some(value)
}
