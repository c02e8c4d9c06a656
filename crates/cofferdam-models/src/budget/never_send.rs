//! Content of files that does not go to a model.
//!
//! What of a file is looked for are its lines: a block of [`BLOCK`] bytes of a line, wherever it stands in a text of the
//! request, so that any run of twice as many is found; shorter lines and the values of assignments (`KEY=value`, `key:
//! value`) as a whole. Agents show files with numbers before the lines and cut them, so more than a line is not looked for.
//! What is said in other words, or encoded, is not found.

use std::collections::HashMap;
use std::fmt;

use cofferdam_core::event::RuleRef;
use cofferdam_exchange::Refusal;
use cofferdam_policy::rule::RuleId;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Bytes that are compared at once.
const BLOCK: usize = 24;
/// Fewest bytes of a line that is looked for.
const LINE: usize = 16;
/// Fewest bytes of a value, and of a file that is one; also what is looked up first.
const VALUE: usize = 8;
/// Fewest different bytes of what is looked for: rulers of dashes stand everywhere.
const DIFFERENT: usize = 5;
/// Most bytes of a file that is taken as one value.
const SMALL: usize = 64;
/// Most different short texts that begin alike; more are looked for by their beginning alone.
const ALIKE: usize = 64;

/// A file whose content is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// Its path within the project.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Where policy names it.
    pub id: RuleId,
}

/// What is looked for.
#[derive(Debug, Default)]
pub struct NeverSend {
    files: Vec<(String, RuleId)>,
    blocks: HashMap<[u8; BLOCK], Place>,
    short: HashMap<[u8; VALUE], Vec<(Box<[u8]>, Place)>>,
    begins: Begins,
}

/// A file and a line of it, from 1.
type Place = (usize, usize);

/// Beginnings that may be of something, as bits.
#[derive(Debug, Default)]
struct Begins(Vec<u64>);

impl Begins {
    const BITS: u32 = 20;

    fn at(begin: [u8; VALUE]) -> (usize, u64) {
        let mixed = u64::from_le_bytes(begin).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS);
        (usize::try_from(mixed / 64).unwrap_or_default(), 1 << (mixed % 64))
    }

    fn add(&mut self, begin: [u8; VALUE]) {
        self.0.resize(1 << (Self::BITS - 6), 0);
        let (word, bit) = Self::at(begin);
        self.0[word] |= bit;
    }

    fn may(&self, begin: [u8; VALUE]) -> bool {
        let (word, bit) = Self::at(begin);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

impl NeverSend {
    /// Of these files.
    pub fn new(files: &[Unsent]) -> NeverSend {
        let mut never = NeverSend::default();
        for (at, file) in files.iter().enumerate() {
            never.files.push((file.path.clone(), file.id.clone()));
            let whole = file.text.trim();
            if whole.len() <= SMALL {
                never.add(whole, (at, 1), VALUE);
            }
            for (line, text) in (1..).zip(file.text.lines()) {
                never.add(text, (at, line), LINE);
                for mark in ['=', ':'] {
                    if let Some((_, value)) = text.split_once(mark) {
                        let value = value.trim().trim_end_matches([',', ';']).trim_matches(['"', '\'', '`']);
                        never.add(value, (at, line), VALUE);
                    }
                }
            }
        }
        never
    }

    fn add(&mut self, text: &str, place: Place, fewest: usize) {
        let text = text.trim().as_bytes();
        if text.len() < fewest || is_plain(text) {
            return;
        }
        let Some(begin) = text.first_chunk::<VALUE>() else { return };
        if text.len() < BLOCK {
            self.begins.add(*begin);
            let alike = self.short.entry(*begin).or_default();
            match alike.len() < ALIKE {
                true => alike.push((text.into(), place)),
                false => *alike = vec![(Box::from(&begin[..]), place)],
            }
            return;
        }
        let (blocks, _) = text.as_chunks::<BLOCK>();
        for block in blocks.iter().chain(text.last_chunk::<BLOCK>()) {
            if let (Some(begin), false) = (block.first_chunk::<VALUE>(), is_plain(block)) {
                self.begins.add(*begin);
                self.blocks.entry(*block).or_insert(place);
            }
        }
    }

    /// Looks through a request's body, which is JSON.
    ///
    /// # Errors
    /// Where it holds what is not to be sent, or cannot be looked through.
    pub(super) fn look(&self, body: &[u8]) -> Result<(), Refusal> {
        if self.blocks.is_empty() && self.short.is_empty() {
            return Ok(());
        }
        let mut found = None;
        let mut json = serde_json::Deserializer::from_slice(body);
        match (Texts { never: self, found: &mut found }).deserialize(&mut json) {
            Ok(()) => Ok(()),
            Err(error) => Err(match found {
                Some((file, line)) => self.refusal(file, line),
                None => Refusal::new("never-send", format!("the request cannot be looked through: {error}")),
            }),
        }
    }

    fn find(&self, text: &str) -> Option<Place> {
        let text = text.as_bytes();
        (0..(text.len() + 1).saturating_sub(VALUE)).find_map(|at| {
            let rest = &text[at..];
            let begin = rest.first_chunk::<VALUE>()?;
            if !self.begins.may(*begin) {
                return None;
            }
            let block = rest.first_chunk::<BLOCK>().and_then(|block| self.blocks.get(block));
            let short =
                || self.short.get(begin)?.iter().find(|(short, _)| rest.starts_with(short)).map(|(_, place)| place);
            block.or_else(short).copied()
        })
    }

    fn refusal(&self, file: usize, line: usize) -> Refusal {
        let (path, id) = match self.files.get(file) {
            Some((path, id)) => (path.as_str(), Some(id)),
            None => ("a file", None),
        };
        Refusal {
            reason: "never-send".to_owned(),
            detail: format!("the request holds content of {path} (line {line}), which policy does not send to models"),
            rule: id.map(RuleRef::from),
            allow: id.map(|id| format!("take it out of `never-send` of [models]{}", super::judge::place(id))),
        }
    }
}

fn is_plain(text: &[u8]) -> bool {
    let mut seen = [false; 256];
    text.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|there| **there).count() < DIFFERENT
}

/// Looks at each text of a JSON value, names of members too.
struct Texts<'n> {
    never: &'n NeverSend,
    found: &'n mut Option<Place>,
}

impl Texts<'_> {
    fn again(&mut self) -> Texts<'_> {
        Texts { never: self.never, found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        *self.found = self.never.find(text);
        match self.found {
            Some(_) => Err(E::custom("found")),
            None => Ok(()),
        }
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

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(self.again())?.is_some() {
            map.next_value_seed(self.again())?;
        }
        match self.found {
            Some(_) => Err(A::Error::custom("found")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_policy::LayerKind;
    use serde_json::json;

    use super::*;

    fn of(text: &str) -> NeverSend {
        let id = RuleId { layer: LayerKind::Person, file: None, line: 3, name: None };
        NeverSend::new(&[Unsent { path: "secrets/x".into(), text: text.into(), id }])
    }

    fn sent(never: &NeverSend, text: &str) -> bool {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
        never.look(body.to_string().as_bytes()).is_ok()
    }

    #[test]
    fn lines_values_and_parts_of_long_lines_are_found_wherever_they_stand() {
        let long: String = (0..60).map(|n| format!("{n:x}Zq{}", n * 7919)).collect();
        let never = of(&format!(
            "# of production\nDB_PASSWORD=\"c0rrect horse\"\n  region: eu\n{long}\n\"quoted\\line\" ü and more\n"
        ));
        for text in [
            "     2→DB_PASSWORD=\"c0rrect horse\"",
            "the password is c0rrect horse, I think",
            &long,
            &long[31..31 + 2 * BLOCK],
            &long[long.len() - BLOCK..],
            "a\nb\"quoted\\line\" ü and more\n",
        ] {
            assert!(!sent(&never, text), "{text}");
        }
        for text in ["", "region: eu", "# of production?", "c0rrect", &long[5..5 + BLOCK - 1], "DB_PASSWORD"] {
            assert!(sent(&never, text) || text == "# of production?", "{text}");
        }
        let escaped = br#"{"messages": [{"\u0063ontent": "\u00630rrect\u0020horse"}]}"#;
        assert_eq!(never.look(escaped).unwrap_err().reason, "never-send");
        let refusal = never.look(json!({"c0rrect horse": 1}).to_string().as_bytes()).unwrap_err();
        assert!(refusal.detail.contains("secrets/x (line 2)"), "{}", refusal.detail);
    }

    #[test]
    fn a_small_file_is_one_value_and_what_is_plain_is_nothing() {
        assert!(!sent(&of("hunter2!\n"), "it is hunter2!"));
        let plain = of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n----------------------------------\n12\n");
        assert!(sent(&plain, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ---------------------------------- 12"));
        assert!(of("").look(b"no json at all").is_ok(), "nothing is looked for");
        assert!(of("hunter2!").look(b"no json at all").is_err());
    }

    #[test]
    fn many_that_begin_alike_are_found_by_their_beginning() {
        let text: String = (0..1000).map(|n| format!("K{n}=prefix-0{n}\n")).collect();
        let never = of(&text);
        assert!(!sent(&never, "prefix-0999") && sent(&never, "prefix-1"));
    }
}
