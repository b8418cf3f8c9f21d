use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::de::{Deserialize, Error, IgnoredAny, MapAccess};
use serde_json::Value;

use super::{Metadata, SecurityEvent};
use crate::message::without_value;
use crate::text::Text;

/// The value of the member whose name was just read; an error names it, and does not repeat what it was.
pub(super) fn member<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<T, A::Error> {
    map.next_value().map_err(|error| A::Error::custom(format!("`{name}`: {}", without_value(error))))
}

/// For models that have no place for members they do not know.
#[derive(Default)]
pub(super) struct Ignored;

impl Ignored {
    pub(super) fn take<'de, A: MapAccess<'de>>(
        &mut self,
        _name: String,
        map: &mut A,
    ) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>()?;
        Ok(())
    }

    pub(super) fn keep(&mut self, _name: &'static str, _value: Value) {}

    pub(super) fn give<T>(self, _object: &mut T) {}
}

/// For events, which pass members on that they do not know, and keep among `metadata` what a field cannot hold.
#[derive(Default)]
pub(super) struct Extra {
    members: Vec<(Text, Value)>,
    unfit: Vec<(&'static str, Value)>,
}

impl Extra {
    pub(super) fn take<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let value = member(map, &name)?;
        self.members.push((Text::Owned(name), value));
        Ok(())
    }

    pub(super) fn keep(&mut self, name: &'static str, value: Value) {
        self.unfit.push((name, value));
    }

    pub(super) fn give(self, event: &mut SecurityEvent) {
        event.extra = Metadata::from_iter(self.members);
        for (name, value) in self.unfit {
            if event.metadata.get(name).is_none() {
                event.metadata.insert(name, value);
            }
        }
    }
}

/// Implements `Deserialize` such that errors name the member, which derived code does not do.
///
/// A repeated member counts as last given. `required` members are variables in `start`; `optional` ones
/// keep what `start` gave them when absent; so do `lenient` ones, which any value fits
/// ([`Lenient`](super::lenient::Lenient)). `unknown` is [`Ignored`] or [`Extra`].
macro_rules! deserialize_object {
    (
        $model:ident, $expecting:literal,
        required: { $($required:ident),* },
        optional: { $($optional:ident),* },
        lenient: { $($lenient:ident),* },
        unknown: $unknown:ident,
        start: $start:expr,
        check: $check:expr,
    ) => {
        impl<'de> serde::Deserialize<'de> for $model {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;

                impl<'de> serde::de::Visitor<'de> for ObjectVisitor {
                    type Value = $model;

                    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$model, A::Error> {
                        use serde::de::Error;
                        use $crate::model::object::member;

                        $(let mut $required = None;)*
                        $(let mut $optional = None;)*
                        $(let mut $lenient = None;)*
                        let mut unknown = $unknown::default();
                        while let Some(name) = map.next_key::<alloc::string::String>()? {
                            match name.as_str() {
                                $(stringify!($required) => $required = Some(member(&mut map, &name)?),)*
                                $(stringify!($optional) => $optional = Some(member(&mut map, &name)?),)*
                                $(stringify!($lenient) => $lenient = Some(member(&mut map, &name)?),)*
                                _ => unknown.take(name, &mut map)?,
                            }
                        }

                        $(let $required = $required.ok_or_else(|| A::Error::missing_field(stringify!($required)))?;)*
                        let mut object: $model = $start;
                        $(if let Some(value) = $optional {
                            object.$optional = value;
                        })*
                        $(if let Some(value) = $lenient {
                            let (field, unfit) = $crate::model::lenient::Lenient::of(value);
                            object.$lenient = field;
                            if let Some(value) = unfit {
                                unknown.keep(stringify!($lenient), value);
                            }
                        })*
                        unknown.give(&mut object);
                        $check(&object).map_err(A::Error::custom)?;
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    };
}

pub(super) use deserialize_object;
