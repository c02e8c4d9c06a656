//! Datagrams with the address of this machine that they were sent to, and answers from that address (`IP_PKTINFO` of
//! `ip(7)`, `IPV6_RECVPKTINFO` of `ipv6(7)`).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Room for one control message of either family; aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A datagram's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The other end.
    pub peer: SocketAddr,
    /// The address that it was sent to; none where the socket does not report it.
    pub local: Option<IpAddr>,
}

/// Has the kernel hand over the destination of each datagram with it.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn report(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
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

/// Receives a datagram; its length, which is more than the buffer's where it was cut (`MSG_TRUNC`).
///
/// # Errors
/// Those of `recvmsg(2)`; `InvalidData` for a sender that is neither IPv4 nor IPv6.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Ends)> {
    let mut control = Control([0; 64]);
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is valid for `msghdr` (null pointers, lengths 0).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer of `message` is to a live local or to `buffer`, with its true size.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeroed at first and filled by the kernel: any bytes are valid for this plain structure.
    let name = unsafe { name.assume_init() };
    let peer = address(&name).ok_or(io::ErrorKind::InvalidData)?;
    let mut local = None;
    // SAFETY: the kernel has set `msg_controllen` to what it wrote of `control`; the CMSG functions walk only there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: `header` is not null, hence a whole, aligned header within `control`; the data of these two types has
        // these structures' size, and is read unaligned.
        unsafe {
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().read_unaligned();
                    local = Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().read_unaligned();
                    local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((length, Ends { peer, local }))
}

/// Sends a datagram between the same ends, from the local one where it is known.
///
/// # Errors
/// Those of `sendmsg(2)`: `EINVAL` where the local address is not this machine's and the socket is not `IPV6_FREEBIND`.
pub fn send(socket: BorrowedFd<'_>, datagram: &[u8], ends: &Ends) -> io::Result<usize> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    // SAFETY: all zeros is valid for these plain structures.
    let (mut v4, mut v6, mut message): (libc::sockaddr_in, libc::sockaddr_in6, libc::msghdr) =
        unsafe { std::mem::zeroed() };
    match ends.peer {
        SocketAddr::V4(peer) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = peer.port().to_be();
            v4.sin_addr.s_addr = peer.ip().to_bits().to_be();
            message.msg_name = (&raw mut v4).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        SocketAddr::V6(peer) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = peer.port().to_be();
            v6.sin6_addr.s6_addr = peer.ip().octets();
            v6.sin6_scope_id = peer.scope_id();
            message.msg_name = (&raw mut v6).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        }
    }
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    match ends.local {
        None => {}
        Some(IpAddr::V4(local)) => {
            let local = libc::in_addr { s_addr: local.to_bits().to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: local, ipi_addr: libc::in_addr { s_addr: 0 } };
            attach(&mut message, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(local)) => {
            let local = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: local, ipi6_ifindex: 0 };
            attach(&mut message, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: every pointer of `message` is to a live local or to `datagram`, with its true size; the kernel writes none.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Makes `info` the only control message.
fn attach<T: Copy>(message: &mut libc::msghdr, control: &mut Control, level: i32, kind: i32, info: T) {
    const { assert!(size_of::<T>() <= 20, "a header of 16 bytes and this fit into `Control`") };
    let size = size_of::<T>() as u32;
    message.msg_control = std::ptr::from_mut(control).cast();
    // SAFETY: both only compute with numbers.
    let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    message.msg_controllen = space as usize;
    // SAFETY: `control` is aligned, zeroed, and larger than `space` (see the assertion), so the first header and its data
    // lie within it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = length as usize;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(info);
    }
}

/// The kernel's form of an address as Rust's.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let from = std::ptr::from_ref(name);
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is larger than, and aligned for, every address; any bytes are valid for it.
            let v4 = unsafe { from.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { from.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::*;

    /// As init makes them.
    fn reporting(bind: &str) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(bind)?;
        report(socket.as_fd(), bind.starts_with('['))?;
        Ok(socket)
    }

    fn answers_from_where_it_was_asked(bind: &str, client: &str, to: &str) {
        let server = reporting(bind).unwrap();
        let client = UdpSocket::bind(client).unwrap();
        let to: SocketAddr = format!("{to}:{}", server.local_addr().unwrap().port()).parse().unwrap();
        client.send_to(b"question", to).unwrap();
        let mut buffer = [0; 4];
        let (length, ends) = receive(server.as_fd(), &mut buffer).unwrap();
        assert_eq!((length, &buffer), (8, b"ques"), "the whole length of what was cut");
        assert_eq!(ends, Ends { peer: client.local_addr().unwrap(), local: Some(to.ip()) });
        assert_eq!(send(server.as_fd(), b"answer", &ends).unwrap(), 6);
        let mut buffer = [0; 16];
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (6, to));
    }

    #[test]
    fn v4() {
        answers_from_where_it_was_asked("0.0.0.0:0", "127.0.0.1:0", "127.0.0.53");
    }

    #[test]
    fn v6_where_there_is_any() {
        match UdpSocket::bind("[::1]:0") {
            Ok(_) => answers_from_where_it_was_asked("[::]:0", "[::1]:0", "[::1]"),
            Err(e) => {
                assert!(matches!(Errno::from_io_error(&e), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)), "{e}")
            }
        }
    }

    #[test]
    fn without_the_option_the_address_is_unknown() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"", server.local_addr().unwrap()).unwrap();
        let (length, ends) = receive(server.as_fd(), &mut []).unwrap();
        assert_eq!((length, ends.local), (0, None));
        assert_eq!(send(server.as_fd(), b"x", &ends).unwrap(), 1);
    }
}
