//! Vitest (`packages/vitest/src/node/reporters/base.ts`).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counts, duration, number_of};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found: Option<TestResult> = None;
    let mut failing: Vec<String> = Vec::new();
    let mut broken = 0;
    let mut failed_suites = false;
    let mut files_before = false;
    let mut timed = true;
    for line in text.all() {
        if line.starts_with(" RUN  v") {
            (failing, broken) = (Vec::new(), 0);
        } else if let Some(title) = rule(line) {
            failed_suites = title.starts_with("Failed Suites ");
        } else if let Some(name) = line.strip_prefix(" FAIL  ") {
            broken += u64::from(failed_suites);
            // Of a suite its file stands behind it once more.
            super::name(&mut failing, name.split(" [ ").next().unwrap_or(name));
        }
        if let Some(mut result) = line.strip_prefix("      Tests  ").filter(|_| files_before).and_then(tests) {
            // A file that does not even load has no test that could fail.
            result.failed += broken;
            result.failing.clone_from(&failing);
            found = Some(result);
            timed = false;
        }
        if let Some(time) = line.strip_prefix("   Duration  ")
            && let Some(result) = &mut found
            && !timed
        {
            result.milliseconds = duration(time.split(" (").next().unwrap_or(time));
            timed = true;
        }
        files_before = line.strip_prefix(" Test Files  ").is_some_and(|list| tests(list).is_some());
    }
    found.filter(|_| timed)
}

/// `⎯⎯⎯⎯⎯ Failed Tests 2 ⎯⎯⎯⎯⎯`.
fn rule(line: &str) -> Option<&str> {
    line.strip_prefix('⎯')?.trim_matches('⎯').strip_prefix(' ')?.strip_suffix(' ')
}

/// `2 failed | 3 passed | 1 skipped | 1 todo (7)`; `no tests`.
fn tests(list: &str) -> Option<TestResult> {
    let mut result = super::result("vitest");
    if list == "no tests" {
        return Some(result);
    }
    let (list, total) = list.strip_suffix(')')?.rsplit_once(" (")?;
    for (number, what) in counts(list, " | ")? {
        match what {
            "failed" => result.failed = number,
            "passed" => result.passed = number,
            "skipped" | "todo" | "expected fail" => result.skipped += number,
            _ => return None,
        }
    }
    (result.failed + result.passed + result.skipped == number_of(total)?).then_some(result)
}
