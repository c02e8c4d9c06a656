//! What a gateway is given at its birth.

use std::os::fd::OwnedFd;

use cofferdam_core::{Bytes, RunId};
use cofferdam_policy::Rule;
use serde::{Deserialize, Serialize};

use crate::Authority;

/// What it is to know; travels in a memory file, for it holds keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The run.
    pub run: RunId,
    /// Names that have addresses from the start, at the places of [`crate::first_addresses`].
    pub names: Vec<String>,
    /// What the gateways that the run had before gave out.
    pub before: Before,
    /// The rules of policy, in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// What certificates inside are signed by.
    pub authority: Authority,
    /// Files of PEM certificates on the host by which servers are verified; read before confinement.
    pub roots: Vec<Bytes>,
    /// The host's own way out (`https_proxy=…` and its like, names in lower case). May hold a password.
    pub proxy: Vec<String>,
}

/// What earlier gateways of a run gave out: none of it comes to mean something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The largest number of a connection.
    pub connections: u64,
    /// How many names have addresses. Programs may keep those.
    pub names: u64,
}

/// The sockets that lie in the enclosure's network namespace. All are non-blocking.
#[derive(Debug)]
pub struct Sockets {
    /// Listeners that redirected connections arrive at.
    pub tcp: Vec<OwnedFd>,
    /// Datagram sockets on port 53 of every address, with `IP_PKTINFO` or `IPV6_RECVPKTINFO` set.
    pub udp: Vec<OwnedFd>,
    /// `NETLINK_SOCK_DIAG` (`sock_diag(7)`), to ask whose connection it is.
    pub diag: OwnedFd,
}
