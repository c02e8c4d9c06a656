//! One refresh at a time.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::SignInError;
use super::place::system;

/// How long somebody else's refresh is waited for: longer than one takes at the most.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked after.
const BETWEEN: Duration = Duration::from_millis(10);
/// An agent's lock that has not been touched for so long belongs to nobody (proper-lockfile's `stale`).
const STALE: Duration = Duration::from_secs(10);
/// How often our own is touched.
const TOUCH: Duration = Duration::from_secs(2);

/// The lock of all of Cofferdam's runs: `flock(2)`, which ends with its process, however that ends.
pub(super) struct Lock(#[expect(dead_code, reason = "held open")] File);

impl Lock {
    /// Takes it, once nobody else has it.
    pub(super) fn take(path: &Path) -> Result<Lock, SignInError> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path);
        let file = file.map_err(system("opening", path))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => std::thread::sleep(BETWEEN),
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(SignInError::Busy(path.to_owned())),
                Err(e) => return Err(system("locking", path)(e.into())),
            }
        }
    }
}

/// The lock of an agent that runs outside: a directory, which is touched as long as it is held.
pub(super) struct AgentLock {
    path: PathBuf,
    touching: Option<(Sender<()>, JoinHandle<()>)>,
}

impl AgentLock {
    /// Takes it, once the agent does not have it.
    pub(super) fn take(path: &Path) -> Result<AgentLock, SignInError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match std::fs::create_dir(path) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(system("making", path)(e)),
            }
            let age =
                path.symlink_metadata().and_then(|facts| facts.modified()).map(|at| at.elapsed().unwrap_or_default());
            match age {
                // What is no empty directory stays, and is waited for.
                Ok(age) if age > STALE && std::fs::remove_dir(path).is_ok() => continue,
                // Gone since.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                _ if Instant::now() < until => std::thread::sleep(BETWEEN),
                _ => return Err(SignInError::Busy(path.to_owned())),
            }
        }
        let (stop, stopped) = channel::<()>();
        let touched = path.to_owned();
        let touching = std::thread::spawn(move || {
            while stopped.recv_timeout(TOUCH) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // Where it is gone there is nothing to keep.
                let times = FileTimes::new().set_modified(SystemTime::now());
                let _ = File::open(&touched).and_then(|directory| directory.set_times(times));
            }
        });
        Ok(AgentLock { path: path.to_owned(), touching: Some((stop, touching)) })
    }
}

impl Drop for AgentLock {
    fn drop(&mut self) {
        if let Some((stop, touching)) = self.touching.take() {
            drop(stop);
            // It cannot panic.
            let _ = touching.join();
        }
        // One that stays is stale in a moment.
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_lock_is_waited_for_and_a_stale_one_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.lock");
        std::fs::create_dir(&path).unwrap();
        let agent = path.clone();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            std::fs::remove_dir(agent).unwrap();
        });
        let lock = AgentLock::take(&path).unwrap();
        ends.join().unwrap();
        assert!(path.is_dir());
        drop(lock);
        assert!(!path.exists());
        std::fs::create_dir(&path).unwrap();
        let old = FileTimes::new().set_modified(SystemTime::now() - 2 * STALE);
        File::open(&path).unwrap().set_times(old).unwrap();
        drop(AgentLock::take(&path).unwrap());
        assert!(!path.exists());
    }
}
