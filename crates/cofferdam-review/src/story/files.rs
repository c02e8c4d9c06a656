//! Changed paths: by command, and over the whole run.

use std::collections::HashMap;

use cofferdam_core::Bytes;
use cofferdam_core::change::Entry;
use cofferdam_core::event::{FileChanged, is_same};

use super::entry::{Change, Changes};

/// Most paths named of one command.
const NAMED: usize = 64;
/// Most paths followed over a run.
const FOLLOWED: usize = 100_000;

/// What a path held before the run, and what it holds now.
#[derive(Debug)]
struct Sides {
    before: Option<Entry>,
    after: Option<Entry>,
}

/// Every path of a run.
#[derive(Debug, Default)]
pub(super) struct Paths {
    sides: HashMap<Bytes, Sides>,
    beyond: u64,
}

impl Paths {
    pub(super) fn push(&mut self, change: &FileChanged) {
        let after = change.after.clone();
        if let Some(known) = self.sides.get_mut(&change.path) {
            known.after = after;
        } else if self.sides.len() < FOLLOWED {
            let before = change.before.clone();
            self.sides.insert(change.path.clone(), Sides { before, after });
        } else {
            self.beyond += 1;
        }
    }

    /// How many differ from before the run, and how many came back to it.
    pub(super) fn totals(&self) -> (u64, u64) {
        let back = self.sides.values().filter(|s| is_same(s.before.as_ref(), s.after.as_ref())).count() as u64;
        (self.sides.len() as u64 - back + self.beyond, back)
    }

    /// Whether a path holds again what it held before the run.
    pub(super) fn is_back(&self, path: &Bytes) -> bool {
        self.sides.get(path).is_some_and(|s| is_same(s.before.as_ref(), s.after.as_ref()))
    }
}

impl Changes {
    /// Notes a change; of a path that changed before, the last counts, against what was before the first.
    pub(super) fn push(&mut self, change: &FileChanged) {
        let letter = match (&change.before, &change.after) {
            (None, _) => 'A',
            (_, None) => 'D',
            (Some(before), Some(after)) if before.kind != after.kind => 'T',
            _ => 'M',
        };
        if let Some(known) = self.named.iter_mut().find(|c| c.path == change.path) {
            known.letter = match (known.letter, letter) {
                ('A', 'D') => '=',
                ('A', _) => 'A',
                ('D' | '=', 'A') => 'M',
                (_, letter) => letter,
            };
        } else if self.named.len() < NAMED {
            self.named.push(Change { path: change.path.clone(), letter });
        } else {
            self.more += 1;
        }
    }
}
