//! One repetition as a child process: `coffer run --from RUN`, with a time limit, and signals passed on.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::printed::{Printed, collect};

/// How long a command gets to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// How a child came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Itself,
    /// It was ended at the time limit.
    Late,
    /// It was ended by this signal, which we got.
    Signal(i32),
}

/// What a child left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) end: End,
    /// Both streams where they were one, else standard output.
    pub(super) stdout: Printed,
    /// Empty where both were one.
    pub(super) stderr: Printed,
}

/// Runs `coffer WORDS…` in `directory` without standard input, in a process group of its own: a terminal's Ctrl-C comes to
/// us, and we pass it on once. `joined` makes output and error one pipe.
///
/// # Errors
/// Where the process cannot be started or waited for.
pub(super) fn run(
    words: &[OsString],
    directory: &Path,
    joined: bool,
    limit: Duration,
    signals: &OwnedFd,
    mut tick: impl FnMut(Duration),
) -> io::Result<Left> {
    let mut command = Command::new("/proc/self/exe");
    command.args(words).current_dir(directory).stdin(Stdio::null()).process_group(0);
    let (mut child, stdout, stderr) = start(command, joined)?;
    let end = wait(&mut child, limit, signals, &mut tick);
    if end.is_err() {
        // Never leave it behind; it is reaped with us.
        child.kill()?;
    }
    let end = end?;
    Ok(Left { end, stdout: read(Some(stdout))?, stderr: read(stderr)? })
}

type Reader = JoinHandle<io::Result<Printed>>;

/// The command goes with this function: it holds the pipe's ends for writing.
fn start(mut command: Command, joined: bool) -> io::Result<(Child, Reader, Option<Reader>)> {
    if joined {
        let (reader, writer) = io::pipe()?;
        let child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
        return Ok((child, collect(reader), None));
    }
    let (out_reader, out_writer) = io::pipe()?;
    let (err_reader, err_writer) = io::pipe()?;
    let child = command.stdout(out_writer).stderr(err_writer).spawn()?;
    Ok((child, collect(out_reader), Some(collect(err_reader))))
}

fn read(reader: Option<Reader>) -> io::Result<Printed> {
    match reader.map(JoinHandle::join) {
        None => Ok(Printed::default()),
        Some(Ok(printed)) => printed,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}

fn wait(child: &mut Child, limit: Duration, signals: &OwnedFd, tick: &mut impl FnMut(Duration)) -> io::Result<End> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let begun = Instant::now();
    let mut end = End::Itself;
    let mut asked: Option<Instant> = None;
    let wait = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if !fds[0].revents().is_empty() {
            child.wait()?;
            return Ok(end);
        }
        while let Some(number) = cofferdam_sys::signals::next_signal(signals.as_fd())? {
            end = End::Signal(number);
            asked.get_or_insert_with(Instant::now);
            if let Some(signal) = Signal::from_named_raw(number) {
                kill_process(pid, signal)?;
            }
        }
        match asked {
            None if begun.elapsed() >= limit => {
                end = End::Late;
                asked = Some(Instant::now());
                kill_process(pid, Signal::TERM)?;
            }
            // Its monitor ends the enclosure when its client is gone.
            Some(since) if since.elapsed() >= GRACE => child.kill()?,
            _ => {}
        }
        tick(begun.elapsed());
    }
}
