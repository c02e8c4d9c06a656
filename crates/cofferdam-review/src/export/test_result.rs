//! The predicate Test Result v0.1 of a test run.

use std::collections::{BTreeMap, HashMap, HashSet};

use cofferdam_core::Bytes;
use cofferdam_core::event::{Event, EventKind, ProcessExec, TestResult};
use cofferdam_workspace::diff::Diff;
use serde_json::{Value, json};

use super::in_toto::event_uri;
use super::text::text;
use super::{Result, Summary};

/// The last test run of a framework.
#[derive(Clone, Debug)]
pub(super) struct Last {
    /// Its event.
    pub seq: u64,
    /// What it said.
    pub result: TestResult,
    /// The command, where the log has it.
    pub command: Option<(u64, ProcessExec)>,
    /// Files of the final diff that changed after that command had started: what was tested is not what there is.
    pub stale: u64,
}

/// Finds them, event by event. A long run is not held in memory for it: the commands come in a second reading.
pub(super) struct LastTests {
    wanted: HashSet<Bytes>,
    changes: Vec<(u64, Bytes)>,
    last: BTreeMap<String, (u64, Option<u64>, TestResult)>,
}

impl LastTests {
    /// `diff` says which files count: a test run writes caches, too.
    pub(super) fn of(diff: &Diff) -> LastTests {
        let paths = diff.files.iter().flat_map(|file| [file.old_path.clone(), file.new_path.clone()]);
        LastTests { wanted: paths.collect(), changes: Vec::new(), last: BTreeMap::new() }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match &event.what {
            EventKind::FileChanged(change) if self.wanted.contains(&change.path) => {
                self.changes.push((event.seq, change.path.clone()));
            }
            EventKind::TestResult(result) => {
                let last = (event.seq, event.cause, result.clone());
                self.last.insert(result.framework.clone(), last);
            }
            _ => {}
        }
    }

    /// The test runs that were found, with their commands out of the same events.
    pub(super) fn finish(self, events: impl Iterator<Item = Result<Event>>) -> Result<Vec<Last>> {
        let LastTests { changes, last, .. } = self;
        let causes: HashSet<u64> = last.values().filter_map(|(_, cause, _)| *cause).collect();
        let mut commands = HashMap::new();
        for event in events {
            if causes.len() == commands.len() {
                break;
            }
            let event = event?;
            if let EventKind::ProcessExec(exec) = event.what
                && causes.contains(&event.seq)
            {
                commands.insert(event.seq, exec);
            }
        }
        let stale = |since: u64| {
            let later = changes.iter().filter(|(seq, _)| *seq > since).map(|(_, path)| path);
            later.collect::<HashSet<_>>().len() as u64
        };
        let found = last.into_values().map(|(seq, cause, result)| {
            let command = cause.and_then(|cause| Some((cause, commands.get(&cause)?.clone())));
            Last { seq, result, stale: stale(command.as_ref().map_or(seq, |(seq, _)| *seq)), command }
        });
        Ok(found.collect())
    }
}

/// The predicate. The names of tests that passed are not recorded, their number is. `WARNED` is a run without a failure
/// that cannot be taken for one of the final diff as it stands, that passed nothing, or whose output was not kept whole.
pub(super) fn predicate(summary: &Summary, last: &Last) -> Value {
    let Last { seq, result, command, stale } = last;
    let verdict = match (result.failed, result.passed, stale) {
        (1.., ..) => "FAILED",
        (0, 1.., 0) if !result.partial => "PASSED",
        _ => "WARNED",
    };
    let configuration = match command {
        Some((seq, exec)) => {
            let mut resource = json!({
                "name": text(&exec.executable.path.0),
                "uri": event_uri(summary, *seq),
                "annotations": {
                    "arguments": exec.argv.iter().map(|word| text(&word.0)).collect::<Vec<_>>(),
                    "cwd": text(&exec.cwd.0),
                },
            });
            if let Some(digest) = exec.executable.digest {
                resource["digest"] = json!({"sha256": digest});
            }
            resource
        }
        None => json!({"name": result.framework, "uri": event_uri(summary, *seq)}),
    };
    json!({
        "result": verdict,
        "configuration": [configuration],
        "url": event_uri(summary, *seq),
        "failedTests": result.failing,
        "cofferdam_framework": result.framework,
        "cofferdam_counts": {"passed": result.passed, "failed": result.failed, "skipped": result.skipped},
        "cofferdam_partial": result.partial,
        "cofferdam_filesChangedSince": stale,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples::Sample;

    #[test]
    fn what_changed_after_the_tests_is_no_pass() {
        let summary = Sample::whole().record().summary().unwrap();
        let result =
            |passed, failed| TestResult { framework: "pytest".into(), passed, failed, ..TestResult::default() };
        let said = |passed, failed, stale| {
            let last = Last { seq: 7, result: result(passed, failed), command: None, stale };
            predicate(&summary, &last)["result"].as_str().unwrap().to_owned()
        };
        assert_eq!(said(3, 0, 0), "PASSED");
        assert_eq!(said(3, 0, 1), "WARNED");
        assert_eq!(said(0, 0, 0), "WARNED");
        assert_eq!(said(3, 1, 1), "FAILED");
        let partial = TestResult { partial: true, ..result(3, 0) };
        let last = Last { seq: 7, result: partial, command: None, stale: 0 };
        assert_eq!(predicate(&summary, &last)["result"], "WARNED");
    }

    #[test]
    fn changes_count_from_the_commands_start_and_only_in_the_diff() {
        let mut tests = LastTests::of(&Diff::default());
        tests.wanted = HashSet::from(["a".into()]);
        let summary = Sample::whole().record().summary().unwrap();
        let event = |seq, cause, what| Event { seq, time: summary.began, cause, link: None, what };
        let changed =
            |path: &str| EventKind::FileChanged(cofferdam_core::event::FileChanged::new(path.into(), None, None));
        let test = TestResult { framework: "x".into(), ..TestResult::default() };
        let all = [
            event(1, None, changed("a")),
            event(2, None, EventKind::ProcessExec(ProcessExec::default())),
            event(3, None, changed("a")),
            event(4, None, changed("a")),
            event(5, None, changed("cache")),
            event(6, Some(2), EventKind::TestResult(test)),
        ];
        all.iter().for_each(|event| tests.event(event));
        let found = tests.finish(all.into_iter().map(Ok)).unwrap();
        assert_eq!((found.len(), found[0].stale, found[0].command.as_ref().unwrap().0), (1, 1, 2));
    }
}
