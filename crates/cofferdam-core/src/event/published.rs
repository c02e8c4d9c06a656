//! Ports of the enclosure that can be reached from the host.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Data of `net.published`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetPublished {
    /// The port of the enclosure's loopback.
    pub port: u16,
    /// Where the host listens.
    pub addresses: Vec<SocketAddr>,
    /// How it was asked for.
    pub by: PublishedBy,
    /// The uid of the person.
    pub uid: u32,
}

/// How a port was asked to be published. Nothing inside can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishedBy {
    /// `coffer run --publish`.
    CommandLine,
    /// `coffer publish`, while the run went on.
    Live,
}

/// Data of `net.unpublished`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetUnpublished {
    /// The port of the enclosure's loopback.
    pub port: u16,
    /// Where the host listened.
    pub addresses: Vec<SocketAddr>,
    /// Connections from outside that were taken.
    pub connections: u64,
    /// Those of them that were reset, for nothing listened inside.
    pub unanswered: u64,
    /// Bytes that the enclosure sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// Connections whose end was not seen, for the gateway died: their bytes are not counted.
    #[serde(default)]
    pub lost: u64,
    /// What ended it.
    pub by: UnpublishedBy,
}

/// What ended the publishing of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnpublishedBy {
    /// The person, while the run went on.
    Person,
    /// The end of the run.
    RunEnd,
    /// The gateway, which could not be kept.
    Failure,
}
