//! What the records of the ledger come to.

use std::collections::{BTreeMap, HashMap};

use cofferdam_core::{Bytes, RunId};
use cofferdam_policy::Per;
use cofferdam_policy::models::Budget;

use super::User;
use super::record::Record;
use crate::budget::ask::Used;

/// Runs of so many days before the last one are no longer told apart.
const APART: u32 = 62;

/// All that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    settled: BTreeMap<Line, Used>,
    open: BTreeMap<(RunId, u64), (Line, Used)>,
    last: HashMap<RunId, u64>,
    day: u32,
}

/// Whose use it is, and of when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The day, in days since 1970-01-01.
    pub day: u32,
    /// The project.
    pub project: Bytes,
    /// The run; none for runs of long ago.
    pub run: Option<RunId>,
}

impl Book {
    /// The last day on which something was used.
    pub fn day(&self) -> u32 {
        self.day
    }

    /// The number of a run's next request.
    pub(super) fn next(&self, run: &RunId) -> u64 {
        self.last.get(run).map_or(1, |last| last + 1)
    }

    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Reserve { run, project, number, day, used } => {
                self.day = self.day.max(day);
                let last = self.last.entry(run.clone()).or_default();
                *last = number.max(*last);
                let line = Line { day, project, run: Some(run.clone()) };
                // A number that is there already is not lost.
                if let Some((line, used)) = self.open.insert((run, number), (line, used)) {
                    self.settled.entry(line).or_default().add(&used);
                }
            }
            // What is settled twice is settled once.
            Record::Settle { run, number, used } => {
                if let Some((line, reserved)) = self.open.remove(&(run, number)) {
                    self.settled.entry(line).or_default().add(&used.unwrap_or(reserved));
                }
            }
            Record::Total { run, project, day, used, number } => {
                self.day = self.day.max(day);
                if let Some(run) = &run {
                    let last = self.last.entry(run.clone()).or_default();
                    *last = number.max(*last);
                }
                self.settled.entry(Line { day, project, run }).or_default().add(&used);
            }
        }
    }

    /// What counts for a budget, and how much of that is not settled.
    pub fn used(&self, budget: &Budget, user: &User, day: u32) -> (Used, Used) {
        let counts = |line: &Line| {
            let within = match budget.per {
                Per::Run => line.run.as_ref() == Some(&user.run),
                Per::Day => line.day == day,
                Per::Month => month(line.day) == month(day),
                Per::Project => true,
            };
            within && (!(budget.here || budget.per == Per::Project) || line.project == user.project)
        };
        let (mut all, mut reserved) = (Used::default(), Used::default());
        self.settled.iter().filter(|(line, _)| counts(line)).for_each(|(_, used)| all.add(used));
        self.open.values().filter(|(line, _)| counts(line)).for_each(|(_, used)| reserved.add(used));
        all.add(&reserved);
        (all, reserved)
    }

    /// What was used on each day by each run, settled and not.
    pub fn lines(&self) -> BTreeMap<Line, (Used, Used)> {
        let mut lines: BTreeMap<Line, (Used, Used)> = BTreeMap::new();
        for (line, used) in &self.settled {
            lines.entry(line.clone()).or_default().0.add(used);
        }
        for (line, used) in self.open.values() {
            let (all, reserved) = lines.entry(line.clone()).or_default();
            all.add(used);
            reserved.add(used);
        }
        lines
    }

    /// Fewer records that come to the same.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut totals: BTreeMap<Line, Used> = BTreeMap::new();
        for (line, used) in &self.settled {
            let mut line = line.clone();
            if line.day + APART < self.day {
                line.run = None;
            }
            totals.entry(line).or_default().add(used);
        }
        let total = |(line, used): (Line, Used)| {
            let number = line.run.as_ref().and_then(|run| self.last.get(run)).copied().unwrap_or_default();
            Record::Total { run: line.run, project: line.project, day: line.day, used, number }
        };
        let open = self.open.iter().map(|((run, number), (line, used))| Record::Reserve {
            run: run.clone(),
            project: line.project.clone(),
            number: *number,
            day: line.day,
            used: *used,
        });
        totals.into_iter().map(total).chain(open).collect()
    }
}

/// The month of a day: years and months, in one number.
fn month(day: u32) -> i32 {
    let date = date(day);
    date.year() * 12 + i32::from(u8::from(date.month()))
}

fn date(day: u32) -> time::Date {
    time::Date::from_julian_day(EPOCH.saturating_add_unsigned(day)).unwrap_or(time::Date::MAX)
}

/// A day as it is written: `2026-11-25`.
pub fn day_text(day: u32) -> String {
    let date = date(day);
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// 1970-01-01 as a Julian day.
const EPOCH: i32 = 2_440_588;

#[cfg(test)]
mod tests {
    use super::month;

    #[test]
    fn months_begin_where_they_do() {
        assert_eq!(month(0), 1970 * 12 + 1);
        assert_eq!((month(30), month(31)), (1970 * 12 + 1, 1970 * 12 + 2));
        assert_eq!(month(20_787), 2026 * 12 + 11, "2026-11-30");
        assert_eq!(month(20_788), 2026 * 12 + 12);
        month(u32::MAX);
    }
}
