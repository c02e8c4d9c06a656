//! The end of a run: change set, evidence, summary.

use std::time::Duration;

use cofferdam_core::Timestamp;
use cofferdam_core::change::{BaseState, Change, Class};
use cofferdam_core::event::{EndReason, EventKind, FileChanged, Link, RunEnded};
use cofferdam_evidence::{Log, SyncHandle};
use cofferdam_workspace::{ChangeOptions, ChangeSet, Layers, change_set};

use super::Ending;
use super::record::{RecordError, Recorder};
use super::tally::{Tally, is_shown, tally};
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
    let Recorder { log, layers, .. } = recorder;
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
        execs: 0,
        memory: None,
    };
    let (ended, changes, tally) = write_end(log, layers, ended)?;
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
        notes,
    };
    Ok((summary, sync))
}

/// Writes what the workspace changed and the end of the run, and signs it.
pub(crate) fn write_end(
    log: &mut Log,
    layers: &Layers,
    mut ended: RunEnded,
) -> Result<(RunEnded, ChangeSet, Tally), RecordError> {
    let changes = change_set(layers, &ChangeOptions { digests: true, excludes: None })?;
    for change in changes.changes.iter().filter(|c| is_shown(c)) {
        let data = FileChanged::new(change.path.clone(), change.old.clone(), change.new.clone());
        log.append(Some((0, Link::Window)), EventKind::FileChanged(data))?;
    }
    let tally = tally(layers, &changes);
    ended.files = Some(tally.files);
    ended.changed = changes.changes.iter().filter(|c| is_shown(c)).count() as u64;
    ended.ignored = changes.changes.iter().filter(|c| c.class == Class::Ignored).count() as u64;
    log.append(Some((0, Link::Parent)), EventKind::RunEnded(ended.clone()))?;
    log.checkpoint()?;
    Ok((ended, changes, tally))
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
