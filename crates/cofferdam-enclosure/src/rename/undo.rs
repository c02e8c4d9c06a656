//! Taking a purification back: everything returns to where it was, and nothing is ever overwritten.
//!
//! It needs no space: the old names are white-outs in the upper layer already, and a rename from a directory of the
//! upper layer onto one replaces it.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, unlinkat};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::directory::{self, Entry, entries};
use super::purify::KEEP;

/// How often it is tried while others write into the same directories.
const ATTEMPTS: usize = 20;

/// Brings the content of `temporary` back into `name`. Nothing to do where there is no such temporary directory.
///
/// # Errors
/// What stands in the way; the temporary directory is still there then, with what could not be brought back.
pub(super) fn undo(parent: BorrowedFd<'_>, name: &CStr, temporary: &CStr) -> Result<(), Errno> {
    let (from, now) = match directory::open(parent, temporary) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    match unlinkat(&from, KEEP, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {} // with something in it, it is brought back like the rest
        Err(e) => return Err(e),
    }
    // A record is absent before the skeleton is begun, and after it was settled.
    let recorded = Attributes::recorded(&from)?;
    match directory::open(parent, name) {
        Err(Errno::NOENT) => {
            directory::rename(parent, temporary, parent, name, RenameFlags::NOREPLACE)?;
            settle_tree(&from)?;
            if recorded.is_none() { now.settle(&from) } else { Ok(()) }
        }
        Err(e) => Err(e),
        Ok((to, before)) => {
            let attributes = recorded.unwrap_or(before);
            let mut outcome = Ok(());
            for _ in 0..ATTEMPTS {
                outcome = bring_back(&from, &to).and_then(|()| unlinkat(parent, temporary, AtFlags::REMOVEDIR));
                if !matches!(outcome, Err(Errno::NOTEMPTY)) {
                    break;
                }
            }
            outcome.and(attributes.settle(&to))
        }
    }
}

/// Moves everything in `from` into `to`; goes on after a failure, so that as much as possible returns.
fn bring_back(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut outcome = Ok(());
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
    match directory::rename(from, name, to, name, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::EXIST) if entry.is_directory() => {}
        Err(e) => return Err(e),
    }
    let (below, now) = directory::open(from, name)?;
    let (original, _) = directory::open(to, name)?;
    let attributes = Attributes::recorded(&below)?.unwrap_or(now);
    bring_back(&below, &original)?;
    unlinkat(from, name, AtFlags::REMOVEDIR)?;
    attributes.settle(&original)
}

pub(super) fn settle_below(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => settle_tree(&directory),
        Err(Errno::ACCESS | Errno::NOENT) => Ok(()), // closed: it was never opened up
        Err(e) => Err(e),
    }
}

/// Settles a directory that bears a record, and such below it.
pub(super) fn settle_tree(directory: &OwnedFd) -> Result<(), Errno> {
    let Some(attributes) = Attributes::recorded(directory)? else { return Ok(()) };
    for entry in entries(directory)? {
        let entry = entry?;
        if entry.is_directory() {
            settle_below(directory, &entry.name)?;
        }
    }
    attributes.settle(directory)
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
