//! Whose a socket is: its cookie, from the kernel (`sock_diag(7)`). Evidence, never authority.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, recv, sendto};

/// A reply is one message of a socket without attributes, or an error that repeats the request.
const REPLY: usize = 4096;

/// The interface by which everything inside arrives. A socket that is bound to it (`SO_BINDTODEVICE`, or an address with a zone) is
/// found only where it is named; any other is found nevertheless.
const LOOPBACK: u32 = 1;

/// Asks on a `NETLINK_SOCK_DIAG` socket that was made in the enclosure's network namespace.
pub(crate) struct Owners(OwnedFd);

impl Owners {
    pub(crate) fn new(socket: OwnedFd) -> Owners {
        Owners(socket)
    }

    /// The cookie of the program's end of a TCP connection, by its own address and the address that it connected to:
    /// the program's socket knows nothing of the redirect. `None` where the kernel does not find it (it is gone, or
    /// there is no `tcp_diag`).
    pub(crate) fn of_connection(&self, program: SocketAddr, destination: SocketAddr) -> Option<u64> {
        self.ask(IPPROTO_TCP, program, destination).ok()
    }

    /// The cookie of the socket that sent a datagram.
    pub(crate) fn of_datagram(&self, program: SocketAddr, destination: SocketAddr) -> Option<u64> {
        // The kernel's udp_dump_one has source and destination the other way round, "for historical reasons".
        self.ask(IPPROTO_UDP, destination, program).ok()
    }

    fn ask(&self, protocol: u8, source: SocketAddr, destination: SocketAddr) -> io::Result<u64> {
        let (source, destination) = (canonical(source), canonical(destination));
        let request = InetRequest {
            family: if source.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: source.port(),
                destination_port: destination.port(),
                source_address: source.ip(),
                destination_address: destination.ip(),
                interface_id: LOOPBACK,
                // INET_DIAG_NOCOOKIE: any.
                cookie: [0xff; 8],
            },
        };
        let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
        message.header.flags = NLM_F_REQUEST;
        message.finalize();
        let mut packet = vec![0; message.buffer_len()];
        message.serialize(&mut packet);
        // What an earlier question left unread would be taken for this one's answer.
        let mut reply = [0u8; REPLY];
        while recv(&self.0, &mut reply[..], RecvFlags::DONTWAIT).is_ok() {}
        sendto(&self.0, &packet, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers within the call that sends: there is nothing to wait for.
        let (length, _) = recv(&self.0, &mut reply[..], RecvFlags::DONTWAIT)?;
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&reply[..length])
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                let [a, b, c, d, e, f, g, h] = found.header.socket_id.cookie;
                // Two numbers of 32 bits, the lower half first, each in the machine's order.
                let half = |bytes| u64::from(u32::from_ne_bytes(bytes));
                Ok(half([e, f, g, h]) << 32 | half([a, b, c, d]))
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use rustix::net::sockopt::socket_cookie;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

    use super::*;

    fn owners() -> Owners {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Owners(socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).unwrap())
    }

    #[test]
    fn connections() {
        let owners = owners();
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_server, peer) = listener.accept().unwrap();
            let found = owners.of_connection(peer, listener.local_addr().unwrap());
            assert_eq!(found, Some(socket_cookie(&client).unwrap()), "{bind}");
            drop(client);
            let nobody = TcpListener::bind(bind).unwrap().local_addr().unwrap();
            assert_eq!(owners.of_connection(nobody, listener.local_addr().unwrap()), None);
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_bound_to_an_interface() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        // Before Linux 5.7 this is a privilege.
        if client.bind_device(Some(b"lo")).is_err() {
            return;
        }
        let client = client.connect(to).await.unwrap();
        let (_server, peer) = listener.accept().unwrap();
        assert_eq!(owners().of_connection(peer, to), Some(socket_cookie(&client).unwrap()));
    }

    #[test]
    fn datagrams() {
        let owners = owners();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(to).unwrap();
        let wildcard = UdpSocket::bind("0.0.0.0:0").unwrap();
        for client in [&connected, &wildcard] {
            client.send_to(b"?", to).or_else(|_| client.send(b"?")).unwrap();
            let (_, peer) = server.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(owners.of_datagram(peer, to), Some(socket_cookie(client).unwrap()));
        }
    }
}
