//! inotify(7) on the upper layer's directories.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::error::WorkspaceError;
use crate::judge::self_fd;

/// One notice: a name in a watched directory.
#[derive(Debug)]
pub(crate) struct Notice {
    pub path: Vec<u8>,
    /// The name may be new here (a copy-up arrives by link, whiteouts and rename-saves by rename).
    pub appears: bool,
    pub directory: bool,
}

/// What a round of reading brought.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pub list: Vec<Notice>,
    /// The kernel's queue ran over: anything may have changed.
    pub overflow: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    directories: HashMap<i32, Vec<u8>>,
    /// The kernel gives no more watches: some directories are not watched.
    pub exhausted: bool,
}

impl Watch {
    pub fn new() -> Result<Watch, WorkspaceError> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| WorkspaceError::Watch { action: "inotify_init1", source: errno.into() })?;
        Ok(Watch { inotify, directories: HashMap::new(), exhausted: false })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches a directory. Watching one again (it was renamed) gives it its new path. Whether it was watched at this
    /// very path before.
    pub fn add(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<bool, WorkspaceError> {
        let mask = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(&self.inotify, self_fd(directory), mask) {
            Ok(wd) => Ok(self.directories.insert(wd, path.to_vec()).is_some_and(|before| before == path)),
            Err(Errno::NOSPC | Errno::NOMEM) => {
                self.exhausted = true;
                Ok(false)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(WorkspaceError::Watch { action: "inotify_add_watch", source: errno.into() }),
        }
    }

    /// Reads all that is there, without waiting.
    pub fn read(&mut self) -> Result<Notices, WorkspaceError> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut notices = Notices::default();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(notices),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(WorkspaceError::Watch { action: "read", source: errno.into() }),
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                notices.overflow = true;
            }
            if what.contains(ReadFlags::IGNORED) {
                self.directories.remove(&event.wd());
            }
            let (Some(name), Some(directory)) = (event.file_name(), self.directories.get(&event.wd())) else {
                continue;
            };
            notices.list.push(Notice {
                path: beneath::join(directory, name.to_bytes()),
                appears: what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO),
                directory: what.contains(ReadFlags::ISDIR),
            });
        }
    }
}
