//! The way out: names are resolved and connections made here, and nowhere else.

mod addresses;
mod cache;
mod dial;
mod error;
mod proxy;

use std::net::SocketAddr;

use cofferdam_policy::Rule;
use tokio::net::TcpStream;

pub(crate) use error::ConnectError;

use crate::Place;
use crate::error::GatewayError;

/// What connects outside.
pub(crate) struct Outside {
    cache: cache::Cache,
    proxy: Option<proxy::Proxy>,
}

/// A connection outside.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The connection; `TCP_NODELAY` is set.
    pub stream: TcpStream,
    /// What is connected to: the server, or the host's proxy.
    pub address: SocketAddr,
}

impl Outside {
    /// With the host's proxy, if any, as `Settings::proxy` has it.
    ///
    /// # Errors
    /// Where a proxy is named that cannot be used.
    pub(crate) fn new(proxy: &[String]) -> Result<Outside, GatewayError> {
        Ok(Outside { cache: cache::Cache::new(cache::System), proxy: proxy::Proxy::new(proxy)? })
    }

    /// Connects to a place that a rule allows, within 10 seconds.
    ///
    /// Without a proxy the address that is connected to was checked: special addresses are refused unless the rule names
    /// them. **With a proxy neither is true**: the name is the proxy's to resolve, and what address that gives cannot be
    /// seen; only a place that is itself an address is checked.
    ///
    /// # Errors
    /// Where the name does not resolve, leads to a forbidden address, or nothing answers there.
    pub(crate) async fn connect(&self, place: &Place, rule: &Rule) -> Result<Outgoing, ConnectError> {
        dial::connect(self, place, rule).await
    }
}
