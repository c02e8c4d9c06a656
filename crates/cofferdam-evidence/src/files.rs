//! Opening files below a directory that somebody else may have prepared.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock, fstat, mkdirat, open, openat2};

use crate::{Error, Result};

/// A directory by descriptor, with the path that messages name.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Opens a directory that the person or the store named: symbolic links in that path are theirs.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io("open directory", path)(e.into()))?;
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Makes the directory (0700) where it is missing, and opens it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Self::open(path),
            Err(e) => Err(Error::io("create directory", path)(e.into())),
        }
    }

    /// Makes a directory (0700) below this one where it is missing, and opens it without following a link.
    pub(crate) fn create_below(&self, name: &str) -> Result<Self> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(Error::io("create directory", self.path.join(name))(e.into())),
        }
        self.open_below(name).map_err(Error::io("open directory", self.path.join(name)))
    }

    /// A directory below this one, made (0700) where it is missing.
    pub(crate) fn below(&self, name: &str) -> Result<Self> {
        match self.open_below(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create_below(name),
            other => other.map_err(Error::io("open directory", self.path.join(name))),
        }
    }

    /// Opens a directory below this one without following a link.
    pub(crate) fn open_below(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat2(&self.fd, name, flags, Mode::empty(), beneath())?;
        Ok(Directory { fd, path: self.path.join(name) })
    }

    /// Opens an existing regular file below, without following links and without waiting for a FIFO's other end.
    pub(crate) fn open_file(&self, name: &str, access: OFlags) -> Result<File> {
        let path = || self.path.join(name);
        let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = openat2(&self.fd, name, flags, Mode::empty(), beneath())
            .map_err(|e| Error::io("open", path())(e.into()))?;
        let stat = fstat(&fd).map_err(|e| Error::io("stat", path())(e.into()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(Error::NotRegular { path: path() });
        }
        Ok(File::from(fd))
    }

    /// Creates a file (0600) that must not exist yet, for reading and appending.
    pub(crate) fn create_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat2(&self.fd, name, flags, Mode::RUSR | Mode::WUSR, beneath()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(rustix::io::Errno::EXIST) => Err(Error::Exists { path: self.path.join(name) }),
            Err(e) => Err(Error::io("create", self.path.join(name))(e.into())),
        }
    }

    /// All of a small file.
    pub(crate) fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        read_bounded(self.open_file(name, OFlags::RDONLY)?, &self.path.join(name), limit)
    }
}

/// All that an open file holds, where that is at most `limit` bytes.
pub(crate) fn read_bounded(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(Error::io("read", path))?;
    if content.len() as u64 > limit {
        return Err(Error::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// The exclusive lock of a file (flock(2)), by a descriptor of its own.
///
/// It ends with the value: by name, because a child that another thread has just forked holds the same file descriptions
/// until it executes, and closing ours alone would leave them locked.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Drop for Lock {
    /// Where unlocking fails the closing that follows does it.
    fn drop(&mut self) {
        flock(&self.0, FlockOperation::Unlock).unwrap_or_default();
    }
}

/// Takes the exclusive lock of a file.
pub(crate) fn lock(file: &File, path: &Path) -> Result<Lock> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let copy = file.try_clone().map_err(Error::io("copy the descriptor of", path))?;
            Ok(Lock(copy.into()))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy { path: path.to_owned() }),
        Err(e) => Err(Error::io("lock", path)(e.into())),
    }
}

/// A file name that nobody else uses: `prefix` and 64 random bits.
pub(crate) fn unique_name(prefix: &str) -> Result<String> {
    let mut raw = [0u8; 8];
    crate::files::fill_random(&mut raw)?;
    Ok(format!("{prefix}{}", cofferdam_core::bytes::hex(&raw)))
}

/// Whether an error says that a file is not there.
pub(crate) fn is_not_found(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Fills `bytes` from the system's random source (`getrandom(2)`; a request of up to 256 bytes is never cut short).
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(got) if got == bytes.len() => Ok(()),
        Ok(_) => Err(Error::Random(std::io::ErrorKind::UnexpectedEof.into())),
        Err(e) => Err(Error::Random(e.into())),
    }
}
