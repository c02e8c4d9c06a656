//! `clone3(2)`: a copy of this process, optionally in new namespaces.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Pid;

use crate::check;

/// What the copy gets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Nothing: an ordinary fork.
    Shared,
    /// User, mount, pid, network, IPC, UTS and cgroup namespaces.
    All,
}

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller.
    Parent {
        /// The child, as seen from here.
        pid: Pid,
        /// A descriptor of the child: pollable, close-on-exec, immune to reuse of the number.
        pidfd: OwnedFd,
    },
    /// The copy.
    Child,
}

/// Copies this process.
///
/// # Errors
/// `EINVAL` from this function itself where the process has more than one thread (a copy would hold their locks
/// for ever); otherwise those of `clone3(2)`: `EPERM` or `ENOSPC` where user namespaces are refused, `EAGAIN` at the
/// limit of processes.
pub fn clone(namespaces: Namespaces) -> io::Result<Cloned> {
    // SAFETY: unshare(CLONE_THREAD) changes nothing: it succeeds in a process with one thread and fails with EINVAL in
    // any other (unshare(2)).
    check(i64::from(unsafe { libc::unshare(libc::CLONE_THREAD) }))?;
    let new = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let flags = libc::CLONE_PIDFD | if namespaces == Namespaces::All { new } else { 0 };
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zeros is a valid `clone_args`: no flags, no pointers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: no CLONE_VM and no stack: the child runs on its own copy of this stack, as after fork(2). The process has
    // one thread, so the allocator and other locks are free in the copy. `pidfd` outlives the call.
    let result = check(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<libc::clone_args>())
    })?;
    if result == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel put a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(result).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Cloned::Parent { pid, pidfd })
}
