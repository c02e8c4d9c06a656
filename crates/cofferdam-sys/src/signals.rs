//! Signal masks, dispositions and `signalfd(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Blocks `signals` for this thread and returns a descriptor that becomes readable when one is pending
/// (`signalfd(2)`; close-on-exec, non-blocking).
///
/// # Errors
/// Those of `signalfd(2)`.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` is an initialised signal set.
    unsafe {
        check(i64::from(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())))?;
        let fd = check(i64::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Blocks every signal for this thread: a thread beside the main one takes none that is meant for the process.
pub fn block_all() {
    // SAFETY: both sets are initialised; only this thread's mask changes.
    unsafe {
        let mut all = set_of(&[]);
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// The next pending signal of a descriptor made by [`signal_fd`]; `None` where there is none now.
///
/// # Errors
/// Those of `read(2)`.
pub fn next_signal(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: all zeros is a valid `signalfd_siginfo`, and the kernel writes at most its size.
    let (got, info) = unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        (libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size), info)
    };
    match check(got as libc::c_long) {
        Ok(_) => Ok(Some(info.ssi_signo.cast_signed())),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Puts every signal back to its default action and unblocks all: what a new program should start with.
pub fn reset_all() {
    let empty = set_of(&[]);
    // SAFETY: SIG_DFL installs no handler of ours; signals that cannot be changed (KILL, STOP, the C library's own)
    // give EINVAL, which is what we want for them.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// Ignores one signal in this process.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Stops or ends this process by `signal` with its default action, unblocked: the shell sees what it would have seen
/// of the program itself. Returns when the process was stopped and continued, or the signal had no effect.
pub fn raise_default(signal: i32) {
    let only = set_of(&[signal]);
    // SAFETY: the default action is installed for one signal around raising it; masks are initialised sets.
    unsafe {
        let before = libc::signal(signal, libc::SIG_DFL);
        let mut mask = set_of(&[]);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, &raw mut mask);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
        if before != libc::SIG_ERR {
            libc::signal(signal, before);
        }
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: `sigemptyset` initialises the set; `sigaddset` refuses numbers out of range.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}
