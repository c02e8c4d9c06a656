//! Where the lines of one text are in another.

use gix_imara_diff::{Algorithm, Diff, InternedInput, sources};

/// For each line of `new` its place in `old`; `None` where it is not there.
pub(super) fn kept(old: &[u8], new: &[u8]) -> Vec<Option<usize>> {
    let input = InternedInput::new(sources::byte_lines(old), sources::byte_lines(new));
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    diff.postprocess_lines(&input);
    let lines = input.after.len();
    let mut places = Vec::with_capacity(lines);
    let (mut from, mut at) = (0usize, 0usize);
    for hunk in diff.hunks() {
        let (before, after) = (hunk.before.start as usize..hunk.before.end as usize, hunk.after);
        while at < after.start as usize {
            places.push(Some(from));
            (from, at) = (from + 1, at + 1);
        }
        places.extend(after.clone().map(|_| None));
        (from, at) = (before.end, after.end as usize);
    }
    while at < lines {
        places.push(Some(from));
        (from, at) = (from + 1, at + 1);
    }
    places
}

/// The lines of a text, each without its end.
pub(super) fn lines(text: &[u8]) -> Vec<&[u8]> {
    sources::byte_lines(text).map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_again() {
        assert_eq!(kept(b"a\nb\nc\n", b"a\nx\nc\nd\n"), [Some(0), None, Some(2), None]);
        assert_eq!(kept(b"", b"a\n"), [None]);
        assert_eq!(kept(b"a\nb\n", b"b\n"), [Some(1)]);
        assert_eq!(kept(b"a\n", b"a\n"), [Some(0)]);
        assert_eq!(lines(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
    }
}
