//! Connections that are refused without a word in them, because what they speak has none: recorded, then reset.

use std::io;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EventKind, NetDenied};
use cofferdam_exchange::Refusal;
use cofferdam_policy::{Request, Scheme};
use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;

use crate::http::by_policy;
use crate::{Connection, Gateway, Place};

/// Resets it: the program hears at once that there is nothing.
pub(crate) fn reset(stream: TcpStream) {
    // Where this fails it is closed in the ordinary way.
    let _ = set_socket_linger(&stream, Some(std::time::Duration::ZERO));
    drop(stream);
}

/// Refuses what policy does not allow to be relayed.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn tcp(
    gateway: &Gateway,
    stream: TcpStream,
    place: &Place,
    connection: &Connection,
) -> io::Result<()> {
    refuse(gateway, stream, place, connection, "tcp", of_policy(gateway, place)).await
}

/// Refuses what is no HTTP, where only requests are allowed.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn not_http(
    gateway: &Gateway,
    stream: TcpStream,
    place: &Place,
    connection: &Connection,
) -> io::Result<()> {
    let why = Refusal {
        reason: "not-http".to_owned(),
        detail: "the rules for this host allow requests of HTTP, and this is something else".to_owned(),
        ..of_policy(gateway, place)
    };
    refuse(gateway, stream, place, connection, "tcp", why).await
}

/// Refuses an address that no look-up of this run gave.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn direct(
    gateway: &Gateway,
    stream: TcpStream,
    place: &Place,
    connection: &Connection,
) -> io::Result<()> {
    let why = Refusal::new("direct-address", "no look-up gave this address: look the name up again");
    refuse(gateway, stream, place, connection, "tcp", why).await
}

/// What policy says of a connection that speaks no HTTP.
fn of_policy(gateway: &Gateway, Place { host, port }: &Place) -> Refusal {
    let asked = Request { scheme: Scheme::Tcp, host, port: *port, method: None, path: None, now: Timestamp::now() };
    by_policy(&gateway.policy(), &asked)
}

/// Refuses a whole connection: records it, then resets it.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn refuse(
    gateway: &Gateway,
    stream: TcpStream,
    place: &Place,
    connection: &Connection,
    scheme: &str,
    why: Refusal,
) -> io::Result<()> {
    let denied = NetDenied {
        host: place.host.clone(),
        port: place.port,
        scheme: scheme.to_owned(),
        method: None,
        path: None,
        reason: why.reason,
        detail: why.detail,
        rule: why.rule,
        allow: why.allow,
        connection: Some(connection.number),
    };
    gateway.record(connection, EventKind::NetDenied(denied)).await?;
    reset(stream);
    Ok(())
}
