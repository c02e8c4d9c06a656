//! Connections that are refused without a word in them, because what they speak has none: recorded, then reset.

use std::io;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EventKind, NetDenied, RuleRef};
use cofferdam_policy::{Request, Scheme, explain};
use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;

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
    let policy = gateway.policy();
    let Place { host, port } = place;
    let asked =
        Request { scheme: Scheme::Tcp, host, port: *port, method: None, path: None, now: Timestamp::now() };
    let explanation = explain(&policy, &asked);
    let rule = explanation.decision.rule.or(explanation.near.first().map(|near| near.rule));
    let mut detail = explanation.decision.reason.to_string();
    if let Some(near) = explanation.near.first() {
        detail.push_str(&format!(" (nearest: {}: {})", near.rule.id, near.differs.join("; ")));
    }
    let written = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let denied = NetDenied {
        host: host.clone(),
        port: *port,
        scheme: "tcp".to_owned(),
        method: None,
        path: None,
        reason: explanation.decision.reason.as_str().to_owned(),
        detail,
        rule: rule.map(|rule| RuleRef::from(&rule.id)),
        allow: explanation.rule.map(|_| format!("coffer run --allow {written}:{port} --purpose \"…\"")),
        connection: Some(connection.number),
    };
    gateway.record(connection, EventKind::NetDenied(denied)).await?;
    reset(stream);
    Ok(())
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
    let denied = NetDenied {
        host: place.host.clone(),
        port: place.port,
        scheme: "tcp".to_owned(),
        method: None,
        path: None,
        reason: "direct-address".to_owned(),
        detail: "no look-up gave this address: look the name up again".to_owned(),
        rule: None,
        allow: None,
        connection: Some(connection.number),
    };
    gateway.record(connection, EventKind::NetDenied(denied)).await?;
    reset(stream);
    Ok(())
}
