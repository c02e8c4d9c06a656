//! pytest (`src/_pytest/terminal.py`): a summary with or without bars, and `short test summary info`.

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counts, seconds};

/// One run of pytest.
#[derive(Default)]
struct Session {
    /// Characters of the `test session starts` bar: the others are as long.
    width: Option<usize>,
    /// Something that only pytest prints before its summary.
    evidence: bool,
    /// The last summary.
    result: Option<TestResult>,
    /// Of the latest `short test summary info`.
    failing: Vec<String>,
}

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut sessions = vec![Session { evidence: text.has_gap(), ..Session::default() }];
    for line in text.all() {
        let bar = barred(line, '=');
        if bar == Some("test session starts") {
            let width = Some(line.chars().count());
            sessions.push(Session { width, evidence: true, ..Session::default() });
        }
        if let Some(session) = sessions.last_mut() {
            session.line(line, bar);
        }
    }
    let mut results = sessions.into_iter().filter_map(|s| s.result);
    let mut total = results.next()?;
    for result in results {
        total.passed += result.passed;
        total.failed += result.failed;
        total.skipped += result.skipped;
        total.milliseconds = super::numbers::plus(total.milliseconds, result.milliseconds);
        result.failing.iter().for_each(|name| super::name(&mut total.failing, name));
    }
    Some(total)
}

impl Session {
    fn line(&mut self, line: &str, bar: Option<&str>) {
        match bar {
            Some("short test summary info") => {
                self.evidence = true;
                self.failing.clear();
            }
            Some("FAILURES" | "ERRORS") => self.evidence = true,
            _ => {}
        }
        if progress(line) {
            self.evidence = true;
        }
        let kinds = ["FAILED ", "ERROR ", "SUBFAILED"];
        if let Some(name) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) {
            super::name(&mut self.failing, name.split(" - ").next().unwrap_or(name));
        }
        // With a header the summary has bars of the same length, unless it is longer itself; quietly it has none.
        let summary = match (self.width, bar) {
            (Some(width), Some(bar)) => (line.chars().count() + 1 >= width).then_some(bar),
            (None, None) if self.evidence => Some(line),
            _ => None,
        };
        if let Some(mut result) = summary.and_then(summary_of) {
            result.failing.clone_from(&self.failing);
            self.result = Some(result);
        }
    }
}

/// What stands between two bars of `=`.
fn barred(line: &str, sign: char) -> Option<&str> {
    let inner = line.trim_matches(sign);
    let is_bar = line.starts_with(sign) && line.ends_with(sign);
    inner.strip_prefix(' ')?.strip_suffix(' ').filter(|_| is_bar)
}

/// The end of a line of progress: `..F.   [100%]`, `[ 12/100]`.
fn progress(line: &str) -> bool {
    let Some(inner) = line.strip_suffix(']').and_then(|l| l.rsplit_once(" [")).map(|(_, i)| i.trim()) else {
        return false;
    };
    let is_number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    inner.strip_suffix('%').is_some_and(is_number)
        || inner.split_once('/').is_some_and(|(a, b)| is_number(a.trim()) && is_number(b))
}

/// `3 failed, 10 passed, 2 skipped, 1 xfailed, 1 error in 0.12s`, `2 passed in 75.01s (0:01:15)`, `no tests ran in 0.00s`.
fn summary_of(text: &str) -> Option<TestResult> {
    let (list, time) = text.rsplit_once(" in ")?;
    let time = match time.split_once(' ') {
        Some((time, clock)) if clock.starts_with('(') && clock.ends_with(')') => time,
        Some(_) => return None,
        None => time,
    };
    let mut result = super::result("pytest");
    result.milliseconds = Some(seconds(time.strip_suffix('s')?)?);
    if list == "no tests ran" {
        return Some(result);
    }
    let mut tests = false;
    for (number, what) in counts(list, ", ")? {
        tests = true;
        match what {
            // As in pytest's own JUnit report: what passed against expectation passed, what failed as expected is skipped.
            "passed" | "xpassed" => result.passed += number,
            "failed" | "error" | "errors" => result.failed += number,
            "skipped" | "xfailed" => result.skipped += number,
            "deselected" | "warning" | "warnings" | "rerun" | "subtests passed" => {}
            _ => return None,
        }
    }
    tests.then_some(result)
}
