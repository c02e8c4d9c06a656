//! The sockets at which everything that a program sends to the network arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use cofferdam_core::plan::NetworkPlan;
use cofferdam_sys::packet_info;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_freebind, set_ipv6_v6only};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, netlink, socket_with};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, EnclosureError, Step};

const DNS: u16 = 53;
/// Connections that wait for the gateway, which may be born only now.
const BACKLOG: i32 = 1024;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Socket {
    /// A listener that redirected connections arrive at.
    Tcp,
    /// A datagram socket on port 53 of every address, with `IP_PKTINFO` or `IPV6_RECVPKTINFO` set.
    Udp,
    /// `NETLINK_SOCK_DIAG` (`sock_diag(7)`), to ask for the other end of a connection.
    Diag,
    /// `NETLINK_SOCK_DIAG`, to ask what listens.
    Listeners,
}

/// The sockets, and whether IPv6 is among them.
pub(super) struct Opened {
    pub(super) sockets: Vec<(Socket, OwnedFd)>,
    pub(super) ipv6: bool,
}

/// Opens them. IPv6 may be missing on this machine.
///
/// # Errors
/// What could not be opened.
pub(super) fn open() -> Result<Opened, EnclosureError> {
    let named = |what: &'static str| move || what.to_owned();
    let diag = || socket_with(AddressFamily::NETLINK, SocketType::DGRAM, FLAGS, Some(netlink::SOCK_DIAG));
    let mut sockets = vec![
        (Socket::Tcp, tcp(Ipv4Addr::LOCALHOST.into()).doing(Step::Network, named("listening for TCP"))?),
        (Socket::Udp, udp(Ipv4Addr::UNSPECIFIED.into()).doing(Step::Network, named("listening for DNS"))?),
        (Socket::Diag, diag().doing(Step::Network, named("opening a socket for questions about sockets"))?),
        (Socket::Listeners, diag().doing(Step::Network, named("opening a socket for questions about listeners"))?),
    ];
    let ipv6 = match tcp(Ipv6Addr::LOCALHOST.into()) {
        // Built without IPv6, or switched off for all interfaces: then nothing is sent by it.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => false,
        other => {
            sockets.push((Socket::Tcp, other.doing(Step::Network, named("listening for TCP over IPv6"))?));
            let udp = udp(Ipv6Addr::UNSPECIFIED.into()).doing(Step::Network, named("listening for DNS over IPv6"))?;
            sockets.push((Socket::Udp, udp));
            true
        }
    };
    Ok(Opened { sockets, ipv6 })
}

fn tcp(address: IpAddr) -> rustix::io::Result<OwnedFd> {
    at(SocketAddr::new(address, NetworkPlan::REDIRECT_PORT))
}

/// A listener at an address that need not be an interface's.
pub(super) fn at(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(family(address.ip()), SocketType::STREAM, FLAGS, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
        // For IPv4 the local route is enough.
        set_ipv6_freebind(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn udp(address: IpAddr) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(family(address), SocketType::DGRAM, FLAGS, None)?;
    let told = packet_info::report(socket.as_fd(), address.is_ipv6());
    told.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
        // To answer from the address that was asked, which no interface has (EINVAL without it).
        set_ipv6_freebind(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(address, DNS))?;
    Ok(socket)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}
