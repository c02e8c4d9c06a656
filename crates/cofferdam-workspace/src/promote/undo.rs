//! Taking a finished promotion back.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use cofferdam_core::change::FileKind;
use cofferdam_core::event::FileChanged;
use cofferdam_core::{Bytes, Timestamp};
use rustix::fs::fstat;
use rustix::io::Errno;

use super::apply::apply;
use super::builder::{Before, Begin, Builder, staged};
use super::fault::{Fault, step};
use super::journal::{self, Kind, Recorded};
use super::op::{Action, Op};
use super::tx::{open_undo, outcome_of};
use super::{Identity, Outcome, PromoteError, RootDir, entry};

/// What an undo did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The promotion that was taken back.
    pub of: u32,
    /// How the undo, itself a promotion with a number, ended; `None` where every path was refused.
    pub outcome: Option<Outcome>,
    /// Each path that was restored, before and after.
    pub restored: Vec<FileChanged>,
    /// Paths that the real tree changed since, which stay as they are.
    pub refused: Vec<Refused>,
}

/// A path that an undo leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Relative to the root.
    pub path: Bytes,
    /// Why, as a clause.
    pub why: String,
}

/// Brings back what promotion `number` replaced and removed, and removes what it added: bytes, modes and modification
/// times, those of directories too where nothing else came or went in them. A path that changed since is refused, the
/// others are undone.
///
/// # Errors
/// [`PromoteError::NoSuchPromotion`], [`PromoteError::NotApplied`], [`PromoteError::AlreadyUndone`]; otherwise as
/// [`stage`](super::stage()) and [`apply`](super::apply()).
pub fn undo(run_dir: &Path, number: u32, root: &RootDir, fault: &mut Fault<'_>) -> Result<Undone, PromoteError> {
    let missing = || PromoteError::NoSuchPromotion { number, run_dir: run_dir.to_owned() };
    let recorded = journal::read(run_dir, number)?.ok_or_else(missing)?;
    if recorded.done.is_none() {
        return Err(PromoteError::NotApplied { number });
    }
    for by in journal::numbers(run_dir)?.into_iter().filter(|n| *n > number) {
        if let Some(later) = journal::read(run_dir, by)?
            && later.begun.what == (Kind::Undo { of: number })
            && later.done.is_some()
        {
            return Err(PromoteError::AlreadyUndone { number, by });
        }
    }
    if recorded.begun.ino != root.identity()?.ino {
        return Err(PromoteError::OtherRoot { recorded: recorded.begun.root, given: root.path().to_owned() });
    }
    let (reversed, refused) = reversible(&recorded, root)?;
    if reversed.is_empty() {
        return Ok(Undone { of: number, outcome: None, restored: Vec::new(), refused });
    }
    let times = times_to_restore(&recorded, root)?;
    let old_versions = open_undo(run_dir, number)?;
    let targets: Vec<&Bytes> = reversed.iter().map(|(op, _)| &op.path).collect();
    let begin = Begin { run_dir, root, what: Kind::Undo { of: number }, left: refused.len() as u64 };
    let fill = |builder: &mut Builder, fault: &mut Fault<'_>| {
        for (at, (op, present)) in reversed.iter().enumerate() {
            step(fault, "stage", at as u64)?;
            match (&op.action, present) {
                (Action::Put { before: None, .. }, Some(present)) => builder.remove(&op.path, *present, true)?,
                (Action::Put { before: Some(old), .. }, Some(present)) => {
                    builder.put_copy(&op.path, Some(*present), old_versions.as_fd(), op.slot, old.mode)?;
                }
                (Action::Remove { before: old, .. }, _) => {
                    builder.put_copy(&op.path, None, old_versions.as_fd(), op.slot, old.mode)?;
                }
                (Action::Mode { from, to, .. }, Some(present)) => {
                    builder.mode(&op.path, present.identity, *to, *from);
                }
                (_, None) => {}
            }
        }
        Ok(())
    };
    let staged = staged(begin, &targets, fault, fill, |dir| times.get(dir).copied())?;
    let outcome = apply(staged, fault)?;
    Ok(Undone { of: number, restored: outcome.changed.clone(), outcome: Some(outcome), refused })
}

type Reversed<'r> = Vec<(&'r Op, Option<Before>)>;

/// Which operations can be reversed, with what stands at their paths now, and which paths are refused. What an undo
/// need not touch (the person removed it, or put it back) is in neither.
fn reversible<'r>(recorded: &'r Recorded, root: &RootDir) -> Result<(Reversed<'r>, Vec<Refused>), PromoteError> {
    let stayed = recorded.applied.as_deref().unwrap_or_default();
    let mut by_path: BTreeMap<&Bytes, Vec<&Op>> = BTreeMap::new();
    for op in recorded.ops.iter().filter(|op| !stayed.contains(&op.slot)) {
        by_path.entry(&op.path).or_default().push(op);
    }
    let (mut reversed, mut refused) = (Vec::new(), Vec::new());
    for (path, ops) in by_path {
        match reversible_path(root, path, &ops)? {
            Ok(list) => reversed.extend(list),
            Err(why) => refused.push(Refused { path: path.clone(), why: why.to_owned() }),
        }
    }
    Ok((reversed, refused))
}

fn reversible_path<'r>(
    root: &RootDir,
    path: &Bytes,
    ops: &[&'r Op],
) -> Result<Result<Reversed<'r>, &'static str>, PromoteError> {
    let on_error = |e: std::io::Error| PromoteError::io("look at", root.full(path), e);
    let seen = match root.look(path) {
        Ok(seen) => seen,
        // The way there goes through what the promotion made of a directory.
        Err(Errno::NOTDIR | Errno::LOOP) => None,
        Err(e) => return Err(on_error(e.into())),
    };
    let put = ops.iter().find_map(|op| match &op.action {
        Action::Put { after, .. } => Some((*op, after)),
        _ => None,
    });
    let mode = ops.iter().find_map(|op| match &op.action {
        Action::Mode { entry, to, .. } => Some((entry, *to)),
        _ => None,
    });
    let removed = ops.iter().any(|op| matches!(op.action, Action::Remove { .. }));
    let expected = match (put, mode) {
        // A directory that got a mode and then went: it comes back with the mode that it had at first.
        (None, Some(_)) if removed => None,
        (Some((_, after)), mode) => Some((after, mode.map_or(after.mode, |(_, to)| to))),
        (None, Some((entry, to))) => Some((entry, to)),
        (None, None) => None,
    };
    let Some((expected, expected_mode)) = expected else {
        return Ok(match seen {
            None => {
                Ok(ops.iter().filter(|op| matches!(op.action, Action::Remove { .. })).map(|op| (*op, None)).collect())
            }
            Some(_) => Err("something else stands there now"),
        });
    };
    let Some(seen) = seen else { return Ok(Err("it is not there any more")) };
    if seen.kind != expected.kind || seen.mode != expected_mode {
        return Ok(Err("its kind or its mode changed since"));
    }
    let mut present = Before { identity: seen, digest: None, recent: false };
    if let Some((op, after)) = put.filter(|_| seen.kind != FileKind::Directory) {
        if seen.size != after.size {
            return Ok(Err("its content changed since"));
        }
        let digest = entry::digest(root, path, seen.kind).map_err(on_error)?;
        if op.new_digest.is_some_and(|d| d != digest) {
            return Ok(Err("its content changed since"));
        }
        present.digest = Some(digest);
        present.recent = true;
    }
    Ok(Ok(ops.iter().map(|op| (*op, Some(present))).collect()))
}

/// The modification times that directories get back: those in which nothing came or went since the promotion, and those
/// that the promotion removed.
fn times_to_restore(recorded: &Recorded, root: &RootDir) -> Result<BTreeMap<Bytes, Timestamp>, PromoteError> {
    let empty = BTreeMap::new();
    let after = recorded.done.as_ref().unwrap_or(&empty);
    let mut out = BTreeMap::new();
    for (path, touched) in recorded.touched.iter().filter(|(_, t)| t.ino != 0) {
        let now = match root.dir(&path.0) {
            Ok(dir) => {
                let stat = fstat(&dir).map_err(|e| PromoteError::io("look at", root.full(path), e))?;
                Some(Identity::from_stat(&stat).mtime)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(e) => return Err(PromoteError::io("look at", root.full(path), e)),
        };
        if now.is_none() || now == after.get(path).copied() {
            out.insert(path.clone(), touched.mtime);
        }
    }
    // A removed directory that nothing in the promotion came or went in has its time from its own old version.
    for op in &recorded.ops {
        if let Action::Remove { before, .. } = &op.action
            && before.kind == FileKind::Directory
        {
            out.entry(op.path.clone()).or_insert(before.mtime);
        }
    }
    Ok(out)
}

/// The latest promotion of a run that took place and was not undone.
///
/// # Errors
/// Where the run's directory cannot be read or a journal does not read as one.
pub fn latest_applied(run_dir: &Path) -> Result<Option<u32>, PromoteError> {
    let mut undone = Vec::new();
    for number in journal::numbers(run_dir)?.into_iter().rev() {
        let Some(recorded) = journal::read(run_dir, number)? else { continue };
        if recorded.done.is_none() {
            continue;
        }
        match recorded.begun.what {
            Kind::Undo { of } => undone.push(of),
            Kind::Promotion if !undone.contains(&number) => return Ok(Some(number)),
            Kind::Promotion => {}
        }
    }
    Ok(None)
}

/// Every promotion and undo of a run that took place and has none of the `known` numbers, oldest first, as its journal has
/// it: for evidence that was cut off before it said so.
///
/// # Errors
/// As [`latest_applied`].
pub fn finished(run_dir: &Path, known: &[u32]) -> Result<Vec<Outcome>, PromoteError> {
    let mut all = Vec::new();
    // A journal takes as long to read as its promotion had paths.
    for number in journal::numbers(run_dir)?.into_iter().filter(|number| !known.contains(number)) {
        if let Some(recorded) = journal::read(run_dir, number)?
            && recorded.done.is_some()
        {
            all.push(outcome_of(&recorded));
        }
    }
    Ok(all)
}
