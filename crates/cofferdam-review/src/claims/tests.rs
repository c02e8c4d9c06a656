//! That tests pass, or fail, or did not run.

use std::sync::LazyLock;

use regex::Regex;

use super::facts::Facts;
use super::sentences::Sentence;
use super::{Found, Look, Verdict};
use crate::story::{self, Command};
use crate::text::{fit, grouped};

const ABOUT: &str = "tests";

/// A pattern of words; the classes of Unicode are not needed for English.
pub(super) fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "patterns are constants, and a test compiles each")]
    Regex::new(text).expect("a constant pattern")
}

macro_rules! words {
    ($name:ident, $text:literal) => {
        pub(super) static $name: LazyLock<Regex> = LazyLock::new(|| pattern($text));
    };
}
pub(super) use words;

words!(
    PASS,
    r"(?x) \b(?:tests?|specs?|test\ (?:suite|cases?|run)s?|suite|checks)\b [^.]{0,60}?
    \b(?:pass|passes|passed|passing|succeed|succeeds|succeeded|green|ok)\b"
);
words!(FAIL, r"(?x) \b(?:tests?|specs?|suite)\b [^.]{0,40}? \b(?:fail|fails|failed|failing|broken|red)\b");
words!(NOT, r"\b(?:not|n't|cannot|no longer|don't|doesn't|didn't|never|none|without)\b|n't\b");
words!(NO_FAILURES, r"\b(?:no|zero|0)\s+(?:test\s+)?(?:failures|failing|failed|tests? fail)");
words!(
    COUNT,
    r"\b([0-9][0-9,]*)\s*(?:/|of|out of)?\s*([0-9][0-9,]*)?\s*(?:[a-z]+\s+){0,2}?(?:tests?|specs?|assertions)?\s*(?:all\s+)?(?:pass|passed|passing|passes|succeeded)\b"
);
words!(FAILED_COUNT, r"\b([0-9][0-9,]*)\s+(?:tests?\s+)?(?:failed|failing|failures?|fail)\b");
words!(
    NOT_RUN,
    r"(?:not|n't|unable to|without|no)\s+(?:able to\s+)?(?:run|ran|running|execute|executed|executing)\s+(?:any |the |of the )*(?:tests?|test suite)|tests? (?:was|were|have) not (?:been )?run|no tests (?:were )?(?:run|ran|executed)"
);

pub(super) fn claims(sentence: &Sentence, look: &Look<'_>) -> Vec<Found> {
    let low = &sentence.low;
    if NOT_RUN.is_match(low) {
        return vec![not_run(look.facts)];
    }
    let count = |pattern: &Regex, group| {
        let text = pattern.captures(low)?.get(group)?.as_str().replace(',', "");
        text.parse::<u64>().ok()
    };
    let about_tests = ["test", "spec", "suite", "pass"].iter().any(|word| low.contains(word));
    if !about_tests {
        return Vec::new();
    }
    let (passed, of) = (count(&COUNT, 1), count(&COUNT, 2));
    let failed = count(&FAILED_COUNT, 1).filter(|_| !NO_FAILURES.is_match(low));
    // "214 of 215 tests pass" says that one does not.
    let failed = failed.or_else(|| of.zip(passed).map(|(of, passed)| of.saturating_sub(passed)).filter(|n| *n > 0));
    let clean = NO_FAILURES.is_match(low) || failed == Some(0);
    let pass = PASS.find(low).is_some_and(|hit| !NOT.is_match(hit.as_str())) || passed.is_some();
    let fail = FAIL.find(low).is_some_and(|hit| !NOT.is_match(hit.as_str())) && !clean;
    match (pass || (clean && low.contains("test")), fail || failed.is_some_and(|n| n > 0)) {
        // "fixed the failing test; all tests pass", "the failing test passes now".
        (true, false) => vec![passes(look.facts, passed)],
        (true, true) if failed.is_none() => vec![passes(look.facts, passed)],
        (false, true) | (true, true) if !mends(low) => vec![fails(look.facts, failed)],
        _ => Vec::new(),
    }
}

/// It speaks of a failure that is over.
fn mends(low: &str) -> bool {
    ["fixed", "fixes", "fix ", "was failing", "were failing", "failed before", "previously"]
        .iter()
        .any(|w| low.contains(w))
}

/// A run of tests: by its results, or, where the output is of no known framework, by its exit code alone.
struct Tested<'a> {
    command: &'a Command,
    /// The event that says it.
    seq: u64,
    passed: Option<u64>,
    bad: bool,
    /// Its end is not in the record, and neither is a result.
    open: bool,
}

impl Tested<'_> {
    fn total(&self) -> u64 {
        self.command.tests.iter().map(|tests| tests.passed + tests.failed).sum()
    }

    fn framework(&self) -> &str {
        self.command.tests.first().map_or(self.command.name.as_str(), |tests| tests.framework.as_str())
    }

    fn says(&self) -> String {
        let name = fit(&self.command.text, 60);
        if self.command.tests.is_empty() {
            let code = self.command.end.and_then(|end| end.code);
            return format!("`{name}` exit {}", code.map_or("not known".to_owned(), |code| code.to_string()));
        }
        format!("`{name}` {}", story::tests(&self.command.tests))
    }
}

fn tested(facts: &Facts) -> Vec<Tested<'_>> {
    let of = |command: &'_ Command| {
        !command.tests.is_empty() || [command.seq, command.image].iter().any(|seq| facts.testers.contains(seq))
    };
    facts
        .commands()
        .filter(|command| of(command))
        .map(|command| {
            let seq = command.tests.last().map_or(command.seq, |tests| tests.seq);
            let passed = (!command.tests.is_empty()).then(|| command.tests.iter().map(|tests| tests.passed).sum());
            let open = command.end.is_none() && command.tests.is_empty();
            Tested { command, seq, passed, bad: command.failed(), open }
        })
        .collect()
}

fn not_run(facts: &Facts) -> Found {
    match tested(facts).last() {
        Some(last) => Found::new(ABOUT, Verdict::Refuted, Some(last.seq), format!("tests ran: {}", last.says())),
        None => Found::new(ABOUT, Verdict::Supported, None, "no command of the record runs tests"),
    }
}

fn passes(facts: &Facts, count: Option<u64>) -> Found {
    let all = tested(facts);
    let Some(last) = all.last() else {
        return Found::new(ABOUT, Verdict::NoEvidence, None, "no command of the record runs tests");
    };
    let found = |verdict, event, why: String| Found::new(ABOUT, verdict, Some(event), why);
    // The last run of each framework counts: the one that passes does not make up for the other.
    let later = |run: &Tested<'_>| all.iter().any(|other| other.seq > run.seq && other.framework() == run.framework());
    if let Some(bad) = all.iter().rev().find(|run| run.bad && !later(run)) {
        let since = facts.changed_since(bad.seq, bad.command).map_or("", |_| ", and not tested since");
        return found(Verdict::Refuted, bad.seq, format!("the last run failed: {}{since}", bad.says()));
    }
    if last.open {
        return found(
            Verdict::NoEvidence,
            last.seq,
            format!("how `{}` ended is not in the record", fit(&last.command.text, 60)),
        );
    }
    let larger = all.iter().rev().find(|run| run.framework() == last.framework() && run.total() > last.total());
    if let Some(larger) = larger.filter(|larger| larger.bad && last.passed.is_some()) {
        let (few, many) = (grouped(last.total()), grouped(larger.total()));
        let why = format!("the last run had only {few} of {many}; when all ran: {}", larger.says());
        return found(Verdict::NoEvidence, larger.seq, why);
    }
    if let Some(change) = facts.changed_since(last.seq, last.command) {
        return found(
            Verdict::NoEvidence,
            change,
            format!("not tested since this change; before it {} ({})", last.says(), last.seq),
        );
    }
    match (count, last.passed) {
        (Some(said), Some(passed)) if said != passed => {
            // It may be the sum over several runs since the last change.
            let begin = facts.changes.last().map_or(0, |(seq, _)| *seq);
            let sum: u64 = all.iter().filter(|run| run.seq > begin).filter_map(|run| run.passed).sum();
            let any = all.iter().any(|run| run.seq > begin && run.passed == Some(said));
            if sum == said || any {
                found(Verdict::Supported, last.seq, last.says())
            } else if last.command.tests.iter().any(|tests| tests.partial) {
                found(Verdict::NoEvidence, last.seq, format!("part of the output was not kept: {}", last.says()))
            } else {
                found(Verdict::Refuted, last.seq, format!("not {} but {}", grouped(said), last.says()))
            }
        }
        (Some(_), None) => found(Verdict::NoEvidence, last.seq, format!("{}, and no count can be read", last.says())),
        _ => found(Verdict::Supported, last.seq, format!("{}, and nothing changed since", last.says())),
    }
}

fn fails(facts: &Facts, count: Option<u64>) -> Found {
    let all = tested(facts);
    let Some(last) = all.last() else {
        return Found::new(ABOUT, Verdict::NoEvidence, None, "no command of the record runs tests");
    };
    let failed: u64 = last.command.tests.iter().map(|tests| tests.failed).sum();
    let fits = count.is_none_or(|count| last.passed.is_none() || count == failed);
    let verdict = if last.bad && fits { Verdict::Supported } else { Verdict::Refuted };
    Found::new(ABOUT, verdict, Some(last.seq), last.says())
}
