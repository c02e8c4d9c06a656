//! Striking values out of a stream that comes in pieces of any size.

use crate::Striker;
use crate::strike::Known;

/// A stream whose values are struck wherever its pieces are cut. Holds back the end of what came as long as it may be
/// the beginning of a value, at most the longest form of one less a byte.
#[derive(Debug)]
pub struct StruckStream {
    striker: Striker,
    held: Vec<u8>,
    /// Bytes at the beginning of `held` for which a name stands already.
    covered: usize,
    /// Whether something is missing before `held`, so that it may begin within a value.
    torn: bool,
}

impl StruckStream {
    pub(crate) fn new(striker: Striker) -> StruckStream {
        StruckStream { striker, held: Vec::new(), covered: 0, torn: false }
    }

    /// Whether there is nothing to strike: then all goes through as it is.
    pub(crate) fn is_idle(&self) -> bool {
        self.striker.known().is_none()
    }

    /// Takes a piece, and appends to `out` what is settled.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(known) = self.striker.known() else {
            out.extend_from_slice(piece);
            return;
        };
        if piece.is_empty() {
            return;
        }
        if self.torn {
            self.held.extend_from_slice(piece);
            if self.held.len() < known.longest() {
                return;
            }
            let held = std::mem::take(&mut self.held);
            self.mend(&known, &held, out);
            self.settle(&known, &held, out);
        } else if self.held.is_empty() {
            self.settle(&known, piece, out);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(piece);
            self.settle(&known, &held, out);
        }
    }

    /// Says that what comes next does not follow on what came: ends the held piece, and takes what comes as the middle
    /// of something. A value that the gap cuts is struck on both sides, where 8 bytes of it are there.
    pub fn gap(&mut self, out: &mut Vec<u8>) {
        self.end(out);
        self.torn = self.striker.known().is_some();
    }

    /// Ends the stream. The beginning of a value at its end is struck, where it has 8 bytes.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        let Some(known) = self.striker.known() else { return };
        let held = std::mem::take(&mut self.held);
        if self.torn {
            self.mend(&known, &held, out);
            self.settle(&known, &held, out);
            return self.end(out);
        }
        match known.cut_end(&held) {
            Some(form) if self.covered < held.len() => out.extend_from_slice(known.mark(form).as_bytes()),
            _ => out.extend_from_slice(&held[self.covered..]),
        }
        self.covered = 0;
    }

    /// Strikes the end of a value with which the stream goes on after a gap.
    fn mend(&mut self, known: &Known, held: &[u8], out: &mut Vec<u8>) {
        self.torn = false;
        if let Some((at, form)) = known.cut_beginning(held) {
            out.extend_from_slice(known.mark(form).as_bytes());
            self.covered = at.end;
        }
    }

    /// Gives out all but the open end of `bytes`, and holds that.
    fn settle(&mut self, known: &Known, bytes: &[u8], out: &mut Vec<u8>) {
        let open = known.open_end(bytes);
        // Up to here bytes are given out or struck.
        let mut done = self.covered;
        for (at, form) in known.find(bytes) {
            if at.start >= done && at.start < open {
                out.extend_from_slice(&bytes[done..at.start]);
                out.extend_from_slice(known.mark(form).as_bytes());
                done = at.end;
            } else if at.start < done {
                done = done.max(at.end);
            }
        }
        if done < open {
            out.extend_from_slice(&bytes[done..open]);
        }
        self.covered = done.saturating_sub(open);
        self.held.clear();
        self.held.extend_from_slice(&bytes[open..]);
    }
}

#[cfg(test)]
mod tests {
    use crate::cuts::{TEXT, pieces, striker};

    #[test]
    fn any_cut_gives_what_the_whole_gives() {
        let striker = striker();
        let whole = striker.bytes(TEXT.as_bytes()).into_owned();
        for (round, pieces) in pieces().enumerate() {
            let (mut stream, mut out) = (striker.stream(), Vec::new());
            for piece in pieces {
                stream.push(piece, &mut out);
            }
            stream.end(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole), "round {round}");
        }
    }

    #[test]
    fn nothing_is_held_back_that_cannot_be_a_value() {
        let (mut stream, mut out) = (striker().stream(), Vec::new());
        stream.push(b"plain output\n", &mut out);
        assert_eq!(out, b"plain output\n");
        stream.push(b"now abcdE", &mut out);
        assert_eq!(out, b"plain output\nnow ");
        stream.push(b"!", &mut out);
        assert_eq!(out, b"plain output\nnow abcdE!");
    }

    #[test]
    fn a_gap_within_a_value_shows_neither_side() {
        let value = "abcdEFGH1-more".as_bytes();
        for cut in 0..=value.len() {
            for lost in [0, 1, 3] {
                let (mut stream, mut out) = (striker().stream(), Vec::new());
                stream.push(&[b"before ", &value[..cut]].concat(), &mut out);
                stream.gap(&mut out);
                let head = out.len();
                stream.push(&[&value[(cut + lost).min(value.len())..], b" after"].concat(), &mut out);
                stream.end(&mut out);
                let (head, tail) = out.split_at(head);
                assert!(!head.windows(8).any(|w| value.windows(8).any(|v| v == w)), "{cut} {lost}");
                assert!(!tail.windows(8).any(|w| value.windows(8).any(|v| v == w)), "{cut} {lost}");
                assert!(head.starts_with(b"before ") && tail.ends_with(b" after"), "{cut} {lost}");
            }
        }
    }

    #[test]
    fn a_value_without_end_takes_bounded_memory() {
        let (mut stream, mut out) = (striker().stream(), Vec::new());
        for _ in 0..100_000 {
            stream.push(b"xyXY1", &mut out);
            assert!(stream.held.capacity() < 1024);
        }
        stream.end(&mut out);
        assert_eq!(out, b"[secret:P]");
    }
}
