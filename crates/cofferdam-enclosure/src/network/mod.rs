//! The network of an enclosure: there is none. What a program sends by TCP or asks of the DNS arrives at sockets of this
//! namespace, which the monitor gets; everything else has no route.
//!
//! Set up by init, which has the capabilities for it, beside the client's work. Nothing here keeps the boundary: the
//! namespace does, which has no interface but its loopback. Where a part is missing on this machine less arrives, and
//! nothing leaves either way.

mod listening;
mod netlink;
mod redirect;
mod routes;
mod sockets;

use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use cofferdam_core::plan::EnclosurePlan;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use listening::Listeners;
pub use sockets::Socket;

/// What arrives at the sockets. The texts say why it is not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkTier {
    /// All TCP but loopback's, and DNS.
    Redirect,
    /// DNS, and TCP to the addresses of the plan (`listen`). Where nobody listens TCP is refused at once.
    Routes(String),
    /// Nothing.
    None(String),
}

/// What init says of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What arrives.
    pub tier: NetworkTier,
    /// What the descriptors are, in their order; none with [`NetworkTier::None`].
    pub sockets: Vec<Socket>,
    /// Why a connection may be made without connect(2), so that its owner is not known; `None` where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_open: Option<String>,
}

/// The sockets in the monitor's hands. All are non-blocking.
#[derive(Debug)]
pub struct NetworkSockets {
    /// Listeners. What arrives at port 61053 of loopback was redirected and meant for `SO_ORIGINAL_DST`, anything else for
    /// the listener's own address.
    pub tcp: Vec<OwnedFd>,
    /// Datagram sockets on port 53 of every address, with `IP_PKTINFO` or `IPV6_RECVPKTINFO` set.
    pub udp: Vec<OwnedFd>,
    /// `NETLINK_SOCK_DIAG` (`sock_diag(7)`).
    pub diag: OwnedFd,
    /// What listens inside. A socket of its own: two that ask by one would take each other's answers.
    pub listeners: Listeners,
}

impl Network {
    /// Sorts the descriptors that came with it; `None` where there is nothing to serve.
    pub fn sort(&self, descriptors: impl IntoIterator<Item = OwnedFd>) -> Option<NetworkSockets> {
        let (mut tcp, mut udp, mut diag, mut listeners) = (Vec::new(), Vec::new(), None, None);
        for (socket, descriptor) in self.sockets.iter().zip(descriptors) {
            match socket {
                Socket::Tcp => tcp.push(descriptor),
                Socket::Udp => udp.push(descriptor),
                Socket::Diag => diag = Some(descriptor),
                Socket::Listeners => listeners = Some(Listeners::new(descriptor)),
            }
        }
        Some(NetworkSockets { tcp, udp, diag: diag?, listeners: listeners? })
    }
}

/// What arrives, and where: init's until the boundary stands.
#[derive(Debug)]
pub(crate) struct Arrivals {
    pub(crate) network: Network,
    /// In the order of the network's sockets.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Sets everything up in this process's network namespace, whose loopback interface is up.
pub(crate) fn set_up() -> Arrivals {
    let (tier, sockets) = match arrive() {
        Ok((tier, sockets)) => (tier, sockets),
        Err(why) => (NetworkTier::None(why), Vec::new()),
    };
    // sendto(2) with MSG_FASTOPEN connects as well, and is not notified.
    let fast_open = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "0").err();
    let (sockets, descriptors) = sockets.into_iter().unzip();
    let fast_open = fast_open.map(|e| format!("switching TCP Fast Open off: {e}"));
    Arrivals { network: Network { tier, sockets, fast_open }, descriptors }
}

impl Arrivals {
    /// Listens at the addresses of the plan, where connections are not redirected. What cannot be listened at is told in the
    /// tier's text.
    pub(crate) fn listen(&mut self, addresses: &[SocketAddr]) {
        let NetworkTier::Routes(why) = &mut self.network.tier else { return };
        let (served, beyond) = addresses.split_at(addresses.len().min(EnclosurePlan::MOST_LISTENERS));
        for address in served {
            match sockets::at(*address) {
                Ok(listener) => {
                    self.network.sockets.push(Socket::Tcp);
                    self.descriptors.push(listener);
                }
                // Without IPv6 nothing is sent by it.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if address.is_ipv6() => {}
                Err(e) => why.push_str(&format!("; listening at {address}: {}", crate::error::plain(&e.into()))),
            }
        }
        if !beyond.is_empty() {
            why.push_str(&format!("; {} addresses more than can be listened at", beyond.len()));
        }
    }
}

/// The tier and its sockets, or why there is none.
fn arrive() -> Result<(NetworkTier, Vec<(Socket, OwnedFd)>), String> {
    let sockets::Opened { sockets, ipv6 } = sockets::open().map_err(|e| e.to_string())?;
    routes::set_up(ipv6).map_err(|(what, e)| said(what, &e))?;
    let tier = match redirect::set_up(ipv6) {
        Ok(()) => NetworkTier::Redirect,
        Err(e) => NetworkTier::Routes(said("redirecting TCP with nftables", &e)),
    };
    Ok((tier, sockets))
}

fn said(what: impl Display, error: &std::io::Error) -> String {
    format!("{what}: {}", crate::error::plain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed() -> Arrivals {
        let tier = NetworkTier::Routes("no nftables".to_owned());
        Arrivals { network: Network { tier, sockets: Vec::new(), fast_open: None }, descriptors: Vec::new() }
    }

    #[test]
    fn the_plans_addresses_are_listened_at_where_nothing_is_redirected() {
        let free = std::net::TcpListener::bind("127.0.0.7:0").unwrap().local_addr().unwrap();
        let mut arrivals = routed();
        arrivals.listen(&[free, free, "[fd00::7]:0".parse().unwrap()]);
        let Arrivals { network, descriptors } = arrivals;
        // The second of the same cannot be had; without IPv6 nothing needs to arrive by it.
        let NetworkTier::Routes(why) = &network.tier else { panic!("{network:?}") };
        assert!(why.starts_with(&format!("no nftables; listening at {free}: Address already in use")), "{why}");
        assert!(!why.contains("[fd00::7]:0") && network.sockets.len() <= 2, "{network:?}");
        std::net::TcpStream::connect(free).unwrap();
        assert_eq!(network.sockets.len(), descriptors.len());

        let mut redirected = routed();
        redirected.network.tier = NetworkTier::Redirect;
        redirected.listen(&[free]);
        assert!(redirected.descriptors.is_empty());
    }

    #[test]
    fn no_more_are_listened_at_than_can_be_handed_over() {
        let mut arrivals = routed();
        let any = vec!["127.0.0.8:0".parse().unwrap(); EnclosurePlan::MOST_LISTENERS + 2];
        arrivals.listen(&any);
        assert_eq!(arrivals.descriptors.len(), EnclosurePlan::MOST_LISTENERS);
        let wanted = NetworkTier::Routes("no nftables; 2 addresses more than can be listened at".to_owned());
        assert_eq!(arrivals.network.tier, wanted);
    }

    #[test]
    fn descriptors_are_sorted_by_what_they_are() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut network = routed().network;
        assert!(network.sort([]).is_none());
        network.sockets = vec![Socket::Tcp, Socket::Udp, Socket::Diag, Socket::Listeners, Socket::Tcp];
        let sorted = network.sort([file(), file(), file(), file(), file()]).unwrap();
        assert_eq!((sorted.tcp.len(), sorted.udp.len()), (2, 1));
    }
}
