//! Searching a stream for values before it goes on.

use crate::{Held, Striker};

/// Fewest bytes of a value's beginning that are held back at the end of a piece.
const MIN_HELD: usize = 6;

/// A stream in which no value may stand, wherever its pieces are cut. Holds back the end of what came as long as it may
/// be the beginning of a value: of one that is found at most 5 bytes have gone on.
#[derive(Debug)]
pub struct Search {
    striker: Striker,
    held: Held,
}

/// A value stands in the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of {0} stands in it")]
pub struct FoundValue(pub String);

impl Search {
    pub(crate) fn new(striker: Striker) -> Search {
        Search { striker, held: Held::new(MIN_HELD) }
    }

    /// What it searches for.
    pub fn striker(&self) -> &Striker {
        &self.striker
    }

    /// Takes a piece, and appends to `out` what may go on.
    ///
    /// # Errors
    /// Where a value stands in it: nothing of it goes on.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), FoundValue> {
        let Some(known) = self.striker.known() else {
            out.extend_from_slice(piece);
            return Ok(());
        };
        let all = self.held.push(piece);
        if let Some(name) = self.striker.find(all) {
            return Err(FoundValue(name));
        }
        let open = known.open_end(all);
        self.held.pass(open, out);
        Ok(())
    }

    /// Whether something is held back.
    pub fn is_holding(&self) -> bool {
        self.held.is_holding()
    }

    /// Ends the stream: what was held back was no value after all.
    pub fn end(&mut self) -> Vec<u8> {
        self.held.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secrets;

    fn search() -> Search {
        let mut secrets = Secrets::default();
        secrets.add("TOKEN", b"s3cret-Value-0123").unwrap();
        Striker::new(&secrets).unwrap().search()
    }

    #[test]
    fn a_value_does_not_pass_however_it_is_cut() {
        for encoded in ["s3cret-Value-0123", "czNjcmV0LVZhbHVlLTAxMjM", "7333637265742d56616c75652d30313233"] {
            for size in 1..encoded.len() {
                let text = format!("before {encoded} after");
                let (mut search, mut out) = (search(), Vec::new());
                let found = text.as_bytes().chunks(size).find_map(|piece| search.push(piece, &mut out).err());
                assert_eq!(found, Some(FoundValue("TOKEN".into())), "{encoded} by {size}");
                let allowed = "before ".len() + MIN_HELD - 1;
                assert!(out.len() <= allowed && text.as_bytes().starts_with(&out), "{}", String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn everything_else_passes_whole() {
        for size in 1..12 {
            let text = b"the beginning s3cret-Value- of one, and s3cret-Val";
            let (mut search, mut out) = (search(), Vec::new());
            text.chunks(size).for_each(|piece| search.push(piece, &mut out).unwrap());
            out.extend(search.end());
            assert_eq!(out, text);
        }
        let (mut search, mut out) = (search(), Vec::new());
        search.push(b"a message that ends in s", &mut out).unwrap();
        assert_eq!(out, b"a message that ends in s", "whoever waits for an answer to it has one");
        let mut out = Vec::new();
        Striker::default().search().push(b"anything", &mut out).unwrap();
        assert_eq!(out, b"anything");
    }
}
