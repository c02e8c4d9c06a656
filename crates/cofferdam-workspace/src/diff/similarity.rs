//! How much of one file is found in another, by git's measure (diffcore-delta.c): both are cut into pieces at
//! newlines and after 64 bytes, and the bytes of pieces with equal hashes are counted.

use std::collections::HashMap;

/// The score of equal files; git's `MAX_SCORE`.
pub(crate) const WHOLE: u64 = 60_000;

/// The pieces of one file: bytes by hash, sorted by hash.
#[derive(Debug)]
pub(crate) struct Pieces {
    size: u64,
    bytes: Vec<(u32, u64)>,
}

impl Pieces {
    pub fn new(content: &[u8], binary: bool) -> Pieces {
        const HASH_BASE: u32 = 107_927;
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let (mut first, mut second, mut length) = (0u32, 0u32, 0u64);
        let mut end = |first: &mut u32, second: &mut u32, length: &mut u64| {
            let hash = first.wrapping_add(second.wrapping_mul(0x61)) % HASH_BASE;
            *counts.entry(hash).or_default() += *length;
            (*first, *second, *length) = (0, 0, 0);
        };
        for (at, &byte) in content.iter().enumerate() {
            // The carriage return of a text's line end does not count.
            if !binary && byte == b'\r' && content.get(at + 1) == Some(&b'\n') {
                continue;
            }
            let before = first;
            first = (first << 7) ^ (second >> 25);
            second = (second << 7) ^ (before >> 25);
            first = first.wrapping_add(u32::from(byte));
            length += 1;
            if length >= 64 || byte == b'\n' {
                end(&mut first, &mut second, &mut length);
            }
        }
        if length > 0 {
            end(&mut first, &mut second, &mut length);
        }
        let mut bytes: Vec<_> = counts.into_iter().collect();
        bytes.sort_unstable();
        Pieces { size: content.len() as u64, bytes }
    }
}

/// Whether sizes alone rule out a score of `minimum` (git's first check, before any content is read).
pub(crate) fn sizes_differ_too_much(old: u64, new: u64, minimum: u64) -> bool {
    let (largest, smallest) = (old.max(new), old.min(new));
    u128::from(largest) * u128::from(WHOLE - minimum) < u128::from(largest - smallest) * u128::from(WHOLE)
}

/// The score of a rename from `old` to `new`, 0 to [`WHOLE`].
pub(crate) fn score(old: &Pieces, new: &Pieces, minimum: u64) -> u64 {
    if sizes_differ_too_much(old.size, new.size, minimum) || new.size == 0 {
        return 0;
    }
    let mut copied = 0;
    let (mut a, mut b) = (old.bytes.iter().peekable(), new.bytes.iter().peekable());
    while let (Some((left, n)), Some((right, m))) = (a.peek(), b.peek()) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                copied += n.min(m);
                a.next();
                b.next();
            }
        }
    }
    copied * WHOLE / old.size.max(new.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_whole_and_unlike_ones_nothing() {
        let pieces = |text: &[u8]| Pieces::new(text, false);
        assert_eq!(score(&pieces(b"a\nb\n"), &pieces(b"b\na\n"), 0), WHOLE);
        assert_eq!(score(&pieces(b"aaaa\n"), &pieces(b"bbbb\n"), 0), 0);
        assert_eq!(score(&pieces(b"a\nb\nc\nd\n"), &pieces(b"a\nb\nc\nx\n"), 0), WHOLE * 3 / 4);
        assert_eq!(score(&pieces(b""), &pieces(b""), 0), 0);
        assert!(sizes_differ_too_much(10, 100, 30_000));
    }
}
