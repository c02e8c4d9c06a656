//! Mocha (`lib/reporters/base.js`, `epilogue` and `list`), whatever reporter of its own it prints with.

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counted, duration};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found: Option<TestResult> = None;
    let mut before = "x";
    let mut lines = text.all().peekable();
    while let Some(line) = lines.next() {
        if before.is_empty()
            && let Some((passed, milliseconds)) = passing(line)
        {
            let mut result = super::result("mocha");
            (result.passed, result.milliseconds) = (passed, Some(milliseconds));
            let mut next = |what: &str| {
                let number = lines.peek().and_then(|l| count(l, what));
                lines.next_if(|_| number.is_some()).and(number).unwrap_or(0)
            };
            result.skipped = next("pending");
            result.failed = next("failing");
            before = "";
            found = Some(result);
            continue;
        }
        before = line;
        if let Some(result) = &mut found
            && let Some(number) = numbered(line)
            && (result.failing.len() as u64) < result.failed
            && number.0 == result.failing.len() as u64 + 1
        {
            // `  1) sums`, then the titles below it, each deeper by two columns, the last with a colon.
            let mut title = number.1.to_owned();
            let mut depth = 7;
            while !title.ends_with(':')
                && let Some(below) = lines.next_if(|l| l.len() > depth && l.trim_start().len() + depth == l.len())
            {
                title.push(' ');
                title.push_str(below.trim_start());
                depth += 2;
            }
            super::name(&mut result.failing, title.trim_end_matches(':'));
        }
    }
    found
}

/// `  12 passing (30ms)`.
fn passing(line: &str) -> Option<(u64, u64)> {
    let (number, rest) = counted(line.strip_prefix("  ")?)?;
    let time = rest.strip_prefix("passing (")?.strip_suffix(')')?;
    Some((number, duration(time)?))
}

/// `  2 pending`.
fn count(line: &str, what: &str) -> Option<u64> {
    counted(line.strip_prefix("  ")?).filter(|(_, w)| *w == what).map(|(number, _)| number)
}

/// `  1) sums`.
fn numbered(line: &str) -> Option<(u64, &str)> {
    let (number, title) = line.strip_prefix("  ")?.split_once(") ")?;
    Some((super::numbers::number_of(number)?, title))
}
