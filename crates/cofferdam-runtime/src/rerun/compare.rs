//! Whether a repeated test command came out as recorded.

use std::collections::BTreeSet;

use cofferdam_core::event::{TestOutcome, TestResult};

/// Most names that a result holds: a list of that many may be cut, and says no more than its length.
const MOST_NAMES: usize = 100;

/// Something that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// How the command ended.
    Ending {
        /// Code and signal then.
        was: (Option<i32>, Option<i32>),
        /// Code and signal now.
        now: (Option<i32>, Option<i32>),
    },
    /// Counts or failing names.
    Tests {
        /// The result then; `None` where this framework said nothing.
        was: Option<Box<TestResult>>,
        /// The result now; `None` where this framework says nothing.
        now: Option<Box<TestResult>>,
    },
}

/// Compares exit code, signal, counts and failing names; times do not count. What is not known of the recorded command (the
/// end of a process on a host that does not tell) is not compared. Empty where it is reproduced.
pub fn compare(was: &TestOutcome, now: &TestOutcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    let ending = |outcome: &TestOutcome| (outcome.code, outcome.signal);
    if ending(was) != (None, None) && ending(was) != ending(now) {
        differences.push(Difference::Ending { was: ending(was), now: ending(now) });
    }
    let mut left: Vec<&TestResult> = now.results.iter().collect();
    for then in &was.results {
        let same = left.iter().position(|now| now.framework == then.framework && now.report == then.report);
        let now = same.map(|at| left.remove(at));
        if now.is_none_or(|now| !equal(then, now)) {
            differences.push(Difference::Tests { was: boxed(Some(then)), now: boxed(now) });
        }
    }
    differences.extend(left.into_iter().map(|now| Difference::Tests { was: None, now: boxed(Some(now)) }));
    differences
}

fn boxed(result: Option<&TestResult>) -> Option<Box<TestResult>> {
    result.map(|result| Box::new(result.clone()))
}

fn equal(was: &TestResult, now: &TestResult) -> bool {
    let counts = |result: &TestResult| (result.passed, result.failed, result.skipped);
    if was.partial || now.partial {
        // Where output was not kept the counts are lower bounds, and the names some of them.
        let (partial, other) = if was.partial { (was, now) } else { (now, was) };
        let at_least =
            partial.passed <= other.passed && partial.failed <= other.failed && partial.skipped <= other.skipped;
        return (was.failed == 0) == (now.failed == 0) && (at_least || other.partial);
    }
    let names = |result: &TestResult| result.failing.iter().cloned().collect::<BTreeSet<String>>();
    let cut = was.failing.len() >= MOST_NAMES || now.failing.len() >= MOST_NAMES;
    counts(was) == counts(now) && (cut || names(was) == names(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(passed: u64, failing: &[&str]) -> TestResult {
        TestResult {
            framework: "pytest".into(),
            passed,
            failed: failing.len() as u64,
            failing: failing.iter().map(|name| (*name).to_owned()).collect(),
            milliseconds: Some(passed),
            ..TestResult::default()
        }
    }

    fn outcome(code: i32, results: &[TestResult]) -> TestOutcome {
        TestOutcome { code: Some(code), signal: None, milliseconds: Some(7), results: results.to_vec() }
    }

    #[test]
    fn a_failure_that_fails_again_is_reproduced() {
        let was = outcome(1, &[result(3, &["b", "a"])]);
        let mut now = outcome(1, &[result(3, &["a", "b"])]);
        now.milliseconds = Some(900);
        now.results[0].milliseconds = Some(80);
        assert_eq!(compare(&was, &now), []);
    }

    #[test]
    fn other_counts_names_codes_and_frameworks_are_differences() {
        let was = outcome(1, &[result(3, &["a"])]);
        let count = |now: &TestOutcome| compare(&was, now).len();
        assert_eq!(count(&outcome(1, &[result(3, &["b"])])), 1, "another test fails");
        assert_eq!(count(&outcome(0, &[result(4, &[])])), 2, "code and counts");
        assert_eq!(count(&outcome(1, &[])), 1, "no summary any more");
        let other = TestResult { framework: "junit".into(), ..result(3, &["a"]) };
        assert_eq!(count(&outcome(1, &[result(3, &["a"]), other])), 1);
        let killed = TestOutcome { code: None, signal: Some(9), ..outcome(1, &[result(3, &["a"])]) };
        assert_eq!(compare(&was, &killed), [Difference::Ending { was: (Some(1), None), now: (None, Some(9)) }]);
    }

    #[test]
    fn what_was_not_known_is_not_compared() {
        let unknown = TestOutcome { code: None, ..outcome(0, &[result(3, &[])]) };
        assert_eq!(compare(&unknown, &outcome(2, &[result(3, &[])])), []);
        let partial = TestResult { partial: true, ..result(3, &["a"]) };
        assert_eq!(compare(&outcome(1, std::slice::from_ref(&partial)), &outcome(1, &[result(200, &["a"])])), []);
        assert_eq!(compare(&outcome(1, &[partial]), &outcome(1, &[result(200, &[])])).len(), 1, "a failure is gone");
    }
}
