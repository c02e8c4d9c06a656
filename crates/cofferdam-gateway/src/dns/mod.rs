//! The resolver inside: answers from the table of names, and asks nobody.

mod message;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use cofferdam_core::event::{EventKind, NetLookup};
use cofferdam_sys::packet_info;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::error::GatewayError;
use crate::names::Synthetic;
use crate::room::Seat;
use crate::{Connection, Gateway};
use message::{Found, Limit};

/// Most bytes of a query that is read: none has more, whatever EDNS allows answers to have.
const QUERY: usize = 4096;
/// How long a connection may bring no query (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// Names of machines that stand for us.
const OURS: &[&str] = &["host.cofferdam", "why.cofferdam"];
/// Names that no public resolver answers (RFC 6761, RFC 6762, RFC 7686), as suffixes.
const SPECIAL: &[&str] = &["localhost", "local", "arpa", "invalid", "onion", "cofferdam"];

/// Serves a datagram socket.
///
/// # Errors
/// Where the monitor is gone, or the socket.
pub(crate) async fn serve(gateway: Rc<Gateway>, socket: UdpSocket) -> Result<(), GatewayError> {
    let mut buffer = [0u8; QUERY];
    loop {
        let received = socket.async_io(Interest::READABLE, || packet_info::receive(socket.as_fd(), &mut buffer)).await;
        let (length, ends) = match received {
            Ok(received) => received,
            // The fate of an earlier answer.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(e) if e.kind() == io::ErrorKind::InvalidData => continue,
            Err(e) => return Err(GatewayError::Socket(e)),
        };
        let Some(query) = buffer.get(..length) else { continue }; // cut: no query is so long
        let local = ends.local.map(|ip| SocketAddr::new(ip, 53));
        let owner = || local.and_then(|local| gateway.owners.of_datagram(ends.peer, local));
        let Some(answer) = answer(&gateway, query, Limit::Datagram, owner).await.map_err(GatewayError::Monitor)? else {
            continue;
        };
        // Whoever asked may be gone.
        let _ = socket.async_io(Interest::WRITABLE, || packet_info::send(socket.as_fd(), &answer, &ends)).await;
    }
}

/// Serves a connection to port 53: any number of queries, each after its length (RFC 7766, section 8).
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn serve_stream(
    gateway: &Gateway,
    mut stream: TcpStream,
    connection: Connection,
    seat: &Seat,
) -> io::Result<()> {
    // It may be told to leave between its queries, not while one is being recorded.
    seat.has_requests(|| false);
    let mut query = Vec::new();
    loop {
        let read = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            if length > QUERY {
                return Err(io::ErrorKind::InvalidData.into());
            }
            query.resize(length, 0);
            stream.read_exact(&mut query).await
        });
        // The end, nothing for long, or too much.
        let read = tokio::select! {
            read = read => read,
            () = seat.left() => return Ok(()),
        };
        let Ok(Ok(_)) = read else { return Ok(()) };
        let Some(answer) = answer(gateway, &query, Limit::Stream, || connection.owner).await? else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        // Who does not read gets no more answers.
        let Ok(Ok(())) = timeout(IDLE, stream.write_all(&framed)).await else { return Ok(()) };
    }
}

/// Answers a query; `None` where what came is none. A name's first look-up is recorded before it is answered.
async fn answer(
    gateway: &Gateway,
    query: &[u8],
    limit: Limit,
    owner: impl FnOnce() -> Option<u64>,
) -> io::Result<Option<Vec<u8>>> {
    let mut first = None;
    let answer = message::respond(query, limit, |name| {
        let Some(name) = known(name) else { return Found::Nothing };
        match gateway.names.borrow_mut().look_up(&name) {
            None => Found::Busy,
            Some((synthetic, new)) => {
                if new {
                    first = Some(name);
                }
                addresses(synthetic)
            }
        }
    });
    if let Some(name) = first {
        let policy = gateway.policy();
        let now = cofferdam_core::Timestamp::now();
        let allowed = policy.may_any(&name, now);
        let purposes = policy.purposes(&name, now);
        let lookup = EventKind::NetLookup(NetLookup { name, allowed, purposes });
        gateway.ledger.record(owner(), lookup).await?;
    }
    Ok(answer)
}

fn addresses(synthetic: Synthetic) -> Found {
    Found::Addresses(synthetic.v4, synthetic.v6)
}

/// The name in the form that policy compares, where programs may look it up at all.
fn known(name: &str) -> Option<String> {
    let cofferdam_policy::host::Host::Name(name) = cofferdam_policy::host::Host::parse(name).ok()? else {
        return None;
    };
    let (_, last) = name.rsplit_once('.')?;
    (OURS.contains(&&*name) || !SPECIAL.contains(&last)).then(|| name.into_owned())
}

/// What a datagram, or a message of a stream, is answered; `find` is the table of names.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn respond(
    query: &[u8],
    stream: bool,
    find: impl FnOnce(&str) -> Option<(Synthetic, bool)>,
) -> Option<Vec<u8>> {
    let limit = if stream { Limit::Stream } else { Limit::Datagram };
    message::respond(query, limit, |name| match known(name) {
        None => Found::Nothing,
        Some(name) => find(&name).map_or(Found::Busy, |(synthetic, _)| addresses(synthetic)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_could_be_hosts_elsewhere_are_known() {
        for name in
            ["Example.COM", "example.com.", "host.cofferdam", "why.cofferdam", "a.test", "xn--bcher-kva.example"]
        {
            assert!(known(name).is_some(), "{name}");
        }
        for name in [
            "intranet",
            "localhost",
            "a.localhost",
            "printer.local",
            "1.0.0.127.in-addr.arpa",
            "x.invalid",
            "x.onion",
            "other.cofferdam",
            "cofferdam",
            "192.0.2.1",
            "0x7f.1",
            ".",
            "",
            "a..b",
        ] {
            assert_eq!(known(name), None, "{name}");
        }
        assert_eq!(known("Example.COM.").as_deref(), Some("example.com"));
    }
}
