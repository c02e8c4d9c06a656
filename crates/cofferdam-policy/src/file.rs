//! Reading policy files, which may be whatever somebody put in their place.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use crate::source::Source;

/// Most bytes of a policy file.
pub const LARGEST: u64 = 1024 * 1024;

/// The project's policy file, relative to its root.
pub const IN_PROJECT: &str = ".cofferdam/policy.toml";

/// Never waits for the other end of a FIFO, and takes no terminal.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{} cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A symbolic link in the project, which could lead anywhere.
    #[error("{} is a symbolic link, or lies behind one: a project's policy is a file of its own, put one there", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Larger than any policy.
    #[error("{} is larger than 1 MiB, the most that a policy may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not text.
    #[error("{} is not UTF-8 text (line {line})", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where it ceases to be.
        line: usize,
    },
}

/// Reads a file that the person named or keeps; symbolic links are followed. `None` where there is none.
///
/// # Errors
/// Where it is no regular file of text up to 1 MiB, or cannot be read.
pub fn read(path: &Path) -> Result<Option<Source>, FileError> {
    match open(path, FLAGS, Mode::empty()) {
        Ok(file) => source(file, path).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        // What open(2) says of a socket.
        Err(Errno::NXIO) => Err(FileError::NotRegular { path: path.to_owned() }),
        Err(errno) => Err(FileError::Io { path: path.to_owned(), error: errno.into() }),
    }
}

/// Reads a project's policy file, no symbolic link below `root` being followed. `None` where there is none.
///
/// # Errors
/// Where it is no regular file of text up to 1 MiB, or cannot be read.
pub fn read_in_project(root: &Path) -> Result<Option<Source>, FileError> {
    let path = root.join(IN_PROJECT);
    let io = |errno: Errno| FileError::Io { path: path.clone(), error: errno.into() };
    let directory = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(io)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&directory, IN_PROJECT, FLAGS | OFlags::NOFOLLOW, Mode::empty(), resolve) {
        Ok(file) => source(file, &path).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP | Errno::XDEV) => Err(FileError::Link { path }),
        Err(Errno::NXIO) => Err(FileError::NotRegular { path }),
        Err(errno) => Err(io(errno)),
    }
}

fn source(file: OwnedFd, path: &Path) -> Result<Source, FileError> {
    let io = |error: io::Error| FileError::Io { path: path.to_owned(), error };
    let facts = fstat(&file).map_err(|errno| io(errno.into()))?;
    if !FileType::from_raw_mode(facts.st_mode).is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    // The size that fstat gave may be another one by now.
    File::from(file).take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LARGEST {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(path, text)),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|b| **b == b'\n').count() + 1;
            Err(FileError::NotText { path: path.to_owned(), line })
        }
    }
}
