//! What a program finds when it goes to the network.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::Check;

/// An address that documents are written with and nobody has (RFC 5737).
const NOBODYS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Addresses such as names are given inside (RFC 2544, RFC 4193).
const SYNTHETIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const SYNTHETIC_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc0ff, 0xee00, 0, 0, 0, 0, 1));
/// Port of the discard service.
const DISCARD: u16 = 9;
/// A port at which connections arrive only where all are redirected.
const OTHER: u16 = 8443;
const PATIENCE: Duration = Duration::from_secs(1);
/// What is answered without anybody being asked.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Datagrams have no way out, and their sender learns it.
pub fn datagrams() -> Check {
    let name = "UDP goes nowhere, and says so at once";
    let begun = Instant::now();
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(b"x", (NOBODYS, DISCARD)));
    match sent {
        Ok(_) => Check::new(name, false, "a datagram was taken"),
        Err(e) => {
            let at_once = begun.elapsed() < AT_ONCE;
            Check::new(name, at_once && e.kind() == ErrorKind::NetworkUnreachable, e.to_string())
        }
    }
}

/// Which connections arrive at the gateway.
pub fn arrives() -> Vec<Check> {
    [("TCP arrives at the gateway", SYNTHETIC), ("TCP over IPv6 arrives at the gateway", SYNTHETIC_6)]
        .map(|(name, address)| {
            let tried = TcpStream::connect_timeout(&SocketAddr::new(address, OTHER), PATIENCE);
            if address.is_ipv6() && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
                return Check::new(name, true, "this machine has no IPv6");
            }
            let mut check = Check::new(name, tried.is_ok(), told(&tried));
            check.fix = Some(
                "nothing leaves, and of what policy allows only some arrives (docs/network.md, known limits): the kernel needs nf_tables with NAT \
                 (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_REDIR; as root: modprobe nft_redir nft_chain_nat) and \
                 routing rules (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)"
                    .to_owned(),
            );
            check
        })
        .into()
}

fn told(tried: &io::Result<TcpStream>) -> String {
    match tried {
        Ok(_) => "redirected by nftables".to_owned(),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => "refused: only ports below 1024 that policy names (80 and 443 always), and others of hosts without `*`, arrive"
                .to_owned(),
        Err(e) => e.to_string(),
    }
}
