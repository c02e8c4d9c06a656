//! What HTTP needs of the gateway that it serves in, so that it can be tested without one.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use cofferdam_exchange::{Interceptor, Refusal, Waiting};
use cofferdam_policy::host::in_authority;
use cofferdam_policy::{Policy, Rule};

use super::whole::Bodies;
use crate::outside::Outgoing;
use crate::tls::{Leaves, Servers};
use crate::{Place, Say};

/// The gateway.
pub(crate) trait Services {
    /// The rules that apply now.
    fn policy(&self) -> Rc<Policy>;
    /// Who sees requests, in order.
    fn interceptors(&self) -> &[Box<dyn Interceptor>];
    /// Room for bodies that are held as a whole.
    fn bodies(&self) -> &Bodies;
    /// Certificates towards programs.
    fn leaves(&self) -> &Leaves;
    /// TLS towards servers.
    fn servers(&self) -> &Servers;
    /// Connects outside to a place that this rule allows.
    fn connect<'a>(&'a self, place: &'a Place, rule: &'a Rule) -> Waiting<'a, Result<Outgoing, Unreachable>>;
    /// Tells the monitor, and waits until it has room for it.
    fn say<'a>(&'a self, what: &'a Say, files: &'a [OwnedFd]) -> Waiting<'a, io::Result<()>>;
}

/// No connection outside, or no answer from there.
#[derive(Debug)]
pub(crate) enum Unreachable {
    /// It must not be had.
    Refused(Refusal),
    /// Nothing answered in time.
    Timeout(String),
    /// It cannot be had; why, in words.
    Failed(String),
}

impl From<io::Error> for Unreachable {
    fn from(error: io::Error) -> Unreachable {
        Unreachable::Failed(format!("it cannot be recorded: {error}"))
    }
}

/// The host as it stands in an authority: IPv6 in brackets (RFC 3986, section 3.2.2), the port where it is not the
/// scheme's.
pub(crate) fn authority(place: &Place, tls: bool) -> String {
    let host = in_authority(&place.host);
    let usual = if tls { 443 } else { 80 };
    if place.port == usual { host.into_owned() } else { format!("{host}:{}", place.port) }
}
