//! CTest (`Source/CTest/cmCTestTestHandler.cxx` of CMake).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{number_of, plus, seconds};

#[derive(Clone, Copy, PartialEq)]
enum List {
    None,
    NotRun,
    Failed,
}

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut total: Option<TestResult> = None;
    let mut current: Option<TestResult> = None;
    let mut header = text.has_gap();
    let mut list = List::None;
    for line in text.all() {
        if line.starts_with("Test project /") {
            add(&mut total, current.take());
            (header, list) = (true, List::None);
        } else if let Some(result) = summary(line).filter(|_| header) {
            // What comes before it, tests printed.
            current = Some(result);
            list = List::None;
        }
        let Some(result) = &mut current else { continue };
        match line {
            "The following tests did not run:" => list = List::NotRun,
            "The following tests FAILED:" => list = List::Failed,
            _ => match (list, item(line)) {
                // Disabled tests are not among those that the totals count.
                (List::NotRun, Some((_, why))) => {
                    result.skipped += 1;
                    if why != "Disabled" {
                        result.passed = result.passed.saturating_sub(1);
                    }
                }
                (List::Failed, Some((name, _))) => super::name(&mut result.failing, name),
                _ if line.is_empty() => {}
                _ => list = List::None,
            },
        }
        if let Some(time) = line.strip_prefix("Total Test time (real) =") {
            result.milliseconds = time.trim().strip_suffix(" sec").and_then(|t| seconds(t.trim()));
        }
    }
    add(&mut total, current);
    total
}

fn add(total: &mut Option<TestResult>, one: Option<TestResult>) {
    match (total, one) {
        (_, None) => {}
        (Some(total), Some(one)) => {
            total.passed += one.passed;
            total.failed += one.failed;
            total.skipped += one.skipped;
            total.milliseconds = plus(total.milliseconds, one.milliseconds);
            one.failing.iter().for_each(|name| super::name(&mut total.failing, name));
        }
        (total, one) => *total = one,
    }
}

/// `43% tests passed, 4 tests failed out of 7`.
fn summary(line: &str) -> Option<TestResult> {
    let (percent, rest) = line.split_once("% tests passed, ")?;
    let (failed, of) = rest.split_once(" tests failed out of ").or_else(|| rest.split_once(" test failed out of "))?;
    let (percent, failed, of) = (number_of(percent)?, number_of(failed)?, number_of(of)?);
    let passed = of.checked_sub(failed)?;
    let mut result = super::result("ctest");
    (result.passed, result.failed) = (passed, failed);
    // Rounded, but never up to a hundred.
    let agrees = of > 0 && (100 * passed).abs_diff(percent * of) <= of && (percent == 100) == (failed == 0);
    agrees.then_some(result)
}

/// After a tabulator: `  3 - bad (Failed)`, with labels behind it in newer versions.
fn item(line: &str) -> Option<(&str, &str)> {
    let (number, rest) = line.strip_prefix('\t')?.trim_start().split_once(" - ")?;
    number_of(number)?;
    let (name, why) = rest.rsplit_once(" (")?;
    Some((name, why.split(')').next()?))
}
