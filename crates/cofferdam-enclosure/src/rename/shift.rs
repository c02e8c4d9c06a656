//! Second phase: everything moves into the skeleton, name by name. Meanwhile the tree is in two halves.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::directory::{self, Entry, entries};
use super::undo::settle_below;

/// How often a directory is gone through before others are found to fill it faster than it empties.
pub(super) const PASSES: usize = 200;

/// Moves what is in `from` into `to`, until nothing comes any more.
///
/// # Errors
/// `EBUSY` where others kept filling it; otherwise what stopped it. Part of it has moved then.
pub(super) fn shift(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::MFILE)?;
    for _ in 0..PASSES {
        let mut empty = true;
        for entry in entries(from)? {
            empty = false;
            move_entry(from, to, &entry?, depth)?;
        }
        if empty {
            return Ok(());
        }
    }
    Err(Errno::BUSY)
}

fn move_entry(from: &OwnedFd, to: &OwnedFd, entry: &Entry, depth: usize) -> Result<(), Errno> {
    let name = &entry.name;
    let attempt = |flags| directory::rename(from, name, to, name, flags);
    if !entry.is_directory() {
        return match attempt(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => attempt(RenameFlags::empty()).or_else(gone), // made again meanwhile: the newer wins
            other => other.or_else(gone),
        };
    }
    match attempt(RenameFlags::empty()) {
        Ok(()) => return settle_below(to, name), // it may have been opened up for this
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::XDEV | Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
        Err(e) => return Err(e),
    }
    let (below, current) = match directory::open(from, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    match mkdirat(to, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let twin = openat(to, name, flags, Mode::empty())?;
    let attributes = match Attributes::recorded(&twin)? {
        Some(recorded) => recorded,
        None => {
            current.record(&twin)?;
            current
        }
    };
    shift(&below, &twin, depth)?;
    match unlinkat(from, name, AtFlags::REMOVEDIR) {
        Ok(()) => attributes.settle(to, name, &twin),
        Err(Errno::NOTEMPTY | Errno::NOENT) => Ok(()), // filled again: the next pass takes it
        Err(e) => Err(e),
    }
}

fn gone(error: Errno) -> Result<(), Errno> {
    if error == Errno::NOENT { Ok(()) } else { Err(error) }
}
