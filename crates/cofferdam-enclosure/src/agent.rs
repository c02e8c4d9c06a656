//! The command's process from its fork to its exec: the layers of the boundary that are a process's own.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cofferdam_core::Bytes;
use cofferdam_core::plan::EnclosurePlan;
use cofferdam_sys::clone::{self, Cloned};
use cofferdam_sys::{exec, seccomp, signals};
use landlock::RulesetCreated;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};

use crate::channel::{Channel, Received};
use crate::error::{Doing, EnclosureError, Step};
use crate::filter::{Notify, program};
use crate::landlock::restrict;
use crate::message::{Order, Report};
use crate::network::Arrivals;
use crate::tier::Pipes;

/// Opens /dev/null on descriptors 0 to 2 where they are free, so that nothing else gets those numbers before the command's
/// own streams are put there.
///
/// # Errors
/// Where /dev/null cannot be opened.
pub fn occupy_standard_streams() -> io::Result<()> {
    loop {
        let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        let _kept_open = null.into_raw_fd();
    }
}

/// How the command is connected.
pub(crate) enum Streams {
    Pipes(Pipes),
    Pty { slave: OwnedFd, stderr: Option<OwnedFd> },
}

/// The forked command.
pub(crate) struct Command {
    pub(crate) pid: Pid,
    /// Yields four bytes (the `errno` of a failed exec) or end of file.
    pub(crate) executed: OwnedFd,
    /// The terminal, kept for job control.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Forks the command; the child confines itself, reports ready with the listener, waits for `Go` and executes.
pub(crate) fn start(
    channel: &Channel,
    plan: &EnclosurePlan,
    rules: &RulesetCreated,
    streams: Streams,
    master: Option<OwnedFd>,
    arrivals: Arrivals,
) -> Result<Command, EnclosureError> {
    let doing = || "starting the command's process".to_owned();
    let (executed, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(Step::Limits, doing)?;
    match clone::clone(clone::Namespaces::Shared).doing(Step::Limits, doing)? {
        Cloned::Parent { pid, .. } => {
            drop(report);
            let terminal = match streams {
                Streams::Pty { slave, .. } => Some(slave),
                Streams::Pipes(_) => None,
            };
            Ok(Command { pid, executed, terminal })
        }
        Cloned::Child => {
            drop(executed);
            let failure = match confine(channel, plan, rules, streams, master, arrivals) {
                Ok(Some(errno)) => errno,
                Ok(None) => Errno::PIPE.raw_os_error(), // the monitor never said go
                Err(e) => {
                    // Where this fails the monitor sees the end of init instead.
                    let _ = channel.send(&Report::Failed(e), &[]);
                    Errno::CANCELED.raw_os_error()
                }
            };
            let _ = std::fs::File::from(report).write_all(&failure.to_ne_bytes());
            exec::exit_now(1)
        }
    }
}

/// The `errno` of a failed exec, `None` once the command runs.
pub(crate) fn outcome(executed: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut raw = [0u8; 4];
    match std::fs::File::from(executed.try_clone_to_owned()?).read(&mut raw)? {
        0 => Ok(None),
        4 => Ok(Some(i32::from_ne_bytes(raw))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Lays on the process's own layers and executes. `Ok(Some(errno))`: the command could not be executed.
fn confine(
    channel: &Channel,
    plan: &EnclosurePlan,
    rules: &RulesetCreated,
    streams: Streams,
    master: Option<OwnedFd>,
    arrivals: Arrivals,
) -> Result<Option<i32>, EnclosureError> {
    rustix::process::chdir(plan.cwd.as_path())
        .doing(Step::Mount, || format!("entering {}", plan.cwd.as_path().display()))?;
    rustix::process::setpgid(None, None).doing(Step::Pty, || "making a process group".to_owned())?;
    connect(&streams).doing(Step::Pty, || "connecting the standard streams".to_owned())?;
    for (resource, value) in [(Resource::Nproc, plan.processes), (Resource::Core, 1)] {
        // 1, not 0, for core dumps: a handler in core_pattern, which would run on the host, is skipped only at 1
        // (core(5); fs/coredump.c).
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        let now = rustix::process::getrlimit(resource);
        if now.maximum.is_none_or(|most| most > value) {
            rustix::process::setrlimit(resource, limit).doing(Step::Limits, || "setting limits".to_owned())?;
        }
    }
    signals::reset_all();
    restrict(rules)?;
    // Closed like init's, its memory could not be read at the notice of the first exec. Nobody else is inside yet.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .doing(Step::Limits, || "opening the command's memory to the monitor".to_owned())?;
    let doing = || "installing the seccomp filter".to_owned();
    let listener = seccomp::install(&program(Notify::Calls), true).doing(Step::Seccomp, doing)?;
    let listener = listener.ok_or(Errno::INVAL).doing(Step::Seccomp, doing)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        openat(CWD, "/", flags, Mode::empty()).doing(Step::Channel, || "opening the root directory".to_owned())?;
    let project = openat(CWD, plan.project.as_path(), flags | OFlags::NOFOLLOW, Mode::empty())
        .doing(Step::Overlay, || "opening the project".to_owned())?;
    let fds: Vec<BorrowedFd<'_>> =
        [&listener, &root, &project].into_iter().chain(&master).chain(&arrivals.descriptors).map(AsFd::as_fd).collect();
    channel.send(&Report::Ready(arrivals.network), &fds).doing(Step::Channel, || "reporting ready".to_owned())?;
    drop(fds);
    drop((listener, root, project, master, arrivals.descriptors));
    match channel.receive::<Order>().doing(Step::Channel, || "waiting for go".to_owned())? {
        Received::Message(Order::Go, _) => {}
        _ => return Ok(None),
    }
    exec::close_on_exec_from(3).doing(Step::Limits, || "closing inherited files".to_owned())?;
    Ok(Some(execute(plan).raw_os_error().unwrap_or(Errno::INVAL.raw_os_error())))
}

fn connect(streams: &Streams) -> io::Result<()> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let or_null = |fd: &Option<OwnedFd>| fd.as_ref().unwrap_or(&null).try_clone();
    let wanted = match streams {
        Streams::Pipes(p) => [or_null(&p.stdin)?, or_null(&p.stdout)?, or_null(&p.stderr)?],
        Streams::Pty { slave, stderr } => {
            signals::ignore(Signal::TTOU.as_raw());
            rustix::termios::tcsetpgrp(slave, rustix::process::getpid())?;
            [slave.try_clone()?, slave.try_clone()?, stderr.as_ref().unwrap_or(slave).try_clone()?]
        }
    };
    for (number, fd) in (0..).zip(&wanted) {
        exec::place(fd.as_fd(), number)?;
    }
    Ok(())
}

/// Executes `argv[0]`: as a path where it has a slash, else by the PATH of the command's own environment.
fn execute(plan: &EnclosurePlan) -> io::Error {
    let strings = |list: &[Bytes]| list.iter().map(|b| CString::new(b.0.clone())).collect::<Result<Vec<_>, _>>();
    let (Ok(argv), Ok(env)) = (strings(&plan.argv), strings(&plan.env)) else {
        return Errno::INVAL.into();
    };
    let Some(name) = plan.argv.first().filter(|n| !n.0.is_empty()) else {
        return Errno::NOENT.into();
    };
    if name.0.contains(&b'/') {
        return exec::exec(&argv[0], &argv, &env);
    }
    let path = plan.env.iter().find_map(|v| v.0.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    let mut worst: io::Error = Errno::NOENT.into();
    for directory in path.split(|b| *b == b':') {
        let full = Path::new(std::ffi::OsStr::from_bytes(directory)).join(name.as_os_str());
        let Ok(full) = CString::new(full.into_os_string().into_encoded_bytes()) else { continue };
        let error = exec::exec(&full, &argv, &env);
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            Some(Errno::ACCESS) => worst = error, // as execvp(3): remembered, the search goes on
            _ => return error,
        }
    }
    worst
}
