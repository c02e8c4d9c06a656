//! The end of a run: change set, evidence, summary.

use std::time::Duration;

use cofferdam_core::Timestamp;
use cofferdam_core::change::{BaseState, Change, Class};
use cofferdam_core::event::{Counted, EventKind, Link, RunEnded};
use cofferdam_evidence::{BlobStore, Log, SyncHandle};
use cofferdam_workspace::diff::{DiffOptions, compute};
use cofferdam_workspace::{ChangeOptions, ChangeSet, Layers, change_set};

use super::Ending;
use super::files::{Chains, Settled, is_shown};
use super::record::{RecordError, Recorder};
use crate::prepare::Prepared;
use crate::protocol::Summary;
use crate::store::{Ended, RunRecord, write_record};

/// Settles a run whose enclosure is gone.
pub(super) fn settle(
    run: &Prepared,
    recorder: &mut Recorder,
    ending: Ending,
    took: Duration,
) -> Result<(Summary, SyncHandle), RecordError> {
    recorder.close_terminal()?;
    let problems = recorder.close_workspace()?;
    let ended = RunEnded {
        reason: ending.reason,
        code: ending.code,
        signal: ending.signal,
        milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        changed: 0,
        ignored: 0,
        execs: 0,
        memory: None,
    };
    let Recorder { log, layers, blobs, files, .. } = recorder;
    let (ended, changes, _files) =
        write_end(log, layers, ended, |log, changes| files.settle(&mut Settled { log, blobs, layers, changes }, &[]))?;
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
        lines: lines(layers, &changes),
        attention: count(|c| c.class == Class::HostExecution),
        moved: count(|c| c.base != BaseState::Unchanged && is_shown(c)),
        notes,
    };
    Ok((summary, sync))
}

/// Added and removed lines, where they are few enough to count while the person waits.
fn lines(layers: &Layers, changes: &ChangeSet) -> Option<(u64, u64)> {
    const MOST_FILES: usize = 500;
    const MOST_BYTES: u64 = 16 << 20;
    let shown = || changes.changes.iter().filter(|c| is_shown(c));
    if shown().next().is_none() {
        return Some((0, 0));
    }
    let bytes: u64 = shown().flat_map(|c| c.old.iter().chain(&c.new)).map(|e| e.size).sum();
    if shown().count() > MOST_FILES || bytes > MOST_BYTES {
        return None;
    }
    let options = DiffOptions { hunks: false, renames: None, ..DiffOptions::default() };
    let diff = compute(layers, changes, &options).ok()?;
    Some((diff.files.iter().map(|f| f.added).sum(), diff.files.iter().map(|f| f.deleted).sum()))
}

/// Writes what the workspace changed (`files` ends the chains) and the end of the run, and signs it. How many paths the
/// events and the layer have is the third answer.
pub(crate) fn write_end(
    log: &mut Log,
    layers: &Layers,
    mut ended: RunEnded,
    files: impl FnOnce(&mut Log, &ChangeSet) -> Result<Counted, RecordError>,
) -> Result<(RunEnded, ChangeSet, Counted), RecordError> {
    let changes = change_set(layers, &ChangeOptions { digests: true, excludes: None })?;
    let counted = files(log, &changes)?;
    ended.changed = changes.changes.iter().filter(|c| is_shown(c)).count() as u64;
    ended.ignored = changes.changes.iter().filter(|c| c.class == Class::Ignored).count() as u64;
    log.append(Some((0, Link::Parent)), EventKind::RunEnded(ended.clone()))?;
    log.checkpoint()?;
    Ok((ended, changes, counted))
}

/// As [`write_end`], where the monitor died: the chains go on from what its log says.
pub(crate) fn write_end_of_log(
    log: &mut Log,
    evidence: &std::path::Path,
    layers: &Layers,
    ended: RunEnded,
) -> Result<(RunEnded, ChangeSet, Counted), RecordError> {
    let (chains, blobs) = (Chains::of_log(evidence)?, BlobStore::open(evidence)?);
    write_end(log, layers, ended, |log, changes| chains.settle(&mut Settled { log, blobs: &blobs, layers, changes }))
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
