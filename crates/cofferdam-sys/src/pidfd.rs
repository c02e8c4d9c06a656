//! What the kernel says of a process by a descriptor of it (`PIDFD_GET_INFO` of linux/pidfd.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use crate::check;

/// `struct pidfd_info` in its first published size.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    parent: u32,
    credentials: [u32; 8],
    status: i32,
}

const GET_INFO: u32 = 0xc040_ff0b; // _IOWR(0xff, 11, 64 bytes)
const PID: u64 = 1 << 0;
const EXIT: u64 = 1 << 3;

const _: () = assert!(size_of::<Info>() == 64, "the size is part of the request's number");

fn info(pidfd: BorrowedFd<'_>, mask: u64) -> io::Result<Info> {
    let mut info = Info { mask, ..Info::default() };
    // SAFETY: the kernel reads and writes at most the 64 bytes that the request's number names.
    check(i64::from(unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) }))?;
    Ok(info)
}

/// The parent of a living process, in the pid namespace of the caller; 0 where it is not in there (Linux 6.13).
///
/// # Errors
/// `ESRCH` where the process has been reaped, `ENOTTY` or `EINVAL` where the kernel cannot tell.
pub fn parent(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    info(pidfd, PID).map(|info| info.parent)
}

/// The living process that a thread's descriptor belongs to, in the pid namespace of the caller; 0 where it is not in
/// there (Linux 6.13).
///
/// # Errors
/// As [`parent`].
pub fn process(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    info(pidfd, PID).map(|info| info.tgid)
}

/// Whether two threads use one table of descriptors (`kcmp(2)`, `KCMP_FILES`).
///
/// # Errors
/// Those of `kcmp(2)`: `ENOSYS` where the kernel was built without it, `EPERM`, `ESRCH`.
pub fn share_descriptors(one: Pid, other: Pid) -> io::Result<bool> {
    const KCMP_FILES: libc::c_int = 2;
    let (one, other) = (one.as_raw_nonzero().get(), other.as_raw_nonzero().get());
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) }).map(|order| order == 0)
}

/// How a process ended, as `waitpid(2)` would say it, once it has been reaped; `None` before, and where the kernel does
/// not tell (before Linux 6.15).
///
/// # Errors
/// Those of `ioctl(2)` but `ESRCH`, `ENOTTY`, `EINVAL`.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    match info(pidfd, EXIT) {
        Ok(info) => Ok((info.mask & EXIT != 0).then_some(info.status)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOTTY | libc::EINVAL)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a process has ended, reaped or not (`pidfd_open(2)`, "poll"). One that cannot be asked has not.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn parent_and_exit_status_are_told_where_the_kernel_can() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        match parent(pidfd.as_fd()) {
            Ok(parent) => {
                assert_eq!(parent, std::process::id());
                assert_eq!(process(pidfd.as_fd()).unwrap(), child.id());
            }
            Err(e) => assert!(matches!(e.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)), "{e}"),
        }
        child.wait().unwrap();
        assert!(matches!(exit_status(pidfd.as_fd()).unwrap(), None | Some(0x700)));
    }
}
