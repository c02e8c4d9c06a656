//! The real tree's root, and the only way paths beneath it are resolved.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cofferdam_core::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;

use super::{Identity, PromoteError};
use crate::beneath;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A directory held open as the root of a tree.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl RootDir {
    /// Opens the directory at `path`. Symbolic links on the way to the root itself are followed: it is the person who
    /// named it.
    ///
    /// # Errors
    /// [`PromoteError::Io`] where it is not a directory or cannot be read.
    pub fn open(path: &Path) -> Result<Self, PromoteError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| PromoteError::io("open the directory", path, e))?;
        Ok(RootDir { fd, path: path.to_owned() })
    }

    /// The path by which the root was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full path of something beneath, for messages.
    pub(super) fn full(&self, path: &Bytes) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// A second root with a file description of its own, so that locks on the two are independent.
    pub(super) fn reopen(&self) -> Result<Self, PromoteError> {
        let fd = open_dir(self.fd.as_fd(), b"").map_err(|e| PromoteError::io("open the directory", &self.path, e))?;
        Ok(RootDir { fd, path: self.path.clone() })
    }

    /// What the root itself is.
    pub(super) fn identity(&self) -> Result<Identity, PromoteError> {
        fstat(&self.fd).map(|s| Identity::from_stat(&s)).map_err(|e| PromoteError::io("look at", &self.path, e))
    }

    /// The directory at `path` beneath the root (empty: the root), opened for reading.
    pub(super) fn dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_dir(self.fd.as_fd(), path)
    }

    /// The directory that holds `path`, as a place to rename in; it need not be readable.
    pub(super) fn parent<'p>(&self, path: &'p Bytes) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (dir, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((resolve(self.fd.as_fd(), dir, flags)?, name))
    }

    /// What is at `path`, not following it; `None` where nothing is.
    pub(super) fn look(&self, path: &Bytes) -> Result<Option<Identity>, Errno> {
        match self.parent(path) {
            Ok((dir, name)) => look_at(dir.as_fd(), name),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The regular file at `path`, opened for reading, and what it is. Never blocks and follows nothing.
    pub(super) fn open_file(&self, path: &Bytes) -> io::Result<(File, Identity)> {
        let (dir, name) = self.parent(path)?;
        open_file_at(dir.as_fd(), name)
    }

    /// The first component on the way to `path` that is there but not a directory.
    pub(super) fn blocker(&self, path: &Bytes) -> Result<Option<(Bytes, Identity)>, Errno> {
        for (at, _) in path.0.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let part = Bytes(path.0[..at].to_vec());
            match self.look(&part)? {
                None => return Ok(None),
                Some(id) if id.kind != cofferdam_core::change::FileKind::Directory => return Ok(Some((part, id))),
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    resolve(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
}

fn resolve(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        // EAGAIN: a rename somewhere raced with the walk (openat2(2)); the walk is simply made again.
        match beneath::open(root, path, flags) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What `name` in `dir` is, not following it.
pub(super) fn look_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Identity>, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Identity::from_stat(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens the regular file `name` in `dir` for reading.
pub(super) fn open_file_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<(File, Identity)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat2(dir, name, flags, Mode::empty(), RESOLVE)?;
    let identity = Identity::from_stat(&fstat(&fd)?);
    if identity.kind != cofferdam_core::change::FileKind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file any more"));
    }
    Ok((File::from(fd), identity))
}

/// The directory part (empty for the root) and the last component.
pub(super) fn split(path: &Bytes) -> (&[u8], &[u8]) {
    match path.0.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path.0[..at], &path.0[at + 1..]),
        None => (b"", &path.0),
    }
}

/// The path of `name` in the directory `dir` (empty: the root).
pub(super) fn join(dir: &[u8], name: &[u8]) -> Bytes {
    let mut out = dir.to_vec();
    if !out.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(name);
    Bytes(out)
}

/// Whether `path` has the form of a change's path: relative, and no component empty, `.` or `..`.
pub(super) fn well_formed(path: &Bytes) -> bool {
    !path.0.contains(&0) && path.0.split(|b| *b == b'/').all(|c| !matches!(c, b"" | b"." | b".."))
}
