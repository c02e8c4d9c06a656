//! libtest, as `cargo test` runs it: each test program, and each crate's doc-tests, with a header and a result of its own
//! (`library/test/src/formatters` of rust-lang/rust).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{counted, number_of, plus, seconds};

/// What one `test result:` line says.
struct Line {
    passed: u64,
    failed: u64,
    ignored: u64,
    milliseconds: Option<u64>,
}

/// One test program.
#[derive(Default)]
struct Block {
    /// Of `running N tests`; unknown where the header is in the gap.
    announced: Option<u64>,
    /// The last consistent result line, and the failing names before it.
    result: Option<(Line, Vec<String>)>,
    /// Names of the latest `failures:` list.
    failing: Vec<String>,
    /// In such a list.
    listing: bool,
    /// Behind a `failures:` line, where libtest shows what failing tests printed.
    captured: bool,
}

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut total = super::result("cargo-test");
    let mut found = false;
    let mut block: Option<Block> = None;
    let mut close = |block: Option<Block>| {
        if let Some((line, failing)) = block.and_then(|b| b.result) {
            found = true;
            total.passed += line.passed;
            total.failed += line.failed;
            total.skipped += line.ignored;
            total.milliseconds = plus(total.milliseconds, line.milliseconds);
            failing.iter().for_each(|name| super::name(&mut total.failing, name));
        }
    };
    for (after_gap, line) in text.marked() {
        if after_gap {
            // The program whose end comes now has its header in the gap.
            close(block.take());
            block = Some(Block::default());
        }
        match &mut block {
            Some(block) if block.captured && block.result.is_none() => block.line(line),
            _ if let Some(announced) = header(line) => {
                let next = Block { announced: Some(announced), ..Block::default() };
                close(block.replace(next));
            }
            Some(block) => block.line(line),
            None => {}
        }
    }
    close(block);
    total.partial = text.has_gap();
    found.then_some(total)
}

impl Block {
    fn line(&mut self, line: &str) {
        if line == "failures:" {
            (self.captured, self.listing) = (true, true);
            self.failing.clear();
        } else if let Some(name) = line.strip_prefix("    ").filter(|n| self.listing && !n.starts_with(' ')) {
            super::name(&mut self.failing, name);
        } else if !line.is_empty() {
            self.listing = false;
            if let Some(result) = result(line, self.announced) {
                self.result = Some((result, self.failing.clone()));
            }
        }
    }
}

/// `running 1 test`, `running 5 tests`.
fn header(line: &str) -> Option<u64> {
    let (number, what) = counted(line.strip_prefix("running ")?)?;
    (what == if number == 1 { "test" } else { "tests" }).then_some(number)
}

/// A result line that agrees with itself and with its header.
fn result(line: &str, announced: Option<u64>) -> Option<Line> {
    let (verdict, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = rest.split("; ");
    let mut next = |what: &str| {
        let (number, name) = parts.next()?.split_once(' ')?;
        if name == what { number_of(number) } else { None }
    };
    let (passed, failed, ignored) = (next("passed")?, next("failed")?, next("ignored")?);
    let (measured, _filtered) = (next("measured")?, next("filtered out")?);
    let milliseconds = match parts.next() {
        Some(time) => Some(seconds(time.strip_prefix("finished in ")?.strip_suffix('s')?)?),
        None => None,
    };
    let agrees = match verdict {
        "ok" => failed == 0,
        "FAILED" => true,
        _ => false,
    };
    let whole = announced.is_none_or(|n| n == passed + failed + ignored + measured);
    (agrees && whole).then_some(Line { passed, failed, ignored, milliseconds })
}
