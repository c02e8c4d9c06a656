//! Taking a purification back: everything returns to where it was, and nothing is ever overwritten.
//!
//! It needs no space: the old names are white-outs in the upper layer already, and a rename from a directory of the
//! upper layer onto one replaces it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, unlinkat};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::directory::{self, Entry, entries};
use super::pending;
use super::purify::KEEP;

/// How often it is tried while others write into the same directories.
const ATTEMPTS: usize = 20;

/// Brings the content of `temporary` back into `name`. Where there is no such temporary directory, it may have replaced `name`
/// already, and is settled there.
///
/// # Errors
/// What stands in the way; the temporary directory is still there then, with what could not be brought back.
pub(super) fn undo(parent: BorrowedFd<'_>, name: &CStr, temporary: &CStr) -> Result<(), Errno> {
    pending::resume(parent)?;
    let (from, now) = match directory::open(parent, temporary) {
        Err(Errno::NOENT) => return settle_below(parent, name),
        other => other?,
    };
    match unlinkat(&from, KEEP, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {} // with something in it, it is brought back like the rest
        Err(e) => return Err(e),
    }
    // A record is absent before the skeleton is begun.
    let recorded = Attributes::recorded(&from)?;
    match directory::open(parent, name) {
        Err(Errno::NOENT) => {
            directory::rename(parent, temporary, parent, name, RenameFlags::NOREPLACE)?;
            settle_below(parent, name)?;
            if recorded.is_none() { now.settle(parent, name, &from) } else { Ok(()) }
        }
        Err(e) => Err(e),
        Ok((mut to, before)) => {
            let attributes = recorded.unwrap_or(before);
            for _ in 1..ATTEMPTS {
                match bring_all_back(&from, &to, attributes, (parent, name), temporary) {
                    Err(Errno::NOTEMPTY) => (to, _) = directory::open(parent, name)?, // closed again by settling it
                    other => return other,
                }
            }
            bring_all_back(&from, &to, attributes, (parent, name), temporary)
        }
    }
}

/// Empties `from` into `to`, settles `to` whatever came of it, and then removes `from`, which has the record.
fn bring_all_back(
    from: &OwnedFd,
    to: &OwnedFd,
    attributes: Attributes,
    (parent, name): (BorrowedFd<'_>, &CStr),
    temporary: &CStr,
) -> Result<(), Errno> {
    let brought = bring_back(from, to);
    brought.and(attributes.settle(parent, name, to))?;
    unlinkat(parent, temporary, AtFlags::REMOVEDIR)
}

/// Moves everything in `from` into `to`; goes on after a failure, so that as much as possible returns.
fn bring_back(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut outcome = pending::resume(from).and(pending::resume(to));
    for entry in entries(from)? {
        let result = entry.and_then(|entry| bring_entry_back(from, to, &entry));
        outcome = outcome.and(result);
    }
    // What was opened up and has not moved.
    for entry in entries(to)? {
        let entry = entry?;
        if entry.is_directory() {
            outcome = outcome.and(settle_below(to, &entry.name));
        }
    }
    outcome
}

fn bring_entry_back(from: &OwnedFd, to: &OwnedFd, entry: &Entry) -> Result<(), Errno> {
    let name = &entry.name;
    let attempt = || directory::rename(from, name, to, name, RenameFlags::NOREPLACE);
    match attempt() {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Closed to its owner, it may not change its parent.
        Err(Errno::ACCESS) if entry.is_directory() => {
            let (moved, attributes) = directory::open(from, name)?;
            match attempt() {
                Ok(()) => return attributes.settle(to, name, &moved),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EXIST) if entry.is_directory() => {}
        Err(e) => return Err(e),
    }
    let (below, _) = directory::open(from, name)?;
    let (original, before) = directory::open(to, name)?;
    // Without a record the twin was only just made, and the original is as it was.
    let attributes = Attributes::recorded(&below)?.unwrap_or(before);
    let brought = bring_back(&below, &original);
    brought.and(attributes.settle(to, name, &original))?;
    unlinkat(from, name, AtFlags::REMOVEDIR)
}

/// Settles a directory that bears a record, and such below it.
pub(super) fn settle_below(parent: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(&parent, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        // Closed: it was never opened up.
        Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let Some(attributes) = Attributes::recorded(&directory)? else { return Ok(()) };
    for entry in entries(&directory)? {
        let entry = entry?;
        if entry.is_directory() {
            settle_below(&directory, &entry.name)?;
        }
    }
    attributes.settle(parent, name, &directory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::shift::shift;
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    /// `d` half moved into `.coffer-mv.1.0`: `d/sub/b` and all of `d/whole` have, `d/a` has not.
    fn half_moved(top: &Path) {
        for d in ["d/sub", ".coffer-mv.1.0/sub", ".coffer-mv.1.0/whole"] {
            fs::create_dir_all(top.join(d)).unwrap();
        }
        for f in ["d/a", ".coffer-mv.1.0/sub/b", ".coffer-mv.1.0/whole/c"] {
            fs::write(top.join(f), f).unwrap();
        }
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o750)).unwrap();
        let attributes = Attributes::of(&rustix::fs::stat(top.join("d")).unwrap());
        attributes.record(open(&top.join(".coffer-mv.1.0"))).unwrap();
    }

    fn taken_back(top: &Path) -> Result<(), Errno> {
        let parent = open(top);
        undo(std::os::fd::AsFd::as_fd(&parent), c"d", c".coffer-mv.1.0")
    }

    #[test]
    fn what_had_moved_returns_and_what_had_not_stays() {
        let top = tempfile::tempdir().unwrap();
        half_moved(top.path());
        taken_back(top.path()).unwrap();
        for f in ["d/a", "d/sub/b", "d/whole/c"] {
            assert!(top.path().join(f).is_file(), "{f}");
        }
        assert!(!top.path().join(".coffer-mv.1.0").exists());
        assert_eq!(fs::metadata(top.path().join("d")).unwrap().permissions().mode() & 0o777, 0o750);
        taken_back(top.path()).unwrap(); // nothing left to do
    }

    #[test]
    fn a_file_made_meanwhile_is_never_overwritten() {
        let top = tempfile::tempdir().unwrap();
        half_moved(top.path());
        fs::write(top.path().join("d/sub/b"), "newer").unwrap();
        assert_eq!(taken_back(top.path()), Err(Errno::EXIST));
        assert_eq!(fs::read(top.path().join("d/sub/b")).unwrap(), b"newer");
        assert!(top.path().join(".coffer-mv.1.0/sub/b").is_file(), "kept, and reported as left");
        assert!(top.path().join("d/whole/c").is_file(), "the rest returned");
    }

    #[test]
    fn shifting_moves_all_levels_and_gives_up_below_its_depth() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("from/x/y")).unwrap();
        fs::create_dir_all(top.path().join("to/x/y")).unwrap();
        for f in ["from/x/y/f", "to/x/y/g"] {
            fs::write(top.path().join(f), f).unwrap();
        }
        let (from, to) = (open(&top.path().join("from")), open(&top.path().join("to")));
        assert_eq!(shift(&from, &to, 2), Err(Errno::MFILE));
        shift(&from, &to, 3).unwrap();
        assert!(top.path().join("to/x/y/f").is_file() && top.path().join("to/x/y/g").is_file());
        assert_eq!(fs::read_dir(top.path().join("from")).unwrap().count(), 0);
    }
}
