//! The end of a run: change set, evidence, summary.

use std::time::Duration;

use cofferdam_core::change::{BaseState, Change, Class};
use cofferdam_core::event::{EndReason, EventKind, Link, RunEnded, Statement};
use cofferdam_core::{Timestamp, event};
use cofferdam_evidence::{BlobStore, Log, SyncHandle};
use cofferdam_workspace::{ChangeOptions, ChangeSet, Layers, change_set};

use super::Ending;
use super::commands::Tests;
use super::files::{Chains, Settled};
use super::processes::Totals;
use super::record::{RecordError, Recorder};
use super::tally::{Tally, is_shown, tally};
use crate::prepare::Prepared;
use crate::protocol::{NetworkSummary, Summary};
use crate::store::{Ended, RunRecord, write_record};

/// What was counted while the run went on.
pub(super) struct Counted {
    pub(super) totals: Totals,
    pub(super) tests: Tests,
    pub(super) network: Option<NetworkSummary>,
}

/// Settles a run whose enclosure is gone.
pub(super) fn settle(
    run: &Prepared,
    recorder: &mut Recorder,
    ending: Ending,
    took: Duration,
    Counted { totals, tests, network }: Counted,
    mut statement: Statement,
) -> Result<(Summary, SyncHandle), RecordError> {
    recorder.close_terminal()?;
    let problems = recorder.close_workspace()?;
    let Recorder { log, layers, .. } = &mut *recorder;
    if ending.reason == EndReason::InitDied {
        // The helper died with init.
        let restored = cofferdam_enclosure::restore(layers.upper_fd(), layers.root_fd())
            .map_err(|e| RecordError::Renames(e.into()))?;
        let cut = [("taken back", restored.whole), ("not taken back", restored.left)];
        for (what, count) in cut.into_iter().filter(|(_, count)| *count > 0) {
            let what = format!("directory renames cut off in the middle, {what}");
            log.append(None, EventKind::EvidenceGap { what, count })?;
        }
    }
    let ended = RunEnded {
        reason: ending.reason,
        code: ending.code,
        signal: ending.signal,
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        changed: 0,
        files: None,
        ignored: 0,
        execs: totals.execs,
        memory: totals.memory,
        network: network.as_ref().map(|network| network.totals),
    };
    let Recorder { log, layers, blobs, files, .. } = recorder;
    let End { ended, changes, tally, paths } =
        write_end(log, layers, ended, |log, changes| files.settle(&mut Settled { log, blobs, layers, changes }, &[]))?;
    statement.files = paths;
    statement.unexplained = [statement.execs, statement.exits, statement.files, statement.output]
        .iter()
        .map(|counted| counted.unexplained)
        .sum();
    sign(log, &statement)?;
    let sync = log.close()?;
    let mut record = run.record.clone();
    record_end(&run.directory, &mut record, &ended)?;
    let count = |what: fn(&Change) -> bool| changes.changes.iter().filter(|c| what(c)).count() as u64;
    let mut notes = run.plan.notes.clone();
    notes.extend(changes.problems.iter().map(ToString::to_string));
    notes.extend(problems);
    let summary = Summary {
        run: run.plan.run.clone(),
        ended,
        lines: tally.lines,
        attention: count(|c| c.class == Class::HostExecution),
        moved: count(|c| c.base != BaseState::Unchanged && is_shown(c)),
        test_runs: tests.runs,
        last_test: tests.last,
        network,
        tripwires: Vec::new(),
        notes,
    };
    Ok((summary, sync))
}

/// Signs the log with what is stated of its completeness.
fn sign(log: &mut Log, statement: &Statement) -> Result<(), RecordError> {
    match serde_json::to_value(statement)? {
        serde_json::Value::Object(fields) => Ok(log.checkpoint_with(&fields)?),
        // A structure serialises as an object.
        _ => Ok(log.checkpoint()?),
    }
}

/// What the end of a run came to.
pub(crate) struct End {
    pub(crate) ended: RunEnded,
    changes: ChangeSet,
    tally: Tally,
    /// Paths by the events and by the layer.
    paths: event::Counted,
}

/// Writes what the workspace changed (`files` ends the chains) and the end of the run, to be signed.
pub(crate) fn write_end(
    log: &mut Log,
    layers: &Layers,
    mut ended: RunEnded,
    files: impl FnOnce(&mut Log, &ChangeSet) -> Result<event::Counted, RecordError>,
) -> Result<End, RecordError> {
    let changes = change_set(layers, &ChangeOptions { digests: true, excludes: None })?;
    let paths = files(log, &changes)?;
    let tally = tally(layers, &changes);
    ended.files = Some(tally.files);
    ended.changed = changes.changes.iter().filter(|c| is_shown(c)).count() as u64;
    ended.ignored = changes.changes.iter().filter(|c| c.class == Class::Ignored).count() as u64;
    log.append(Some((0, Link::Parent)), EventKind::RunEnded(ended.clone()))?;
    Ok(End { ended, changes, tally, paths })
}

/// As [`write_end`], where the monitor died: the chains go on from what its log says.
pub(crate) fn write_end_of_log(
    log: &mut Log,
    blobs: &BlobStore,
    (evidence, layers): (&std::path::Path, &Layers),
    ended: RunEnded,
) -> Result<End, RecordError> {
    let chains = Chains::of_log(evidence)?;
    write_end(log, layers, ended, |log, changes| chains.settle(&mut Settled { log, blobs, layers, changes }))
}

/// Notes the end where a list looks for it.
pub(crate) fn record_end(
    directory: &std::path::Path,
    record: &mut RunRecord,
    ended: &RunEnded,
) -> Result<(), RecordError> {
    record.ended = Some(Ended { time: Timestamp::now(), facts: ended.clone() });
    Ok(write_record(directory, record)?)
}
