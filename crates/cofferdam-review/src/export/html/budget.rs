//! How much of outputs and diffs a page takes.

/// Bytes that may still be written.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) fn of(bytes: usize) -> Budget {
        Budget { left: bytes }
    }

    /// Whether there is hardly room for a line.
    pub(super) fn is_spent(&self) -> bool {
        self.left < 100
    }

    /// As much of a text as fits and is at most `most` bytes of page, and the bytes of text left out. Ends at a line
    /// where there is one.
    pub(super) fn take<'t>(&mut self, text: &'t str, most: usize) -> (&'t str, usize) {
        let room = most.min(self.left);
        let mut used = 0;
        let mut end = text.len();
        for (at, c) in text.char_indices() {
            let cost = cost(c);
            if used + cost > room {
                end = text[..at].rfind('\n').map_or(at, |line| line + 1);
                break;
            }
            used += cost;
        }
        self.left -= used;
        (&text[..end], text.len() - end)
    }
}

/// Bytes of a character in the page, escapes included.
fn cost(c: char) -> usize {
    match c {
        '<' | '>' => 4,
        '&' => 5,
        '"' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_escapes_cost_and_cuts_at_lines() {
        let mut budget = Budget::of(20);
        assert_eq!(budget.take("ab\ncd", 100), ("ab\ncd", 0));
        assert_eq!(budget.take("<<<", 100), ("<<<", 0));
        assert_eq!(budget.take("\u{e9}\nxyz", 100), ("\u{e9}\n", 3));
        let mut budget = Budget::of(100);
        assert_eq!(budget.take("\u{e9}\u{e9}\u{e9}", 5), ("\u{e9}\u{e9}", 2));
    }
}
