//! The lines of a log that may still grow.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cofferdam_evidence::MAX_LINE;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::{Error, Result};

/// Reads whole lines, and goes on where it stopped when there are more.
#[derive(Debug)]
pub struct Tail {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    whole: bool,
    at: u64,
}

impl Tail {
    /// The log of an evidence directory.
    ///
    /// # Errors
    /// Where it cannot be opened, or is no regular file.
    pub fn open(evidence: &Path) -> Result<Tail> {
        let path = evidence.join("log.jsonl");
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(evidence, directory, Mode::empty()).map_err(|e| Error::io("open", evidence)(e.into()))?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = openat2(&dir, "log.jsonl", flags, Mode::empty(), resolve)
            .map_err(|e| Error::io("open", &path)(e.into()))?;
        let stat = fstat(&fd).map_err(|e| Error::io("stat", &path)(e.into()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(Error::NotRegular { path });
        }
        Ok(Tail { reader: BufReader::with_capacity(1 << 16, fd.into()), path, line: Vec::new(), whole: true, at: 0 })
    }

    /// The next whole line without its newline; `None` where there is none yet.
    ///
    /// # Errors
    /// Where the log cannot be read, or a line is longer than a line may be.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        if self.whole {
            self.line.clear();
            self.whole = false;
        }
        let room = (MAX_LINE + 1).saturating_sub(self.line.len()) as u64;
        self.reader.by_ref().take(room).read_until(b'\n', &mut self.line).map_err(Error::io("read", &self.path))?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
            self.whole = true;
            self.at += self.line.len() as u64 + 1;
            return Ok(Some(&self.line));
        }
        if self.line.len() > MAX_LINE {
            return Err(Error::TooLong { path: self.path.clone(), at: self.at, limit: MAX_LINE });
        }
        // At the end of the file, in the middle of a line or not: the rest may come.
        Ok(None)
    }

    /// Bytes read so far of a line that has no end yet.
    pub fn torn(&self) -> u64 {
        if self.whole { 0 } else { self.line.len() as u64 }
    }
}

/// Bytes of a log.
///
/// # Errors
/// Where it cannot be looked at.
pub fn log_size(evidence: &Path) -> Result<u64> {
    let path = evidence.join("log.jsonl");
    let stat = rustix::fs::statat(CWD, &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| Error::io("stat", &path)(e.into()))?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_whole_and_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail::open(dir.path()).unwrap();
        assert_eq!(tail.next_line().unwrap(), None);
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.next_line().unwrap(), Some(&b"one"[..]));
        assert_eq!(tail.next_line().unwrap(), None);
        file.write_all(b"o\n\n").unwrap();
        assert_eq!(tail.next_line().unwrap(), Some(&b"two"[..]));
        assert_eq!(tail.next_line().unwrap(), Some(&b""[..]));
        assert_eq!(tail.next_line().unwrap(), None);
    }

    #[test]
    fn a_fifo_or_a_link_in_its_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(Tail::open(dir.path()), Err(Error::NotRegular { .. })));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Tail::open(dir.path()).is_err());
    }
}
