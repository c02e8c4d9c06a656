//! `node --test`, by its TAP and its spec reporter (<https://nodejs.org/api/test.html#test-reporters>).

use cofferdam_core::event::TestResult;

use super::lines::Lines;
use super::numbers::{milliseconds, number_of};

pub(super) fn recognise(text: &Lines) -> Option<TestResult> {
    let mut found: Option<TestResult> = None;
    // TAP names failures before its totals, the spec reporter after them.
    let mut tap_failing: Vec<String> = Vec::new();
    let mut pending: Option<&str> = None;
    let mut tap = text.has_gap();
    let mut listing = false;
    let mut footer = Footer::default();
    for line in text.all() {
        if line.starts_with("TAP version ") {
            (tap, tap_failing) = (true, Vec::new());
        }
        if let Some(name) = not_ok(line) {
            pending = Some(name);
        } else if let Some(name) = pending {
            // A suite fails because its tests do; they are named themselves.
            match line.trim_start() {
                "type: 'suite'" => pending = None,
                "..." => {
                    super::name(&mut tap_failing, name);
                    pending = None;
                }
                _ => {}
            }
        }
        if let Some((marker, mut result)) = footer.line(line)
            && (marker == 'ℹ' || tap)
        {
            if marker == '#' {
                result.failing = std::mem::take(&mut tap_failing);
            }
            found = Some(result);
            listing = false;
        } else if line == "✖ failing tests:" {
            listing = true;
        } else if let Some(result) = &mut found
            && listing
            && let Some(name) = line.strip_prefix("✖ ")
        {
            super::name(&mut result.failing, name.rsplit_once(" (").map_or(name, |(name, _)| name));
        }
    }
    found
}

/// `not ok 2 - is wrong`, at any depth; a failing TODO is none.
fn not_ok(line: &str) -> Option<&str> {
    let (_, name) = line.trim_start_matches(' ').strip_prefix("not ok ")?.split_once(" - ")?;
    match name.rsplit_once(" # ") {
        Some((_, directive)) if directive.starts_with("TODO") => None,
        Some((name, directive)) if directive.starts_with("SKIP") => Some(name),
        _ => Some(name),
    }
}

/// The totals, one a line in this order; `suites` came with Node 20.
const KEYS: [&str; 8] = ["tests", "suites", "pass", "fail", "cancelled", "skipped", "todo", "duration_ms"];

#[derive(Default)]
struct Footer {
    marker: char,
    next: usize,
    numbers: [u64; 8],
}

impl Footer {
    /// Takes a line; the result where it is the last one and the totals agree.
    fn line(&mut self, line: &str) -> Option<(char, TestResult)> {
        let Some((marker, key, value)) = total(line) else {
            self.next = 0;
            return None;
        };
        if key == KEYS[0] {
            *self = Footer { marker, ..Footer::default() };
        } else if self.next == 1 && key == KEYS[2] {
            self.next = 2;
        }
        let number = if key == KEYS[7] { milliseconds(value) } else { number_of(value) };
        match number {
            Some(number) if key == KEYS[self.next] && marker == self.marker => {
                self.numbers[self.next] = number;
                self.next += 1;
            }
            _ => self.next = 0,
        }
        if self.next < KEYS.len() {
            return None;
        }
        self.next = 0;
        let [tests, _, pass, fail, cancelled, skipped, todo, took] = self.numbers;
        let mut result = super::result("node-test");
        (result.passed, result.failed, result.skipped) = (pass, fail + cancelled, skipped + todo);
        result.milliseconds = Some(took);
        (tests == result.passed + result.failed + result.skipped).then_some((marker, result))
    }
}

/// `# pass 3`, `ℹ pass 3`.
fn total(line: &str) -> Option<(char, &str, &str)> {
    let marker = line.chars().next().filter(|c| matches!(c, '#' | 'ℹ'))?;
    let (key, value) = line[marker.len_utf8()..].strip_prefix(' ')?.split_once(' ')?;
    KEYS.contains(&key).then_some((marker, key, value))
}
