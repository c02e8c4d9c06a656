//! After everything is in place: the old versions move into the store, the staging directories go.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use cofferdam_core::change::FileKind;
use rustix::fs::{RenameFlags, fstat, fsync, renameat_with};
use rustix::io::Errno;

use super::fault::{Fault, step};
use super::journal::{self, Kind, Record, UNDO_NAME, directory};
use super::op::{Action, Op};
use super::root::look_at;
use super::tx::{Tx, open_undo};
use super::{Identity, PromoteError, STAGING_NAME, entry, place, times};

impl Tx {
    pub(super) fn settle(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        self.keep_together(fault)?;
        for at in 0..self.ops.len() {
            let op = self.ops[at].clone();
            let old = matches!(&op.action, Action::Put { before: Some(_), .. } | Action::Remove { .. });
            if old && self.lying(&op)?.is_some() {
                step(fault, "keep", at as u64)?;
                self.keep(&op)?;
            }
        }
        step(fault, "sync", 2)?;
        self.sync_kept()?;
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
        step(fault, "sync", 3)?;
        self.sync_hosts()?;
        step(fault, "done", 0)?;
        self.journal.mark(&Record::Done { times: after })?;
        self.forget_restored(fault)
    }

    /// Makes the root's staging directory, in which nothing but old versions lies by now, the directory of old versions:
    /// one exchange instead of a rename for each. Where that cannot be, nothing is changed: on another file system, or
    /// where old versions were kept one by one before a crash.
    fn keep_together(&mut self, fault: &mut Fault<'_>) -> Result<(), PromoteError> {
        let Some(place) = self.places.first().and_then(Option::as_ref) else { return Ok(()) };
        let listed = |fd: &OwnedFd, path: PathBuf| {
            let names = fd.try_clone().and_then(entry::names_in);
            names.map_err(|e| PromoteError::io("list", path, e))
        };
        let full = listed(place, self.root().path().join(STAGING_NAME))?.len() > 1;
        if full && listed(&self.undo, self.undo_path())?.is_empty() {
            step(fault, "keep-together", 0)?;
            let above = directory(&self.run_dir, self.begun.number);
            let store = File::open(&above).map_err(|e| PromoteError::io("open", &above, e))?;
            let exchange = || renameat_with(self.root(), STAGING_NAME, &store, UNDO_NAME, RenameFlags::EXCHANGE);
            let on_error = |e: Errno| PromoteError::io("keep the earlier versions in", self.undo_path(), e);
            match exchange() {
                Ok(()) => {
                    let ours = fstat(place).map_err(on_error)?;
                    let kept = look_at(store.as_fd(), UNDO_NAME.as_bytes()).map_err(on_error)?;
                    if kept.is_none_or(|kept| !kept.same_inode(&Identity::from_stat(&ours))) {
                        // Somebody put another directory in the place of the staging directory.
                        exchange().map_err(on_error)?;
                    } else if let Some(place) = self.places.first_mut().and_then(Option::as_mut) {
                        std::mem::swap(place, &mut self.undo);
                    }
                }
                // rename(2): other mounts, file systems that cannot, no right to write into the root.
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
                Err(e) => return Err(on_error(e)),
            }
        }
        step(fault, "keep-marker", 0)?;
        self.return_marker()
    }

    /// Gives the staging directory its marker back, which came into the store with the old versions.
    pub(super) fn return_marker(&self) -> Result<(), PromoteError> {
        let Some(place) = self.places.first().and_then(Option::as_ref) else { return Ok(()) };
        match renameat_with(&self.undo, place::MARKER, place, place::MARKER, RenameFlags::NOREPLACE) {
            // On another file system the old versions are kept one by one, and the marker never came.
            Ok(()) | Err(Errno::NOENT | Errno::XDEV) => Ok(()),
            Err(Errno::EXIST) => entry::remove(self.undo.as_fd(), place::MARKER, FileKind::File)
                .map_err(|e| PromoteError::io("remove", self.undo_path().join("promotion"), e)),
            Err(e) => Err(PromoteError::io("move back", self.undo_path().join("promotion"), e)),
        }
    }

    /// Brings the old versions' names in the store to the disk, and only then that they left the staging directories:
    /// on a file system that does not order its metadata they must not be in neither.
    fn sync_kept(&self) -> Result<(), PromoteError> {
        fsync(&self.undo).map_err(|e| PromoteError::io("sync", self.undo_path(), e))?;
        journal::sync_dir(&directory(&self.run_dir, self.begun.number))?;
        for (at, place) in self.places.iter().enumerate() {
            let Some(place) = place else { continue };
            fsync(place).map_err(|e| PromoteError::io("sync", self.root().full(&self.begun.places[at]), e))?;
        }
        Ok(())
    }

    /// Brings to the disk that the staging directories are gone: one that came back after a crash would stand in the way
    /// of every later promotion, with a journal that says that all is done.
    fn sync_hosts(&self) -> Result<(), PromoteError> {
        for host in &self.begun.places {
            let on_error = |e: Errno| PromoteError::io("sync", self.root().full(host), e);
            let dir = match self.root().dir(&host.0) {
                Ok(dir) => dir,
                // Somebody removed it, and what was in it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(on_error(e)),
            };
            fsync(&dir).map_err(on_error)?;
        }
        Ok(())
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
