//! A text with secrets in it, whole and cut anywhere, for the tests of what strikes them out of streams.

use crate::{Secrets, Striker};

/// Values that overlap, one that another begins with, one that repeats itself.
pub(crate) fn striker() -> Striker {
    let mut secrets = Secrets::default();
    for (name, value) in [("A", "abcdEFGH1"), ("B", "EFGH1ijkl"), ("L", "abcdEFGH1-more"), ("P", "xyXY1xyXY1xyXY1")] {
        secrets.add(name, value.as_bytes()).unwrap();
    }
    Striker::new(&secrets).unwrap()
}

/// All of them, some encoded, some cut off.
pub(crate) const TEXT: &str = "one abcdEFGH1ijkl two abcdEFGH1-more abcdEFGH1-mor abcdEFGH1abcdEFGH1 YWJjZEVGR0gx abcd \
     xyXY1xyXY1xyXY1xyXY1xyXY1xyXY1xyXY1xyXY1xy six 6162636445464748312e abcdEFG";

/// [`TEXT`] cut in 2,000 ways, in turn into small pieces and into larger ones; some are empty.
pub(crate) fn pieces() -> impl Iterator<Item = Vec<&'static [u8]>> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..2000).map(move |round| {
        let most = if round % 2 == 0 { 3 } else { 40 };
        let (mut pieces, mut rest) = (Vec::new(), TEXT.as_bytes());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(random.usize(0..=most).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces
    })
}
