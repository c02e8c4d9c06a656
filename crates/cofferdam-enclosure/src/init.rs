//! Process 1 of an enclosure: builds the view, starts the command, reaps, and ends everything with it.
//!
//! It holds nothing secret: it is cloned before there is anything to hold, overwrites the strings it inherited, and
//! cannot be read or traced from inside (not dumpable, outside the command's Landlock domain).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ::landlock::RulesetCreated;
use cofferdam_core::plan::{EnclosurePlan, Mount, Stdio};
use cofferdam_sys::{argv, exec, loopback, signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::agent::{self, Streams};
use crate::channel::{Channel, Received, read_large};
use crate::dialer;
use crate::error::{Doing, EnclosureError, Step};
use crate::landlock;
use crate::message::{Order, Report};
use crate::network;
use crate::rename::helper;
use crate::tier::Pipes;
use crate::view::View;

/// The uid and gid inside where the caller is root: agents refuse to work unattended as uid 0.
const ORDINARY: u32 = 1000;

/// The whole life of init. Its exit ends everything in the enclosure.
pub(crate) fn main(channel: Channel, pipes: Pipes, ids: (u32, u32)) -> ! {
    let status = match build(&channel, pipes, ids) {
        Ok(command) => match supervise(&channel, command) {
            Ok(()) => 0,
            Err(_) => 1, // the monitor is gone or the channel broke: there is nobody to tell
        },
        Err(e) => {
            // Where this fails the monitor sees init's end instead.
            let _ = channel.send(&Report::Failed(e), &[]);
            1
        }
    };
    exec::exit_now(status)
}

/// Everything up to the waiting command.
fn build(channel: &Channel, pipes: Pipes, ids: (u32, u32)) -> Result<Running, EnclosureError> {
    let channel_failed = |e: io::Error| EnclosureError::new(Step::Channel, "talking to the monitor", e);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(Step::Limits, || "tying init to the monitor".to_owned())?;
    argv::wipe();
    // For ps(1) and top(1); where it cannot be set the client's name stays.
    rustix::thread::set_name(c"coffer-init").unwrap_or_default();
    let streams = [&pipes.stdin, &pipes.stdout, &pipes.stderr];
    let kept: Vec<i32> = streams
        .iter()
        .filter_map(|s| s.as_ref().map(AsRawFd::as_raw_fd))
        .chain([channel.as_fd().as_raw_fd()])
        .collect();
    exec::close_all_but(&kept)
        .and_then(|()| agent::occupy_standard_streams())
        .doing(Step::Limits, || "closing inherited files".to_owned())?;
    identity(ids)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(Step::Limits, || "closing init's memory".to_owned())?;
    rustix::process::umask(Mode::empty());
    let mut view = View::new()?;
    socket_up()?;
    let mut arrivals = network::set_up();

    let plan: EnclosurePlan = match channel.receive::<Order>().map_err(channel_failed)? {
        Received::Message(Order::Plan, mut fds) => match fds.pop() {
            Some(fd) => read_large(fd).map_err(channel_failed)?,
            None => return Err(channel_failed(io::ErrorKind::InvalidData.into())),
        },
        _ => return Err(channel_failed(io::ErrorKind::UnexpectedEof.into())),
    };
    arrivals.listen(&plan.listen);
    for mount in &plan.mounts {
        view.add(mount, &plan.authority)?;
    }
    if plan.privileged_caller {
        view.guard_proc()?;
    }
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")
        .doing(Step::Limits, || "forbidding nested user namespaces".to_owned())?;
    view.enter()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::setsid().doing(Step::Pty, || "starting a session".to_owned())?;
    let (streams, master) = match plan.stdio {
        Stdio::Pipes => (Streams::Pipes(pipes), None),
        Stdio::Pty { rows, columns } => {
            let (slave, master) = terminal(rows, columns).doing(Step::Pty, || "making the terminal".to_owned())?;
            let stderr = pipes.stderr;
            (Streams::Pty { slave, stderr }, Some(master))
        }
    };
    drop_capabilities()?;
    // Made before the command runs, while every path is what the plan says.
    let rules = landlock::ruleset(&plan)?;
    let overlays = overlays(&plan)?;
    let command = agent::start(channel, &plan, &rules, streams, master, arrivals)?;
    Ok(Running { group: command.pid, executed: command.executed, terminal: command.terminal, rules, overlays })
}

struct Running {
    group: Pid,
    /// Yields the `errno` of a failed exec, or end of file.
    executed: OwnedFd,
    terminal: Option<OwnedFd>,
    /// For the helper: what binds the command.
    rules: RulesetCreated,
    /// Device numbers of the overlays.
    overlays: Vec<u64>,
}

fn overlays(plan: &EnclosurePlan) -> Result<Vec<u64>, EnclosureError> {
    let targets = plan.mounts.iter().filter_map(|m| match m {
        Mount::Overlay { target, .. } => Some(target.as_path()),
        _ => None,
    });
    targets.map(|t| stat(t).map(|s| s.st_dev).doing(Step::Overlay, || format!("looking at {}", t.display()))).collect()
}

/// Maps the caller's own ids, given as they are outside.
fn identity((uid, gid): (u32, u32)) -> Result<(), EnclosureError> {
    let inside = |id: u32| if uid == 0 { ORDINARY } else { id };
    let write = |name: &'static str, text: String| {
        std::fs::write(format!("/proc/self/{name}"), text).doing(Step::Identity, || format!("writing {name}"))
    };
    // `setgroups` must be denied before an unprivileged process may map its gid (user_namespaces(7)).
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{} {uid} 1", inside(uid)))?;
    write("gid_map", format!("{} {gid} 1", inside(gid)))
}

fn socket_up() -> Result<(), EnclosureError> {
    let doing = || "bringing the loopback interface up".to_owned();
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .doing(Step::Loopback, doing)?;
    loopback::up(socket.as_fd()).doing(Step::Loopback, doing)
}

fn terminal(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openat(CWD, "/dev/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    rustix::termios::tcsetwinsize(&slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    Ok((slave, master))
}

fn drop_capabilities() -> Result<(), EnclosureError> {
    let doing = || "dropping capabilities".to_owned();
    for bit in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { break };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Err(rustix::io::Errno::INVAL) => break, // the kernel knows no more
            other => other.doing(Step::Capabilities, doing)?,
        }
    }
    rustix::thread::clear_ambient_capability_set().doing(Step::Capabilities, doing)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .doing(Step::Capabilities, doing)?;
    rustix::thread::set_no_new_privs(true).doing(Step::Capabilities, doing)
}

/// Reaps until the command ends, passing signals in and news out.
fn supervise(channel: &Channel, command: Running) -> io::Result<()> {
    let news = signals::signal_fd(&[Signal::CHILD.as_raw()])?;
    match agent::outcome(command.executed.as_fd())? {
        None => channel.send(&Report::Started, &[])?,
        Some(errno) => return channel.send(&Report::NotExecuted(errno), &[]),
    }
    let mut helped = false;
    loop {
        while signals::next_signal(news.as_fd())?.is_some() {}
        if let Some(end) = reap(command.group, channel)? {
            // What else runs ends now: when init exits the kernel kills the whole namespace, stopped processes and
            // other sessions included, before the monitor can see init as ended.
            channel.send(&end, &[])?;
            if helped {
                // The helper may be in the middle of a move: the monitor ends the enclosure when it is not.
                while !matches!(channel.receive::<Order>()?, Received::Closed) {}
            }
            return Ok(());
        }
        let mut fds = [PollFd::new(&news, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if fds[1].revents().is_empty() {
            continue;
        }
        match channel.receive::<Order>()? {
            Received::Closed => return Ok(()),
            Received::Message(Order::Signal(number), _) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    send(command.group, signal)?;
                }
            }
            Received::Message(Order::Resume, _) => {
                if let Some(terminal) = &command.terminal {
                    foreground(terminal.as_fd(), command.group)?;
                }
                send(command.group, Signal::CONT)?;
            }
            Received::Message(Order::Helper, mut fds) => {
                if let Some(socket) = fds.pop() {
                    helped = true;
                    // Where there is no process to be had the monitor sees the socket close.
                    let _ = helper::start(socket.into(), &command.rules, &command.overlays);
                }
            }
            Received::Message(Order::Dialer(port), mut fds) => {
                if let Some(socket) = fds.pop() {
                    // Where there is no process to be had the gateway sees the socket close.
                    let _ = dialer::start(socket.into(), port, &command.rules);
                }
            }
            Received::Message(Order::Plan | Order::Go, _) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn send(group: Pid, signal: Signal) -> io::Result<()> {
    match rustix::process::kill_process_group(group, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()), // it has just ended; the next turn of the loop reports it
        other => Ok(other?),
    }
}

fn foreground(terminal: BorrowedFd<'_>, group: Pid) -> io::Result<()> {
    signals::ignore(Signal::TTOU.as_raw());
    match rustix::termios::tcsetpgrp(terminal, group) {
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => Ok(()), // the group is gone
        other => Ok(other?),
    }
}

/// Reaps whatever has ended; the report of the command's end where it was among them.
fn reap(command: Pid, channel: &Channel) -> io::Result<Option<Report>> {
    let mut end = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == command => {
                if let Some(signal) = status.stopping_signal() {
                    channel.send(&Report::Stopped(signal), &[])?;
                } else if let Some(code) = status.exit_status() {
                    end = Some(Report::Exited(code));
                } else if let Some(signal) = status.terminating_signal() {
                    end = Some(Report::Killed(signal));
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(end),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
