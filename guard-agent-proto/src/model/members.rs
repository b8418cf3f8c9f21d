use alloc::collections::BTreeMap;
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
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name(pub(crate) Vec<(Text, $value)>);

        impl $name {
            /// Without members.
            #[must_use]
            pub const fn new() -> Self {
                Self(Vec::new())
            }

            /// Adds a member, or replaces the value of that name in its place. A literal name costs no
            /// allocation.
            pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<$value>) {
                let (key, value) = (key.into(), value.into());
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
            pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &$value)> {
                self.0.iter().map(|(key, value)| (key.as_ref(), value))
            }
        }

        impl<K: Into<Text>, V: Into<$value>> FromIterator<(K, V)> for $name {
            fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
                Self(unique(members.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
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
    /// JSON has no NaN and no infinity: `Value` makes them null.
    ///
    /// ```
    /// use guard_agent_proto::Metadata;
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
    /// use guard_agent_proto::Tags;
    ///
    /// let tags = Tags::from_iter([("region", "eu"), ("pod", "a1")]);
    /// assert_eq!(tags.get("pod").map(|tag| tag.as_ref()), Some("a1"));
    /// ```
    Tags,
    Text
);

impl From<Map<alloc::string::String, Value>> for Metadata {
    fn from(map: Map<alloc::string::String, Value>) -> Self {
        Self(map.into_iter().map(|(key, value)| (Text::Owned(key), value)).collect())
    }
}

/// Keeps the first place and the last value of each name.
pub(super) fn unique<V>(members: Vec<(Text, V)>) -> Vec<(Text, V)> {
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

impl<'de, V: Deserialize<'de>> Visitor<'de> for MembersVisitor<V> {
    type Value = Vec<(Text, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(unique(members))
    }
}
