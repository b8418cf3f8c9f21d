use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::Value;

use super::{CredentialRule, DrainOrder, IpPrivacy, OverflowPolicy, Secret};

/// A type that a configuration field may have: how it is read from JSON and from text, and shown.
pub(super) trait Field: Sized {
    /// What a value must be, for messages.
    const EXPECTED: &'static str;
    /// Whether messages must not show it.
    const SECRET: bool = false;

    fn from_json(value: &Value) -> Option<Self>;
    fn from_text(text: &str) -> Option<Self>;
    /// What [`Field::from_json`] reads back, secrets included.
    fn to_json(&self) -> Value;
    fn show(&self) -> String;
    /// Takes off the white space around a secret, which files and variables bring along; whether there was any.
    fn trim_secret(&mut self) -> bool {
        false
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "1" => Some(true),
            "0" => Some(false),
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        Value::from(*self)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($type:ty) => {
        impl Field for $type {
            const EXPECTED: &'static str = "a whole number of 0 or more";

            fn from_json(value: &Value) -> Option<Self> {
                // A number too large to be held is out of every bound, which says more than its type.
                value.as_u64().map(|number| Self::try_from(number).unwrap_or(Self::MAX))
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn to_json(&self) -> Value {
                Value::from(*self)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    };
}

whole_number!(usize);
whole_number!(u64);
whole_number!(u32);

impl Field for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_f64()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_json(&self) -> Value {
        Value::from(*self)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Field for Duration {
    const EXPECTED: &'static str = "a number of seconds of 0 or more";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_f64().and_then(|seconds| Self::try_from_secs_f64(seconds).ok())
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().and_then(|seconds| Self::try_from_secs_f64(seconds).ok())
    }

    fn to_json(&self) -> Value {
        Value::from(self.as_secs_f64())
    }

    fn show(&self) -> String {
        format!("{} s", self.as_secs_f64())
    }
}

impl Field for String {
    const EXPECTED: &'static str = "text";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_str().map(ToOwned::to_owned)
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_json(&self) -> Value {
        Value::from(self.as_str())
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Field for Secret {
    const EXPECTED: &'static str = "text";
    const SECRET: bool = true;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_str().map(Self::new)
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }

    fn to_json(&self) -> Value {
        Value::from(self.expose())
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }

    /// A blank one stays, to be refused.
    fn trim_secret(&mut self) -> bool {
        let trimmed = self.expose().trim();
        let is_padded = !trimmed.is_empty() && trimmed.len() < self.expose().len();
        if is_padded {
            *self = Self::new(trimmed);
        }
        is_padded
    }
}

/// Null in JSON, empty or `none` in text, or what the type itself says.
impl<T: Field> Field for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SECRET: bool = T::SECRET;

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_json(value).map(Some) }
    }

    fn from_text(text: &str) -> Option<Self> {
        if matches!(text, "" | "none") { Some(None) } else { T::from_text(text).map(Some) }
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| String::from("none"), T::show)
    }

    fn trim_secret(&mut self) -> bool {
        self.as_mut().is_some_and(T::trim_secret)
    }
}

/// A list in JSON, separated by commas in text.
impl Field for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_json).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(items(text).map(ToOwned::to_owned).collect())
    }

    fn to_json(&self) -> Value {
        Value::from(self.as_slice())
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// A list in JSON, separated by commas in text.
impl Field for Vec<CredentialRule> {
    const EXPECTED: &'static str = "a list of `url_userinfo`, `authorization_scheme`, `jwt`, `pem_block`, `key_prefix` \
        and `card_number`";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(CredentialRule::from_json).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        items(text).map(CredentialRule::from_text).collect()
    }

    fn to_json(&self) -> Value {
        self.iter().map(CredentialRule::to_json).collect()
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// An object in JSON, `name=number` separated by commas in text.
impl Field for BTreeMap<String, f64> {
    const EXPECTED: &'static str = "a number for each of some names";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        let pair = |item: &str| {
            let (name, number) = item.rsplit_once('=')?;
            Some((name.trim_end().to_owned(), number.trim_start().parse().ok()?))
        };
        items(text).map(pair).collect()
    }

    fn to_json(&self) -> Value {
        self.iter().map(|(name, number)| (name.clone(), Value::from(*number))).collect()
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

macro_rules! words {
    ($type:ty, $expected:literal, $($word:literal => $value:expr),*) => {
        impl Field for $type {
            const EXPECTED: &'static str = $expected;

            fn from_json(value: &Value) -> Option<Self> {
                value.as_str().and_then(Self::from_text)
            }

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($value),)*
                    _ => None,
                }
            }

            fn to_json(&self) -> Value {
                $(if *self == $value { return Value::from($word); })*
                Value::Null
            }

            fn show(&self) -> String {
                format!("{self:?}")
            }
        }
    };
}

words!(OverflowPolicy, "`drop`, `block` or `raise`",
    "drop" => Self::Drop, "block" => Self::Block, "raise" => Self::Raise);
words!(DrainOrder, "`live_first` or `fifo`", "live_first" => Self::LiveFirst, "fifo" => Self::Fifo);
words!(IpPrivacy, "`full`, `truncate` or `hash`",
    "full" => Self::Full, "truncate" => Self::Truncate, "hash" => Self::Hash);
words!(CredentialRule, "the name of a rule for credentials",
    "url_userinfo" => Self::UrlUserinfo, "authorization_scheme" => Self::AuthorizationScheme, "jwt" => Self::Jwt,
    "pem_block" => Self::PemBlock, "key_prefix" => Self::KeyPrefix, "card_number" => Self::CardNumber);
