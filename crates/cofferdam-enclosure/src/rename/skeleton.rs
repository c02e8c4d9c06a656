//! First phase: the directories of the tree once more, empty, and every file copied up where it stands.
//!
//! Nothing has moved when this fails: what most likely fails, for want of space, fails here.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RenameFlags, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::attributes::{Attributes, copy_extended};
use super::directory::{self, Entry, entries, is_hard};

/// The temporary directory while it is not empty: renaming something onto it cannot succeed, and overlayfs says EXDEV
/// for a directory with a lower layer before it looks whether the target is empty.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) temporary: &'a CStr,
}

/// What a probe found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Only in the upper layer: it moves whole.
    Pure,
    /// In a lower layer, alone or merged.
    Lower,
    /// Not writable, so that it may not change its parent: not known.
    Closed,
    /// It has gone, or is none of ours to touch.
    Other(Errno),
}

impl Probe<'_> {
    pub(super) fn look(&self, parent: impl AsFd, name: &CStr) -> Result<Found, Errno> {
        match directory::rename(&parent, name, self.parent, self.temporary, RenameFlags::empty()) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Found::Pure),
            Err(Errno::XDEV) => Ok(Found::Lower),
            Err(Errno::ACCESS) => Ok(Found::Closed),
            Err(other) => Ok(Found::Other(other)),
            Ok(()) => {
                // Somebody emptied the temporary directory, and now it is what was probed.
                directory::rename(self.parent, self.temporary, parent, name, RenameFlags::NOREPLACE)?;
                Err(Errno::BUSY)
            }
        }
    }
}

/// Makes `twin` like `original` but without its files. `depth` is how many levels may still come.
pub(super) fn build(
    original: &OwnedFd,
    twin: &OwnedFd,
    attributes: Attributes,
    probe: Probe<'_>,
    depth: usize,
) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::MFILE)?;
    attributes.record(twin)?; // first: the undo of whatever fails from here on looks for it
    let (theirs, ours) = (fstat(original)?, fstat(twin)?);
    if (theirs.st_uid, theirs.st_gid) != (ours.st_uid, ours.st_gid) {
        return Err(Errno::XDEV); // a new directory cannot have that owner
    }
    copy_extended(original, twin)?;
    for entry in entries(original)? {
        let entry = entry?;
        match entry.kind {
            FileType::Directory => descend(original, twin, &entry, probe, depth)?,
            FileType::RegularFile => copy_up(original, &entry.name)?,
            _ => {} // copied up by its rename, which for these needs no space for content
        }
    }
    Ok(())
}

fn descend(original: &OwnedFd, twin: &OwnedFd, entry: &Entry, probe: Probe<'_>, depth: usize) -> Result<(), Errno> {
    let name = &entry.name;
    let found = probe.look(original, name)?;
    if matches!(found, Found::Pure | Found::Other(_)) {
        return Ok(());
    }
    let (below, attributes) = match directory::open(original, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if found == Found::Closed && probe.look(original, name)? != Found::Lower {
        return attributes.record(&below); // it moves whole, and gets its mode back then
    }
    mkdirat(twin, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let twin_below = openat(twin, name, flags, Mode::empty())?;
    build(&below, &twin_below, attributes, probe, depth)
}

/// Opening for writing copies a file up. Files that cannot be opened so (mode 0444, a program that runs) are copied up
/// by their rename.
fn copy_up(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(e) if is_hard(e) => Err(e),
        _ => Ok(()),
    }
}
