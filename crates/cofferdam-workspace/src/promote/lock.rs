//! One promotion at a time, for a run and for a project.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::journal::promotions;
use super::{PromoteError, RootDir, entry};

/// Both locks; they end with the value, or with the process.
#[derive(Debug)]
pub(super) struct Locks {
    run: File,
    /// The root, by a file description of its own: `flock(2)` locks belong to the description.
    pub(super) root: RootDir,
}

impl Drop for Locks {
    /// Unlocks by name: a child that another thread has just forked holds the same file descriptions until it executes,
    /// and closing ours alone would leave them locked. Where unlocking fails the closing that follows does it.
    fn drop(&mut self) {
        for fd in [self.run.as_fd(), self.root.as_fd()] {
            flock(fd, FlockOperation::Unlock).unwrap_or_default();
        }
    }
}

/// Takes the lock of the run and that of the real tree's root.
pub(super) fn lock(run_dir: &Path, root: &RootDir) -> Result<Locks, PromoteError> {
    let dir = promotions(run_dir);
    entry::make_private_dirs(&dir).map_err(|e| PromoteError::io("create", &dir, e))?;
    let path = dir.join("lock");
    let run = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| PromoteError::io("open", &path, e))?;
    hold(&run, &path)?;
    let root = root.reopen()?;
    hold(&root, root.path())?;
    Ok(Locks { run, root })
}

fn hold(fd: impl AsFd, path: &Path) -> Result<(), PromoteError> {
    flock(fd, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        Errno::WOULDBLOCK => PromoteError::Busy { path: path.to_owned() },
        e => PromoteError::io("lock", path, e),
    })
}
