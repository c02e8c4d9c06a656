//! Whose results of tests are on record already: what a command prints its callers often print too.

use std::collections::{BTreeMap, BTreeSet};

/// Most execs, and most results, that are remembered; the oldest go.
const MOST: usize = 100_000;

/// The results that are on record, by the commands above them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What led to each exec.
    causes: BTreeMap<u64, u64>,
    /// Commands below which a result of a framework is on record.
    above: BTreeSet<(u64, String)>,
}

impl Told {
    /// An exec and what led to it.
    pub(super) fn executed(&mut self, seq: u64, cause: u64) {
        self.causes.insert(seq, cause);
        if self.causes.len() > MOST {
            self.causes.pop_first();
        }
    }

    /// Whether a result in the output of command `seq` is its own, and not one that a command below it has printed. Notes it
    /// where it is.
    pub(super) fn is_news(&mut self, seq: u64, framework: &str) -> bool {
        if self.above.contains(&(seq, framework.to_owned())) {
            return false;
        }
        let mut at = seq;
        // A cause is smaller than what it caused: this ends.
        while let Some(cause) = self.causes.get(&at) {
            at = *cause;
            self.above.insert((at, framework.to_owned()));
        }
        while self.above.len() > MOST {
            self.above.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_told_once_and_by_the_innermost() {
        let mut told = Told::default();
        for (seq, cause) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
            told.executed(seq, cause);
        }
        assert!(told.is_news(3, "pytest"));
        assert!(told.is_news(3, "pytest"), "a command may run its tests twice");
        assert!(!told.is_news(2, "pytest") && !told.is_news(1, "pytest"));
        assert!(told.is_news(4, "pytest"), "beside it");
        assert!(told.is_news(2, "jest"));
    }
}
