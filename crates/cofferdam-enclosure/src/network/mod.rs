//! The network of an enclosure: there is none. What a program sends by TCP or asks of the DNS arrives at sockets of this
//! namespace, which the monitor gets; everything else has no route.
//!
//! Set up by init, which has the capabilities for it, beside the client's work. Nothing here keeps the boundary: the
//! namespace does, which has no interface but its loopback. Where a part is missing on this machine less arrives, and
//! nothing leaves either way.

mod netlink;
mod redirect;
mod routes;
mod sockets;

use std::fmt::Display;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

pub use sockets::Socket;

/// What arrives at the sockets. The texts say why it is not more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkTier {
    /// All TCP but loopback's, and DNS.
    Redirect,
    /// DNS. TCP finds a route but no listener: the connection is refused at once.
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
    /// Listeners that redirected connections arrive at.
    pub tcp: Vec<OwnedFd>,
    /// Datagram sockets on port 53 of every address, with `IP_PKTINFO` or `IPV6_RECVPKTINFO` set.
    pub udp: Vec<OwnedFd>,
    /// `NETLINK_SOCK_DIAG` (`sock_diag(7)`).
    pub diag: OwnedFd,
}

impl Network {
    /// Sorts the descriptors that came with it; `None` where there is nothing to serve.
    pub fn sort(&self, descriptors: impl IntoIterator<Item = OwnedFd>) -> Option<NetworkSockets> {
        let (mut tcp, mut udp, mut diag) = (Vec::new(), Vec::new(), None);
        for (socket, descriptor) in self.sockets.iter().zip(descriptors) {
            match socket {
                Socket::Tcp => tcp.push(descriptor),
                Socket::Udp => udp.push(descriptor),
                Socket::Diag => diag = Some(descriptor),
            }
        }
        Some(NetworkSockets { tcp, udp, diag: diag? })
    }
}

/// Sets everything up in this process's network namespace, whose loopback interface is up.
pub(crate) fn set_up() -> (Network, Vec<OwnedFd>) {
    let (tier, sockets) = match arrive() {
        Ok((tier, sockets)) => (tier, sockets),
        Err(why) => (NetworkTier::None(why), Vec::new()),
    };
    // sendto(2) with MSG_FASTOPEN connects as well, and is not notified.
    let fast_open = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "0").err();
    let (kinds, descriptors) = sockets.into_iter().unzip();
    let fast_open = fast_open.map(|e| format!("switching TCP Fast Open off: {e}"));
    (Network { tier, sockets: kinds, fast_open }, descriptors)
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
