use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::de::{Deserialize, Error, IgnoredAny, MapAccess};
use serde_json::Value;

use super::{Metadata, SecurityEvent};
use crate::text::Text;

/// The value of the member whose name was just read; an error names it.
pub(super) fn member<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<T, A::Error> {
    map.next_value().map_err(|error| A::Error::custom(format!("`{name}`: {error}")))
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

    pub(super) fn give<T>(self, _object: &mut T) {}
}

/// For events, which pass members on that they do not know.
#[derive(Default)]
pub(super) struct Extra(Vec<(Text, Value)>);

impl Extra {
    pub(super) fn take<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let value = member(map, &name)?;
        self.0.push((Text::Owned(name), value));
        Ok(())
    }

    pub(super) fn give(self, event: &mut SecurityEvent) {
        event.extra = Metadata::from_iter(self.0);
    }
}

/// Implements `Deserialize` such that errors name the member, which derived code does not do.
///
/// A repeated member counts as last given. `required` members are variables in `start`; `optional` ones
/// keep what `start` gave them when absent; `non_null` ones are `Option`s that may be absent but not
/// null. `unknown` is [`Ignored`] or [`Extra`].
macro_rules! deserialize_object {
    (
        $model:ident, $expecting:literal,
        required: { $($required:ident),* },
        non_null: { $($non_null:ident),* },
        optional: { $($optional:ident),* },
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
                        $(let mut $non_null = None;)*
                        $(let mut $optional = None;)*
                        let mut unknown = $unknown::default();
                        while let Some(name) = map.next_key::<alloc::string::String>()? {
                            match name.as_str() {
                                $(stringify!($required) => $required = Some(member(&mut map, &name)?),)*
                                $(stringify!($non_null) => $non_null = Some(member(&mut map, &name)?),)*
                                $(stringify!($optional) => $optional = Some(member(&mut map, &name)?),)*
                                _ => unknown.take(name, &mut map)?,
                            }
                        }

                        $(let $required = $required.ok_or_else(|| A::Error::missing_field(stringify!($required)))?;)*
                        let mut object: $model = $start;
                        $(object.$non_null = $non_null;)*
                        $(if let Some(value) = $optional {
                            object.$optional = value;
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
