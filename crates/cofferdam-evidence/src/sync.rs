//! Making the log durable, when and on which thread the caller wants it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{fdatasync, fsync};

use crate::{Error, Result};

/// Copies of the log's descriptors. They outlive the [`crate::Log`] and its lock: what they make durable is written
/// already, and who reopens the log meanwhile only adds to it.
#[derive(Debug)]
pub struct SyncHandle {
    pub(crate) log: OwnedFd,
    pub(crate) checkpoints: OwnedFd,
    pub(crate) directory: OwnedFd,
    pub(crate) path: PathBuf,
    pub(crate) directory_synced: AtomicBool,
}

impl SyncHandle {
    /// Waits until all that was written before the call is on the medium (fdatasync(2)): the log first, so that no
    /// checkpoint is durable before what it commits to because of this call; at the first call the directory too.
    ///
    /// # Errors
    /// [`Error::Io`]. After a failure the kernel may have dropped the data: what the log holds is no longer sure.
    pub fn sync(&self) -> Result<()> {
        fdatasync(&self.log).map_err(|e| Error::io("sync", self.path.join("log.jsonl"))(e.into()))?;
        fdatasync(&self.checkpoints).map_err(|e| Error::io("sync", self.path.join("checkpoints"))(e.into()))?;
        if !self.directory_synced.load(Ordering::Acquire) {
            fsync(&self.directory).map_err(|e| Error::io("sync", &self.path)(e.into()))?;
            self.directory_synced.store(true, Ordering::Release);
        }
        Ok(())
    }
}
