//! Which added file is which deleted one, by git's steps (diffcore-rename.c): equal content, then equal base names
//! that are alone of their name, then every pair.

use std::collections::HashMap;

use cofferdam_core::Bytes;

use super::content::ObjectId;
use super::similarity::{Pieces, WHOLE, score, sizes_differ_too_much};
use crate::beneath;

/// An added or a deleted path.
#[derive(Debug)]
pub(crate) struct Half {
    pub path: Bytes,
    pub id: ObjectId,
    /// As git has it; only regular files are compared by content.
    pub mode: u32,
    pub size: u64,
    /// Too large or unreadable: only equal to itself, if it was hashed at all.
    pub comparable: bool,
}

impl Half {
    fn is_regular(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    fn base_name(&self) -> &[u8] {
        beneath::split(&self.path.0).1
    }
}

/// A found rename: indices into the added and deleted lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rename {
    pub new: usize,
    pub old: usize,
    /// 0 to [`WHOLE`].
    pub score: u64,
}

struct Search<'a> {
    old: &'a [Half],
    new: &'a [Half],
    taken_old: Vec<bool>,
    taken_new: Vec<bool>,
    found: Vec<Rename>,
    old_pieces: HashMap<usize, Option<Pieces>>,
    read: &'a mut dyn FnMut(bool, usize) -> Option<Pieces>,
}

/// Finds renames with at least `minimum` (0 to [`WHOLE`]); beyond `limit` squared pairs the last step is left out.
/// `read` gives the pieces of the deleted (`false`) or added (`true`) file.
pub(crate) fn detect(
    old: &[Half],
    new: &[Half],
    minimum: u64,
    limit: usize,
    read: &mut dyn FnMut(bool, usize) -> Option<Pieces>,
) -> Vec<Rename> {
    let (taken_old, taken_new) = (vec![false; old.len()], vec![false; new.len()]);
    let mut search = Search { old, new, taken_old, taken_new, found: Vec::new(), old_pieces: HashMap::new(), read };
    search.exact();
    if minimum < WHOLE {
        search.by_base_name(minimum + (WHOLE - minimum) / 2);
        search.by_every_pair(minimum, limit);
    }
    search.found
}

impl Search<'_> {
    fn take(&mut self, new: usize, old: usize, score: u64) {
        self.taken_new[new] = true;
        self.taken_old[old] = true;
        self.found.push(Rename { new, old, score });
    }

    fn exact(&mut self) {
        /// Among many equal files git looks at this many.
        const ALTERNATIVES: usize = 100;
        let mut by_id: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (i, half) in self.old.iter().enumerate().filter(|(_, half)| half.id != ObjectId::UNKNOWN) {
            by_id.entry(half.id).or_default().push(i);
        }
        for new in 0..self.new.len() {
            let target = &self.new[new];
            let mut best = None;
            let mut alternatives = 0;
            for &old in by_id.get(&target.id).into_iter().flatten() {
                let source = &self.old[old];
                if !(source.is_regular() && target.is_regular()) && source.mode != target.mode {
                    continue;
                }
                if self.taken_old[old] {
                    continue;
                }
                let named = source.base_name() == target.base_name();
                if named {
                    best = Some(old);
                    break;
                }
                best.get_or_insert(old);
                alternatives += 1;
                if alternatives == ALTERNATIVES {
                    break;
                }
            }
            if let Some(old) = best {
                self.take(new, old, WHOLE);
            }
        }
    }

    fn by_base_name(&mut self, minimum: u64) {
        let old_names = alone(self.old, &self.taken_old);
        let new_names = alone(self.new, &self.taken_new);
        let mut pairs: Vec<(usize, usize)> =
            old_names.iter().filter_map(|(name, old)| Some(((*old)?, (*new_names.get(name)?)?))).collect();
        pairs.sort_unstable();
        for (old, new) in pairs {
            let Some(target) = self.new_pieces(old, new, minimum) else { continue };
            let score = self.score(old, &target, minimum);
            if score >= minimum {
                self.take(new, old, score);
            }
        }
    }

    fn by_every_pair(&mut self, minimum: u64, limit: usize) {
        let old: Vec<usize> = (0..self.old.len()).filter(|i| !self.taken_old[*i]).collect();
        let new: Vec<usize> = (0..self.new.len()).filter(|i| !self.taken_new[*i]).collect();
        if old.is_empty() || new.is_empty() || old.len().saturating_mul(new.len()) > limit.saturating_mul(limit) {
            return;
        }
        let mut matrix = Vec::new();
        for &new in &new {
            let mut best: [Option<Candidate>; 4] = [None; 4];
            let mut target = None;
            for &old in &old {
                let score = if self.may_compare(old, new, minimum) {
                    let target = target.get_or_insert_with(|| (self.read)(true, new));
                    target.as_ref().map_or(0, |target| self.score(old, target, minimum))
                } else {
                    0
                };
                let named = self.old[old].base_name() == self.new[new].base_name();
                record_if_better(&mut best, Candidate { new, old, score, named });
            }
            matrix.extend(best);
        }
        matrix.sort_by(compare);
        for candidate in matrix.into_iter().flatten() {
            if candidate.score < minimum {
                break;
            }
            if !self.taken_new[candidate.new] && !self.taken_old[candidate.old] {
                self.take(candidate.new, candidate.old, candidate.score);
            }
        }
    }

    fn may_compare(&self, old: usize, new: usize, minimum: u64) -> bool {
        let (old, new) = (&self.old[old], &self.new[new]);
        old.is_regular()
            && new.is_regular()
            && old.comparable
            && new.comparable
            && !sizes_differ_too_much(old.size, new.size, minimum)
    }

    fn new_pieces(&mut self, old: usize, new: usize, minimum: u64) -> Option<Pieces> {
        if self.may_compare(old, new, minimum) { (self.read)(true, new) } else { None }
    }

    fn score(&mut self, old: usize, target: &Pieces, minimum: u64) -> u64 {
        let read = &mut self.read;
        let source = self.old_pieces.entry(old).or_insert_with(|| read(false, old));
        source.as_ref().map_or(0, |source| score(source, target, minimum))
    }
}

/// Base names of what is not taken, with the index of the one that has it alone.
fn alone<'a>(halves: &'a [Half], taken: &[bool]) -> HashMap<&'a [u8], Option<usize>> {
    let mut names = HashMap::new();
    for (i, half) in halves.iter().enumerate().filter(|(i, _)| !taken[*i]) {
        names.entry(half.base_name()).and_modify(|only| *only = None).or_insert(Some(i));
    }
    names
}

#[derive(Clone, Copy)]
struct Candidate {
    new: usize,
    old: usize,
    score: u64,
    named: bool,
}

/// Best first, empty places last (`score_compare`).
fn compare(a: &Option<Candidate>, b: &Option<Candidate>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.score.cmp(&a.score).then(b.named.cmp(&a.named)),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    }
}

/// Keeps the four best sources of one target, the earlier of equal ones.
fn record_if_better(best: &mut [Option<Candidate>; 4], candidate: Candidate) {
    let mut worst = 0;
    for i in 1..best.len() {
        if compare(&best[i], &best[worst]).is_gt() {
            worst = i;
        }
    }
    if compare(&best[worst], &Some(candidate)).is_gt() {
        best[worst] = Some(candidate);
    }
}
