//! `seccomp(2)`: installing a filter with a listener, and answering its notifications (`seccomp_unotify(2)`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// One classic BPF instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a filter on this thread; `PR_SET_NO_NEW_PRIVS` must be set. With `listener`, returns the descriptor on
/// which `SECCOMP_RET_USER_NOTIF` is answered.
///
/// # Errors
/// `EINVAL` for a program the kernel refuses, `EBUSY` where a listener exists in this process tree already.
pub fn install(program: &[Instruction], listener: bool) -> io::Result<Option<OwnedFd>> {
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let header = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // WAIT_KILLABLE_RECV (5.19): a notified call that the monitor has seen is interrupted only by death, so that a
    // move it is carrying out is not started twice.
    let flags = if listener {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    } else {
        0
    };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel only reads `len` of them.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&header))
    })?;
    if !listener {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the result is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names this notification in answers.
    pub id: u64,
    /// The calling thread, in the pid namespace of the reader.
    pub pid: u32,
    /// The system call's number.
    pub number: i32,
    /// Its raw arguments.
    pub arguments: [u64; 6],
}

/// What the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel carries the call out as if there were no filter. Never a permission: arguments may have changed.
    Continue,
    /// The call returns this.
    Return(i64),
    /// The call fails with this `errno`.
    Fail(i32),
}

/// Takes the next notification; `None` where the caller has gone meanwhile.
///
/// # Errors
/// Those of `SECCOMP_IOCTL_NOTIF_RECV`. Blocks where none is pending: poll first.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    // SAFETY: all zeros is valid (and required) for `seccomp_notif`; the kernel fills it.
    let (result, raw) = unsafe {
        let mut raw: libc::seccomp_notif = std::mem::zeroed();
        (libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut raw), raw)
    };
    match check(i64::from(result)) {
        Ok(_) => Ok(Some(Notification { id: raw.id, pid: raw.pid, number: raw.data.nr, arguments: raw.data.args })),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Answers a notification; `false` where its caller has gone meanwhile.
///
/// # Errors
/// Those of `SECCOMP_IOCTL_NOTIF_SEND` but `ENOENT`.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<bool> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Return(value) => (value, 0, 0),
        Answer::Fail(errno) => (0, -errno, 0),
    };
    let response = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the kernel reads one `seccomp_notif_resp`.
    let result = check(i64::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, std::ptr::from_ref(&response))
    }));
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a notification's caller still waits: what was read of it before this call was really its own.
pub fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, std::ptr::from_ref(&id)) == 0 }
}

/// Puts a copy of `source` in the place of the caller's descriptor `number` while the caller waits
/// (`SECCOMP_ADDFD_FLAG_SETFD`, Linux 5.9): as by `dup2(2)`, not close-on-exec. `false` where the caller has gone.
///
/// # Errors
/// Those of `SECCOMP_IOCTL_NOTIF_ADDFD` but `ENOENT`: `EMFILE` or `EBADF` where the caller's limit is below `number`.
pub fn add_fd(listener: BorrowedFd<'_>, id: u64, source: BorrowedFd<'_>, number: u32) -> io::Result<bool> {
    const ADD_FD: u32 = 0x4018_2103; // SECCOMP_IOW(3, struct seccomp_notif_addfd) of linux/seccomp.h
    let request = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
        srcfd: source.as_raw_fd().cast_unsigned(),
        newfd: number,
        newfd_flags: 0,
    };
    // SAFETY: the kernel reads one `seccomp_notif_addfd`; `source` is alive during the call.
    let result =
        check(i64::from(unsafe { libc::ioctl(listener.as_raw_fd(), ADD_FD as _, std::ptr::from_ref(&request)) }));
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Has the kernel move the monitor and a notified caller in step, on one processor, which makes a notification cheaper
/// (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6); `false` where the kernel cannot.
///
/// # Errors
/// Those of `SECCOMP_IOCTL_NOTIF_SET_FLAGS` but `EINVAL`.
pub fn wake_up_in_step(listener: BorrowedFd<'_>) -> io::Result<bool> {
    const SET_FLAGS: u32 = 0x4008_2104; // SECCOMP_IOW(4, __u64) of linux/seccomp.h
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: an integer argument; the kernel dereferences nothing.
    match check(i64::from(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) })) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => Ok(false),
        Err(e) => Err(e),
    }
}
