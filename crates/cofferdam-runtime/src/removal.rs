//! Removing a tree that an enclosure wrote.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::fs::{chmodat, openat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

/// Removes everything below `path` and `path` itself; the bytes it held on disk.
///
/// Directories may be closed to their owner (the kernel's `work` directory is of mode 000) and lie thousands of levels
/// deep: each is opened up and brought to the top before it is emptied, so that neither paths nor descriptors run out.
/// Links are removed, not followed. What somebody else removes meanwhile is no error.
///
/// # Errors
/// Those of the system.
pub(crate) fn remove_tree(path: &Path) -> io::Result<u64> {
    let top = match open_up(CWD, &CString::new(path.as_os_str().as_encoded_bytes())?) {
        Err(Errno::NOENT) => return Ok(0),
        other => other?,
    };
    let mut sweep = Sweep { top: top.as_fd(), bytes: 0, made: 0, waiting: Vec::new() };
    let mut again = AGAIN;
    loop {
        sweep.empty(top.as_fd())?;
        while let Some(name) = sweep.waiting.pop() {
            match open_up(sweep.top, &name) {
                Err(Errno::NOENT) => continue,
                other => sweep.empty(other?.as_fd())?,
            }
            if !emptied(unlinkat(sweep.top, &name, AtFlags::REMOVEDIR), &mut again)? {
                sweep.waiting.push(name);
            }
        }
        if emptied(rustix::fs::rmdir(path), &mut again)? {
            return Ok(sweep.bytes);
        }
    }
}

/// How often a directory may be found filled again after it was emptied.
const AGAIN: u32 = 1000;

/// Whether a directory is gone. It is not where somebody put something into it since it was listed: another removal, of a
/// part of the tree, that brings its directories to a top of its own.
fn emptied(result: rustix::io::Result<()>, again: &mut u32) -> io::Result<bool> {
    match result {
        Err(Errno::NOTEMPTY) if *again > 0 => {
            *again -= 1;
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(false)
        }
        other => gone(other).map(|()| true),
    }
}

struct Sweep<'a> {
    top: BorrowedFd<'a>,
    bytes: u64,
    made: u64,
    /// Directories directly below the top.
    waiting: Vec<CString>,
}

impl Sweep<'_> {
    /// Unlinks what is in a directory; directories in it are brought to the top and wait.
    fn empty(&mut self, directory: BorrowedFd<'_>) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory || stat.st_nlink == 1 {
                self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            }
            if is_directory {
                self.bring_up(directory, name)?;
            } else {
                gone(unlinkat(directory, name, AtFlags::empty()))?;
            }
        }
        Ok(())
    }

    fn bring_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        // Moving a directory writes to it: its `..` changes.
        match chmodat(directory, name, Mode::RWXU, AtFlags::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        }
        loop {
            let aside = CString::new(format!(".removed-{}", self.made))?;
            self.made += 1;
            match renameat_with(directory, name, self.top, &*aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                other => {
                    other?;
                    self.waiting.push(aside);
                    return Ok(());
                }
            }
        }
    }
}

/// Opens a directory, for its owner's reading and writing.
fn open_up(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            openat(at, name, flags, Mode::empty())
        }
        Ok(fd) => {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
            Ok(fd)
        }
        other => other,
    }
}

/// A removal of what is gone already has succeeded.
fn gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn closed_and_deep_directories_go_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join(".removed-0"), "a name of ours").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        let closed = tree.join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::write(closed.join("file"), "x").unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
        // Deeper than any path or table of descriptors reaches.
        let mut at = openat(CWD, &tree, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = openat(&at, "deep", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        assert_eq!(remove_tree(&tree).unwrap(), 0, "what is gone is no error");
    }

    #[test]
    fn two_removals_of_one_tree_do_not_trip_over_each_other() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let tree = dir.path().join("tree");
            let part = tree.join("part");
            for n in 0..60 {
                std::fs::create_dir_all(part.join(format!("{n}/a/b/c"))).unwrap();
            }
            std::thread::scope(|scope| {
                scope.spawn(|| remove_tree(&part).unwrap());
                remove_tree(&tree).unwrap();
            });
            assert!(!tree.exists());
        }
    }
}
