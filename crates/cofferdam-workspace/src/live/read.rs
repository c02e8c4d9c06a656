//! Reading a file that may change under the reader's hands.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use cofferdam_core::change::{Digest, FileKind};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::LARGEST_READ;
use crate::beneath;
use crate::entry::{self, RealEntry};

/// Where a NUL makes a file no text, in bytes from its beginning: git's own bound (`FIRST_FEW_BYTES`).
const FIRST: usize = 8 * 1024;

/// A file as it was read.
pub(super) struct Content {
    pub entry: RealEntry,
    /// Absent where the file is too large to be read while the run waits.
    pub digest: Option<Digest>,
    /// All of it, where it is a text of up to the size that was asked for.
    pub text: Option<Vec<u8>>,
    /// Nobody wrote to it meanwhile.
    pub stable: bool,
}

/// Reads a file of a directory. Where it changes meanwhile it is read once more, and that is the answer. `None` where it
/// is no regular file any more. The text is of up to `largest_text` bytes.
pub(super) fn file(directory: BorrowedFd<'_>, name: &[u8], largest_text: u64) -> Result<Option<Content>, Errno> {
    match once(directory, name, largest_text)? {
        Some(content) if !content.stable => once(directory, name, largest_text),
        other => Ok(other),
    }
}

fn once(directory: BorrowedFd<'_>, name: &[u8], largest_text: u64) -> Result<Option<Content>, Errno> {
    let fd = match beneath::open_read(directory, name) {
        Ok(fd) => fd,
        // A socket answers so; a link or nothing may have taken the file's place.
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) if beneath::is_absent(errno) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let before = entry::stat_fd(&fd)?.entry;
    if before.kind != FileKind::File {
        return Ok(None);
    }
    if before.size > LARGEST_READ {
        return Ok(Some(Content { entry: before, digest: None, text: None, stable: true }));
    }
    let file = File::from(fd);
    // One byte more than there should be shows that it grew.
    let bound = before.size + 1;
    let (digest, read, text) = if before.size <= largest_text {
        let mut all = Vec::with_capacity(usize::try_from(bound).unwrap_or_default());
        (&file).take(bound).read_to_end(&mut all).map_err(errno)?;
        let digest = Digest(Sha256::digest(&all).into());
        (digest, all.len() as u64, Some(all).filter(|all| !all[..all.len().min(FIRST)].contains(&0)))
    } else {
        let (digest, read) = hash(&file, bound).map_err(errno)?;
        (digest, read, None)
    };
    let after = entry::stat_fd(&file)?.entry;
    let stable =
        read == before.size && (after.size, after.ctime, after.mtime) == (before.size, before.ctime, before.mtime);
    Ok(Some(Content { entry: RealEntry { size: read, ..after }, digest: Some(digest), text, stable }))
}

/// The digest of at most `bound` bytes, and how many there were.
pub(super) fn hash(file: &File, bound: u64) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut from = file.take(bound);
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((Digest(hash.finalize().into()), read)),
            Ok(n) => {
                hash.update(&buffer[..n]);
                read += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
