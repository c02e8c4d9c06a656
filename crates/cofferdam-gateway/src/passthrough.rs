//! TLS that passes through: only the name in the ClientHello is seen (RFC 6066, section 3).

use std::io::{self, Read};
use std::time::Duration;

use cofferdam_core::event::{Mediation, RuleRef};
use cofferdam_exchange::Refusal;
use cofferdam_policy::Rule;
use cofferdam_policy::host::Host;
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::room::Seat;
use crate::{Connection, Gateway, Place, refuse, relay};

/// Most bytes that a ClientHello may have.
const LARGEST: usize = 16 * 1024;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a ClientHello says.
#[derive(Debug, PartialEq, Eq)]
enum Hello {
    /// This name, if any.
    Name(Option<String>),
    /// It is none.
    None(String),
}

/// Relays a connection whose ClientHello names the place.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn serve(
    gateway: &Gateway,
    mut stream: TcpStream,
    place: &Place,
    connection: &Connection,
    rule: &Rule,
    seat: &Seat,
) -> io::Result<()> {
    let mut first = Vec::new();
    let said = timeout(PATIENCE, hello(&mut stream, &mut first)).await;
    seat.is_served();
    let why = match said {
        Ok(Ok(Hello::Name(Some(name)))) if is_same(&name, &place.host) => {
            return relay::serve(gateway, stream, place, connection, rule, Mediation::Passthrough, &first).await;
        }
        Ok(Ok(Hello::Name(Some(name)))) => format!("the ClientHello names {name}"),
        Ok(Ok(Hello::Name(None))) => "the ClientHello names no server".to_owned(),
        Ok(Ok(Hello::None(why))) => format!("this is no TLS: {why}"),
        // It has gone, or says nothing: there is nothing to refuse.
        Ok(Err(_)) | Err(_) => {
            refuse::reset(stream);
            return Ok(());
        }
    };
    let detail = format!("the rule passes TLS to {} through, but {why}", place.host);
    let why = Refusal { rule: Some(RuleRef::from(&rule.id)), ..Refusal::new("mismatch", detail) };
    refuse::refuse(gateway, stream, place, connection, "https", why).await
}

/// Whether two spellings are one host's.
pub(crate) fn is_same(name: &str, host: &str) -> bool {
    matches!((Host::parse(name), Host::parse(host)), (Ok(name), Ok(host)) if name == host)
}

/// Reads a ClientHello into `first`.
async fn hello(stream: &mut TcpStream, first: &mut Vec<u8>) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    loop {
        let seen = first.len();
        if stream.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut new = &first[seen..];
        while !new.is_empty() {
            // Into memory: it does not fail.
            acceptor.read_tls(&mut new as &mut dyn Read)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(Hello::Name(accepted.client_hello().server_name().map(str::to_owned)));
                }
                Err((e, _)) => return Ok(Hello::None(e.to_string())),
            }
        }
        if first.len() > LARGEST {
            return Ok(Hello::None(format!("it has more than {LARGEST} bytes")));
        }
    }
}
