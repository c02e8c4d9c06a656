//! Striking secret values out of what is recorded.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use cofferdam_core::Bytes;
use cofferdam_core::change::Digest;
use serde_json::Value;

use crate::encodings::forms;
use crate::{Error, MaskedStream, Result, Search, Secrets, StruckStream};

/// Finds known values in all their forms, and puts their names in their place. A copy shares what is known:
/// [`Striker::renew`] reaches all of them.
#[derive(Clone, Default)]
pub struct Striker(Arc<RwLock<Option<Arc<Known>>>>);

/// What a striker knows.
pub(crate) struct Known {
    automaton: AhoCorasick,
    /// The forms in ascending order; a form's place is its pattern number.
    forms: Vec<Vec<u8>>,
    /// The forms backwards, in ascending order, each with its place in `forms`.
    backwards: Vec<(Vec<u8>, usize)>,
    /// The name that stands for each form.
    names: Vec<String>,
    /// Which bytes begin a form.
    first: [bool; 256],
    longest: usize,
}

/// What stands for each byte of a value that is masked.
pub(crate) const MASK: u8 = b'*';

/// Fewest bytes of a form's beginning or end that are struck where the rest of it was cut off.
const MIN_FRAGMENT: usize = 8;

/// A place where values stand, and the form that gives it its name.
pub(crate) type Found = (Range<usize>, usize);

impl fmt::Debug for Striker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = self.known().map_or(0, |known| known.names.len());
        f.debug_struct("Striker").field("forms", &forms).finish_non_exhaustive()
    }
}

impl Striker {
    /// Prepares the search.
    ///
    /// # Errors
    /// [`Error::Secrets`] where the automaton cannot be built.
    pub fn new(secrets: &Secrets) -> Result<Striker> {
        let striker = Striker::default();
        striker.renew(secrets)?;
        Ok(striker)
    }

    /// From now on this striker and all its copies find these secrets, and no others. Streams that have begun find them
    /// in what comes.
    ///
    /// # Errors
    /// As [`Striker::new`]; then what was known stays known.
    pub fn renew(&self, secrets: &Secrets) -> Result<()> {
        let known = Known::of(secrets)?.map(Arc::new);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        // Nothing panics while it holds the lock: a value is put in its place, no more.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Strikes bytes that are whole: `[secret:NAME]` stands for a value.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(known) = self.known() else { return Cow::Borrowed(bytes) };
        let found = known.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for (at, form) in found {
            out.extend_from_slice(&bytes[from..at.start]);
            out.extend_from_slice(known.mark(form).as_bytes());
            from = at.end;
        }
        out.extend_from_slice(&bytes[from..]);
        Cow::Owned(out)
    }

    /// Strikes a text: `⟦secret:NAME⟧` stands for a value.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(known) = self.known() else { return Cow::Borrowed(text) };
        let found = known.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for (at, form) in found {
            // A value that is no UTF-8 may begin or end within a character.
            let start = text.floor_char_boundary(at.start).max(from);
            out.push_str(&text[from..start]);
            out.push_str(&format!("\u{27e6}secret:{}\u{27e7}", known.names[form]));
            from = text.ceil_char_boundary(at.end);
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// Strikes every string and byte string within a JSON value. What is not struck: names of members, numbers, and
    /// digests, which are the recorder's own.
    pub fn json(&self, value: &mut Value) {
        if self.known().is_none() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(struck) = self.text(text) {
                    *text = struck;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(members) => {
                if members.len() == 1
                    && members.contains_key("hex")
                    && let Ok(bytes) = serde_json::from_value::<Bytes>(Value::Object(members.clone()))
                {
                    if let Cow::Owned(struck) = self.bytes(&bytes.0) {
                        *value = match String::from_utf8(struck) {
                            Ok(text) => Value::String(text),
                            Err(e) => serde_json::json!({"hex": cofferdam_core::bytes::hex(e.as_bytes())}),
                        };
                    }
                    return;
                }
                for (_, member) in members.iter_mut().filter(|(name, member)| !is_digest(name, member)) {
                    self.json(member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Whether a line of JSON may hold a value: then [`Striker::json`] has to look at it. Each form is searched for as
    /// it stands in a JSON string; what a byte string in hexadecimal digits holds shows only when it is decoded.
    pub(crate) fn suspects(&self, line: &[u8]) -> bool {
        self.known()
            .is_some_and(|known| known.automaton.is_match(line) || memchr::memmem::find(line, b"{\"hex\":\"").is_some())
    }

    /// The name of a value that stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let known = self.known()?;
        known.automaton.find(bytes).map(|found| known.names[found.pattern().as_usize()].clone())
    }

    /// The bytes with `*` for each byte of a value, and as long as they were.
    pub fn masked<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.known().map_or_else(Vec::new, |known| known.find(bytes));
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut out = bytes.to_vec();
        found.into_iter().for_each(|(at, _)| out[at].fill(MASK));
        Cow::Owned(out)
    }

    /// Begins to search a stream.
    pub fn search(&self) -> Search {
        Search::new(self.clone())
    }

    /// Begins to mask a stream.
    pub fn mask(&self) -> MaskedStream {
        MaskedStream::new(self.clone())
    }

    /// Begins to strike a stream.
    pub fn stream(&self) -> StruckStream {
        StruckStream::new(self.clone())
    }
}

/// Whether a member is one of the recorder's own digests: 64 hexadecimal digits in a place of digests.
fn is_digest(name: &str, member: &Value) -> bool {
    matches!(name, "digest" | "plan") && member.as_str().is_some_and(|text| Digest::try_from(text.to_owned()).is_ok())
}

impl Known {
    /// Prepares the search; `None` where there is nothing to search for.
    fn of(secrets: &Secrets) -> Result<Option<Known>> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let mut all: Vec<(Vec<u8>, &str)> = secrets
            .iter()
            .flat_map(|secret| forms(&secret.value.0).into_iter().map(|form| (form, secret.name.as_str())))
            .collect();
        all.sort();
        all.dedup_by(|later, earlier| later.0 == earlier.0);
        let (forms, names): (Vec<Vec<u8>>, Vec<String>) =
            all.into_iter().map(|(form, name)| (form, name.to_owned())).unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // The monitor's memory is bounded: a DFA takes fifty times as much for twice the speed.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&forms)
            .map_err(|e| Error::Secrets(e.to_string()))?;
        let mut backwards: Vec<(Vec<u8>, usize)> =
            forms.iter().enumerate().map(|(n, form)| (form.iter().rev().copied().collect(), n)).collect();
        backwards.sort();
        let mut first = [false; 256];
        forms.iter().for_each(|form| first[usize::from(form[0])] = true);
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Some(Known { automaton, forms, backwards, names, first, longest }))
    }

    /// The places where values stand, in order; those that overlap are one.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<Found> {
        if !self.automaton.is_match(bytes) {
            return Vec::new();
        }
        let mut all: Vec<Found> =
            self.automaton.find_overlapping_iter(bytes).map(|m| (m.range(), m.pattern().as_usize())).collect();
        all.sort_by_key(|(at, _)| (at.start, std::cmp::Reverse(at.end)));
        let mut merged: Vec<Found> = Vec::new();
        for (at, form) in all {
            match merged.last_mut() {
                Some((last, _)) if at.start < last.end => last.end = last.end.max(at.end),
                _ => merged.push((at, form)),
            }
        }
        merged
    }

    /// Where the end of `bytes` begins that may be the beginning of a form: at most the longest form less one byte.
    pub(crate) fn open_end(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest - 1);
        let opens = |at: &usize| self.first[usize::from(bytes[*at])] && self.begun(&bytes[*at..]).is_some();
        (from..bytes.len()).find(opens).unwrap_or(bytes.len())
    }

    /// The first form that begins with `bytes` and is longer.
    pub(crate) fn begun(&self, bytes: &[u8]) -> Option<usize> {
        let at = self.forms.partition_point(|form| form[..] <= *bytes);
        self.forms.get(at).filter(|form| form.starts_with(bytes)).map(|_| at)
    }

    /// The longest beginning of `bytes` that is the end of a form, where it is long enough to say something of it.
    pub(crate) fn cut_beginning(&self, bytes: &[u8]) -> Option<Found> {
        (MIN_FRAGMENT..=bytes.len().min(self.longest - 1)).rev().find_map(|end| {
            let reversed: Vec<u8> = bytes[..end].iter().rev().copied().collect();
            let at = self.backwards.partition_point(|(form, _)| form[..] < reversed[..]);
            self.backwards.get(at).filter(|(form, _)| form.starts_with(&reversed)).map(|(_, form)| (0..end, *form))
        })
    }

    /// The form of which `bytes` is the beginning, where it is long enough to say something of it.
    pub(crate) fn cut_end(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() < MIN_FRAGMENT { None } else { self.begun(bytes) }
    }

    /// What stands for a form in bytes.
    pub(crate) fn mark(&self, form: usize) -> String {
        format!("[secret:{}]", self.names[form])
    }

    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn striker(values: &[(&str, &[u8])]) -> Striker {
        let mut secrets = Secrets::default();
        values.iter().for_each(|(name, value)| secrets.add(name, value).unwrap());
        Striker::new(&secrets).unwrap()
    }

    #[test]
    fn values_that_overlap_go_as_a_whole() {
        let striker = striker(&[("A", b"abcdEFGH1"), ("B", b"EFGH1ijkl"), ("LONG", b"abcdEFGH1-more")]);
        for (text, struck) in [
            ("x abcdEFGH1ijkl y", "x [secret:A] y"),
            ("x abcdEFGH1-more y", "x [secret:LONG] y"),
            ("abcdEFGH1abcdEFGH1", "[secret:A][secret:A]"),
            ("abcdEFGH", "abcdEFGH"),
        ] {
            assert_eq!(striker.bytes(text.as_bytes()), struck.as_bytes(), "{text}");
        }
        assert_eq!(striker.text("\u{e9}abcdEFGH1\u{e9}"), "\u{e9}\u{27e6}secret:A\u{27e7}\u{e9}");
        assert!(matches!(striker.text("nothing"), Cow::Borrowed(_)));
        assert!(matches!(Striker::default().bytes(b"abcdEFGH1"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_value_that_is_no_text_leaves_whole_characters() {
        let striker = striker(&[("RAW", b"\xa9\xff1234567\xc3")]);
        assert_eq!(striker.bytes(b"_\xa9\xff1234567\xc3_"), &b"_[secret:RAW]_"[..]);
        let digits = "a9ff31323334353637c3";
        assert_eq!(striker.text(digits), "\u{27e6}secret:RAW\u{27e7}");
    }

    #[test]
    fn copies_and_streams_that_have_begun_find_what_is_learnt_later() {
        let striker = Striker::default();
        let (copy, mut stream, mut search, mut out) = (striker.clone(), striker.stream(), striker.search(), Vec::new());
        stream.push(b"later-Value-1 ", &mut out);
        search.push(b"later-Value-1 ", &mut Vec::new()).unwrap();
        let mut secrets = Secrets::default();
        secrets.add("LATER", b"later-Value-1").unwrap();
        striker.renew(&secrets).unwrap();
        assert_eq!(copy.bytes(b"later-Value-1"), &b"[secret:LATER]"[..]);
        stream.push(b"later-Value-1 ", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "later-Value-1 [secret:LATER] ");
        assert!(search.push(b"later-Value-1", &mut Vec::new()).is_err());
        assert_eq!(copy.masked(b"a later-Value-1 b"), &b"a ************* b"[..]);
    }

    #[test]
    fn every_string_of_an_event_is_looked_at() {
        let striker = striker(&[("KEY", b"pa\"ss\\w0rd/1")]);
        let secret = "pa\"ss\\w0rd/1";
        let digest = "ab".repeat(32);
        let mut value = serde_json::json!({
            "argv": ["x", format!("--key={secret}"), serde_json::json!({"k": secret}).to_string()],
            "deep": {"list": [{"path": {"hex": cofferdam_core::bytes::hex(&[secret.as_bytes(), b"\xff"].concat())}}]},
            "digest": digest, "n": 7,
        });
        assert!(striker.suspects(value.to_string().as_bytes()));
        striker.json(&mut value);
        let text = value.to_string();
        assert!(!striker.suspects(text.replace("{\"hex\":", "").as_bytes()), "{text}");
        assert_eq!(value["argv"][1], "--key=\u{27e6}secret:KEY\u{27e7}");
        assert_eq!(value["deep"]["list"][0]["path"]["hex"], cofferdam_core::bytes::hex(b"[secret:KEY]\xff"));
        assert_eq!((&value["digest"], &value["n"]), (&digest.into(), &7.into()));
    }

    #[test]
    fn a_digest_that_is_a_secret_elsewhere_stays_a_digest() {
        let digest = cofferdam_core::bytes::hex(&std::array::from_fn::<u8, 32, _>(|n| n as u8 * 7));
        let striker = striker(&[("HEX", digest.as_bytes())]);
        let mut value = serde_json::json!({"digest": digest, "path": digest});
        striker.json(&mut value);
        assert_eq!(value, serde_json::json!({"digest": digest, "path": "\u{27e6}secret:HEX\u{27e7}"}));
    }
}
