//! Output as lines of plain text.

use vte::{Parser, Perform};

/// Most bytes of a line that a framework prints; longer ones are the tests' own.
const MOST: usize = 64 * 1024;

/// The lines of an output, without escape sequences and control characters other than tabulators.
pub(super) struct Lines {
    text: String,
    /// Where the text after a gap begins.
    gap: Option<usize>,
}

impl Lines {
    pub(super) fn new(head: &[u8], tail: &[u8]) -> Lines {
        let mut text = plain(head);
        let mut gap = None;
        if !tail.is_empty() {
            // The lines that the gap cuts would read as others.
            text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
            gap = Some(text.len());
            let end = plain(tail);
            text.push_str(end.split_once('\n').map_or("", |(_, whole)| whole));
        }
        Lines { text, gap }
    }

    /// Whether something in the middle is missing.
    pub(super) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// All lines in order; overlong ones are empty.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.text.lines().map(|line| if line.len() > MOST { "" } else { line })
    }

    /// All lines in order, each with whether it is the first after the gap.
    pub(super) fn marked(&self) -> impl Iterator<Item = (bool, &str)> {
        let start = self.text.as_ptr().addr();
        self.text.lines().map(move |line| {
            let first = self.gap == Some(line.as_ptr().addr() - start);
            (first, if line.len() > MOST { "" } else { line })
        })
    }
}

struct Plain(String);

impl Perform for Plain {
    fn print(&mut self, c: char) {
        if !c.is_control() {
            self.0.push(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | b'\t' => self.0.push(char::from(byte)),
            // A progress line is written over by what comes next: that begins a line too.
            b'\r' if !self.0.ends_with('\n') => self.0.push('\r'),
            _ => {}
        }
    }
}

/// A text without escape sequences and control characters other than tabulators and line ends.
pub(crate) fn plain(raw: &[u8]) -> String {
    let mut plain = Plain(String::with_capacity(raw.len()));
    Parser::new().advance(&mut plain, raw);
    // A terminal's line end is both characters.
    plain.0.replace("\r\n", "\n").replace('\r', "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_and_line_ends_are_one() {
        let text = Lines::new(b"\x1b[31mred\x1b[0m\tx\r\nprogress 1\rprogress 2\n\x1b]0;title\x07end \xff", b"");
        assert_eq!(text.all().collect::<Vec<_>>(), ["red\tx", "progress 1", "progress 2", "end \u{fffd}"]);
        assert!(!text.has_gap());
    }

    #[test]
    fn lines_that_a_gap_cuts_are_no_lines() {
        let text = Lines::new(b"one\ntw", b"ee\nfour\nfive");
        let marked: Vec<_> = text.marked().collect();
        assert_eq!(marked, [(false, "one"), (true, "four"), (false, "five")]);
        assert!(text.has_gap());
    }
}
