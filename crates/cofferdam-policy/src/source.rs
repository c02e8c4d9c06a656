//! A policy file's text and where in it something stands.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cofferdam_core::change::Digest;
use sha2::{Digest as _, Sha256};

/// A policy file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: Arc<Path>,
    /// Its text.
    pub text: String,
}

/// A place in a file, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The first line is 1.
    pub line: u32,
    /// In characters; the first is 1.
    pub column: u32,
}

impl Source {
    /// A file's text.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        Source { path: Arc::from(path.into()), text: text.into() }
    }

    /// The SHA-256 digest of the text.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.text.as_bytes()).into())
    }

    /// Where a byte stands; the end of the text for what lies beyond it.
    pub fn position(&self, offset: usize) -> Position {
        let before = &self.text[..self.boundary(offset)];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: count(before.bytes().filter(|b| *b == b'\n').count() + 1),
            column: count(before[start..].chars().count() + 1),
        }
    }

    /// The line in which a byte stands, without its end, and the offset of its beginning.
    pub(crate) fn line_at(&self, offset: usize) -> (usize, &str) {
        let at = self.boundary(offset);
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        (start, line.strip_suffix('\r').unwrap_or(line))
    }

    /// The part of a span that lies in its first line.
    pub(crate) fn first_line_of(&self, span: &Range<usize>) -> (usize, &str, Range<usize>) {
        let (start, line) = self.line_at(span.start);
        let within = |at: usize| self.boundary(at).saturating_sub(start).min(line.len());
        (start, line, within(span.start)..within(span.end).max(within(span.start)))
    }

    /// The nearest boundary of a character at or before a byte.
    fn boundary(&self, offset: usize) -> usize {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_editors_do() {
        let source = Source::new("p", "a\nb\u{e9}c\r\n\nd");
        let at = |n| (source.position(n).line, source.position(n).column);
        assert_eq!([at(0), at(2), at(3), at(4), at(5), at(99)], [(1, 1), (2, 1), (2, 2), (2, 2), (2, 3), (4, 2)]);
        assert_eq!(source.first_line_of(&(2..9)), (2, "b\u{e9}c", 0..4));
        assert_eq!(source.first_line_of(&(99..120)), (9, "d", 1..1));
        assert_eq!(Source::new("p", "").first_line_of(&(0..0)), (0, "", 0..0));
    }
}
