//! The loopback interface of this process's network namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Brings `lo` up (`netdevice(7)`, SIOCSIFFLAGS), by any IPv4 datagram socket of the namespace.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN in the namespace: the sign of a host that strips the capabilities of user namespaces.
pub fn up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one `ifreq` from the pointer.
    check(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, std::ptr::from_ref(&request)) }))
        .map(drop)
}
