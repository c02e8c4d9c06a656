//! Which commands a page shows: all of a run, or its upper levels.

use std::collections::HashMap;

use cofferdam_core::event::EventKind;

use super::super::{Record, Result};

/// Most commands on a page.
const COMMANDS: usize = 4_000;
/// Most levels; what lies deeper is shown at the last one.
pub(super) const LEVELS: u8 = 8;

/// The place of a command among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 for what no other command started.
    pub level: u8,
    /// The command or prompt that it is shown below.
    pub parent: Option<u64>,
}

/// The place of each command and prompt, by the number of its event.
#[derive(Debug, Default)]
pub(super) struct Outline {
    places: HashMap<u64, Place>,
    /// Commands of each level that are shown.
    shown: [usize; LEVELS as usize + 1],
}

impl Outline {
    pub(super) fn of(record: &Record) -> Result<Outline> {
        Outline::bounded(record, COMMANDS)
    }

    fn bounded(record: &Record, most: usize) -> Result<Outline> {
        let mut outline = Outline::default();
        let mut counts = [0; LEVELS as usize + 1];
        for event in record.events()? {
            let event = event?;
            if matches!(event.what, EventKind::ProcessExec(_) | EventKind::Prompt(_)) {
                let place = outline.place_below(event.cause);
                counts[usize::from(place.level)] += 1;
                outline.places.insert(event.seq, place);
            }
        }
        let mut left = most;
        for (shown, count) in outline.shown.iter_mut().zip(counts) {
            *shown = count.min(left);
            left -= *shown;
        }
        Ok(outline)
    }

    fn place_below(&self, cause: Option<u64>) -> Place {
        match cause.and_then(|cause| Some((cause, self.places.get(&cause)?))) {
            Some((cause, place)) if place.level < LEVELS => Place { level: place.level + 1, parent: Some(cause) },
            Some((_, place)) => *place,
            None => Place { level: 0, parent: None },
        }
    }

    /// The place of a command or prompt.
    pub(super) fn place(&self, seq: u64) -> Place {
        self.places.get(&seq).copied().unwrap_or(Place { level: 0, parent: None })
    }

    /// How many commands of a level are shown: the first ones.
    pub(super) fn shown_of(&self, level: u8) -> usize {
        self.shown[usize::from(level.min(LEVELS))]
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::Link;

    use super::*;
    use crate::export::samples::{Sample, exec};

    #[test]
    fn a_chain_is_as_deep_as_levels_and_no_deeper() {
        let sample = Sample::built(&[b"agent"], |log, _| {
            log.append(None, exec(1, &[b"a"])).unwrap();
            for n in 1..30 {
                log.append(Some((n, Link::Parent)), exec(1, &[b"a"])).unwrap();
            }
        });
        let outline = Outline::of(&sample.record()).unwrap();
        assert_eq!(outline.place(1), Place { level: 0, parent: None });
        assert_eq!(outline.place(9), Place { level: LEVELS, parent: Some(8) });
        assert_eq!(outline.place(30), Place { level: LEVELS, parent: Some(8) });
    }

    #[test]
    fn upper_levels_come_first() {
        let sample = Sample::built(&[b"agent"], |log, _| {
            log.append(None, exec(1, &[b"a"])).unwrap();
            for _ in 0..5 {
                log.append(Some((1, Link::Parent)), exec(1, &[b"b"])).unwrap();
                log.append(Some((2, Link::Parent)), exec(1, &[b"c"])).unwrap();
            }
        });
        let outline = Outline::bounded(&sample.record(), 8).unwrap();
        assert_eq!([0, 1, 2, 3].map(|level| outline.shown_of(level)), [1, 5, 2, 0]);
    }
}
