//! After a crash: finding the unfinished promotion, and ending it one way or the other.

use std::path::Path;

use cofferdam_core::{Bytes, Timestamp};

use super::apply::{bring_to_end, carry_out};
use super::fault::Fault;
use super::journal::{self, Kind, Recorded};
use super::lock::{Locks, lock};
use super::tx::{End, Outcome, Tx};
use super::{PromoteError, RootDir};

/// An unfinished promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its number within the run.
    pub number: u32,
    /// Promotion or undo.
    pub what: Kind,
    /// The root that it goes into, as it was opened.
    pub root: Bytes,
    /// When it began.
    pub since: Timestamp,
    /// How far it came.
    pub phase: Phase,
}

/// How far an unfinished promotion came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing in the tree was touched. It can only be taken back: [`continue_`] does that too.
    Staging,
    /// Some of it may be in place. Both ways are open.
    Applying,
    /// All is in place. Both ways are open.
    Applied,
    /// All was taken back; only clearing away is left, whichever way is asked for.
    Reverted,
}

/// The unfinished promotion of a run, if there is one.
///
/// # Errors
/// Where the run's directory cannot be read or a journal does not read as one.
pub fn pending(run_dir: &Path) -> Result<Option<Pending>, PromoteError> {
    Ok(unfinished(run_dir)?.map(|r| Pending {
        number: r.begun.number,
        what: r.begun.what,
        phase: phase(&r),
        since: r.begun.time,
        root: r.begun.root,
    }))
}

/// Ends an unfinished promotion forward, if it had come so far that it can be: [`Outcome::end`] tells.
///
/// # Errors
/// As [`apply`](super::apply()); [`PromoteError::NothingPending`].
pub fn continue_(run_dir: &Path, root: &RootDir, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    let (locks, recorded) = take_up(run_dir, root)?;
    let (phase, reverting) = (phase(&recorded), recorded.reverting);
    let tx = Tx::reopen(run_dir, locks, recorded)?;
    match phase {
        Phase::Staging | Phase::Reverted => clear_up(tx, fault),
        Phase::Applied if !reverting => bring_to_end(tx, fault),
        Phase::Applying | Phase::Applied => carry_out(tx, fault),
    }
}

/// Takes an unfinished promotion back.
///
/// # Errors
/// [`PromoteError::NothingPending`]; where a call fails or something stands in the way of going back, which can be
/// tried again.
pub fn abort(run_dir: &Path, root: &RootDir, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    let (locks, recorded) = take_up(run_dir, root)?;
    let phase = phase(&recorded);
    let tx = Tx::reopen(run_dir, locks, recorded)?;
    match phase {
        Phase::Staging | Phase::Reverted => clear_up(tx, fault),
        Phase::Applying | Phase::Applied => tx.abandon(fault),
    }
}

fn clear_up(mut tx: Tx, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    tx.clear_away(fault)?;
    Ok(tx.outcome(End::RolledBack))
}

fn take_up(run_dir: &Path, root: &RootDir) -> Result<(Locks, Recorded), PromoteError> {
    let nothing = || PromoteError::NothingPending { run_dir: run_dir.to_owned() };
    if journal::numbers(run_dir)?.is_empty() {
        return Err(nothing());
    }
    let locks = lock(run_dir, root)?;
    let recorded = unfinished(run_dir)?.ok_or_else(nothing)?;
    Ok((locks, recorded))
}

/// The last promotion that was begun, if it is not finished. Only the last can be: none is begun while another is not.
pub(super) fn unfinished(run_dir: &Path) -> Result<Option<Recorded>, PromoteError> {
    for number in journal::numbers(run_dir)?.into_iter().rev() {
        let Some(mut recorded) = journal::read(run_dir, number)? else { continue };
        if recorded.finished() {
            return Ok(None);
        }
        if !recorded.staged {
            // Operations of a staging that was not finished were never attempted.
            recorded.ops.clear();
        }
        return Ok(Some(recorded));
    }
    Ok(None)
}

fn phase(recorded: &Recorded) -> Phase {
    match recorded {
        r if r.reverted => Phase::Reverted,
        r if r.applied.is_some() => Phase::Applied,
        r if r.staged => Phase::Applying,
        _ => Phase::Staging,
    }
}
