//! Masking values in a stream that goes on to somebody who must not have them.

use crate::strike::MASK;
use crate::{Held, Striker};

/// Fewest bytes of a value's beginning that are held back at the end of a piece.
const MIN_HELD: usize = 4;

/// A stream in which `*` stands for each byte of a value, wherever its pieces are cut: what comes out is as long as what
/// came. Of a value that comes in such pieces, at most 3 bytes have gone on.
#[derive(Debug)]
pub struct MaskedStream {
    striker: Striker,
    held: Held,
    /// Bytes at the beginning of what is held that belong to a value.
    covered: usize,
}

impl MaskedStream {
    pub(crate) fn new(striker: Striker) -> MaskedStream {
        MaskedStream { striker, held: Held::new(MIN_HELD), covered: 0 }
    }

    /// Takes a piece, and appends to `out` what may go on.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(known) = self.striker.known() else {
            out.extend_from_slice(piece);
            return;
        };
        let all = self.held.push(piece);
        let (open, found) = (known.open_end(all), known.find(all));
        let from = out.len();
        // What of `all` has gone on already is not given out again.
        let passed = all.len() - self.held.waiting();
        self.held.pass(open, out);
        let mut covered = self.covered;
        let mut mask = |at: std::ops::Range<usize>| {
            let most = out.len() - from;
            let within = at.start.saturating_sub(passed).min(most)..at.end.saturating_sub(passed).min(most);
            out[from..][within].fill(MASK);
        };
        mask(0..covered);
        for (at, _) in found {
            covered = if at.start < open { covered.max(at.end) } else { covered };
            mask(at);
        }
        self.covered = covered.saturating_sub(open);
    }

    /// Ends the stream: what was held back was no value after all.
    pub fn end(&mut self) -> Vec<u8> {
        let passed = self.held.passed();
        let mut rest = self.held.end();
        let covered = self.covered.saturating_sub(passed).min(rest.len());
        rest[..covered].fill(MASK);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuts::{TEXT, pieces, striker};

    #[test]
    fn any_cut_masks_what_the_whole_masks_but_for_three_bytes_that_went_on() {
        let striker = striker();
        let whole = striker.masked(TEXT.as_bytes()).into_owned();
        assert!(whole.starts_with(b"one ************* two ************** *********-mor"));
        for (round, pieces) in pieces().enumerate() {
            let (mut stream, mut out) = (striker.mask(), Vec::new());
            for piece in pieces {
                stream.push(piece, &mut out);
            }
            out.extend(stream.end());
            assert_eq!(out.len(), whole.len(), "round {round}");
            let mut shown = 0;
            for (at, (byte, wanted)) in out.iter().zip(&whole).enumerate() {
                if byte == wanted {
                    shown = 0;
                    continue;
                }
                shown += 1;
                assert!(*wanted == MASK && *byte == TEXT.as_bytes()[at] && shown < MIN_HELD, "round {round} at {at}");
            }
        }
    }

    #[test]
    fn what_waits_for_an_answer_has_all_of_the_question() {
        let (mut stream, mut out) = (striker().mask(), Vec::new());
        stream.push(b"a question that ends in abc", &mut out);
        assert_eq!(out, b"a question that ends in abc");
        stream.push(b"dEFGH1!", &mut out);
        assert_eq!(out, b"a question that ends in abc******!");
    }
}
