//! Looking at both sides and deciding, path by path. Reads only.

use std::collections::BTreeSet;

use cofferdam_core::change::{Change, Class, Entry, FileKind};
use cofferdam_core::leftover::leftover_in;
use cofferdam_core::{Bytes, Timestamp};
use rustix::io::Errno;

use super::plan::{Conflict, Decision, Left, Plan, Planned, Selection, Step};
use super::root::{RootDir, well_formed};
use super::{Contents, Identity, PromoteError, STAGING_NAME};

/// Decides what a promotion of `changes` into `root` would do. Nothing is changed.
///
/// `changes` is sorted by path, as a change set is.
///
/// # Errors
/// Where a side cannot be read, or a path is not a plain relative one. Contradictions between the sides are no errors
/// but [`Decision::Conflict`]s of the plan.
pub fn plan(
    root: &RootDir,
    contents: &dyn Contents,
    changes: &[Change],
    selection: &Selection,
) -> Result<Plan, PromoteError> {
    let halved = changes.iter().filter_map(|c| leftover_in(&c.path.0)).map(Bytes::from).collect();
    let mut planner = Planner { root, contents, selection, made: BTreeSet::new(), halved, now: Timestamp::now() };
    let mut paths = Vec::with_capacity(changes.len());
    for change in changes {
        if !well_formed(&change.path) {
            return Err(PromoteError::BadPath { path: change.path.clone() });
        }
        let planned = planner.one(change)?;
        if matches!(planned.step, Some(Step::MakeDir { .. })) {
            planner.made.insert(change.path.clone());
        }
        paths.push(planned);
    }
    planner.settle_directories(&mut paths)?;
    let parents = planner.missing_parents(&paths)?;
    Ok(Plan { root: root.path().into(), conflicts: selection.conflicts.clone(), paths, parents })
}

/// One planning, in progress.
pub(super) struct Planner<'a> {
    pub root: &'a RootDir,
    pub contents: &'a dyn Contents,
    pub selection: &'a Selection,
    /// Directories that the plan makes, so that paths below them are free although nothing is there yet.
    pub made: BTreeSet<Bytes>,
    /// Directories in which a rename was cut off: what seems deleted below them may only have been on its way.
    pub halved: BTreeSet<Bytes>,
    pub now: Timestamp,
}

impl Planner<'_> {
    fn one(&self, change: &Change) -> Result<Planned, PromoteError> {
        let mut planned = Planned {
            path: change.path.clone(),
            decision: Decision::Take,
            step: None,
            clears: false,
            real: None,
            real_digest: None,
            new: change.new.clone(),
            notes: Vec::new(),
        };
        if let Some(decision) = self.held_back(change) {
            planned.decision = decision;
            return Ok(planned);
        }
        if change.new.is_none() && self.halved.iter().any(|at| below(&change.path, at)) {
            planned.decision = Decision::Conflict { why: Conflict::HalfMoved, markers: false };
            return Ok(planned);
        }
        planned.real = match self.real(&change.path)? {
            Ok(real) => real,
            Err(why) => {
                planned.decision = Decision::Conflict { why, markers: false };
                return Ok(planned);
            }
        };
        let verdict = self.compare(change, planned.real)?;
        planned.decision = verdict.decision;
        planned.step = verdict.step;
        planned.clears = verdict.clears;
        self.remember_recent(&mut planned)?;
        note(change, &mut planned);
        Ok(planned)
    }

    /// Whether the change stays behind whatever the sides hold.
    fn held_back(&self, change: &Change) -> Option<Decision> {
        let left = |why| Some(Decision::Left { why });
        let kinds = [&change.new, &change.old].map(|e| e.as_ref().map(|e| e.kind));
        let odd =
            kinds.iter().flatten().any(|k| !matches!(k, FileKind::File | FileKind::Symlink | FileKind::Directory));
        if leftover_in(&change.path.0).is_some() {
            return left(Left::HalfMoved);
        }
        let ours = change.path.0.split(|b| *b == b'/').any(|c| c == STAGING_NAME.as_bytes());
        if change.class == Class::Unpromotable || odd || ours {
            return left(Left::Unpromotable);
        }
        if self.selection.excludes(&change.path) {
            return left(Left::Excluded);
        }
        let named = self.selection.names(&change.path);
        let confirmed = self.selection.confirmed;
        match change.class {
            Class::Ignored if !named => return left(Left::Ignored),
            Class::GitMetadata if !named => return left(Left::GitMetadata),
            _ if self.selection.paths.is_some() && !named => return left(Left::NotNamed),
            Class::GitMetadata if !confirmed => {
                let executes = change.executes.clone().unwrap_or_else(|| "git reads and may execute it".to_owned());
                return Some(Decision::NeedsConfirmation { executes });
            }
            Class::HostExecution if !named && !confirmed => {
                let executes = change.executes.clone().unwrap_or_else(|| "it executes on the host".to_owned());
                return Some(Decision::NeedsConfirmation { executes });
            }
            _ => {}
        }
        if gains_set_id(change) && !named && !confirmed {
            let executes = "the run made it set-user-ID or set-group-ID; the bit itself is never taken".to_owned();
            return Some(Decision::NeedsConfirmation { executes });
        }
        None
    }

    /// What the real tree has at a path, or what stands in the way of having anything there.
    fn real(&self, path: &Bytes) -> Result<Result<Option<Identity>, Conflict>, PromoteError> {
        let on_error = |e| PromoteError::io("look at", self.root.full(path), e);
        match self.root.look(path) {
            Ok(real) => Ok(Ok(real)),
            Err(Errno::LOOP | Errno::NOTDIR) => match self.root.blocker(path).map_err(on_error)? {
                Some((at, _)) if self.made.contains(&at) => Ok(Ok(None)),
                Some((at, id)) => Ok(Err(Conflict::Parent { at, what: article(id.kind).to_owned() })),
                None => Ok(Ok(None)),
            },
            Err(e) => Err(on_error(e)),
        }
    }

    /// Where the modification time is too recent to tell versions apart, the content itself is remembered.
    fn remember_recent(&self, planned: &mut Planned) -> Result<(), PromoteError> {
        let Some(real) = planned.real.filter(|r| r.kind == FileKind::File) else { return Ok(()) };
        let replaced = planned.clears || matches!(planned.step, Some(Step::Write { .. } | Step::Remove));
        if replaced && self.is_recent(&real) {
            planned.real_digest = Some(self.real_digest(&planned.path, real.kind)?);
        }
        Ok(())
    }
}

/// Whether `path` lies below the directory `at` (empty: the root).
fn below(path: &Bytes, at: &Bytes) -> bool {
    at.0.is_empty() || path.0.strip_prefix(&at.0[..]).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn gains_set_id(change: &Change) -> bool {
    let bits = |e: &Option<Entry>| e.as_ref().filter(|e| e.kind == FileKind::File).map_or(0, |e| e.mode & 0o6000);
    bits(&change.new) & !bits(&change.old) != 0
}

fn article(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Symlink => "a symbolic link",
        FileKind::Directory => "a directory",
        FileKind::Fifo => "a named pipe",
        FileKind::Socket => "a socket",
        FileKind::Device => "a device",
    }
}

fn note(change: &Change, planned: &mut Planned) {
    if planned.step.is_none() {
        return;
    }
    if change.new.as_ref().is_some_and(|n| n.kind != FileKind::Symlink && n.mode & 0o7000 != 0) {
        planned.notes.push("its set-user-ID, set-group-ID or sticky bit is not taken".to_owned());
    }
    let Some(real) = planned.real.filter(|r| r.kind == FileKind::File) else { return };
    if !matches!(planned.step, Some(Step::Write { .. } | Step::Remove)) {
        return;
    }
    if real.links > 1 {
        let others = real.links - 1;
        planned.notes.push(format!("it is hard-linked {others} more times: the other names keep the old content"));
    }
    if real.mode & 0o7000 != 0 && matches!(planned.step, Some(Step::Write { .. })) {
        planned.notes.push("the real file's set-user-ID, set-group-ID or sticky bit is dropped".to_owned());
    }
}
