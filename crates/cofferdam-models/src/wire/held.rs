//! What is held of answers: bounded each, and all together.

use std::cell::Cell;
use std::rc::Rc;

/// Most bytes that all answers under way may hold.
const ALL: usize = 12 << 20;
/// Room that an emptied text keeps for what comes next.
const SPARE: usize = 64 << 10;

/// Room that all answers share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Rc<Cell<usize>>);

impl Pool {
    /// Takes room for so many bytes; whether there was.
    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.get().saturating_add(bytes);
        let fits = taken <= ALL;
        if fits {
            self.0.set(taken);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

/// A text, as much of it as its bound and the pool let be held; what is beyond is counted.
#[derive(Debug)]
pub(crate) struct Held {
    kept: Vec<u8>,
    bytes: u64,
    most: usize,
    room: usize,
    pool: Pool,
}

impl Held {
    /// Nothing yet, and never more than `most`.
    pub(crate) fn new(most: usize, pool: &Pool) -> Held {
        Held { kept: Vec::new(), bytes: 0, most, room: 0, pool: pool.clone() }
    }

    /// Adds to it.
    pub(crate) fn push(&mut self, more: &[u8]) {
        let whole = self.is_whole();
        self.bytes = self.bytes.saturating_add(more.len() as u64);
        // What follows a gap would stand in the wrong place.
        let fits = if whole { more.len().min(self.most.saturating_sub(self.kept.len())) } else { 0 };
        let need = self.kept.len() + fits;
        if need > self.room {
            let room = (need.max(self.room * 2)).min(self.most);
            if !self.pool.take(room - self.room) {
                return;
            }
            self.room = room;
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(&more[..fits]);
    }

    /// All that came in its place.
    pub(crate) fn replace(&mut self, with: &[u8]) {
        self.clear();
        self.push(with);
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
        if self.room > SPARE {
            self.kept = Vec::new();
            self.pool.give(std::mem::take(&mut self.room));
        }
    }

    /// Something of it is missing.
    pub(crate) fn spoil(&mut self) {
        self.bytes = self.bytes.saturating_add(1);
    }

    /// What is held.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// How much came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all that came is held.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.len() as u64 == self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.give(self.room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_held_up_to_its_bound_and_counted_beyond() {
        let pool = Pool::default();
        let mut held = Held::new(5, &pool);
        held.push(b"abc");
        assert!(held.is_whole());
        held.push(b"defg");
        held.push(b"h");
        assert_eq!((held.kept(), held.bytes(), held.is_whole()), (&b"abcde"[..], 8, false));
        held.replace(b"xy");
        assert_eq!((held.kept(), held.bytes(), held.is_whole()), (&b"xy"[..], 2, true));
    }

    #[test]
    fn all_texts_together_are_bounded_and_room_comes_back() {
        let pool = Pool::default();
        let mut first = Held::new(ALL, &pool);
        first.push(&vec![b'x'; ALL - 10]);
        let mut second = Held::new(100, &pool);
        second.push(&[b'y'; 50]);
        assert_eq!((second.kept().len(), second.bytes(), second.is_whole()), (0, 50, false));
        drop(first);
        second.replace(&[b'y'; 50]);
        assert!(second.is_whole());
        drop(second);
        assert_eq!(pool.0.get(), 0);
    }
}
