//! Opening files of the host, whatever may have been put in their place.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Opens a regular file for reading; symbolic links are followed. Never waits for the other end of a FIFO, and takes no
/// terminal (`open(2)`).
///
/// # Errors
/// Where it cannot be opened, or is something else ([`io::ErrorKind::InvalidData`]).
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")),
    }
}
