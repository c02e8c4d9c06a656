//! Why nothing was connected to.

use std::io;
use std::net::IpAddr;

use cofferdam_core::event::RuleRef;
use cofferdam_exchange::Refusal;
use cofferdam_policy::Rule;

use crate::Place;

/// No connection outside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name leads to an address that the rule does not name.
    #[error("{0} is {class}, which its rule does not name", class = super::addresses::describe(*.0))]
    Forbidden(IpAddr),
    /// No address.
    #[error("the name does not resolve: {0}")]
    NotFound(String),
    /// Nothing listens there.
    #[error("the connection was refused")]
    Refused,
    /// Nothing answered in time.
    #[error("nothing answered within {} seconds", super::dial::TIMEOUT.as_secs())]
    Timeout,
    /// Something else.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The host's proxy did not connect.
    #[error("the host's proxy does not connect: {0}")]
    Proxy(String),
}

impl ConnectError {
    /// As a refusal, where it is one and no failure: then `net.denied` is recorded, and the program gets a 403.
    pub(crate) fn refusal(&self, place: &Place, rule: &Rule) -> Option<Refusal> {
        let ConnectError::Forbidden(address) = self else { return None };
        let detail = format!(
            "{} leads to {address}: that is {}. A rule must name such addresses: addresses = [\"{address}\"]",
            place.host,
            super::addresses::describe(*address)
        );
        let rule = Some(RuleRef::from(&rule.id));
        Some(Refusal { reason: "forbidden-address".to_owned(), detail, rule, allow: None })
    }
}
