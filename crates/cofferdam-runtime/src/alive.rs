//! Whether the enclosure of a run whose monitor was killed is gone.
//!
//! The lock of a run goes with the monitor's files, a moment before the kernel tells init that its parent died: what ran
//! inside may still write then. So init's identity stands in the run's directory, and whoever settles the run waits for its
//! end, which is the end of everything inside (pid_namespaces(7)).

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const NAME: &str = "init";
/// How long a dying enclosure may take; then it is killed once more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Notes who init is.
///
/// # Errors
/// Those of reading /proc and of writing the file.
pub(crate) fn note(run: &Path, init: u32) -> io::Result<()> {
    let began = began(init)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    std::fs::write(run.join(NAME), format!("{init} {began}\n"))
}

/// Waits until the enclosure is gone.
///
/// # Errors
/// Those of the system; `TimedOut` where it does not end although it was killed.
pub(crate) fn await_end(run: &Path) -> io::Result<()> {
    let text = match std::fs::read_to_string(run.join(NAME)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()), // it never got so far
        Err(e) => return Err(e),
    };
    let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(noted))) = (words.next(), words.next()) else { return Ok(()) }; // cut off in writing
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let init = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(init) => init,
        Err(Errno::SRCH) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    // Looked at once the descriptor holds it: the number may be another process's by now.
    if began(pid.as_raw_nonzero().get().unsigned_abs())? != Some(noted) {
        return Ok(());
    }
    let wait = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    for last in [false, true] {
        match poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&wait)) {
            Ok(0) if last => break,
            Ok(0) => match pidfd_send_signal(&init, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(e.into()),
            },
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the enclosure does not end"))
}

/// When a process began, in ticks since the machine did (field 22 of proc_pid_stat(5)); `None` where there is none.
fn began(pid: u32) -> io::Result<Option<u64>> {
    let stat = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    // The name, in parentheses, may hold any byte.
    let after = stat.iter().rposition(|b| *b == b')').map_or(0, |at| at + 1);
    let fields = String::from_utf8_lossy(&stat[after..]).into_owned();
    Ok(fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn the_end_of_the_very_process_is_waited_for() {
        let run = tempfile::tempdir().unwrap();
        await_end(run.path()).unwrap(); // nobody is noted
        let mut child = Command::new("sleep").arg("0.3").spawn().unwrap();
        note(run.path(), child.id()).unwrap();
        let begun = Instant::now();
        await_end(run.path()).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        child.wait().unwrap();
        await_end(run.path()).unwrap();
        // Another process of that number.
        std::fs::write(run.path().join(NAME), format!("{} 1\n", std::process::id())).unwrap();
        await_end(run.path()).unwrap();
    }
}
