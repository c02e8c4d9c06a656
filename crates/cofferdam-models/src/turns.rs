//! What a person says in a request, apart from what agents put around it.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text without the blocks that agents put before and behind a person's words: `<system-reminder>…</system-reminder>`,
/// `<environment_context>…`. Names of such blocks have a `-` or `_`, which those of HTML have not.
pub(crate) fn persons(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(rest) = without_first(text).or_else(|| without_last(text)) {
        text = rest.trim();
    }
    text
}

fn without_first(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once(['>', ' ', '\n'])?;
    let close = format!("</{name}>");
    is_block(name).then(|| text.split_once(&*close)).flatten().map(|(_, rest)| rest)
}

fn without_last(text: &str) -> Option<&str> {
    let (before, name) = text.strip_suffix('>')?.rsplit_once("</")?;
    let at = before.rfind(&*format!("<{name}"))?;
    is_block(name).then(|| &text[..at])
}

fn is_block(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (3..=64).contains(&name.len()) && name.contains(['-', '_']) && name.bytes().all(word)
}

/// Calls with each text in a JSON value, without a tree of it in memory.
pub(crate) fn texts(json: &[u8], each: &mut dyn FnMut(&str)) {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // Arguments that were cut are no JSON: what stood before the cut was seen.
    let _cut = Texts(each).deserialize(&mut deserializer);
}

struct Texts<'f>(&'f mut dyn FnMut(&str));

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.0)(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Texts(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Texts(&mut *self.0))?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        IgnoredAny::deserialize(deserializer).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_agents_are_not_a_persons_words() {
        for (text, words) in [
            ("fix it", "fix it"),
            ("<system-reminder>\nbe good\n</system-reminder>\n fix it ", "fix it"),
            ("fix <b>it</b>\n<system-reminder>x</system-reminder>", "fix <b>it</b>"),
            ("<a_b>1</a_b><c-d x=\"1\">2</c-d>", ""),
            ("<environment_context>\n  <cwd>/p</cwd>\n</environment_context>", ""),
            ("<html>x</html>", "<html>x</html>"),
            ("<system-reminder> is a tag", "<system-reminder> is a tag"),
            ("a </system-reminder>", "a </system-reminder>"),
        ] {
            assert_eq!(persons(text), words, "{text}");
        }
    }

    #[test]
    fn texts_of_a_value_are_seen_up_to_where_it_is_cut() {
        let mut seen = Vec::new();
        texts(br#"{"a":"one","b":[1,null,true,-2,1.5,{"c":"t\u0077o"},"thr"#, &mut |text| seen.push(text.to_owned()));
        assert_eq!(seen, ["one", "two"]);
    }
}
