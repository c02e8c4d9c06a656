//! TLS that passes through: only the name in the ClientHello is seen (RFC 6066, section 3), in both of them where the
//! server asks for another (RFC 8446, section 4.1.4).

use std::io::{self, Read};
use std::time::Duration;

use cofferdam_core::event::RuleRef;
use cofferdam_exchange::Refusal;
use cofferdam_policy::Rule;
use cofferdam_policy::host::Host;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::relay::Counts;
use crate::room::Seat;
use crate::{Connection, Gateway, Place, refuse, relay};

/// Most bytes that a ClientHello may have.
const LARGEST: usize = 16 * 1024;
/// The type of a record that holds a handshake, and most bytes of a record with its header (RFC 8446, sections 5.1, 5.2).
const HANDSHAKE: u8 = 22;
const RECORD: usize = 5 + 16_384 + 256;
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

/// What a program has said of TLS that passes through.
pub(crate) struct Begun {
    /// The records of its ClientHello.
    pub(crate) hello: Vec<u8>,
    /// What came with it.
    pub(crate) rest: Vec<u8>,
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
        Ok(Ok(Hello::Name(Some(name)))) if is_same(&name, &place.host) => match end(&first) {
            Some(end) => {
                let rest = first.split_off(end);
                return relay::serve(gateway, stream, place, connection, rule, Some(Begun { hello: first, rest }))
                    .await;
            }
            None => "its record holds more than a ClientHello".to_owned(),
        },
        Ok(Ok(Hello::Name(Some(name)))) => format!("the ClientHello names {name}"),
        Ok(Ok(Hello::Name(None))) => "the ClientHello names no server".to_owned(),
        Ok(Ok(Hello::None(why))) => format!("this is no TLS: {why}"),
        // It has gone, or says nothing: there is nothing to refuse.
        Ok(Err(_)) | Err(_) => {
            refuse::reset(stream);
            return Ok(());
        }
    };
    refuse::refuse(gateway, stream, place, connection, "https", mismatch(place, rule, &why)).await
}

/// The refusal of a connection whose ClientHello is not for its place.
pub(crate) fn mismatch(place: &Place, rule: &Rule, why: &str) -> Refusal {
    let detail = format!("the rule passes TLS to {} through, but {why}", place.host);
    Refusal { rule: Some(RuleRef::from(&rule.id)), ..Refusal::new("mismatch", detail) }
}

/// Whether a server asked for a second ClientHello, and what that named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retried {
    /// It did not.
    No,
    /// The same host. It was passed on.
    Same,
    /// Something else, for this reason. It was not passed on.
    Otherwise(String),
}

/// Passes a ClientHello on, waits for a server's first words, and where they ask for another ClientHello, for that: servers
/// may go by the name in the second. Until then nothing but the first is passed on, not what came with it: a server that
/// has a whole ClientHello answers without more.
///
/// # Errors
/// Where either end fails.
pub(crate) async fn begin(
    program: &mut TcpStream,
    server: &mut TcpStream,
    host: &str,
    begun: Begun,
    counts: &Counts,
) -> io::Result<Retried> {
    let Begun { hello, mut rest } = begun;
    pass(&hello, server, counts).await?;
    let asks = tokio::select! {
        asks = asks_again(server) => asks?,
        error = gone(program) => return Err(error),
    };
    if !asks {
        pass(&rest, server, counts).await?;
        return Ok(Retried::No);
    }
    let mut from_server = Vec::new();
    loop {
        if let Some(judged) = second(&mut rest, server, host, counts).await? {
            return Ok(judged);
        }
        let read = tokio::select! {
            read = server.read_buf(&mut from_server) => read?,
            read = program.read_buf(&mut rest) => read?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        program.write_all(&from_server).await?;
        counts.received.add(from_server.len());
        from_server.clear();
    }
}

/// Judges the second ClientHello, and passes it on with what stands before it; `None` where more must come.
async fn second(
    rest: &mut Vec<u8>,
    server: &mut TcpStream,
    host: &str,
    counts: &Counts,
) -> io::Result<Option<Retried>> {
    // A change of cipher for middleboxes, early data (RFC 8446, section 4.2.10).
    while rest.first().is_some_and(|kind| *kind != HANDSHAKE)
        && let Some(record) = complete(rest)
    {
        pass(&rest[..record], server, counts).await?;
        rest.drain(..record);
    }
    let why = match rest.first() {
        Some(&HANDSHAKE) => match named(rest) {
            Some(Hello::Name(Some(name))) if is_same(&name, host) => {
                pass(rest, server, counts).await?;
                return Ok(Some(Retried::Same));
            }
            Some(Hello::Name(Some(name))) => format!("the second ClientHello names {name}"),
            Some(Hello::Name(None)) => "the second ClientHello names no server".to_owned(),
            Some(Hello::None(why)) => format!("the second ClientHello is none: {why}"),
            None if rest.len() <= LARGEST => return Ok(None),
            None => format!("the second ClientHello has more than {LARGEST} bytes"),
        },
        _ if rest.len() <= RECORD => return Ok(None),
        _ => "the second ClientHello does not come".to_owned(),
    };
    Ok(Some(Retried::Otherwise(why)))
}

async fn pass(bytes: &[u8], server: &mut TcpStream, counts: &Counts) -> io::Result<()> {
    server.write_all(bytes).await?;
    counts.sent.add(bytes.len());
    Ok(())
}

/// Whether a server's first words are a HelloRetryRequest: a ServerHello with this random (RFC 8446, section 4.1.3).
async fn asks_again(server: &TcpStream) -> io::Result<bool> {
    const RETRY: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2,
        0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ];
    // The headers of a record and of a message, and a version stand before it.
    let mut words = [0; 5 + 4 + 2 + RETRY.len()];
    loop {
        let length = server.peek(&mut words).await?;
        let is_hello = words[..length].iter().zip([HANDSHAKE, 3]).all(|(byte, expected)| *byte == expected);
        if length == 0 || !is_hello {
            return Ok(false);
        }
        if length == words.len() {
            return Ok(words[5] == 2 && words[11..] == RETRY);
        }
        // The rest comes with it. One who ends here is found by the relay.
        if !more(server, length).await? {
            return Ok(false);
        }
    }
}

/// Waits until more than `length` bytes are there; whether they will be.
async fn more(stream: &TcpStream, length: usize) -> io::Result<bool> {
    let mut words = vec![0; length + 1];
    let waits = async {
        while stream.peek(&mut words).await? <= length {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(true)
    };
    timeout(PATIENCE, waits).await.unwrap_or(Ok(false))
}

/// Waits until a program is gone, for this reason.
async fn gone(program: &TcpStream) -> io::Error {
    match program.ready(Interest::ERROR).await {
        Ok(_) => program.take_error().ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        Err(error) => error,
    }
}

/// Where the records of a ClientHello end; `None` where the last holds more (RFC 8446, section 5.1: no message may follow
/// in it, for keys change).
fn end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut held) = (0, Vec::new());
    loop {
        let record = at + complete(&bytes[at..])?;
        held.extend_from_slice(&bytes[at + 5..record]);
        at = record;
        // A message's header: its type, and its length in three bytes (section 4).
        let Some([_, a, b, c]) = held.first_chunk() else { continue };
        let message = 4 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
        if held.len() >= message {
            return (held.len() == message).then_some(at);
        }
    }
}

/// The length of the record (RFC 8446, section 5.1) that these bytes begin with, where it is there as a whole.
fn complete(bytes: &[u8]) -> Option<usize> {
    let length = 5 + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]));
    (bytes.len() >= length).then_some(length)
}

/// What these bytes say as a ClientHello; `None` where more are needed.
fn named(bytes: &[u8]) -> Option<Hello> {
    let (mut acceptor, mut rest) = (Acceptor::default(), bytes);
    while !rest.is_empty() {
        // Into memory, of what is a hello's size: it does not fail.
        acceptor.read_tls(&mut rest as &mut dyn Read).ok()?;
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Some(Hello::Name(accepted.client_hello().server_name().map(str::to_owned))),
            Err((e, _)) => return Some(Hello::None(e.to_string())),
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_hello_ends() {
        let record = |body: &[u8]| [&[HANDSHAKE, 3, 1][..], &(body.len() as u16).to_be_bytes(), body].concat();
        let message = [1, 0, 0, 3, 7, 7, 7];
        assert_eq!(end(&record(&message)), Some(12));
        let cut = [record(&message[..2]), record(&message[2..])].concat();
        assert_eq!(end(&cut), Some(cut.len()));
        // What follows in another record is no part of it; what follows in the same must not.
        assert_eq!(end(&[record(&message), record(&message)].concat()), Some(12));
        assert_eq!(end(&record(&[&message[..], &message].concat())), None);
        assert_eq!(end(&cut[..cut.len() - 1]), None);
    }
}
