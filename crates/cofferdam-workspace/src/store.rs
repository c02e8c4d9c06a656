//! Writing captured bases: the index and the copies.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::Timestamp;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{Layer, WorkspaceError};
use crate::index::{Line, NAME, Record};

/// The directory of captured bases, open for appending. Nothing is made before the first base comes.
#[derive(Debug)]
pub(crate) struct Store {
    directory: OwnedFd,
    started: Timestamp,
    index: Option<File>,
    data: Option<OwnedFd>,
    next: u64,
}

impl Store {
    pub fn new(directory: OwnedFd, started: Timestamp) -> Store {
        Store { directory, started, index: None, data: None, next: 0 }
    }

    /// Appends a base.
    pub fn base(&mut self, record: Record) -> Result<(), WorkspaceError> {
        self.append(&Line::Base(record))
    }

    /// Says that the run's start has to be taken as earlier, because the clock was set back.
    pub fn restart(&mut self, started: Timestamp) -> Result<(), WorkspaceError> {
        self.started = started;
        // An index that is not there yet gets the new start as its first line.
        if self.index.is_some() { self.append(&Line::Started { version: 1, time: started }) } else { Ok(()) }
    }

    /// Says that every path of the upper layer was looked at.
    pub fn complete(&mut self) -> Result<(), WorkspaceError> {
        self.append(&Line::Complete)
    }

    /// Waits until the index is on the medium.
    pub fn sync(&self) -> Result<(), WorkspaceError> {
        match &self.index {
            Some(index) => index.sync_data().map_err(WorkspaceError::std("sync", Layer::Base, NAME)),
            None => Ok(()),
        }
    }

    fn append(&mut self, line: &Line) -> Result<(), WorkspaceError> {
        if self.index.is_none() {
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&self.directory, NAME, flags, Mode::from_raw_mode(0o600))
                .map_err(WorkspaceError::io("open", Layer::Base, NAME))?;
            self.index = Some(fd.into());
            self.write(&Line::Started { version: 1, time: self.started })?;
        }
        self.write(line)
    }

    /// One write(2) a line: another process reads whole lines or a torn last one.
    fn write(&self, line: &Line) -> Result<(), WorkspaceError> {
        let Some(index) = &self.index else { return Ok(()) };
        let mut text = serde_json::to_vec(line)
            .map_err(|error| WorkspaceError::std("write", Layer::Base, NAME)(std::io::Error::other(error)))?;
        text.push(b'\n');
        let written = rustix::io::retry_on_intr(|| rustix::io::write(index, &text)).map_err(WorkspaceError::io(
            "write",
            Layer::Base,
            NAME,
        ))?;
        if written < text.len() {
            return Err(WorkspaceError::io("write", Layer::Base, NAME)(Errno::NOSPC));
        }
        Ok(())
    }

    /// Copies a file's content: as a reflink where the file system can, otherwise byte by byte up to `limit` bytes.
    /// `None` where it is larger.
    pub fn copy(&mut self, from: BorrowedFd<'_>, size: u64, limit: u64) -> Result<Option<u64>, WorkspaceError> {
        self.open_data()?;
        let (number, name) = (self.next, self.next.to_string());
        let path = beneath::join(b"data", name.as_bytes());
        let data = self.data_directory()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let to = rustix::fs::openat(data, name.as_bytes(), flags, mode).map_err(WorkspaceError::io(
            "create",
            Layer::Base,
            path.clone(),
        ))?;
        let copied = match rustix::fs::ioctl_ficlone(&to, from) {
            Ok(()) => Ok(true),
            Err(_) if size > limit => Ok(false),
            // Not on the same file system, or none that shares extents.
            Err(_) => copy_bytes(from, to.as_fd(), limit),
        };
        if !matches!(copied, Ok(true)) {
            let removed = rustix::fs::unlinkat(data, name.as_bytes(), rustix::fs::AtFlags::empty());
            removed.map_err(WorkspaceError::io("remove", Layer::Base, path.clone()))?;
        }
        match copied {
            Ok(true) => {
                self.next += 1;
                Ok(Some(number))
            }
            Ok(false) => Ok(None),
            Err(errno) => Err(WorkspaceError::io("copy a base into", Layer::Base, path)(errno)),
        }
    }

    /// Takes back the copy made last.
    pub fn drop_copy(&self, number: u64) -> Result<(), WorkspaceError> {
        let name = number.to_string();
        let data = self.data_directory()?;
        rustix::fs::unlinkat(data, name.as_bytes(), rustix::fs::AtFlags::empty()).map_err(WorkspaceError::io(
            "remove",
            Layer::Base,
            beneath::join(b"data", name.as_bytes()),
        ))
    }

    fn open_data(&mut self) -> Result<(), WorkspaceError> {
        if self.data.is_some() {
            return Ok(());
        }
        match rustix::fs::mkdirat(&self.directory, c"data", Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(WorkspaceError::io("create", Layer::Base, "data")(errno)),
        }
        let opened = beneath::open_directory(self.directory.as_fd(), b"data").map_err(WorkspaceError::io(
            "open",
            Layer::Base,
            "data",
        ))?;
        // A monitor started on an older store goes on after its last copy.
        self.next = next_number(&opened)?;
        self.data = Some(opened);
        Ok(())
    }

    fn data_directory(&self) -> Result<BorrowedFd<'_>, WorkspaceError> {
        let closed = || WorkspaceError::io("open", Layer::Base, "data")(Errno::BADF);
        self.data.as_ref().map(AsFd::as_fd).ok_or_else(closed)
    }
}

fn next_number(data: &OwnedFd) -> Result<u64, WorkspaceError> {
    let mut next = 0;
    for found in rustix::fs::Dir::read_from(data).map_err(WorkspaceError::io("list", Layer::Base, "data"))? {
        let found = found.map_err(WorkspaceError::io("list", Layer::Base, "data"))?;
        let number = std::str::from_utf8(found.file_name().to_bytes()).ok().and_then(|name| name.parse::<u64>().ok());
        next = next.max(number.map_or(0, |n| n + 1));
    }
    Ok(next)
}

/// Whether all of it was copied; not where it grew beyond `limit` meanwhile.
fn copy_bytes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, limit: u64) -> Result<bool, Errno> {
    const PIECE: usize = 1 << 20;
    let mut at = 0u64;
    loop {
        match rustix::fs::copy_file_range(from, Some(&mut at), to, None, PIECE) {
            Ok(0) => return Ok(true),
            Ok(_) if at > limit => return Ok(false),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if at == 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut buffer[..], at))?;
        if n == 0 {
            return Ok(true);
        }
        at += n as u64;
        if at > limit {
            return Ok(false);
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(to, rest))?;
            rest = &rest[written..];
        }
    }
}
