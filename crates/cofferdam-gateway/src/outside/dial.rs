//! Connecting.

use std::error::Error as _;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use cofferdam_policy::Rule;
use cofferdam_policy::host::{HOST_SERVICES, in_authority};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::time::timeout;
use tower_service::Service;

use super::{ConnectError, Outgoing, Outside, addresses};
use crate::Place;

/// How long all of it may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses that were checked, as a resolver: the connector never sees others.
#[derive(Clone)]
struct Checked(Vec<SocketAddr>);

impl Service<Name> for Checked {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(self.0.clone().into_iter()))
    }
}

pub(super) async fn connect(outside: &Outside, place: &Place, rule: &Rule) -> Result<Outgoing, ConnectError> {
    timeout(TIMEOUT, dial(outside, place, rule)).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn dial(outside: &Outside, place: &Place, rule: &Rule) -> Result<Outgoing, ConnectError> {
    if place.host == HOST_SERVICES {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        // What is said of the first counts: most machines have nothing on the second.
        return match reach(&loopback[..1], place.port).await {
            Ok(outgoing) => Ok(outgoing),
            Err(first) => reach(&loopback[1..], place.port).await.map_err(|_| first),
        };
    }
    let literal = place.host.parse::<IpAddr>().ok();
    if let Some(address) = literal.filter(|address| !addresses::admitted(*address, rule)) {
        return Err(ConnectError::Forbidden(address));
    }
    if let Some(proxy) = &outside.proxy
        && let Some(way) = proxy.way(place)
    {
        return way.connect(place).await;
    }
    let found = match literal {
        Some(address) => vec![address],
        None => outside.cache.addresses(&place.host).await.map_err(ConnectError::NotFound)?,
    };
    let (admitted, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| addresses::admitted(*a, rule));
    match others.first() {
        Some(address) if admitted.is_empty() => Err(ConnectError::Forbidden(*address)),
        _ => reach(&admitted, place.port).await,
    }
}

/// Connects to the first of these addresses that answers, both families side by side (RFC 8305).
async fn reach(admitted: &[IpAddr], port: u16) -> Result<Outgoing, ConnectError> {
    let resolver = Checked(admitted.iter().map(|address| SocketAddr::new(*address, port)).collect());
    let mut connector = HttpConnector::new_with_resolver(resolver);
    prepare(&mut connector);
    // No address: the resolver is asked, whatever the name.
    let uri = uri("http", "checked", port)?;
    let stream = connector.call(uri).await.map_err(|e| failed(e.source()))?.into_inner();
    let address = stream.peer_addr().map_err(ConnectError::Io)?;
    // The kernel can be told to lead connections elsewhere, and a new address of this machine may have come up since.
    if !admitted.contains(&address.ip()) {
        return Err(ConnectError::Forbidden(address.ip()));
    }
    Ok(Outgoing { stream, address })
}

/// What every connector is set to.
pub(super) fn prepare<R>(connector: &mut HttpConnector<R>) {
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(TIMEOUT));
}

/// A URI of a host and a port.
pub(super) fn uri(scheme: &str, host: &str, port: u16) -> Result<Uri, ConnectError> {
    let built =
        Uri::builder().scheme(scheme).authority(format!("{}:{port}", in_authority(host))).path_and_query("/").build();
    built.map_err(|e| ConnectError::Io(io::Error::new(io::ErrorKind::InvalidInput, e)))
}

/// An error of a connector, by the system's error beneath it.
pub(super) fn failed(mut error: Option<&(dyn std::error::Error + 'static)>) -> ConnectError {
    while let Some(e) = error {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::ConnectionRefused => ConnectError::Refused,
                io::ErrorKind::TimedOut => ConnectError::Timeout,
                // An error is not to be had twice: its number or its words are.
                _ => ConnectError::Io(
                    io.raw_os_error().map_or_else(|| io::Error::other(io.to_string()), io::Error::from_raw_os_error),
                ),
            };
        }
        error = e.source();
    }
    ConnectError::Io(io::Error::other("no address could be connected to"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use cofferdam_exchange::Waiting;
    use tokio::net::TcpListener;

    use super::super::cache::{Cache, Lookup};
    use super::*;
    use crate::testing::rule;

    struct Table(HashMap<&'static str, Vec<IpAddr>>);

    impl Lookup for Table {
        fn lookup<'a>(&'a self, name: &'a str) -> Waiting<'a, io::Result<Vec<IpAddr>>> {
            Box::pin(async move { self.0.get(name).cloned().ok_or_else(|| io::Error::other("no such host")) })
        }
    }

    fn outside(names: &[(&'static str, &[&str])]) -> Outside {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let table = names.iter().map(|(name, list)| (*name, parse(list))).collect();
        Outside { cache: Cache::new(Table(table)), proxy: None }
    }

    fn place(host: &str, port: u16) -> Place {
        Place { host: host.to_owned(), port }
    }

    #[tokio::test]
    async fn what_a_name_leads_to_is_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let outside = outside(&[
            ("loop.example", &["127.0.0.1"]),
            ("mapped.example", &["::ffff:127.0.0.1"]),
            ("mixed.example", &["10.0.0.1", "127.0.0.1"]),
            ("rebound.example", &["169.254.169.254"]),
        ]);
        for name in ["loop.example", "mapped.example", "rebound.example", "mixed.example"] {
            let plain = rule(name, "");
            let error = outside.connect(&place(name, port), &plain).await.unwrap_err();
            let refusal = error.refusal(&place(name, port), &plain).unwrap();
            assert_eq!((refusal.reason.as_str(), refusal.rule.unwrap().line), ("forbidden-address", 2), "{name}");
            assert!(refusal.detail.starts_with(&format!("{name} leads to ")), "{}", refusal.detail);
        }
        let names = rule("mixed.example", "addresses = [\"127.0.0.0/8\"]");
        let outgoing = outside.connect(&place("mixed.example", port), &names).await.unwrap();
        assert_eq!(outgoing.address, listener.local_addr().unwrap());
        assert!(outgoing.stream.nodelay().unwrap());
        let direct = rule("10.9.8.7", "");
        let error = outside.connect(&place("10.9.8.6", port), &direct).await.unwrap_err();
        assert!(matches!(error, ConnectError::Forbidden(_)));
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let outside = outside(&[("loop.example", &["127.0.0.1"])]);
        let names = rule("loop.example", "addresses = [\"127.0.0.1\"]");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = outside.connect(&place("loop.example", closed), &names).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused), "{error}");
        assert!(error.refusal(&place("loop.example", closed), &names).is_none());
        let error = outside.connect(&place("none.example", 1), &rule("none.example", "")).await.unwrap_err();
        assert_eq!(error.to_string(), "the name does not resolve: no such host");
    }

    #[tokio::test]
    async fn services_of_this_machine_are_reached_on_loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let outside = outside(&[]);
        let own = rule("host.cofferdam", &format!("port = {port}"));
        assert_eq!(outside.connect(&place("host.cofferdam", port), &own).await.unwrap().address.port(), port);
        drop(listener);
        let error = outside.connect(&place("host.cofferdam", port), &own).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused), "{error}");
    }

    #[tokio::test]
    async fn another_family_is_tried_where_one_does_not_answer() {
        // Nothing answers at the documentation prefix, or there is no route to it.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = outside(&[("both.example", &["2001:db8::1", "127.0.0.1"])]);
        let names = rule("both.example", "addresses = [\"127.0.0.1\"]");
        let port = listener.local_addr().unwrap().port();
        let outgoing = outside.connect(&place("both.example", port), &names).await.unwrap();
        assert!(outgoing.address.is_ipv4());
    }
}
