//! From a plan to a staged promotion.

use std::path::Path;

use cofferdam_core::Bytes;

use super::builder::{Before, Begin, Builder, Slot, Written, staged};
use super::fault::{Fault, step};
use super::journal::Kind;
use super::merge::Merged;
use super::plan::{ConflictStyle, Decision, Plan, Planned, Source, Step};
use super::tx::Staged;
use super::{Contents, PromoteError, RootDir, compare};
use crate::changes::in_parallel;

/// What staging needs to know besides the plan.
#[derive(Clone, Copy, Debug)]
pub struct StageOptions<'a> {
    /// The run's directory in the store, in which `promotions/` lies or is made.
    pub run_dir: &'a Path,
    /// The caller's umask, for directories that the workspace does not have.
    pub umask: u32,
}

/// Writes everything that the plan takes to the real tree's file system, in a directory of its own, and the journal to
/// the store. The tree itself is not changed yet.
///
/// A [`Staged`] that is dropped is an unfinished promotion, which [`pending`](super::pending()) finds.
///
/// # Errors
/// [`PromoteError::Conflicts`] where the plan has any that are not resolved, [`PromoteError::NothingToDo`],
/// [`PromoteError::Busy`], [`PromoteError::Unfinished`]; where a side changed since the plan was made; where anything
/// cannot be read or written, a full disk for one. Then everything staged is removed again.
pub fn stage(
    plan: &Plan,
    root: &RootDir,
    contents: &dyn Contents,
    options: StageOptions<'_>,
    fault: &mut Fault<'_>,
) -> Result<Staged, PromoteError> {
    let mut conflicts = plan.conflicts();
    if let Some(first) = conflicts.next() {
        return Err(PromoteError::Conflicts { count: 1 + conflicts.count(), first: first.path.clone() });
    }
    if plan.taken().next().is_none() {
        return Err(PromoteError::NothingToDo);
    }
    let targets: Vec<&Bytes> = plan.taken().map(|p| &p.path).chain(plan.parents.iter().map(|p| &p.path)).collect();
    let begin = Begin { run_dir: options.run_dir, root, what: Kind::Promotion, left: plan.left() };
    let fill = |builder: &mut Builder, fault: &mut Fault<'_>| {
        for (at, parent) in plan.parents.iter().enumerate() {
            step(fault, "stage-parent", at as u64)?;
            builder.put_dir(&parent.path, parent.mode.unwrap_or(0o777 & !options.umask))?;
        }
        let taken: Vec<&Planned> = plan.taken().collect();
        let together = if builder.each_synced { 1 } else { TOGETHER };
        for (number, piece) in taken.chunks(together).enumerate() {
            for at in 0..piece.len() {
                step(fault, "stage", (number * together + at) as u64)?;
            }
            stage_some(builder, contents, piece, &plan.conflicts)?;
        }
        Ok(())
    };
    staged(begin, &targets, fault, fill, |_| None)
}

/// So many paths are staged together, their files by several threads; each alone where there are few.
const TOGETHER: usize = 1024;

fn stage_some(
    builder: &mut Builder,
    contents: &dyn Contents,
    piece: &[&Planned],
    style: &ConflictStyle,
) -> Result<(), PromoteError> {
    let mut files = Vec::with_capacity(piece.len());
    for planned in piece {
        if let Some((slot, source)) = stage_entry(builder, contents, planned)? {
            files.push((*planned, slot, source));
        }
    }
    let made =
        in_parallel(&files, |(planned, slot, source)| stage_file(builder, contents, (planned, slot, source), style));
    for ((_, slot, _), written) in files.into_iter().zip(made) {
        builder.written(slot, written?)?;
    }
    Ok(())
}

/// Stages everything but the bytes of a file, for which it takes a slot.
fn stage_entry<'p>(
    builder: &mut Builder,
    contents: &dyn Contents,
    planned: &'p Planned,
) -> Result<Option<(Slot, &'p Source)>, PromoteError> {
    let path = &planned.path;
    let mut before = planned.real.map(|identity| Before {
        identity,
        digest: planned.real_digest,
        recent: planned.real_digest.is_some(),
    });
    if planned.clears
        && let Some(old) = before.take()
    {
        builder.remove(path, old, false)?;
    }
    match (&planned.step, before) {
        (None, _) => {}
        (Some(Step::Remove), Some(before)) => builder.remove(path, before, true)?,
        (Some(Step::Mode { from, to }), Some(before)) => builder.mode(path, before.identity, *from, *to),
        (Some(Step::Remove | Step::Mode { .. }), None) => {
            return Err(PromoteError::overtaken(path, "the plan has nothing there to work on"));
        }
        (Some(Step::MakeDir { mode }), _) => builder.put_dir(path, *mode)?,
        (Some(Step::Link), before) => {
            let text = contents.link_new(path).map_err(|e| on_workspace(path, e))?;
            if planned.new.as_ref().and_then(|n| n.digest).is_some_and(|d| d != compare::sha256(&text.0)) {
                return Err(PromoteError::WorkspaceChanged { path: path.clone() });
            }
            builder.put_link(path, before, &text)?;
        }
        (Some(Step::Write { source, mode }), before) => {
            return builder.slot_for_file(path, before, *mode).map(|slot| Some((slot, source)));
        }
    }
    Ok(None)
}

/// Stages the bytes of a file.
fn stage_file(
    builder: &Builder,
    contents: &dyn Contents,
    (planned, slot, source): (&Planned, &Slot, &Source),
    style: &ConflictStyle,
) -> Result<Written, PromoteError> {
    let path = &planned.path;
    let changed = || PromoteError::WorkspaceChanged { path: path.clone() };
    match source {
        Source::Workspace => {
            let file = contents.open_new(path).map_err(|e| on_workspace(path, e))?;
            let written = builder.write(slot, file)?;
            let new = planned.new.as_ref();
            let other_size = new.is_some_and(|n| n.size != written.length);
            if other_size || new.and_then(|n| n.digest).is_some_and(|d| d != written.digest) {
                return Err(changed());
            }
            Ok(written)
        }
        Source::Merged(wanted) | Source::Marked(wanted) => {
            let with_base = !matches!(planned.decision, Decision::Conflict { why: super::Conflict::BothAdded, .. });
            let merged = compare::merged(builder.root(), contents, path, with_base, style)?;
            let Ok(Merged::Clean(content) | Merged::Marked(content)) = merged else { return Err(changed()) };
            if compare::sha256(&content) != *wanted {
                return Err(PromoteError::overtaken(path, "one of the merged sides changed after the plan was made"));
            }
            builder.write(slot, &content[..])
        }
    }
}

fn on_workspace(path: &Bytes, source: std::io::Error) -> PromoteError {
    PromoteError::Contents { path: path.clone(), source }
}
