//! Processes that do one thing for a run: this program once more, under a name by which it knows what it is to be.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cofferdam_enclosure::Channel;

/// Starts one under this `argv[0]`, `with` what else it is to have or not to have of this process; the channel to it is its standard
/// input. Nobody waits for it here: its end is seen by the channel's.
///
/// A program of its own, not a copy of this process, in whose memory the log's key may be.
///
/// # Errors
/// Those of `socketpair(2)` and of starting it.
pub(crate) fn born(name: &str, with: impl FnOnce(&mut Command)) -> io::Result<Channel> {
    let (ours, theirs) = Channel::pair()?;
    let mut command = Command::new("/proc/self/exe");
    with(&mut command);
    let child = command
        .arg0(name)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child);
    Ok(ours)
}

/// For one that needs nothing of the person's environment.
pub(crate) fn bare(command: &mut Command) {
    command.env_clear();
}
