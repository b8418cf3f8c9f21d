use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::text::Text;

/// An ordered JSON object: names in the order they came, each once.
macro_rules! members {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq)]
        pub struct $name(pub(crate) Vec<(Text, $value)>);

        impl fmt::Debug for $name {
            /// Names alone: a value may be secret or personal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
            }
        }

        impl $name {
            /// Without members.
            #[must_use]
            pub const fn new() -> Self {
                Self(Vec::new())
            }

            /// Adds a member, or replaces the value of that name in its place. A literal name costs no
            /// allocation.
            pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<$value>) {
                let (key, value) = (key.into(), Bounded::bounded(value.into()));
                match self.0.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, old)) => *old = value,
                    None => self.0.push((key, value)),
                }
            }

            /// The value of that name.
            #[must_use]
            pub fn get(&self, key: &str) -> Option<&$value> {
                self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }

            /// How many members there are.
            #[must_use]
            pub const fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are none.
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// Names and values, in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &$value)> + Clone {
                self.0.iter().map(|(key, value)| (key.as_ref(), value))
            }
        }

        impl<K: Into<Text>, V: Into<$value>> FromIterator<(K, V)> for $name {
            fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
                let members = members.into_iter().map(|(key, value)| (key.into(), Bounded::bounded(value.into())));
                Self(unique(members.collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.iter())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(MembersVisitor(PhantomData)).map(Self)
            }
        }
    };
}

members!(
    /// What an event says beyond the contract's fields: any JSON, in the order it was added.
    ///
    /// JSON has no NaN and no infinity: `Value` makes them null. What is more than 128 values deep is replaced by
    /// the text `[TOO DEEP]`.
    ///
    /// ```
    /// # use guard_agent_proto::Metadata;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.insert("attempts", 3);
    /// metadata.insert("rule", "burst");
    /// metadata.insert("attempts", 4);
    /// assert_eq!(serde_json::to_string(&metadata)?, r#"{"attempts":4,"rule":"burst"}"#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    Metadata,
    Value
);
members!(
    /// Labels of a metric, in the order they were added.
    ///
    /// ```
    /// # use guard_agent_proto::Tags;
    ///
    /// let tags = Tags::from_iter([("region", "eu"), ("pod", "a1")]);
    /// assert_eq!(tags.get("pod").map(|tag| tag.as_ref()), Some("a1"));
    /// ```
    Tags,
    Text
);

impl From<Map<String, Value>> for Metadata {
    fn from(map: Map<String, Value>) -> Self {
        Self(map.into_iter().map(|(key, value)| (Text::Owned(key), value.bounded())).collect())
    }
}

/// Deepest value of a member. Whoever walks over one, be it to free it, needs a stack of no more than that.
pub(super) const MAX_DEPTH: usize = 128;
/// What stands for a value that is deeper.
pub(super) const TOO_DEEP: &str = "[TOO DEEP]";

/// Value of a member.
trait Bounded {
    /// The value without what is too deep.
    fn bounded(self) -> Self;
}

impl Bounded for Text {
    #[inline]
    fn bounded(self) -> Self {
        self
    }
}

impl Bounded for Value {
    #[inline]
    fn bounded(mut self) -> Self {
        if matches!(self, Self::Array(_) | Self::Object(_)) {
            cut(&mut self, 0);
        }
        self
    }
}

/// Replaces what is too deep inside of a value that is inside of `depth` others.
fn cut(value: &mut Value, depth: usize) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => {
            free(core::mem::replace(value, Value::from(TOO_DEEP)));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, depth + 1)),
        Value::Object(members) => members.values_mut().for_each(|value| cut(value, depth + 1)),
    }
}

/// Frees a value that may be as deep as memory allows.
fn free(value: Value) {
    let mut left = Vec::from([value]);
    while let Some(value) = left.pop() {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            Value::Array(items) => left.extend(items),
            Value::Object(members) => left.extend(members.into_iter().map(|(_, value)| value)),
        }
    }
}

/// Keeps the first place and the last value of each name.
fn unique<V>(members: Vec<(Text, V)>) -> Vec<(Text, V)> {
    // An index only where comparing each with each would cost more: the names may be an attacker's.
    if members.len() <= 16 {
        let mut kept: Vec<(Text, V)> = Vec::with_capacity(members.len());
        for (key, value) in members {
            match kept.iter_mut().find(|(name, _)| *name == key) {
                Some((_, old)) => *old = value,
                None => kept.push((key, value)),
            }
        }
        return kept;
    }
    let mut places = BTreeMap::new();
    let mut kept: Vec<(Text, V)> = Vec::with_capacity(members.len());
    for (key, value) in members {
        match places.get(&key).and_then(|place: &usize| kept.get_mut(*place)) {
            Some((_, old)) => *old = value,
            None => {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}

struct MembersVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de> + Bounded> Visitor<'de> for MembersVisitor<V> {
    type Value = Vec<(Text, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<Text, V>()? {
            members.push((name, value.bounded()));
        }
        Ok(unique(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_repeated_name_keeps_its_place_and_the_last_value() {
        for others in [0, 40] {
            let text = format!(
                r#"{{"a":1,"b":2,{}"a":3}}"#,
                (0..others).map(|i| format!(r#""x{i}":0,"#)).collect::<String>()
            );
            let metadata: Metadata = serde_json::from_str(&text).unwrap();
            assert_eq!(metadata.len(), others + 2);
            assert!(metadata.iter().take(2).eq([("a", &Value::from(3)), ("b", &Value::from(2))]));
        }
    }

    #[test]
    fn a_map_is_taken_over() {
        let Value::Object(map) = serde_json::json!({"a": 1, "b": null}) else { unreachable!() };
        let metadata = Metadata::from(map);
        assert_eq!(metadata.get("b"), Some(&Value::Null));
        assert_eq!(metadata.get("c"), None);
        assert!(!metadata.is_empty());
    }

    #[test]
    fn a_value_of_any_depth_needs_no_deeper_stack() {
        let deep = || {
            (0..100_000).fold(Value::Null, |inside, level| match level % 2 {
                0 => Value::Array(Vec::from([inside])),
                _ => Value::Object(Map::from_iter([(String::from("a"), inside)])),
            })
        };
        let mut metadata = Metadata::new();
        metadata.insert("deep", deep());
        assert_eq!(metadata, Metadata::from_iter([("deep", deep())]));
        assert_eq!(metadata, Metadata::from(Map::from_iter([(String::from("deep"), deep())])));
        let text = serde_json::to_string(&metadata).unwrap();
        assert!(text.contains(TOO_DEEP) && text.len() < 1_000, "{text}");
    }

    proptest! {
        #[test]
        fn inserting_and_collecting_agree(members in prop::collection::vec(("[a-f]{1,2}", "[a-z]{0,3}"), 0..60)) {
            let mut inserted = Tags::new();
            for (key, value) in members.clone() {
                inserted.insert(key, value);
            }
            prop_assert_eq!(Tags::from_iter(members), inserted);
        }
    }
}
