//! Opening entries strictly below a directory: no symbolic link is followed, nothing blocks (openat2(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest piece handed to the kernel at once; `PATH_MAX` is 4096 with the final NUL.
const PIECE: usize = 4000;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Whether `path` is relative and made of plain names only.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    !path.is_empty()
        && !path.contains(&0)
        && path.split(|b| *b == b'/').all(|name| !name.is_empty() && name != b"." && name != b"..")
}

/// The directory part (empty for a name at the root) and the last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// `directory` and `name` as one path.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Opens `path` below `directory`; the empty path is the directory itself. Paths longer than `PATH_MAX` go in pieces.
pub(crate) fn open(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut held: Option<OwnedFd> = None;
    let mut rest = if path.is_empty() { b".".as_slice() } else { path };
    while rest.len() > PIECE {
        let Some(slash) = rest[..PIECE].iter().rposition(|b| *b == b'/') else { return Err(Errno::NAMETOOLONG) };
        let at = held.as_ref().map_or(directory, AsFd::as_fd);
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        held = Some(rustix::fs::openat2(at, &rest[..slash], step, Mode::empty(), RESOLVE)?);
        rest = &rest[slash + 1..];
    }
    let at = held.as_ref().map_or(directory, AsFd::as_fd);
    rustix::fs::openat2(at, rest, flags, Mode::empty(), RESOLVE)
}

/// A place to hang fstatat-like calls on.
pub(crate) fn open_path(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(directory, path, OFlags::PATH)
}

/// A directory to list.
pub(crate) fn open_directory(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(directory, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A directory to look names up in, without the right to list it.
pub(crate) fn open_directory_path(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(directory, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Anything readable, without ever waiting for the other end of a FIFO. The caller checks what it got.
pub(crate) fn open_read(directory: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(directory, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
}

/// The answers that mean "there is no such entry below this directory".
pub(crate) fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_paths_below_a_root() {
        for good in ["a", "a/b", "..a", "a/.b", "a\nb"] {
            assert!(is_plain(good.as_bytes()), "{good}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a/./b", "a\0b"] {
            assert!(!is_plain(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_link_in_the_middle_or_at_the_end_is_refused_and_a_long_path_opens() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), b"x").unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        std::os::unix::fs::symlink("d/f", dir.path().join("m")).unwrap();
        let at = std::fs::File::open(dir.path()).unwrap();
        assert!(open_read(at.as_fd(), b"d/f").is_ok());
        assert_eq!(open_read(at.as_fd(), b"l/f").unwrap_err(), Errno::LOOP);
        assert_eq!(open_read(at.as_fd(), b"m").unwrap_err(), Errno::LOOP);
        assert!(open_path(at.as_fd(), b"m").is_ok(), "the link itself can be looked at");
        let name = vec![b'n'; 200];
        let mut path = Vec::new();
        let mut held = at.try_clone().unwrap();
        for _ in 0..60 {
            path = join(&path, &name);
            rustix::fs::mkdirat(&held, name.as_slice(), Mode::from_raw_mode(0o700)).unwrap();
            held = open_directory(held.as_fd(), &name).unwrap().into();
        }
        assert!(path.len() > 3 * PIECE);
        assert!(open_directory(at.as_fd(), &path).is_ok());
    }
}
