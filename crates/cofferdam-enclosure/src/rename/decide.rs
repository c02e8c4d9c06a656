//! What a rename needs before the kernel can carry it out.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, accessat, fstat, openat, statat};
use rustix::io::Errno;

use super::directory::entries;

/// One side of a rename.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: the kernel has the right answer, whatever it is.
    Nothing,
    /// The caller gets this error, which the kernel would hide behind EXDEV.
    Answer(Errno),
    /// Purify these sides.
    Purify {
        /// The old name.
        old: bool,
        /// The new name (an exchange).
        new: bool,
    },
}

/// Decides. `devices` are the file systems that may need help.
pub(super) fn need(old: Side<'_>, new: Side<'_>, flags: u32, devices: &[u64]) -> Result<Need, Errno> {
    for side in [old, new] {
        if !devices.contains(&fstat(side.parent)?.st_dev) {
            return Ok(Need::Nothing);
        }
    }
    let Some(source) = stat(old)? else { return Ok(Need::Nothing) };
    let target = stat(new)?;
    let is_directory = |s: &Stat| FileType::from_raw_mode(s.st_mode) == FileType::Directory;
    if flags == RenameFlags::EXCHANGE.bits() {
        let Some(target) = target else { return Ok(Need::Nothing) };
        let (old_too, new_too) = (is_directory(&source), is_directory(&target));
        let nested = old_too && lies_in(new.parent, &source)? || new_too && lies_in(old.parent, &target)?;
        let any = old_too || new_too;
        return Ok(if any && !nested { Need::Purify { old: old_too, new: new_too } } else { Need::Nothing });
    }
    if flags & !RenameFlags::NOREPLACE.bits() != 0 || !is_directory(&source) || lies_in(new.parent, &source)? {
        return Ok(Need::Nothing);
    }
    if let Some(target) = target {
        if flags != 0 || !is_directory(&target) || (target.st_dev, target.st_ino) == (source.st_dev, source.st_ino) {
            return Ok(Need::Nothing);
        }
        if holds_something(new)? {
            // The kernel checks permissions first, then looks at the target: only an overlay's EXDEV comes between.
            let changeable = writable(old.parent)? && writable(new.parent)?;
            return Ok(if changeable { Need::Answer(Errno::NOTEMPTY) } else { Need::Nothing });
        }
    }
    Ok(Need::Purify { old: true, new: false })
}

fn stat(side: Side<'_>) -> Result<Option<Stat>, Errno> {
    match statat(side.parent, side.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn writable(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    match accessat(directory, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::ROFS) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a directory has entries; `false` where it cannot be read.
fn holds_something(side: Side<'_>) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(side.parent, side.name, flags, Mode::empty()) {
        Ok(directory) => Ok(entries(&directory)?.next().transpose()?.is_some()),
        Err(Errno::ACCESS | Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether `directory` is `ancestor` or lies below it.
fn lies_in(directory: BorrowedFd<'_>, ancestor: &Stat) -> Result<bool, Errno> {
    let mut current: OwnedFd =
        directory.try_clone_to_owned().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let mut here = fstat(&current)?;
    loop {
        if here.st_dev != ancestor.st_dev {
            return Ok(false);
        }
        if here.st_ino == ancestor.st_ino {
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        current = openat(current.as_fd(), c"..", flags, Mode::empty())?;
        let above = fstat(&current)?;
        if (above.st_dev, above.st_ino) == (here.st_dev, here.st_ino) {
            return Ok(false);
        }
        here = above;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(old: &str, new: &str, flags: u32, prepare: impl FnOnce(&std::path::Path)) -> Need {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (old, new) = (dir.path().join(old), dir.path().join(new));
        let open = |p: &std::path::Path| std::fs::File::open(p.parent().unwrap()).unwrap();
        let name = |p: &std::path::Path| std::ffi::CString::new(p.file_name().unwrap().to_str().unwrap()).unwrap();
        let (op, np, on, nn) = (open(&old), open(&new), name(&old), name(&new));
        let device = fstat(&op).unwrap().st_dev;
        let (old, new) = (Side { parent: op.as_fd(), name: &on }, Side { parent: np.as_fd(), name: &nn });
        assert_eq!(need(old, new, flags, &[]).unwrap(), Need::Nothing, "not a file system of ours");
        need(old, new, flags, &[device]).unwrap()
    }

    fn tree(at: &std::path::Path) {
        for d in ["a/sub", "empty", "full/x"] {
            std::fs::create_dir_all(at.join(d)).unwrap();
        }
        std::fs::write(at.join("file"), "").unwrap();
        std::os::unix::fs::symlink("a", at.join("link")).unwrap();
    }

    #[test]
    fn only_what_the_kernel_would_do_on_a_plain_file_system_is_prepared() {
        let purify = Need::Purify { old: true, new: false };
        for (old, new, flags, expected) in [
            ("a", "new", 0, purify),
            ("a", "new", 1, Need::Purify { old: true, new: false }),
            ("a", "empty", 0, Need::Purify { old: true, new: false }),
            ("a", "full", 0, Need::Answer(Errno::NOTEMPTY)),
            ("a", "empty", 1, Need::Nothing),
            ("a", "file", 0, Need::Nothing),
            ("a", "link", 0, Need::Nothing),
            ("a", "a", 0, Need::Nothing),
            ("a", "a/sub/x", 0, Need::Nothing),
            ("missing", "new", 0, Need::Nothing),
            ("file", "a", 0, Need::Nothing),
            ("link", "new", 0, Need::Nothing),
            ("a", "new", 4, Need::Nothing),
            ("a", "full", 3, Need::Nothing),
            ("a", "full", 2, Need::Purify { old: true, new: true }),
            ("a", "file", 2, Need::Purify { old: true, new: false }),
            ("file", "a", 2, Need::Purify { old: false, new: true }),
            ("a", "a/sub", 2, Need::Nothing),
            ("a/sub", "a", 2, Need::Nothing),
            ("a", "new", 2, Need::Nothing),
        ] {
            assert_eq!(verdict(old, new, flags, tree), expected, "{old} {new} {flags}");
        }
    }
}
