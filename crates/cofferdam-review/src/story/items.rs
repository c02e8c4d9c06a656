//! Entries as a reader takes them: repeats in a row are one item, and so is looking around.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::entry::{Command, Entry};

/// One or several entries in a row that are told together.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Places of its entries.
    pub entries: RangeInclusive<usize>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    /// The same command several times in a row.
    Repeat,
    /// Commands and calls that only looked around.
    Looks,
}

/// What an entry is in the light of the others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Light {
    /// It failed, and has not failed since it last worked.
    pub first_failure: bool,
    /// It failed, and never before.
    pub first_ever: bool,
    /// It works now: the first command since when it failed, and how often.
    pub fixes: Option<(u64, u64)>,
    /// It is the last test run.
    pub last_tests: bool,
    /// Something was denied that was not before.
    pub new_denial: bool,
    /// It is the first to which something was denied.
    pub first_denied: bool,
    /// It reached a host that none reached before.
    pub first_reached: bool,
}

/// Puts entries together. With `fold` off each stands alone.
pub(super) fn items(entries: &[Entry], fold: bool) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if fold
            && let Some(last) = items.last_mut()
            && let Some(kind) = joined(last, entries, entry)
        {
            *last = Item { entries: *last.entries.start()..=at, kind };
            continue;
        }
        items.push(Item { entries: at..=at, kind: Kind::One });
    }
    items
}

fn joined(item: &Item, entries: &[Entry], next: &Entry) -> Option<Kind> {
    let last = &entries[*item.entries.end()];
    let same = || match (last, next) {
        (Entry::Command(last), Entry::Command(next)) => last.text == next.text,
        _ => false,
    };
    match item.kind {
        Kind::Looks => next.is_boring().then_some(Kind::Looks),
        Kind::Repeat => same().then_some(Kind::Repeat),
        Kind::One if last.is_boring() && next.is_boring() => Some(Kind::Looks),
        Kind::One => same().then_some(Kind::Repeat),
    }
}

/// What failed first, and what undid it: by the command's text, and by the tests' framework.
pub(super) fn lights(entries: &[Entry]) -> Vec<Light> {
    #[derive(Default)]
    struct Failing {
        /// The command that failed first since it last worked.
        first: u64,
        /// How often since.
        times: u64,
    }
    let mut lights = vec![Light::default(); entries.len()];
    let mut commands: HashMap<&str, Failing> = HashMap::new();
    let mut frameworks: HashMap<&str, Failing> = HashMap::new();
    let (mut denials, mut hosts) = (HashSet::new(), HashSet::new());
    let mut last_tests = None;
    for (at, command) in entries.iter().enumerate().filter_map(|(at, e)| Some((at, e.command()?))) {
        let light = &mut lights[at];
        for key in command.network.denial_keys() {
            light.first_denied |= denials.is_empty();
            light.new_denial |= denials.insert(key);
        }
        for key in command.network.host_keys() {
            light.first_reached |= hosts.insert(key);
        }
        if !command.tests.is_empty() {
            last_tests = Some(at);
        }
        if command.failed() {
            light.first_ever = !commands.contains_key(command.text.as_str());
            let failing = commands.entry(&command.text).or_default();
            failing.times += 1;
            light.first_failure = failing.times == 1;
            if light.first_failure {
                failing.first = command.seq;
            }
        } else if command.succeeded()
            && let Some(failing) = commands.get_mut(command.text.as_str()).filter(|f| f.times > 0)
        {
            light.fixes = Some((failing.first, failing.times));
            failing.times = 0;
        }
        for tests in &command.tests {
            if tests.failed > 0 {
                let failing = frameworks.entry(&tests.framework).or_default();
                if failing.times == 0 {
                    failing.first = command.seq;
                }
                failing.times += 1;
            } else if tests.passed > 0
                && !command.failed()
                && let Some(failing) = frameworks.remove(tests.framework.as_str())
            {
                light.fixes = light.fixes.or(Some((failing.first, failing.times)));
            }
        }
    }
    if let Some(at) = last_tests {
        lights[at].last_tests = true;
    }
    lights
}

impl Item {
    /// Its commands.
    pub(super) fn commands<'e>(&self, entries: &'e [Entry]) -> impl Iterator<Item = &'e Command> {
        entries[self.entries.clone()].iter().filter_map(Entry::command)
    }

    /// The place of the entry that stands for it: the last that failed, else the last.
    pub(super) fn shown(&self, entries: &[Entry]) -> usize {
        let failed = |at: &usize| entries[*at].command().is_some_and(Command::failed);
        self.entries.clone().rev().find(failed).unwrap_or(*self.entries.end())
    }
}
