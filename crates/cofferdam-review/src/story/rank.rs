//! What a tired reviewer has to see first.

use super::entry::{Command, Entry};
use super::items::{self, Item, Light};
use crate::causes::{Call, Kind};

/// Below this an item is shown only where there is room for everything.
pub(super) const PLAIN: u32 = 100;

/// The larger, the sooner it is shown.
pub(super) fn score(item: &Item, entries: &[Entry], lights: &[Light]) -> u32 {
    if item.kind == items::Kind::Looks {
        return 10;
    }
    item.entries.clone().map(|at| of_entry(&entries[at], lights[at])).max().unwrap_or(0)
}

/// The place of the first and of the last prompt, and of the last answer.
pub(super) fn outer(entries: &[Entry]) -> [Option<usize>; 3] {
    let is_prompt = |entry: &Entry| matches!(entry, Entry::Prompt(_));
    let is_answer = |entry: &Entry| matches!(entry, Entry::Answer(answer) if answer.calls == 0);
    [entries.iter().position(is_prompt), entries.iter().rposition(is_prompt), entries.iter().rposition(is_answer)]
}

/// The score of these.
pub(super) const OUTER: u32 = 990;

fn of_entry(entry: &Entry, light: Light) -> u32 {
    match entry {
        Entry::Prompt(_) => 720,
        Entry::Remark(remark) => 800 + u32::from(remark.bad) * 180,
        Entry::Files(files) => 480 + few(files.changes.count()),
        Entry::Call(call) => of_call(call),
        // What it says when it is done, and what it says on its way.
        Entry::Answer(answer) if answer.calls == 0 => 710,
        Entry::Answer(_) => 60,
        Entry::Command(command) => of_command(command, light),
    }
}

fn of_call(call: &Call) -> u32 {
    match call.kind {
        _ if !call.changed.is_empty() => 500 + few(call.changed.len() as u64 + call.more),
        _ if call.ran_nothing() => 700,
        _ if call.told.as_ref().is_some_and(|told| told.error) => 350,
        Kind::Edit => 400,
        Kind::Fetch => 300,
        Kind::Command | Kind::Read | Kind::Other => 10,
    }
}

fn of_command(command: &Command, light: Light) -> u32 {
    let tested = !command.tests.is_empty();
    let score = match (light, command.failed()) {
        _ if command.asked.as_ref().is_some_and(|call| call.differs()) => 960,
        (Light { last_tests: true, .. }, _) => 970,
        (Light { first_denied: true, .. }, _) => 940,
        (Light { new_denial: true, .. }, _) => 840,
        // Whoever looked at what is not there learnt something, and that is all.
        (_, true) if command.reads && !tested => 90,
        (Light { first_ever: true, .. }, _) if tested => 930,
        (Light { first_ever: true, .. }, _) => 720,
        (Light { first_failure: true, .. }, _) if tested => 850,
        (Light { fixes: Some(_), .. }, _) if tested => 850,
        (Light { first_failure: true, .. }, _) => 700,
        (Light { fixes: Some(_), .. }, _) => 700,
        (Light { first_reached: true, .. }, _) => 600,
        (_, true) if tested => 450,
        (_, true) => 350,
        _ if !command.files.is_empty() => 500 + few(command.files.count()),
        _ if tested => 300,
        _ if command.is_boring() => 10,
        _ => PLAIN,
    };
    // Long ones stand out from their equals, a minute more than a second.
    let seconds = command.end.map_or(0, |end| end.microseconds / 1_000_000);
    score + (seconds + 1).ilog2().min(40) * if score <= PLAIN { 20 } else { 1 }
}

fn few(count: u64) -> u32 {
    u32::try_from(count.min(40)).unwrap_or(40)
}

/// The order in which items are shown: by score, and among equals spread over the run, so that its end gets its share.
pub(super) fn order(scores: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(scores[*at]));
    let mut sorted = Vec::with_capacity(order.len());
    for equals in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        // Van der Corput's sequence: every beginning of it is spread evenly.
        let bits = usize::BITS - (equals.len().max(2) - 1).leading_zeros();
        let spread = (0..1usize << bits).map(|n| n.reverse_bits() >> (usize::BITS - bits));
        sorted.extend(spread.filter_map(|n| equals.get(n)));
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_spread_and_none_is_lost() {
        let scores = [5, 5, 9, 5, 5, 5, 1];
        let got = order(&scores);
        assert_eq!(got[0], 2);
        assert_eq!(got[6], 6);
        assert_eq!(got[1..6], [0, 5, 3, 1, 4]);
        for n in 0..70 {
            let mut all = order(&vec![1; n]);
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }
}
