//! The seam between a run and what it executes in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cofferdam_core::plan::EnclosurePlan;
use cofferdam_sys::clone::{self, Cloned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitIdOptions};

use crate::channel::{Channel, Received};
use crate::error::{EnclosureError, Step};
use crate::init;
use crate::message::{Order, Report};

/// Between two looks for what is to be reaped while everything ends.
const REAPING: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// One execution environment, driven by the monitor. `namespaces` is the first tier; a microVM or another platform is
/// one more implementation.
pub trait Enclosure {
    /// The layers that stand between the command and the host once [`Report::Ready`] came, by name.
    fn boundary(&self) -> Vec<String>;
    /// Sends the plan; [`Report::Ready`] or [`Report::Failed`] follows.
    ///
    /// # Errors
    /// Where the other side is gone.
    fn prepare(&self, plan: &EnclosurePlan) -> io::Result<()>;
    /// Starts the command: the evidence is open.
    ///
    /// # Errors
    /// Where the other side is gone.
    fn go(&self) -> io::Result<()>;
    /// Becomes readable when [`Enclosure::report`] has something.
    fn readable(&self) -> BorrowedFd<'_>;
    /// The next report; `None` when the enclosure has ended.
    ///
    /// # Errors
    /// Where what came is not a report.
    fn report(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>>;
    /// Sends a signal to the command's process group.
    ///
    /// # Errors
    /// Where the other side is gone.
    fn signal(&self, signal: i32) -> io::Result<()>;
    /// Continues a stopped command in the foreground of its terminal.
    ///
    /// # Errors
    /// Where the other side is gone.
    fn resume(&self) -> io::Result<()>;
    /// Starts a helper for directory renames; the monitor's end of its socket, which closes where none could be started.
    ///
    /// # Errors
    /// Where the other side is gone, and those of `socketpair(2)`.
    fn helper(&self) -> io::Result<Channel>;
    /// Starts a process inside that connects to this port of the enclosure's loopback and to nothing else. The end of its
    /// socket is for who relays: a packet `4` or `6` asks for a socket that is being connected over IPv4 or IPv6, which comes
    /// with a packet `0`, or for the `errno` that there is instead. It ends with that socket.
    ///
    /// # Errors
    /// Where the other side is gone, and those of `socketpair(2)`.
    fn dialer(&self, port: u16) -> io::Result<OwnedFd>;
    /// Ends everything inside, at once and without cooperation, and waits until it is gone. Meanwhile `reap` is called
    /// again and again: what is traced from here can go only once it has been reaped here.
    ///
    /// # Errors
    /// Those of `pidfd_send_signal(2)`, `poll(2)` and `waitid(2)`, and those of `reap`.
    fn end(&self, reap: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
}

/// The command's ends of the pipes; `None` means /dev/null.
#[derive(Debug, Default)]
pub struct Pipes {
    /// What it reads.
    pub stdin: Option<OwnedFd>,
    /// What it writes to.
    pub stdout: Option<OwnedFd>,
    /// Where it complains.
    pub stderr: Option<OwnedFd>,
}

/// The tier of Linux namespaces: init in new user, mount, pid, network, IPC, UTS and cgroup namespaces.
#[derive(Debug)]
pub struct Namespaces {
    channel: Channel,
    pidfd: OwnedFd,
    pid: Pid,
}

/// Starts init by one `clone3`. To be called as early as possible: init is a copy of this process, and what this process
/// does not know yet cannot be found in init's memory.
///
/// # Errors
/// Where the kernel refuses the namespaces.
pub fn birth(pipes: Pipes) -> Result<Namespaces, EnclosureError> {
    let failed = |e: io::Error| EnclosureError::new(Step::Namespaces, "creating the namespaces", e);
    let (ours, theirs) = Channel::pair().map_err(failed)?;
    // Read here: in a new user namespace every id reads as the overflow id until it is mapped.
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if ids.0 == 0 {
        // The kernel keeps supplementary groups across user namespaces; only root can lay them down first.
        rustix::thread::set_thread_groups(&[]).map_err(|e| failed(e.into()))?;
    }
    match clone::clone(clone::Namespaces::All).map_err(failed)? {
        Cloned::Child => init::main(theirs, pipes, ids),
        Cloned::Parent { pid, pidfd } => Ok(Namespaces { channel: ours, pidfd, pid }),
    }
}

impl Namespaces {
    /// Init's process id on the host.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Enclosure for Namespaces {
    fn boundary(&self) -> Vec<String> {
        let mut names: Vec<String> =
            ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"].map(|n| format!("{n}-namespace")).into();
        names.extend(cofferdam_sys::landlock::abi().ok().map(|abi| format!("landlock-abi-{abi}")));
        names.extend(["seccomp", "no-new-privileges", "no-capabilities", "no-nested-namespaces"].map(str::to_owned));
        names
    }

    fn prepare(&self, plan: &EnclosurePlan) -> io::Result<()> {
        self.channel.send_large(&Order::Plan, plan, &[])
    }

    fn go(&self) -> io::Result<()> {
        self.channel.send(&Order::Go, &[])
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn report(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        Ok(match self.channel.receive()? {
            Received::Message(report, fds) => Some((report, fds)),
            Received::Closed => None,
        })
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.channel.send(&Order::Signal(signal), &[])
    }

    fn resume(&self) -> io::Result<()> {
        self.channel.send(&Order::Resume, &[])
    }

    fn helper(&self) -> io::Result<Channel> {
        let (ours, theirs) = Channel::pair()?;
        self.channel.send(&Order::Helper, &[theirs.as_fd()])?;
        Ok(ours)
    }

    fn dialer(&self, port: u16) -> io::Result<OwnedFd> {
        let (ours, theirs) = Channel::pair()?;
        self.channel.send(&Order::Dialer(port), &[theirs.as_fd()])?;
        Ok(ours.into())
    }

    fn end(&self, reap: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        // The death of init is the death of its pid namespace: the kernel kills and reaps all of it before init
        // itself can be waited for (pid_namespaces(7)).
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
        loop {
            reap()?;
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&REAPING)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => break,
                Err(e) => return Err(e.into()),
            }
        }
        // CHILD: `reap`, which reaps every child, was first.
        match rustix::process::waitid(rustix::process::WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
