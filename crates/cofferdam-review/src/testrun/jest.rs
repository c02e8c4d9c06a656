//! Jest (`packages/jest-reporters/src/getSummary.ts`, `packages/jest-message-util`).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counts, duration};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found = None;
    let mut failing: Vec<String> = Vec::new();
    let mut broken: Vec<String> = Vec::new();
    let mut suite = "";
    let mut lines = text.all().peekable();
    while let Some(line) = lines.next() {
        if let Some(path) = line.trim_start_matches(' ').strip_prefix("FAIL ") {
            suite = path.trim_start();
        }
        match line.strip_prefix("  ● ") {
            Some("Console") | None => {}
            Some("Test suite failed to run") => super::name(&mut broken, suite),
            Some(name) => super::name(&mut failing, name),
        }
        if line.strip_prefix("Test Suites: ").and_then(total).is_none() {
            continue;
        }
        let Some(mut result) = lines.next_if(|l| l.starts_with("Tests: ")).and_then(|l| total(&l[6..])) else {
            continue;
        };
        let Some(time) = lines.next_if(|l| l.starts_with("Snapshots: ")).and_then(|_| lines.peek()) else { continue };
        result.milliseconds = time.strip_prefix("Time: ").and_then(|t| duration(t.split(',').next()?));
        if result.milliseconds.is_some() {
            // A suite that does not even load has no test that could fail.
            result.failed += broken.len() as u64;
            result.failing = std::mem::take(&mut broken);
            std::mem::take(&mut failing).iter().for_each(|name| super::name(&mut result.failing, name));
            found = Some(result);
        }
    }
    found
}

/// `       2 failed, 1 skipped, 1 todo, 3 passed, 7 total`; `1 of 2 total` of suites.
fn total(list: &str) -> Option<TestResult> {
    let (list, total) = match list.trim_start().rsplit_once(", ") {
        Some((list, total)) => (list, total),
        None => ("", list.trim_start()),
    };
    let total = total.strip_suffix(" total")?;
    let total = super::numbers::number_of(total.rsplit(" of ").next()?)?;
    let mut result = super::result("jest");
    if !list.is_empty() {
        for (number, what) in counts(list, ", ")? {
            match what {
                "failed" => result.failed = number,
                "passed" => result.passed = number,
                "skipped" | "todo" | "pending" => result.skipped += number,
                _ => return None,
            }
        }
    }
    (result.failed + result.passed + result.skipped == total).then_some(result)
}
