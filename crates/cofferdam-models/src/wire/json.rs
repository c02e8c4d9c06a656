//! JSON as it stands: members and elements with their places, without a tree of it in memory.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most members or elements of what is looked into.
const MOST: usize = 65_536;
/// Most elements of what answers list.
const FEW: usize = 1024;

/// The members of a request that decide what it is: where one of them stands twice, nobody knows what the server sees.
const TELLING: &[&str] = &[
    "model",
    "messages",
    "input",
    "contents",
    "tools",
    "functions",
    "toolConfig",
    "tool_config",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "request",
];

/// An object: its members in their order, as they stand.
#[derive(Debug, Default)]
pub(crate) struct Object<'b>(pub(crate) Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Object<'b> {
    /// Reads one.
    pub(crate) fn parse(text: &'b str) -> Result<Object<'b>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of the first member of one of these names: of the same field in two spellings.
    pub(crate) fn get(&self, names: &[&str]) -> Option<&'b RawValue> {
        self.0.iter().find(|(name, _)| names.contains(&&**name)).map(|(_, value)| *value)
    }

    /// Whether a member of these names stands twice: which of them counts is the server's secret.
    pub(crate) fn is_double(&self, names: &[&str]) -> bool {
        self.0.iter().filter(|(name, _)| names.contains(&&**name)).count() > 1
    }

    /// A member that decides what a request is, and stands twice.
    pub(crate) fn tells_twice(&self) -> Option<&'static str> {
        TELLING.iter().find(|name| self.is_double(&[name])).copied()
    }

    /// The text by which a thing is named, unless it is named twice.
    pub(crate) fn name(&self) -> Option<Cow<'b, str>> {
        self.text(&["name"]).filter(|_| !self.is_double(&["name"]))
    }

    /// A text.
    pub(crate) fn text(&self, names: &[&str]) -> Option<Cow<'b, str>> {
        self.get(names).and_then(text)
    }

    /// A number that is none below 0.
    pub(crate) fn number(&self, names: &[&str]) -> Option<u64> {
        self.get(names).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// Whether it is `true`.
    pub(crate) fn is(&self, names: &[&str]) -> bool {
        self.get(names).is_some_and(|value| value.get() == "true")
    }

    /// An object.
    pub(crate) fn object(&self, names: &[&str]) -> Option<Object<'b>> {
        self.get(names).and_then(|value| Object::parse(value.get()).ok())
    }

    /// A list; empty where there is none.
    pub(crate) fn list(&self, names: &[&str]) -> Vec<&'b RawValue> {
        self.get(names).map(list).unwrap_or_default()
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for Object<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'b>, D::Error> {
        struct Members<'b>(PhantomData<&'b ()>);
        impl<'de: 'b, 'b> Visitor<'de> for Members<'b> {
            type Value = Object<'b>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'b>, A::Error> {
                let mut members = Vec::new();
                while let Some(Text(name)) = map.next_key::<Text<'b>>()? {
                    if members.len() >= MOST {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// A text, borrowed where nothing in it is escaped.
#[derive(Debug, Default)]
pub(crate) struct Text<'b>(pub(crate) Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Text<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'b>, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'b>(#[serde(borrow)] Cow<'b, str>);
        Borrowed::deserialize(deserializer).map(|Borrowed(text)| Text(text))
    }
}

/// The text that a value is, where it is one.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|Text(text)| text)
}

/// The elements of a value that is a list of moderate length; none where it is none.
pub(crate) fn list(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str::<List<'_>>(value.get()).map(|List(all)| all).unwrap_or_default()
}

/// Whether [`list`] can give all of a value that is a list; any other value is none, and has no elements.
pub(crate) fn is_readable(value: &RawValue) -> bool {
    !value.get().starts_with('[') || serde_json::from_str::<List<'_>>(value.get()).is_ok()
}

/// A list of at most so many elements.
pub(crate) struct List<'b>(pub(crate) Vec<&'b RawValue>);

impl<'de: 'b, 'b> Deserialize<'de> for List<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<'b>, D::Error> {
        bounded(deserializer, MOST).map(List)
    }
}

/// For answers: a list of few elements, or `null`.
pub(crate) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    bounded(deserializer, FEW)
}

fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D, most: usize) -> Result<Vec<T>, D::Error> {
    struct Elements<T>(usize, PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = seq.next_element()? {
                if all.len() >= self.0 {
                    return Err(A::Error::custom("too many elements"));
                }
                all.push(one);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Elements(most, PhantomData))
}

/// Where a part of a text stands in it.
pub(crate) fn place(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    debug_assert!(start <= whole.len() && start + part.len() <= whole.len(), "a part of it");
    start..start + part.len()
}
