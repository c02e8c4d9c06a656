//! Taking values out of a TOML table, and noting what is not as it should be.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use crate::diagnostic::{Class, Diagnostic};
use crate::source::Source;

/// How alike two words must be for one to be offered in place of the other (Jaro and Winkler; 1 is the same).
const ALIKE: f64 = 0.8;

/// A pass over a file.
pub(super) struct Walk<'s> {
    pub(super) source: &'s Source,
    pub(super) found: Vec<Diagnostic>,
    /// An offset and the line in which it stands.
    reached: (usize, u32),
}

impl<'s> Walk<'s> {
    pub(super) fn new(source: &'s Source) -> Walk<'s> {
        Walk { source, found: Vec::new(), reached: (0, 1) }
    }

    /// The line of an offset. Asked in the order of the file it reads the text once in all.
    pub(super) fn line(&mut self, offset: usize) -> u32 {
        let (from, line) = if offset < self.reached.0 { (0, 1) } else { self.reached };
        let passed = self.source.text.as_bytes().get(from..offset).unwrap_or_default();
        let lines = u32::try_from(passed.iter().filter(|b| **b == b'\n').count()).unwrap_or(u32::MAX);
        self.reached = (offset, line.saturating_add(lines));
        self.reached.1
    }

    /// Notes every key that is none of the known ones; gives back those that were probably meant.
    pub(super) fn known<'k>(&mut self, table: &DeTable<'_>, known: &[&'k str], of: &str) -> Vec<&'k str> {
        let mut meant = Vec::new();
        for (key, _) in table {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let error = Diagnostic::new(Class::UnknownKey, key.span(), format!("unknown key `{word}` in {of}"));
            self.found.push(match nearest(word, known.iter().copied()) {
                Some(near) => {
                    meant.push(near);
                    error.label(format!("did you mean `{near}`?"))
                }
                None => error.label("not known to this version of coffer").help(format!("known are {}", listed(known))),
            });
        }
        meant
    }

    /// A table within a table.
    pub(super) fn table<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Option<(&'t DeTable<'i>, Range<usize>)> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Table(inner) => Some((inner, value.span())),
            other => {
                self.wrong_type(key, "a table", other, value.span());
                None
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text<'t>(&mut self, table: &'t DeTable<'_>, key: &str) -> Option<(&'t str, Range<usize>)> {
        let value = table.get(key)?;
        let text = self.string(key, "text in quotes", value)?;
        if text.trim().is_empty() {
            self.found.push(
                Diagnostic::new(Class::Empty, value.span(), format!("`{key}` is empty")).label("nothing is said here"),
            );
            return None;
        }
        Some((text, value.span()))
    }

    /// A list of texts that is not empty.
    pub(super) fn texts<'t>(&mut self, table: &'t DeTable<'_>, key: &str) -> Option<Vec<(&'t str, Range<usize>)>> {
        let texts = self.texts_of(table, key, "a list of texts")?;
        if texts.is_empty() {
            let span = table.get(key)?.span();
            let error = Diagnostic::new(Class::Empty, span, format!("`{key}` is empty: the rule allows nothing"));
            self.found.push(error.label("an empty list").help(format!("leave `{key}` out to allow all of them")));
            return None;
        }
        Some(texts)
    }

    /// A list of texts, which is `wanted`.
    pub(super) fn texts_of<'t>(
        &mut self,
        table: &'t DeTable<'_>,
        key: &str,
        wanted: &str,
    ) -> Option<Vec<(&'t str, Range<usize>)>> {
        let value = table.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, wanted, value.get_ref(), value.span());
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            texts.push((self.string(key, wanted, item)?, item.span()));
        }
        Some(texts)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<(T, Range<usize>)> {
        let (text, span) = self.text(table, key)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some((*value, span)),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.unknown_value(key, text, span, &all);
                None
            }
        }
    }

    /// Notes a word that is none of those which may stand there.
    pub(super) fn unknown_value(&mut self, key: &str, text: &str, span: Range<usize>, words: &[&str]) {
        let error = Diagnostic::new(Class::UnknownValue, span, format!("`{key}` cannot be `{text}`"));
        self.found.push(match nearest(text, words.iter().copied()) {
            Some(near) => error.label(format!("did you mean `{near}`?")),
            None => error.label("not known").help(format!("it can be {}", listed(words))),
        });
    }

    /// Notes a value of the wrong type.
    pub(super) fn wrong_type(&mut self, key: &str, wanted: &str, got: &DeValue<'_>, span: Range<usize>) {
        let error = Diagnostic::new(Class::WrongType, span, format!("`{key}` is {wanted}"));
        self.found.push(error.label(format!("this is {}", type_of(got))));
    }

    fn string<'t>(&mut self, key: &str, wanted: &str, value: &'t Spanned<DeValue<'_>>) -> Option<&'t str> {
        match value.get_ref() {
            DeValue::String(text) => {
                let text: &DeString<'_> = text;
                Some(text)
            }
            other => {
                self.wrong_type(key, wanted, other, value.span());
                None
            }
        }
    }
}

/// A number's value; `None` where it is beyond 64 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known word that one was probably meant to be.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Anything longer is no misspelling, and comparing costs the product of the lengths.
    if word.len() > 40 {
        return None;
    }
    let folded = word.to_ascii_lowercase().replace('_', "-");
    known
        .map(|candidate| (strsim::jaro_winkler(&folded, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
