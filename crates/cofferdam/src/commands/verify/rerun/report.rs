//! What repetitions came to, for a person and for a program.

use cofferdam_core::Bytes;
use cofferdam_core::event::{Since, TestResult};
use cofferdam_runtime::rerun::Difference;
use serde_json::{Value, json};

use super::super::report;
use super::{Found, Judged, Verdict, shown};
use crate::failure::Failure;
use crate::output;

/// Most names of tests, or of variables, that are told to a person.
const MOST_NAMES: usize = 3;

/// How the command speaks.
pub(super) struct Voice {
    pub(super) json: bool,
    pub(super) colour: bool,
}

impl Voice {
    /// What the verification found.
    pub(super) fn verified(&self, found: &Found) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        output::print(report::human(&found.report, found.agreement.as_ref(), self.colour))
    }

    /// Nothing is repeated.
    pub(super) fn refused(&self, found: &Found) -> Result<(), Failure> {
        if self.json {
            return self.end(found, &[], &[], false);
        }
        output::remark("  nothing was repeated: what is recorded is not what there is");
        Ok(())
    }

    /// Before the first command.
    pub(super) fn begin(&self, commands: usize, missing: &[Bytes]) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        if commands == 0 {
            return output::print("  rerun       no test command is recorded: nothing to repeat\n");
        }
        let mut text = format!("  rerun       {}\n", output::counted(commands as u64, "test command"));
        if !missing.is_empty() {
            text.push_str(&format!("  note        the run had variables that are not set now: {}\n", names(missing)));
        }
        output::print(text)
    }

    /// One command.
    pub(super) fn judged(&self, judged: &Judged<'_>) -> Result<(), Failure> {
        if self.json { Ok(()) } else { output::print(human(judged, self.colour)) }
    }

    /// All of it.
    pub(super) fn end(
        &self,
        found: &Found,
        judged: &[Judged<'_>],
        missing: &[Bytes],
        interrupted: bool,
    ) -> Result<(), Failure> {
        if self.json {
            let mut facts = report::facts(&found.report, found.agreement.as_ref());
            facts["rerun"] = json!({
                "interrupted": interrupted,
                "missing_variables": missing,
                "commands": judged.iter().map(facts_of).collect::<Vec<_>>(),
            });
            return output::json(&facts);
        }
        if interrupted {
            output::remark("  interrupted: the rest was not repeated");
        }
        Ok(())
    }
}

fn facts_of(judged: &Judged<'_>) -> Value {
    let command = judged.command;
    let mut facts = json!({
        "command": command.command,
        "argv": command.argv,
        "cwd": command.cwd,
        "was": command.was,
        "since": judged.since,
        "input": command.input,
        "variables": command.variables,
    });
    match &judged.verdict {
        Verdict::NotRepeated(why) => {
            facts["verdict"] = "not-repeated".into();
            facts["why"] = why.as_str().into();
        }
        Verdict::Repeated { run, now, note, differences } => {
            let verdict = if judged.verdict.is_reproduced() { "reproduced" } else { "not-reproduced" };
            facts["verdict"] = verdict.into();
            facts["run"] = json!(run);
            facts["now"] = json!(now);
            facts["note"] = json!(note);
            facts["differences"] = differences.iter().map(difference).collect();
        }
    }
    facts
}

fn human(judged: &Judged<'_>, colour: bool) -> String {
    let (word, style) = match &judged.verdict {
        _ if judged.verdict.is_reproduced() => ("reproduced", "32"),
        Verdict::Repeated { .. } => ("NOT REPRODUCED", "31"),
        Verdict::NotRepeated(_) => ("not repeated", "33"),
    };
    let mut text =
        format!("  {}  {}\n", output::styled(&format!("{word:<14}"), style, colour), shown(&judged.command.argv));
    let mut line = |what: &str| text.push_str(&format!("                  {}\n", output::visible(what.as_bytes())));
    match &judged.verdict {
        Verdict::NotRepeated(why) => line(why),
        Verdict::Repeated { run, now, note, differences } => {
            if judged.verdict.is_reproduced() {
                let tests: Vec<String> = now.results.iter().map(tally).collect();
                line(&format!("{}, {}", tests.join("; "), ending((now.code, now.signal))));
            }
            note.iter().for_each(|note| line(note));
            differences.iter().map(difference).for_each(|text| line(&text));
            let took = |outcome: Option<u64>| outcome.map_or("an unknown time".to_owned(), output::duration);
            let (then, now) = (took(judged.command.was.milliseconds), took(now.milliseconds));
            line(&format!("{then} then, {now} now, in run {}", run.short()));
            if !judged.verdict.is_reproduced() {
                unlike(judged).iter().for_each(|what| line(what));
            }
        }
    }
    since(judged.since).iter().for_each(|what| line(what));
    text
}

/// What a repetition cannot have as the recorded command had it.
fn unlike(judged: &Judged<'_>) -> Vec<String> {
    let mut all = Vec::new();
    if judged.command.input {
        all.push("its standard input is not recorded: now it had none".to_owned());
    }
    if !judged.command.variables.is_empty() {
        all.push(format!("variables set inside, whose values are not recorded: {}", names(&judged.command.variables)));
    }
    all
}

fn since(since: Since) -> Vec<String> {
    let Since { moved, newer, edited, head } = since;
    let files = |n: u64| output::counted(n, "file");
    let mut all = Vec::new();
    if moved > 0 {
        all.push(format!("{} that the run changed is not in the real tree as it was", files(moved)));
    }
    if newer > 0 || head {
        let head = if head { ", and HEAD moved" } else { "" };
        all.push(format!("{} of the real tree changed since{head}", files(newer)));
    }
    if edited > 0 {
        all.push(format!("the run itself changed {} after this command", files(edited)));
    }
    all
}

/// What came out otherwise, in a line.
fn difference(difference: &Difference) -> String {
    match difference {
        Difference::Ending { was, now } => format!("{} then, {} now", ending(*was), ending(*now)),
        Difference::Tests { was, now } => {
            let side = |result: Option<&TestResult>| result.map_or("no tests".to_owned(), tally);
            {
                let (was, now) = (was.as_deref(), now.as_deref());
                format!("{} then, {} now{}", side(was), side(now), suspects(was, now))
            }
        }
    }
}

fn ending(end: (Option<i32>, Option<i32>)) -> String {
    match end {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no known end".to_owned(),
    }
}

fn tally(result: &TestResult) -> String {
    let mut parts = vec![format!("{} passed", result.passed)];
    if result.failed > 0 {
        parts.push(format!("{} failed", result.failed));
    }
    if result.skipped > 0 {
        parts.push(format!("{} skipped", result.skipped));
    }
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) }
}

/// The tests that fail on one side only.
fn suspects(was: Option<&TestResult>, now: Option<&TestResult>) -> String {
    let failing = |result: Option<&TestResult>| result.map(|r| r.failing.clone()).unwrap_or_default();
    let (was, now) = (failing(was), failing(now));
    let only = |these: &[String], those: &[String]| -> Vec<Bytes> {
        these.iter().filter(|name| !those.contains(name)).map(|name| Bytes::from(name.as_str())).collect()
    };
    let (gone, new) = (only(&was, &now), only(&now, &was));
    match (new.is_empty(), gone.is_empty()) {
        (false, _) => format!(" ({})", names(&new)),
        (true, false) => format!(" ({} failed then)", names(&gone)),
        (true, true) => String::new(),
    }
}

fn names(all: &[Bytes]) -> String {
    let mut text = all.iter().take(MOST_NAMES).map(|name| output::visible(&name.0)).collect::<Vec<_>>().join(", ");
    if all.len() > MOST_NAMES {
        text.push_str(&format!(" and {} more", all.len() - MOST_NAMES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(passed: u64, failing: &[&str]) -> TestResult {
        let failing: Vec<String> = failing.iter().map(|name| (*name).to_owned()).collect();
        TestResult { passed, failed: failing.len() as u64, failing, ..TestResult::default() }
    }

    #[test]
    fn a_difference_reads_as_a_sentence() {
        let tests = |was: Option<TestResult>, now: Option<TestResult>| {
            difference(&Difference::Tests { was: was.map(Box::new), now: now.map(Box::new) })
        };
        assert_eq!(
            tests(Some(result(214, &[])), Some(result(213, &["test_x"]))),
            "214 passed then, 213 passed and 1 failed now (test_x)"
        );
        assert_eq!(
            tests(Some(result(1, &["a"])), Some(result(2, &[]))),
            "1 passed and 1 failed then, 2 passed now (a failed then)"
        );
        assert_eq!(tests(Some(result(1, &[])), None), "1 passed then, no tests now");
        let ending = Difference::Ending { was: (Some(1), None), now: (None, Some(9)) };
        assert_eq!(difference(&ending), "exit 1 then, killed by signal 9 now");
    }
}
