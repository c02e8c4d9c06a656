//! Python's unittest (`Lib/unittest/runner.py`); Django's and others' runners end the same way.

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{number_of, seconds};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found = None;
    let mut failing: Vec<String> = Vec::new();
    // The last four lines: rule, `Ran …`, an empty one, the verdict.
    let mut last = ["", "", ""];
    for line in text.all() {
        // After a rule of `=`: `FAIL: test_wrong (test_sums.Sums.test_wrong)`, then `[docstring]`.
        if is_rule(last[2], '=')
            && let Some((kind, name)) = line.split_once(": ")
            && matches!(kind, "FAIL" | "ERROR" | "UNEXPECTED SUCCESS")
        {
            super::name(&mut failing, name);
        }
        if is_rule(last[0], '-')
            && last[2].is_empty()
            && let Some((ran, milliseconds)) = ran(last[1])
            && let Some(mut result) = verdict(line, ran)
        {
            result.milliseconds = Some(milliseconds);
            if result.failed > 0 {
                result.failing.clone_from(&failing);
            }
            failing.clear();
            found = Some(result);
        }
        last = [last[1], last[2], line];
    }
    found
}

fn is_rule(line: &str, sign: char) -> bool {
    line.len() == 70 && line.chars().all(|c| c == sign)
}

/// `Ran 5 tests in 0.001s`.
fn ran(line: &str) -> Option<(u64, u64)> {
    let (number, rest) = line.strip_prefix("Ran ")?.split_once(' ')?;
    let time = rest.strip_prefix("tests in ").or_else(|| rest.strip_prefix("test in "))?;
    Some((number_of(number)?, seconds(time.strip_suffix('s')?)?))
}

/// `OK`, `OK (skipped=1)`, `FAILED (failures=1, errors=1)`, `NO TESTS RAN`.
fn verdict(line: &str, ran: u64) -> Option<TestResult> {
    let (word, list) = match line.split_once(" (") {
        Some((word, rest)) => (word, rest.strip_suffix(')')?),
        None => (line, ""),
    };
    let mut result = super::result("unittest");
    for item in list.split(", ").filter(|i| !i.is_empty()) {
        let (what, number) = item.split_once('=')?;
        let number = number_of(number)?;
        match what {
            "failures" | "errors" | "unexpected successes" => result.failed += number,
            "skipped" | "expected failures" => result.skipped += number,
            _ => return None,
        }
    }
    let agrees = match word {
        "OK" => result.failed == 0,
        "FAILED" => result.failed > 0,
        "NO TESTS RAN" => ran == 0,
        _ => false,
    };
    // One test may fail several times (subTest), and a fixture that fails is no test.
    result.passed = ran.saturating_sub(result.failed + result.skipped);
    agrees.then_some(result)
}
