//! Lines of bounded length with their offsets, from a file that may hold anything.

use std::io::{self, BufRead, BufReader, Read};

/// What comes next in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line that ends in a newline; the newline is not in the buffer.
    Line,
    /// Bytes at the end without a newline.
    Torn,
    /// A line longer than the limit; the rest of the file cannot be told apart.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    inner: BufReader<R>,
    limit: usize,
    start: u64,
    end: u64,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// `limit`: most bytes of a line, its newline not counted.
    pub(crate) fn new(inner: R, limit: usize) -> Self {
        Lines { inner: BufReader::with_capacity(1 << 16, inner), limit, start: 0, end: 0, number: 0 }
    }

    /// Puts the next line into `line`.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Next> {
        line.clear();
        self.start = self.end;
        let read = self.inner.by_ref().take(self.limit as u64 + 1).read_until(b'\n', line)?;
        self.end += read as u64;
        if read == 0 {
            return Ok(Next::End);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            Ok(Next::Line)
        } else if line.len() > self.limit {
            Ok(Next::TooLong)
        } else {
            Ok(Next::Torn)
        }
    }

    /// Where the last line starts in the file.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Where what was read so far ends, newline included.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The number of the last line, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_limits_and_torn_ends() {
        let mut lines = Lines::new(&b"ab\n\nabcd\nx"[..], 4);
        let mut line = Vec::new();
        let mut seen = Vec::new();
        loop {
            let next = lines.next(&mut line).unwrap();
            seen.push((next, line.clone(), lines.start(), lines.end()));
            if next == Next::End {
                break;
            }
        }
        assert_eq!(
            seen,
            [
                (Next::Line, b"ab".to_vec(), 0, 3),
                (Next::Line, b"".to_vec(), 3, 4),
                (Next::Line, b"abcd".to_vec(), 4, 9),
                (Next::Torn, b"x".to_vec(), 9, 10),
                (Next::End, b"".to_vec(), 10, 10),
            ]
        );
        let mut lines = Lines::new(&b"abcde\n"[..], 4);
        assert_eq!(lines.next(&mut line).unwrap(), Next::TooLong);
    }
}
