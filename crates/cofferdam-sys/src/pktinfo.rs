//! To which address a datagram was sent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Has the kernel hand over the destination of each datagram with it (`IP_PKTINFO` of `ip(7)`, `IPV6_RECVPKTINFO` of
/// `ipv6(7)`).
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn receive(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, option) = match ipv6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of `on`.
    check(i64::from(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) }))
        .map(drop)
}
