//! What listens inside: the kernel's answer (`sock_diag(7)`), not a program's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use cofferdam_core::plan::NetworkPlan;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, recv, sendto};

/// Most sockets of a family that are looked at: what is inside may open any number.
const MOST: usize = 4096;
/// `NLMSG_GOODSIZE` of the kernel is at most this.
const DATAGRAM: usize = 32 * 1024;

/// Asks by a `NETLINK_SOCK_DIAG` socket of the enclosure, which nobody else uses.
#[derive(Debug)]
pub struct Listeners(OwnedFd);

impl Listeners {
    pub(super) fn new(socket: OwnedFd) -> Listeners {
        Listeners(socket)
    }

    /// Whether something listens at this port so that a connection to loopback arrives at it.
    ///
    /// # Errors
    /// The kernel's: it may lack `tcp_diag`.
    pub fn at(&self, port: u16) -> io::Result<bool> {
        Ok(self.ports()?.contains(&port))
    }

    /// The ports at which connections to loopback arrive, in order; our own not among them.
    ///
    /// # Errors
    /// As [`Listeners::at`].
    pub fn ports(&self) -> io::Result<Vec<u16>> {
        let mut ports = Vec::new();
        for family in [AF_INET, AF_INET6] {
            match self.of_family(family) {
                Ok(found) => ports.extend(found.into_iter().filter(arrives).map(|a| a.port())),
                // Without IPv6 nothing listens by it.
                Err(e) if family == AF_INET6 && Errno::from_io_error(&e) == Some(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        ports.retain(|port| *port != NetworkPlan::REDIRECT_PORT);
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    fn of_family(&self, family: u8) -> io::Result<Vec<SocketAddr>> {
        let any = Ipv4Addr::UNSPECIFIED.into();
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id: SocketId {
                source_port: 0,
                destination_port: 0,
                source_address: any,
                destination_address: any,
                interface_id: 0,
                cookie: [0xff; 8],
            },
        };
        let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.finalize();
        let mut packet = vec![0; message.buffer_len()];
        message.serialize(&mut packet);
        let mut answer = vec![0u8; DATAGRAM];
        // What an earlier question left unread would be taken for this one's answer.
        while recv(&self.0, &mut answer[..], RecvFlags::DONTWAIT).is_ok() {}
        sendto(&self.0, &packet, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut found = Vec::new();
        loop {
            // The kernel answers within the call that sends or receives: there is nothing to wait for.
            let (length, _) = recv(&self.0, &mut answer[..], RecvFlags::DONTWAIT)?;
            let mut rest = &answer[..length];
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                        let id = &socket.header.socket_id;
                        found.push(SocketAddr::new(id.source_address, id.source_port));
                    }
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
                if found.len() >= MOST {
                    return Ok(found);
                }
                // Messages are padded to 4 bytes (NLMSG_ALIGN of netlink(3)), the last one too.
                let size = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(size.max(16)..).unwrap_or_default();
            }
        }
    }
}

/// Whether connections to 127.0.0.1 or `::1` arrive at it.
fn arrives(address: &SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

    use super::*;

    #[test]
    fn what_listens_is_found_and_what_does_not_is_not() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let diag = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).unwrap();
        let listeners = Listeners::new(diag);
        let mut seen = Vec::new();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(listeners.at(port).unwrap(), "{address}");
            seen.push(port);
        }
        assert!(seen.len() >= 2);
        let elsewhere = TcpListener::bind("127.0.0.9:0").unwrap();
        assert!(!listeners.at(elsewhere.local_addr().unwrap().port()).unwrap());
        // Many of them need more than one datagram.
        let many: Vec<TcpListener> = (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = listeners.ports().unwrap();
        assert!(many.iter().all(|listener| ports.contains(&listener.local_addr().unwrap().port())), "{}", ports.len());
    }
}
