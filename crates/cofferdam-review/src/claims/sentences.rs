//! A message, taken apart into sentences.

use crate::text::{fit, one_line};

/// Most columns shown of a sentence.
const SHOWN: usize = 200;
/// Most sentences of a message.
const MOST: usize = 2000;
/// A longer one is no sentence.
const LONGEST: usize = 2000;

/// A sentence, a list's item, or a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    /// Without marks of lists and emphasis; what stands in backticks keeps them.
    pub text: String,
    /// The same in lower case.
    pub low: String,
    /// It says what may, should or will be, or asks.
    pub hypothetical: bool,
}

impl Sentence {
    pub(super) fn new(text: &str) -> Sentence {
        let low = text.to_lowercase();
        let hypothetical = low.trim_end().ends_with('?')
            || low.starts_with("to ")
            || HYPOTHETICAL.iter().any(|words| has_words(&low, words));
        Sentence { text: text.to_owned(), low, hypothetical }
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> String {
        fit(&one_line(self.text.as_bytes()), SHOWN)
    }

    /// What stands in backticks, in order.
    pub(super) fn quoted(&self) -> impl Iterator<Item = &str> {
        self.text.split('`').skip(1).step_by(2).filter(|text| !text.trim().is_empty())
    }
}

/// Words of what is not said to be so.
const HYPOTHETICAL: &[&str] = &[
    "should",
    "would",
    "could",
    "will",
    "i'll",
    "let me",
    "you can",
    "you may",
    "you might",
    "please",
    "need to",
    "needs to",
    "want to",
    "if you",
    "recommend",
    "suggest",
    "consider",
    "let's",
    "going to",
    "next step",
    "next steps",
    "make sure",
    "ensure that",
    "once you",
    "before you",
    "after you",
    "must",
    "expected to",
    "unless",
    "todo",
];

/// Whether words stand in a text, not as parts of longer ones.
pub(super) fn has_words(text: &str, words: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_none_or(|c| !is_word(c));
        before && text[at + words.len()..].chars().next().is_none_or(|c| !is_word(c))
    })
}

/// The sentences of a text; blocks of code are none.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let mut all = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") || line.starts_with("~~~") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        for part in split(&unmarked(line)) {
            if all.len() == MOST {
                return all;
            }
            if part.chars().any(char::is_alphanumeric) && part.len() <= LONGEST {
                all.push(Sentence::new(part));
            }
        }
    }
    all
}

/// Without the marks of lists, headings, tables, check boxes and emphasis.
fn unmarked(line: &str) -> String {
    let mut rest = line.trim_start_matches(['#', '>', '-', '*', '•', '|', ' ', '✅', '✓', '✔', '\u{fe0f}']);
    let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if number.len() < rest.len() && number.starts_with(['.', ')']) && number[1..].starts_with(' ') {
        rest = &number[2..];
    }
    let rest = rest.trim_start().trim_start_matches("[x] ").trim_start_matches("[ ] ");
    rest.replace("**", "").replace("__", "").trim_end_matches(['|', ' ']).to_owned()
}

/// Words with a stop that ends no sentence.
const SHORT: [&str; 5] = ["e.g", "i.e", "etc", "vs", "cf"];

/// At `. `, `! `, `? ` and `; `, outside of backticks.
fn split(line: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted) = (Vec::new(), 0, false);
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '`' {
            quoted = !quoted;
        }
        let ends = matches!(c, '.' | '!' | '?' | ';') && chars.peek().is_none_or(|(_, next)| next.is_whitespace());
        if ends && !quoted && !SHORT.iter().any(|word| line[from..at].ends_with(word)) {
            let end = at + c.len_utf8();
            parts.push(line[from..end].trim());
            from = end;
        }
    }
    parts.push(line[from..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_markdown() {
        let text = "## Summary\n\nI fixed `a. b` in src/x.rs. All 12 tests pass!\n\n- **Added** `src/new.rs`; nothing else changed\n\
                    1. Ran `cargo test`.\n```\nAll tests pass.\n```\nUse e.g. this one\n";
        let got: Vec<String> = sentences(text).into_iter().map(|s| s.text).collect();
        assert_eq!(
            got,
            [
                "Summary",
                "I fixed `a. b` in src/x.rs.",
                "All 12 tests pass!",
                "Added `src/new.rs`;",
                "nothing else changed",
                "Ran `cargo test`.",
                "Use e.g. this one"
            ]
        );
    }

    #[test]
    fn what_may_be_is_not_what_is() {
        for (text, hypothetical) in [
            ("All tests should pass.", true),
            ("Do the tests pass?", true),
            ("You can run `make`.", true),
            ("All tests pass.", false),
            ("The shoulders pass.", false),
        ] {
            assert_eq!(Sentence::new(text).hypothetical, hypothetical, "{text}");
        }
    }

    #[test]
    fn giants_and_escapes_do_no_harm() {
        let giant = format!("{}. ok\n", "e.g. x. ".repeat(1 << 17)).repeat(3);
        assert_eq!(sentences(&giant).len(), MOST);
        assert!(sentences(&"a.\n".repeat(100_000)).len() <= MOST);
        assert_eq!(Sentence::new("\x1b[2Jtests \u{202e}pass").shown(), "\\u{1b}[2Jtests \\u{202e}pass");
    }
}
