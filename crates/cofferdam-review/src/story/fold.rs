//! Which items are shown, in how many lines, and which are folded into counted lines where they stand.

use std::ops::Range;

use super::rank::{PLAIN, order};

/// Something further that can be said of an item, with how soon.
#[derive(Debug)]
pub(super) struct Detail<L> {
    /// The item.
    pub item: usize,
    /// The smaller, the sooner.
    pub priority: u8,
    /// Its lines; there may be fewer than were planned for.
    pub lines: Vec<L>,
}

/// A row of the plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    Shown(usize),
    Folded(Range<usize>),
}

/// The choice: which items have a line, which details they have.
#[derive(Debug)]
pub(super) struct Choice {
    chosen: Vec<bool>,
    /// Lines so far.
    lines: usize,
    most: usize,
}

impl Choice {
    /// Nothing is chosen: all of it is one folded line.
    pub(super) fn new(items: usize, most: usize) -> Choice {
        Choice { chosen: vec![false; items], lines: usize::from(items > 0), most }
    }

    /// Chooses by score while the lines last, `most` of them at first.
    pub(super) fn take(&mut self, scores: &[u32], most: usize) {
        for at in order(scores) {
            let most = most.min(self.most);
            if !self.chosen[at] && self.lines_with(at) <= most {
                self.lines = self.lines_with(at);
                self.chosen[at] = true;
            }
        }
    }

    /// What may have a line where others had all they wanted.
    pub(super) fn take_rest(&mut self, scores: &[u32]) {
        let all = scores.len() + self.lines <= self.most;
        let wanted: Vec<u32> = scores.iter().map(|s| if all || *s >= PLAIN { *s } else { 0 }).collect();
        for at in order(&wanted) {
            if wanted[at] > 0 && !self.chosen[at] && self.lines_with(at) <= self.most {
                self.lines = self.lines_with(at);
                self.chosen[at] = true;
            }
        }
    }

    /// Lines where this one is chosen too: its own, and the folded lines beside it.
    fn lines_with(&self, at: usize) -> usize {
        let folded = |at: Option<usize>| at.and_then(|at| self.chosen.get(at)).is_some_and(|chosen| !chosen);
        match (folded(at.checked_sub(1)), folded(Some(at + 1))) {
            (true, true) => self.lines + 2,
            (true, false) | (false, true) => self.lines + 1,
            (false, false) => self.lines,
        }
    }

    pub(super) fn is_chosen(&self, at: usize) -> bool {
        self.chosen[at]
    }

    /// How many lines are left.
    pub(super) fn left(&self) -> usize {
        self.most.saturating_sub(self.lines)
    }

    /// Takes lines for details.
    pub(super) fn spend(&mut self, lines: usize) {
        self.lines += lines;
    }

    /// The rows, in order. A single item is never folded: it needs no more lines than its fold.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut at = 0;
        while at < self.chosen.len() {
            let run = self.chosen[at..].iter().take_while(|chosen| !**chosen).count();
            match run {
                0 | 1 => {
                    rows.push(Row::Shown(at));
                    at += 1;
                }
                run => {
                    rows.push(Row::Folded(at..at + run));
                    at += run;
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_counted_are_the_lines_laid_out() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let scores: Vec<u32> = (0..random.usize(0..80)).map(|_| random.u32(0..300)).collect();
            let most = random.usize(1..40);
            let mut choice = Choice::new(scores.len(), most);
            choice.take(&scores, most * 2 / 3);
            choice.take_rest(&scores);
            assert_eq!(choice.rows().len(), choice.lines, "{scores:?}");
            assert!(choice.lines <= most);
            let best = scores.iter().copied().max().unwrap_or(0);
            // With room for three lines the best is always there.
            if most >= 5 && best > 0 {
                let at = order(&scores)[0];
                assert!(choice.is_chosen(at), "{scores:?} in {most}");
            }
        }
    }

    #[test]
    fn where_there_is_room_nothing_is_folded() {
        let scores = [10, 100, 10, 900];
        let mut choice = Choice::new(4, 20);
        choice.take(&scores, 12);
        choice.take_rest(&scores);
        assert_eq!(choice.rows(), (0..4).map(Row::Shown).collect::<Vec<_>>());
    }
}
