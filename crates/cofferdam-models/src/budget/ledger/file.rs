//! The ledger's file: locked, read where it has grown, appended to, rewritten when it is long.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::book::Book;
use super::record::Record;

/// How long another run may hold the ledger; it does for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(2);
/// From which length on it is rewritten, where that makes it half as long.
const LONG: u64 = 1 << 20;
/// Longest file that is read.
const MOST: u64 = 256 << 20;

/// Why nothing can be said of what was used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Another process does not let go of it.
    #[error("{} is held by another process", .0.display())]
    Busy(PathBuf),
    /// A line that is none.
    #[error("{}:{line} is no record; what stands there was used and cannot be counted: repair it, or remove the file to count from nothing", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// The file is not what it was while it was locked.
    #[error("the ledger of budgets has gone")]
    Gone,
}

fn doing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |error| LedgerError::Io { what, path, error }
}

/// Takes the ledger; as long as what is given back lives no other process has it.
pub(super) fn lock(directory: &Path) -> Result<File, LedgerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(doing("make", directory))?;
    let path = directory.join("lock");
    let file = private().create(true).truncate(false).open(&path).map_err(doing("open", &path))?;
    let since = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
            Err(Errno::WOULDBLOCK) => return Err(LedgerError::Busy(path)),
            Err(Errno::INTR) => {}
            Err(e) => return Err(doing("lock", &path)(e.into())),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// The file, as far as it was read.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    inode: u64,
    read: u64,
    lines: u64,
}

/// Reads what has come since, under the lock.
pub(super) fn read(directory: &Path, file: &mut Option<LedgerFile>, book: &mut Book) -> Result<(), LedgerError> {
    let path = directory.join("ledger");
    let there = match std::fs::symlink_metadata(&path) {
        Ok(there) => Some((there.ino(), there.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(doing("look at", &path)(e)),
    };
    // Rewritten by another process, or taken away by the person.
    let same = |known: &LedgerFile| there.is_some_and(|(inode, length)| inode == known.inode && length >= known.read);
    if !file.as_ref().is_some_and(same) {
        *book = Book::default();
        let new = private().create(true).truncate(false).open(&path).map_err(doing("open", &path))?;
        let inode = new.metadata().map_err(doing("look at", &path))?.ino();
        if there.is_none() {
            sync_directory(directory)?;
        }
        *file = Some(LedgerFile { path, file: new, inode, read: 0, lines: 0 });
    }
    let Some(known) = file else { return Err(LedgerError::Gone) };
    known.grow(book)?;
    if known.read > LONG {
        let records = book.records();
        let short: Result<Vec<String>, _> = records.iter().map(Record::line).collect();
        let short = short.map_err(|e| doing("write", &known.path)(e.into()))?.concat();
        if (short.len() as u64) < known.read / 2 {
            *known = rewrite(directory, &short)?;
            *book = Book::default();
            known.grow(book)?;
        }
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> Result<(), LedgerError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(doing("sync", directory))
}

pub(super) fn rewrite(directory: &Path, text: &str) -> Result<LedgerFile, LedgerError> {
    let (new, path) = (directory.join("ledger.new"), directory.join("ledger"));
    let mut file = private().create(true).truncate(true).open(&new).map_err(doing("open", &new))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(doing("write", &new))?;
    std::fs::rename(&new, &path).map_err(doing("replace", &path))?;
    sync_directory(directory)?;
    let inode = file.metadata().map_err(doing("look at", &path))?.ino();
    Ok(LedgerFile { path, file, inode, read: 0, lines: 0 })
}

impl LedgerFile {
    fn grow(&mut self, book: &mut Book) -> Result<(), LedgerError> {
        let length = self.file.metadata().map_err(doing("look at", &self.path))?.len();
        if length > MOST {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB");
            return Err(doing("read", &self.path)(error));
        }
        let mut text = vec![0u8; usize::try_from(length.saturating_sub(self.read)).unwrap_or_default()];
        self.file.read_exact_at(&mut text, self.read).map_err(doing("read", &self.path))?;
        let mut rest: &[u8] = &text;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            match serde_json::from_slice::<Record>(line) {
                Ok(record) => book.take(record),
                // A write that did not come to its end: nothing that it stood for has left.
                Err(_) if after.is_empty() => break,
                Err(_) => return Err(LedgerError::Broken { path: self.path.clone(), line: self.lines + 1 }),
            }
            self.read += end as u64 + 1;
            self.lines += 1;
            rest = after;
        }
        if !rest.is_empty() {
            self.file.set_len(self.read).map_err(doing("mend", &self.path))?;
        }
        Ok(())
    }

    /// Appends records; on the disk when this returns, where they have to last.
    pub(super) fn append(&mut self, records: &[Record], lasting: bool) -> Result<(), LedgerError> {
        let lines: Result<Vec<String>, _> = records.iter().map(Record::line).collect();
        let text = lines.map_err(|e| doing("write", &self.path)(e.into()))?.concat();
        if text.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(text.as_bytes(), self.read).map_err(doing("write", &self.path))?;
        if lasting {
            self.file.sync_data().map_err(doing("sync", &self.path))?;
        }
        self.read += text.len() as u64;
        self.lines += records.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
impl LedgerFile {
    /// From now on it is as on a full disk (`full(4)`).
    pub(super) fn fill_up(&mut self) {
        self.file = File::options().read(true).write(true).open("/dev/full").unwrap();
    }
}
