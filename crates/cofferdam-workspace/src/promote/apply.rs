//! Putting what was staged into place.

use std::os::fd::{AsFd, BorrowedFd};

use cofferdam_core::change::FileKind;
use rustix::fs::{Mode, OFlags, RenameFlags, openat, renameat_with};
use rustix::io::Errno;

use super::fault::{Fault, step};
use super::journal::Record;
use super::op::{Action, Op, is_dir};
use super::tx::{End, Outcome, Staged, Tx, same_inode};
use super::{Identity, PromoteError, entry};

/// Puts everything that was staged into place and keeps what stood there for an undo.
///
/// # Errors
/// [`PromoteError::RolledBack`] where anything is not as planned or a call fails: then nothing is changed.
/// [`PromoteError::RollbackIncomplete`] and [`PromoteError::Unsettled`] leave a promotion that
/// [`pending`](super::pending()) finds.
pub fn apply(staged: Staged, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    carry_out(staged.tx, fault)
}

/// Goes forward from wherever the promotion stands, or back if that cannot be.
pub(super) fn carry_out(mut tx: Tx, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    match tx.forward(fault) {
        Ok(()) => {}
        Err(e @ PromoteError::Killed { .. }) => return Err(e),
        Err(first) => return tx.roll_back(first, fault),
    }
    bring_to_end(tx, fault)
}

/// Does what is left once everything is in place.
pub(super) fn bring_to_end(mut tx: Tx, fault: &mut Fault<'_>) -> Result<Outcome, PromoteError> {
    match tx.settle(fault) {
        Ok(()) => Ok(tx.outcome(End::Applied)),
        Err(e @ PromoteError::Killed { .. }) => Err(e),
        Err(e) => Err(PromoteError::Unsettled { source: Box::new(e) }),
    }
}

impl Tx {
    fn forward(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        self.stayed.clear();
        for at in 0..self.ops.len() {
            step(fault, "apply", at as u64)?;
            let op = self.ops[at].clone();
            let stayed = self.forward_one(&op, at as u64, fault)?;
            if stayed {
                self.stayed.push(op.slot);
            }
        }
        step(fault, "sync", 0)?;
        self.sync()?;
        step(fault, "applied", 0)?;
        let stayed = self.stayed.clone();
        self.journal.mark(&Record::Applied { stayed })?;
        self.applied = true;
        Ok(())
    }

    /// Gives whether a directory that was to go stays.
    fn forward_one(&mut self, op: &Op, number: u64, fault: &mut Fault<'_>) -> Result<bool, PromoteError> {
        match &op.action {
            Action::Mode { entry, from, to } => self.change_mode(op, entry, *from, *to).map(|()| false),
            Action::Put { before, after } => {
                if !self.is_applied(op)? {
                    self.put(op, before.as_ref())?;
                    step(fault, "verify", number)?;
                }
                let Some(before) = before else { return Ok(false) };
                // Nothing in the slot: the old version is kept already, and was looked at then.
                let Some(out) = self.lying(op)? else { return Ok(false) };
                if self.came_out(op, &out, before)? {
                    return Ok(false);
                }
                self.give_back(op, after)?;
                Err(PromoteError::overtaken(&op.path, "it was saved while it was being promoted"))
            }
            Action::Remove { before, optional } => {
                if !self.is_applied(op)? {
                    if *optional && is_dir(before) && self.holds_something(op)? {
                        return Ok(true);
                    }
                    self.take_away(op, before)?;
                    step(fault, "verify", number)?;
                }
                let Some(out) = self.lying(op)? else { return Ok(false) };
                if is_dir(&out) && self.slot_holds_something(op)? {
                    self.put_back(op)?;
                    return if *optional {
                        Ok(true)
                    } else {
                        Err(PromoteError::overtaken(&op.path, "something was put into the directory"))
                    };
                }
                if self.came_out(op, &out, before)? {
                    return Ok(false);
                }
                self.put_back(op)?;
                Err(PromoteError::overtaken(&op.path, "it was saved while it was being removed"))
            }
        }
    }

    /// Exchanges the staged entry with the one in place, or puts it where nothing is.
    fn put(&self, op: &Op, before: Option<&Identity>) -> Result<(), PromoteError> {
        let (dir, name) = self.target(op)?;
        let flags = match before {
            None => RenameFlags::NOREPLACE,
            Some(before) => {
                self.check_planned(op, dir.as_fd(), name, before)?;
                RenameFlags::EXCHANGE
            }
        };
        renameat_with(self.staging(op)?, op.slot_name(), &dir, name, flags).map_err(|e| match e {
            Errno::EXIST => PromoteError::overtaken(&op.path, "something of that name is there by now"),
            Errno::NOENT => PromoteError::overtaken(&op.path, "it was deleted in the real tree"),
            e => self.on(op, "put into place", e),
        })
    }

    fn take_away(&self, op: &Op, before: &Identity) -> Result<(), PromoteError> {
        let (dir, name) = self.target(op)?;
        self.check_planned(op, dir.as_fd(), name, before)?;
        renameat_with(&dir, name, self.staging(op)?, op.slot_name(), RenameFlags::NOREPLACE).map_err(|e| match e {
            Errno::NOENT => PromoteError::overtaken(&op.path, "it was deleted in the real tree"),
            e => self.on(op, "remove", e),
        })
    }

    /// A first look before anything moves. The last word has the look at what came out.
    fn check_planned(&self, op: &Op, dir: BorrowedFd<'_>, name: &[u8], before: &Identity) -> Result<(), PromoteError> {
        let seen = super::root::look_at(dir, name).map_err(|e| self.on(op, "look at", e))?;
        match seen {
            None => Err(PromoteError::overtaken(&op.path, "it was deleted in the real tree")),
            Some(seen) if !self.is_planned(&seen, before) => {
                Err(PromoteError::overtaken(&op.path, "the real tree changed it after the plan was made"))
            }
            Some(seen) if self.fresh && !is_dir(&seen) && seen.ctime != before.ctime => {
                Err(PromoteError::overtaken(&op.path, "the real tree touched it after the plan was made"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether what came out is what the plan was made against.
    fn came_out(&self, op: &Op, out: &Identity, before: &Identity) -> Result<bool, PromoteError> {
        if !self.is_planned(out, before) {
            return Ok(false);
        }
        match op.old_digest.filter(|_| op.recent && out.kind == FileKind::File) {
            None => Ok(true),
            Some(expected) => {
                let digest = entry::digest_at(self.staging(op)?, &op.slot_name(), out.kind);
                let digest = digest.map_err(|e| PromoteError::io("read", self.root().full(&op.path), e))?;
                Ok(digest == expected)
            }
        }
    }

    fn change_mode(&self, op: &Op, entry: &Identity, from: u32, to: u32) -> Result<(), PromoteError> {
        if !self.fresh && self.went(op)? {
            return Ok(());
        }
        let (dir, name) = self.target(op)?;
        let overtaken = |what| Err(PromoteError::overtaken(&op.path, what));
        match super::root::look_at(dir.as_fd(), name).map_err(|e| self.on(op, "look at", e))? {
            Some(seen) if same_inode(&seen, entry) && seen.mode == to => return Ok(()),
            Some(seen) if same_inode(&seen, entry) && seen.mode == from => {}
            Some(_) => return overtaken("the real tree changed its permission bits or replaced it"),
            None => return overtaken("it was deleted in the real tree"),
        }
        match entry::set_mode(dir.as_fd(), name, entry, to) {
            Ok(true) => Ok(()),
            Ok(false) => overtaken("the real tree replaced it"),
            Err(e) => Err(self.on(op, "change the mode of", e)),
        }
    }

    /// Whether a directory that was made writable in order to be emptied has gone before the crash.
    fn went(&self, op: &Op) -> Result<bool, PromoteError> {
        for other in self.ops.iter().filter(|o| o.path == op.path && matches!(o.action, Action::Remove { .. })) {
            if self.is_applied(other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the directory in place has entries.
    fn holds_something(&self, op: &Op) -> Result<bool, PromoteError> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match entry::names(self.root(), &op.path) {
            Ok(names) => Ok(!names.is_empty()),
            // What is no directory any more is for the next look to judge.
            Err(e)
                if matches!(e.kind(), NotFound | NotADirectory)
                    || e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
            {
                Ok(false)
            }
            Err(e) => Err(PromoteError::io("list", self.root().full(&op.path), e)),
        }
    }

    /// Whether the directory in the slot has entries.
    pub(super) fn slot_holds_something(&self, op: &Op) -> Result<bool, PromoteError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let on_error = |e: std::io::Error| PromoteError::io("list", self.root().full(&op.path), e);
        let dir = openat(self.staging(op)?, op.slot_name(), flags, Mode::empty()).map_err(|e| on_error(e.into()))?;
        Ok(!entry::names_in(dir).map_err(on_error)?.is_empty())
    }

    /// The staging directory of an operation that still needs it.
    pub(super) fn staging(&self, op: &Op) -> Result<BorrowedFd<'_>, PromoteError> {
        self.place(op).ok_or_else(|| self.on(op, "find the staging directory for", Errno::NOENT))
    }
}
