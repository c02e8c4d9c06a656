//! Steps on held directory descriptors: one name below one descriptor, never a path.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, chmodat, fstat, openat, renameat_with, statat,
};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::pending;

/// One name of a directory.
pub(super) struct Entry {
    pub(super) name: CString,
    pub(super) kind: FileType,
}

impl Entry {
    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// The names of a directory as they are met, without `.` and `..`.
pub(super) fn entries(directory: &OwnedFd) -> Result<impl Iterator<Item = Result<Entry, Errno>>, Errno> {
    let listing = Dir::read_from(directory)?;
    Ok(listing.filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => return Some(Err(e)),
        };
        let name = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            return None;
        }
        match entry.file_type() {
            FileType::Unknown => match kind_of(directory, &name) {
                Ok(Some(kind)) => Some(Ok(Entry { name, kind })),
                Ok(None) => None,
                Err(e) => Some(Err(e)),
            },
            kind => Some(Ok(Entry { name, kind })),
        }
    }))
}

/// What a name is, links not followed; `None` where there is nothing.
pub(super) fn kind_of(parent: impl AsFd, name: &CStr) -> Result<Option<FileType>, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a directory so that everything can be done in it, whatever its mode; with what its mode and times are to be. One that
/// was closed to its owner bears a record of it from then on, to be settled by whoever is done with it.
pub(super) fn open(parent: impl AsFd, name: &CStr) -> Result<(OwnedFd, Attributes), Errno> {
    let (directory, closed) = open_up(&parent, name)?;
    let Some(attributes) = closed else {
        let now = Attributes::of(&fstat(&directory)?);
        let recorded = Attributes::recorded(&directory)?;
        return Ok((directory, recorded.unwrap_or(now)));
    };
    match attributes.record(&directory) {
        Ok(()) => pending::clear(parent)?,
        // The word on the parent stays instead: an undo has to succeed without room.
        Err(Errno::NOSPC | Errno::DQUOT) => {}
        Err(e) => return Err(e),
    }
    Ok((directory, attributes))
}

/// Opens a directory; where it was closed to its owner, with what it was, which the parent says from then on.
pub(super) fn open_up(parent: impl AsFd, name: &CStr) -> Result<(OwnedFd, Option<Attributes>), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&parent, name, OFlags::RDONLY | flags, Mode::empty()) {
        Ok(directory) => {
            if Attributes::of(&fstat(&directory)?).open_to_owner() {
                return Ok((directory, None));
            }
        }
        Err(Errno::ACCESS) => {}
        Err(e) => return Err(e),
    }
    let place = openat(&parent, name, OFlags::PATH | flags, Mode::empty())?;
    let attributes = Attributes::of(&fstat(&place)?);
    // By its descriptor, because fchmod(2) refuses O_PATH and the name may be another directory by now.
    let by_descriptor = format!("/proc/self/fd/{}", place.as_raw_fd());
    pending::set(&parent, name, &attributes)?;
    match chmodat(CWD, by_descriptor, attributes.working_mode(), AtFlags::empty()) {
        Ok(()) => {}
        Err(e) => return pending::clear(parent).and(Err(e)), // nothing was opened up
    }
    let directory = openat(&place, c".", OFlags::RDONLY | flags, Mode::empty())?;
    Ok((directory, Some(attributes)))
}

/// `renameat2(2)`.
pub(super) fn rename(from: impl AsFd, old: &CStr, to: impl AsFd, new: &CStr, flags: RenameFlags) -> Result<(), Errno> {
    renameat_with(from, old, to, new, flags)
}

/// An error of the file system itself, which the caller of a rename should see.
pub(super) fn is_hard(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::IO)
}
