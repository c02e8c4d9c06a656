//! Test runs, recognised from what a command printed or reported.
//!
//! The result says what the output says, and whoever ran inside wrote the output: a test may print anything. What can be
//! asked of the form is asked: lines stand at the margin where the framework puts them, a summary follows its header, its
//! numbers agree with each other, and of several summaries in one place the last counts, as output that tests print comes
//! before it. The command's arguments say only which commands print files and never test. Where a framework prints no
//! header (unittest, pytest -q, mocha, jest, vitest, node), a command that ran it several times gives its last run.

mod cargo;
mod ctest;
mod go;
mod jest;
mod junit;
mod lines;
mod mocha;
mod nextest;
mod node;
mod numbers;
mod printing;
mod pytest;
mod runner;
#[cfg(test)]
mod tests;
mod unittest;
mod vitest;

use cofferdam_core::Bytes;
use cofferdam_core::event::TestResult;

use lines::Lines;
pub(crate) use lines::plain;
pub use runner::runs_tests;

/// Most names of failing tests in a result.
const MOST_NAMES: usize = 100;
/// Most characters of a name.
const MOST_CHARACTERS: usize = 200;

/// What a command's output says of tests: one result for each framework that it speaks of.
///
/// `argv` as recorded; `head` what is kept of the output, and `tail`, where something in the middle was not kept, its end;
/// otherwise empty. Terminal escape sequences are taken out first. Takes time linear in the output.
pub fn recognise(argv: &[Bytes], head: &[u8], tail: &[u8]) -> Vec<TestResult> {
    if printing::only_prints(argv) {
        return Vec::new();
    }
    let text = Lines::new(head, tail);
    let mut all: Vec<TestResult> = Vec::new();
    let nextest = nextest::recognise(&text);
    if nextest.is_none() {
        // nextest runs the same test programs, and shows what they print.
        all.extend(cargo::recognise(&text));
    }
    all.extend(nextest);
    all.extend(pytest::recognise(&text));
    all.extend(unittest::recognise(&text));
    all.extend(jest::recognise(&text));
    all.extend(vitest::recognise(&text));
    all.extend(node::recognise(&text));
    all.extend(mocha::recognise(&text));
    all.extend(go::recognise(&text));
    all.extend(ctest::recognise(&text));
    all.iter_mut().for_each(agree);
    all
}

/// What a report file says: JUnit XML, found by its content. `None` where it is none, is cut, declares a document type, or
/// is larger or deeper than any report.
pub fn report(path: &Bytes, content: &[u8]) -> Option<TestResult> {
    let mut result = junit::read(content)?;
    result.report = Some(path.clone());
    agree(&mut result);
    Some(result)
}

/// No more names than failures: the others are of warnings, or of what a framework repeated.
fn agree(result: &mut TestResult) {
    result.failing.truncate(usize::try_from(result.failed).unwrap_or(usize::MAX));
}

fn result(framework: &str) -> TestResult {
    TestResult { framework: framework.to_owned(), ..TestResult::default() }
}

/// Adds a name, bounded. Each once: some frameworks print a failure where it happens and again at the end.
fn name(failing: &mut Vec<String>, name: &str) {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(MOST_CHARACTERS).collect();
    if failing.len() < MOST_NAMES && !name.is_empty() && !failing.contains(&name) {
        failing.push(name);
    }
}
