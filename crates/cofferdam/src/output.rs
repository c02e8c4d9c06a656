//! All printing: where it goes, and whether it may be coloured.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::io::{self, BufRead, IsTerminal, Write};

pub use cofferdam_review::text::{one_line as visible, size};
use cofferdam_workspace::diff::is_hidden;
use serde::Serialize;

use crate::failure::Failure;

/// A line about an error, on standard error; errors name paths, and who chose those is not known here.
pub fn complain(what: &str) {
    eprintln!("coffer: {}", visible(what.as_bytes()));
}

/// What to do next, on standard error.
pub fn advise(next: &str) {
    eprintln!("        {}", visible(next.as_bytes()));
}

/// A remark of coffer's on standard error, beside the command's own output.
pub fn remark(line: &str) {
    eprintln!("{line}");
}

/// Text on standard output. A reader that has closed it is not an error.
///
/// # Errors
/// Where it cannot be written for another reason.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!("standard output: {e}"))),
        _ => Ok(()),
    }
}

/// Asks a question on standard error; whether the person, where there is one to answer, said yes.
///
/// # Errors
/// Where the terminal cannot be written or read.
pub fn agreed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut err = io::stderr().lock();
    err.write_all(format!("{question} [y/N] ").as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Facts as one JSON document on standard output.
///
/// # Errors
/// Where it cannot be written.
pub fn json(facts: &impl Serialize) -> Result<(), Failure> {
    let mut text = plain_json(&serde_json::to_string_pretty(facts)?);
    text.push('\n');
    print(text)
}

/// Facts as JSON on one line of standard error.
///
/// # Errors
/// Where they do not serialise.
pub fn json_remark(facts: &impl Serialize) -> Result<(), Failure> {
    remark(&plain_json(&serde_json::to_string(facts)?));
    Ok(())
}

/// JSON that says the same and is safe to show: what acts on a terminal or hides from the eye is escaped (RFC 8259,
/// section 7). Outside of strings JSON has nothing of the kind.
pub fn plain_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && (c.is_control() || is_hidden(c)) {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON on its way to somebody who may look at it, as [`plain_json`] makes it.
pub struct PlainJson<W> {
    to: W,
    /// The beginning of a character.
    held: Vec<u8>,
}

impl<W: Write> PlainJson<W> {
    /// Writes to `to`, which gets whole characters.
    pub fn new(to: W) -> PlainJson<W> {
        PlainJson { to, held: Vec::new() }
    }
}

impl<W: Write> Write for PlainJson<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.held) {
            Ok(text) => text.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            // RFC 8259, section 8.1: JSON is UTF-8.
            Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
        };
        let rest = self.held.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.held, rest));
        self.to.write_all(plain_json(&text.unwrap_or_default()).as_bytes())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    /// For standard output.
    pub fn stdout(self) -> bool {
        self.on(io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn stderr(self) -> bool {
        self.on(io::stderr().is_terminal())
    }

    fn on(self, terminal: bool) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org: present and not empty.
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }
}

/// Text in an SGR style (`ECMA-48`), or as it is.
pub fn styled(text: &str, style: &str, colour: bool) -> String {
    if colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Rows as aligned columns, two spaces apart; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A count with its noun: `1 file`, `3 files`.
pub fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// How long something took, for people: `0.4 s`, `2m14s`, `3h02m`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_show_as_escapes() {
        assert_eq!(visible("a\x1b[31m\u{202e}b\u{e9}".as_bytes()), "a\\u{1b}[31m\\u{202e}b\u{e9}");
        assert_eq!(visible(b"f\xff\n"), "f\\xff\\n");
    }

    #[test]
    fn json_is_safe_to_show_and_says_the_same() {
        let text = "a\u{202e}\u{9b}\u{e0041}\u{7f}\x1b\n\"\\ \u{e9}";
        let shown = plain_json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!shown.chars().any(|c| c != '\n' && (c.is_control() || is_hidden(c))), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }

    #[test]
    fn json_is_safe_however_it_is_cut() {
        let text = serde_json::to_string(&["a\u{202e}\u{9b}é\u{e0041}", "🦀"]).unwrap();
        for size in 1..=text.len() {
            let mut out = Vec::new();
            let mut plain = PlainJson::new(&mut out);
            text.as_bytes().chunks(size).for_each(|piece| plain.write_all(piece).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), plain_json(&text), "by {size}");
        }
        assert!(PlainJson::new(Vec::new()).write_all(b"\"\xff\"").is_err());
    }

    #[test]
    fn figures_for_people() {
        assert_eq!((size(999).as_str(), size(4_200_000).as_str()), ("999 B", "4.2 MB"));
        assert_eq!((duration(412).as_str(), duration(134_000).as_str()), ("0.4 s", "2m14s"));
        assert_eq!(table(&[vec!["a".into(), "b".into()], vec!["ccc".into(), "d".into()]]), "a    b\nccc  d\n");
    }
}
