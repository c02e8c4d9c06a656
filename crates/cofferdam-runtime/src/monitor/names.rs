//! The names of environments' variables, held once for each different environment and within a bound.

use std::cell::Cell;
use std::rc::Rc;

use cofferdam_core::Bytes;
use cofferdam_core::event::EnvironmentChange;

/// Most bytes of names held in all: some hundred different environments.
const MOST: usize = 4 << 20;

/// The names of one environment, in order.
#[derive(Debug)]
pub(super) struct Names {
    list: Vec<Bytes>,
    weight: usize,
    held: Rc<Cell<usize>>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.weight);
    }
}

/// How much is held.
#[derive(Debug, Default)]
pub(super) struct Ledger(Rc<Cell<usize>>);

impl Ledger {
    /// Keeps sorted names: `base`'s own where they are the same; `None` where there is no room for them.
    pub(super) fn keep(&self, list: Vec<Bytes>, base: Option<&Rc<Names>>) -> Option<Rc<Names>> {
        if let Some(base) = base.filter(|b| b.list == list) {
            return Some(Rc::clone(base));
        }
        let weight: usize = list.iter().map(|name| name.0.capacity() + size_of::<Bytes>()).sum();
        if self.0.get() + weight > MOST {
            return None;
        }
        self.0.set(self.0.get() + weight);
        Some(Rc::new(Names { list, weight, held: Rc::clone(&self.0) }))
    }
}

/// What an environment's sorted names have that `base` has not, and the other way round; `None` where they are the same.
pub(super) fn difference(base: &Names, now: &[Bytes]) -> Option<EnvironmentChange> {
    let only = |a: &[Bytes], b: &[Bytes]| -> Vec<Bytes> {
        a.iter().filter(|name| b.binary_search(name).is_err()).cloned().collect()
    };
    let change = EnvironmentChange { added: only(now, &base.list), removed: only(&base.list, now) };
    (change != EnvironmentChange::default()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<Bytes> {
        names.iter().map(|n| Bytes::from(*n)).collect()
    }

    #[test]
    fn equal_environments_are_held_once_and_freed() {
        let ledger = Ledger::default();
        let base = ledger.keep(list(&["A", "B"]), None).unwrap();
        let held = ledger.0.get();
        let same = ledger.keep(list(&["A", "B"]), Some(&base)).unwrap();
        assert!(Rc::ptr_eq(&base, &same));
        assert_eq!(difference(&base, &list(&["A", "B"])), None);
        let change = difference(&base, &list(&["B", "C"])).unwrap();
        assert_eq!((change.added, change.removed), (list(&["C"]), list(&["A"])));
        let other = ledger.keep(list(&["B", "C"]), Some(&base)).unwrap();
        assert!(ledger.0.get() > held);
        drop((base, same, other));
        assert_eq!(ledger.0.get(), 0);
    }

    #[test]
    fn there_is_a_bound() {
        let ledger = Ledger::default();
        let long = "x".repeat(MOST / 2);
        let first = ledger.keep(list(&[&long]), None).unwrap();
        assert!(ledger.keep(list(&[&long, &long]), Some(&first)).is_none());
    }
}
