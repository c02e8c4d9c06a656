//! cargo-nextest (<https://nexte.st/docs/reporting/>).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counts, number_of, seconds};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found: Option<TestResult> = None;
    let mut announced = text.has_gap().then_some(None);
    let mut after_rule = false;
    let mut listing = false;
    for line in text.all() {
        if let Some(number) = starting(line) {
            announced = Some(Some(number));
        } else if let Some(result) = summary(line).filter(|_| after_rule) {
            if let Some(number) = announced
                && number.is_none_or(|n| n >= result.passed + result.failed)
            {
                found = Some(result);
                listing = true;
                continue;
            }
        } else if let Some(result) = found.as_mut().filter(|_| listing)
            && let Some((verdict, name)) = outcome(line)
        {
            if is_failure(verdict) {
                super::name(&mut result.failing, name);
            }
            continue;
        }
        listing = false;
        after_rule = line.starts_with("────") && line.chars().all(|c| c == '─');
    }
    found
}

/// Statuses are right-aligned in twelve columns; what tests print is shown indented by four.
fn status(line: &str) -> Option<(&str, &str)> {
    let (status, rest) = line.split_at_checked(12)?;
    Some((status.trim_start(), rest.strip_prefix(' ')?))
}

/// `    Starting 6 tests across 2 binaries (1 test skipped)`.
fn starting(line: &str) -> Option<u64> {
    let (number, rest) = status(line).filter(|(s, _)| *s == "Starting")?.1.split_once(' ')?;
    rest.starts_with("test").then(|| number_of(number))?
}

/// `     Summary [   0.480s] 6 tests run: 4 passed (1 slow), 2 failed, 1 skipped`.
fn summary(line: &str) -> Option<TestResult> {
    let (time, rest) = status(line).filter(|(s, _)| *s == "Summary")?.1.strip_prefix('[')?.split_once("s] ")?;
    let (run, list) = rest.split_once(" run: ")?;
    let run = run.strip_suffix(" tests").or_else(|| run.strip_suffix(" test"))?;
    let run = number_of(run.split('/').next()?)?;
    let mut result = super::result("nextest");
    result.milliseconds = Some(seconds(time.trim())?);
    for (number, what) in counts(&without_remarks(list), ", ")? {
        match what.trim_end() {
            "passed" => result.passed = number,
            "failed" | "timed out" | "exec failed" => result.failed += number,
            "skipped" => result.skipped = number,
            _ => return None,
        }
    }
    (run == result.passed + result.failed).then_some(result)
}

/// Takes out what stands in parentheses: `4 passed (1 slow, 1 flaky)`.
fn without_remarks(list: &str) -> String {
    let mut depth = 0u32;
    list.chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

/// `        FAIL [   0.251s] (3/6) sums tests::is_wrong`, `  TRY 3 FAIL [...]`, `     SIGSEGV [...]`: what came of a test, and
/// its name.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (status, rest) = status(line)?;
    let (_, name) = rest.strip_prefix('[')?.split_once("s] ")?;
    let name = match name.strip_prefix('(').and_then(|n| n.split_once(") ")) {
        Some((place, name)) if place.contains('/') => name,
        _ => name,
    };
    Some((status.rsplit(' ').next()?, name))
}

fn is_failure(verdict: &str) -> bool {
    verdict.starts_with("FAIL")
        || verdict.starts_with("SIG")
        || matches!(verdict, "TIMEOUT" | "ABORT" | "TMT" | "XFAIL" | "LEAK-FAIL")
}
