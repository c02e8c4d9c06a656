//! After everything is in place: the old versions move into the store, the staging directories go.

use std::os::fd::AsFd;

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::fault::{Fault, step};
use super::journal::{Kind, Record};
use super::op::{Action, Op};
use super::root::look_at;
use super::tx::{Tx, open_undo};
use super::{PromoteError, entry, place, times};

impl Tx {
    pub(super) fn settle(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        for at in 0..self.ops.len() {
            let op = self.ops[at].clone();
            let old = matches!(&op.action, Action::Put { before: Some(_), .. } | Action::Remove { .. });
            if old && self.lying(&op)?.is_some() {
                step(fault, "keep", at as u64)?;
                self.keep(&op)?;
            }
        }
        step(fault, "sync", 2)?;
        if self.ops.len() > super::tx::FEW {
            rustix::fs::syncfs(&self.undo).map_err(|e| PromoteError::io("sync", self.undo_path(), e))?;
        } else {
            rustix::fs::fsync(&self.undo).map_err(|e| PromoteError::io("sync", self.undo_path(), e))?;
        }
        self.drop_places(false, fault)?;
        step(fault, "times", 1)?;
        let touched_by_ops = times::touched_by(&self.ops);
        let mut after = Vec::new();
        for (path, touched) in &self.touched {
            // A directory that only held our staging directory was not changed by the promotion.
            let untouched = (!touched_by_ops.contains_key(path)).then_some(touched.mtime);
            let restore = touched.restore.or(untouched);
            if let Some(mtime) = times::restore(self.root(), touched, touched.names_after, restore)? {
                after.push((path.clone(), mtime));
            }
        }
        step(fault, "done", 0)?;
        self.journal.mark(&Record::Done { times: after })?;
        self.forget_restored(fault)
    }

    /// The old versions that an undo brought back are not needed a second time.
    fn forget_restored(&self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        let Kind::Undo { of } = self.begun.what else { return Ok(()) };
        let undone = open_undo(&self.run_dir, of)?;
        for (at, op) in self.ops.iter().enumerate() {
            let Some(slot) = op.restores else { continue };
            step(fault, "forget", at as u64)?;
            let name = slot.to_string().into_bytes();
            let on_error = |e: Errno| PromoteError::io("remove", self.undo_path().join(slot.to_string()), e);
            if let Some(there) = look_at(undone.as_fd(), &name).map_err(on_error)? {
                entry::remove(undone.as_fd(), &name, there.kind).map_err(on_error)?;
            }
        }
        Ok(())
    }

    /// Moves what lies in the slot into the directory of old versions.
    pub(super) fn keep(&self, op: &Op) -> Result<(), PromoteError> {
        move_entry(self.staging(op)?, self.undo.as_fd(), &op.slot_name())
            .map_err(|e| PromoteError::io("keep the earlier version of", self.root().full(&op.path), e))
    }

    /// The way back of [`Tx::keep`].
    pub(super) fn move_back(&self, op: &Op) -> Result<(), PromoteError> {
        move_entry(self.undo.as_fd(), self.staging(op)?, &op.slot_name())
            .map_err(|e| PromoteError::io("fetch the earlier version of", self.root().full(&op.path), e))
    }

    /// Removes the staging directories.
    pub(super) fn drop_places(&mut self, contents: bool, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        for at in 0..self.begun.places.len() {
            step(fault, "drop", at as u64)?;
            self.places[at] = None;
            place::drop_place(self.root(), &self.begun.places[at], contents)?;
        }
        Ok(())
    }
}

/// Renames an entry into another directory under the same name, or copies it there if that is another file system:
/// complete under another name first, so that a crash never leaves half a copy under the name.
fn move_entry(from: std::os::fd::BorrowedFd<'_>, to: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> std::io::Result<()> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let source = look_at(from, name)?.ok_or_else(missing)?;
    match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        // A crash came between the copy and the removal.
        Err(Errno::EXIST) => return Ok(entry::remove(from, name, source.kind)?),
        // rename(2): a directory without write permission for its owner cannot change its parent.
        Err(Errno::XDEV | Errno::ACCESS | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let part = [name, b".part"].concat();
    if let Some(left) = look_at(to, &part)? {
        entry::remove(to, &part, left.kind)?;
    }
    entry::copy(from, name, to, &part, source.mode, true)?;
    renameat_with(to, &part[..], to, name, RenameFlags::NOREPLACE)?;
    rustix::fs::fsync(to)?;
    Ok(entry::remove(from, name, source.kind)?)
}
