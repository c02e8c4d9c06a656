//! The way back: what was put in place comes out again, what came out goes back, and nobody's later work is lost.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::fault::{Fault, step};
use super::journal::Record;
use super::op::{Action, Op, is_dir};
use super::tx::{End, Outcome, Tx, same_inode};
use super::{Identity, Kept, PromoteError, entry, place, times};

/// How often an editor may save between two renames before we give the exchange up. Each save takes a race of
/// microseconds to win.
const PATIENCE: u32 = 10_000;

impl Tx {
    /// Takes everything back after `first` went wrong.
    pub(super) fn roll_back(mut self, first: PromoteError, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
        match self.take_back(fault) {
            Ok(()) => Err(PromoteError::RolledBack { source: Box::new(first), kept: self.kept }),
            Err(e @ PromoteError::Killed { .. }) => Err(e),
            Err(source) => Err(PromoteError::RollbackIncomplete { first: Box::new(first), source: Box::new(source) }),
        }
    }

    /// Takes everything back because somebody asked for it.
    pub(super) fn abandon(mut self, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
        self.take_back(fault)?;
        Ok(self.outcome(End::RolledBack))
    }

    fn take_back(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        if self.applied {
            step(fault, "reverting", 0)?;
            self.journal.mark(&Record::Reverting)?;
            for (index, host) in self.begun.places.iter().enumerate() {
                if self.places[index].is_none() {
                    self.places[index] = Some(place::make(&self.locks.root, host, &self.run_dir)?);
                }
            }
            self.return_marker()?;
            self.fetch_kept(fault)?;
        }
        for at in (0..self.ops.len()).rev() {
            step(fault, "reverse", at as u64)?;
            let op = self.ops[at].clone();
            self.reverse_one(&op, at as u64, fault)?;
        }
        step(fault, "sync", 1)?;
        self.sync()?;
        step(fault, "reverted", 0)?;
        self.journal.mark(&Record::Reverted)?;
        self.clear_away(fault)
    }

    /// Brings old versions that already lie in the store back into their slots.
    fn fetch_kept(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        for at in 0..self.ops.len() {
            let op = self.ops[at].clone();
            let had_old = matches!(&op.action, Action::Put { before: Some(_), .. } | Action::Remove { .. });
            if !had_old || self.lying(&op)?.is_some() || !self.is_kept(&op)? {
                continue;
            }
            step(fault, "fetch", at as u64)?;
            self.move_back(&op)?;
        }
        Ok(())
    }

    fn reverse_one(&mut self, op: &Op, number: u64, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        match &op.action {
            Action::Mode { entry, from, to } => self.restore_mode(op, entry, *from, *to),
            Action::Put { before: Some(_), after } => {
                if !self.is_applied(op)? || self.lying(op)?.is_none() {
                    return Ok(());
                }
                self.give_back(op, after)
            }
            Action::Put { before: None, after } => {
                if self.is_applied(op)? {
                    self.take_out(op, after, number, fault)
                } else {
                    Ok(())
                }
            }
            Action::Remove { .. } => match self.lying(op)? {
                Some(_) => self.put_back(op),
                None => Ok(()),
            },
        }
    }

    fn restore_mode(&self, op: &Op, entry: &Identity, from: u32, to: u32) -> Result<(), PromoteError> {
        let Some((dir, name)) = self.target_unless_gone(op)? else { return Ok(()) };
        let seen = super::root::look_at(dir.as_fd(), name).map_err(|e| self.on(op, "look at", e))?;
        match seen.filter(|seen| same_inode(seen, entry) && seen.mode == to) {
            // What came in between is somebody else's, and keeps its mode.
            Some(seen) => match entry::set_mode(dir.as_fd(), name, &seen, from) {
                Ok(true | false) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(self.on(op, "change the mode of", e)),
            },
            None => Ok(()),
        }
    }

    /// Exchanges what lies in the slot with what is in place, until what comes out is what was put there last: whatever
    /// somebody saves meanwhile ends in place, being the newest, and what it superseded in the slot.
    pub(super) fn give_back(&mut self, op: &Op, staged: &Identity) -> Result<(), PromoteError> {
        let (dir, name) = self.target(op)?;
        let slot = op.slot_name();
        let gone = || self.on(op, "find the earlier version of", Errno::NOENT);
        let mut theirs = self.lying(op)?.ok_or_else(gone)?;
        let mut expected = *staged;
        for _ in 0..PATIENCE {
            match renameat_with(self.staging(op)?, &slot[..], &dir, name, RenameFlags::EXCHANGE) {
                Ok(()) => {}
                // Nothing is in place any more, so there is nothing to come out.
                Err(Errno::NOENT) => {
                    match renameat_with(self.staging(op)?, &slot[..], &dir, name, RenameFlags::NOREPLACE) {
                        Ok(()) => return Ok(()),
                        Err(Errno::EXIST) => continue,
                        Err(e) => return Err(self.on(op, "put back", e)),
                    }
                }
                Err(e) => return Err(self.on(op, "put back", e)),
            }
            let Some(out) = self.lying(op)? else { return Err(gone()) };
            if unchanged(&out, &expected) {
                return Ok(());
            }
            expected = theirs;
            theirs = out;
        }
        Err(PromoteError::overtaken(&op.path, "somebody saves it without pause"))
    }

    /// Takes what was put where nothing was out again, unless somebody made it theirs.
    fn take_out(&mut self, op: &Op, after: &Identity, number: u64, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        let Some((dir, name)) = self.target_unless_gone(op)? else { return Ok(()) };
        let look = |dir: &OwnedFd| super::root::look_at(dir.as_fd(), name);
        let Some(seen) = look(&dir).map_err(|e| self.on(op, "look at", e))? else { return Ok(()) };
        if !unchanged(&seen, after) {
            self.stays(op);
            return Ok(());
        }
        match renameat_with(&dir, name, self.staging(op)?, op.slot_name(), RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(self.on(op, "take back", e)),
        }
        step(fault, "taken-out", number)?;
        let Some(out) = self.lying(op)? else { return Ok(()) };
        if unchanged(&out, after) && !(is_dir(&out) && self.slot_holds_something(op)?) {
            return Ok(());
        }
        self.stays(op);
        self.put_back(op)
    }

    /// The directory that holds the target; `None` where it is gone, and with it what was put there. Anything else in
    /// the way, a symbolic link for one, is an error.
    fn target_unless_gone<'o>(&self, op: &'o Op) -> Result<Option<(OwnedFd, &'o [u8])>, PromoteError> {
        match self.root().parent(&op.path) {
            Err(Errno::NOENT) => Ok(None),
            _ => self.target(op).map(Some),
        }
    }

    /// Puts what lies in the slot back where it came from, if nobody has put something else there.
    pub(super) fn put_back(&mut self, op: &Op) -> Result<(), PromoteError> {
        let (dir, name) = self.target(op)?;
        match renameat_with(self.staging(op)?, op.slot_name(), &dir, name, RenameFlags::NOREPLACE) {
            // What is in the way is somebody's newer version; ours is put aside when the slots are cleared.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(self.on(op, "put back", e)),
        }
    }

    fn stays(&mut self, op: &Op) {
        self.kept.push(Kept {
            path: op.path.clone(),
            at: op.path.clone(),
            why: "it was changed after it had been promoted, and stays".to_owned(),
        });
    }

    /// After the way back: staged entries go, versions without a place are put aside, the directories get their times.
    pub(super) fn clear_away(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        for at in 0..self.ops.len() {
            let op = self.ops[at].clone();
            if let Some(lying) = self.lying(&op)? {
                step(fault, "clear", at as u64)?;
                match &op.action {
                    Action::Put { after, .. } if unchanged(&lying, after) => {
                        let removed = entry::remove(self.staging(&op)?, &op.slot_name(), lying.kind);
                        removed.map_err(|e| self.on(&op, "remove the staged", e))?;
                    }
                    _ => self.keep(&op)?,
                }
            }
            if self.is_kept(&op)? {
                let at = entry::bytes_of(&self.undo_path().join(op.slot.to_string()));
                let why = "another version stands in its place".to_owned();
                self.kept.push(Kept { path: op.path.clone(), at, why });
            }
        }
        self.drop_places(true, fault)?;
        step(fault, "times", 0)?;
        for touched in self.touched.values().filter(|t| t.ino != 0) {
            times::restore(self.root(), touched, touched.names, Some(touched.mtime))?;
        }
        step(fault, "aborted", 0)?;
        self.journal.mark(&Record::Aborted)
    }
}

/// Whether an entry is the staged one in the version that was staged. The mode of a directory is set after it is put in
/// place, and its times change with its entries.
fn unchanged(seen: &Identity, staged: &Identity) -> bool {
    same_inode(seen, staged)
        && (is_dir(seen) || (seen.size, seen.mtime, seen.mode) == (staged.size, staged.mtime, staged.mode))
}
