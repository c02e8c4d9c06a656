//! What a connection speaks, and who serves it therefore.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use cofferdam_core::Timestamp;
use cofferdam_policy::rule::Tls;
use cofferdam_policy::{Policy, Request, Scheme};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::{Connection, Gateway, Place, http, passthrough, refuse, relay};

/// How long a program may be silent where the server may be the one to speak first.
const SERVER_FIRST: Duration = Duration::from_millis(200);
/// How long it may be silent where nothing is allowed: after that it is refused, whatever it would have said.
const REFUSED: Duration = Duration::from_millis(300);
/// How long it may be silent otherwise: programs connect ahead of need.
const SILENT: Duration = Duration::from_secs(300);
/// How long the beginning of a word may stay one.
const WORD: Duration = Duration::from_millis(300);
/// Longest beginning that is looked at: the longest method of RFC 9110 and RFC 5789, and the preface of HTTP/2
/// (RFC 9113, section 3.4), with the space after it.
const BEGINNING: usize = 8;
const METHODS: &[&str] =
    &["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI * HT"];

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    /// HTTP, or a TLS record of a handshake.
    Http,
    /// Something else.
    Other,
    /// Not enough bytes yet.
    Unclear,
}

/// Serves a connection to its end.
///
/// # Errors
/// Where the monitor is gone.
pub(crate) async fn serve(
    gateway: &Rc<Gateway>,
    stream: TcpStream,
    place: Place,
    connection: Connection,
) -> io::Result<()> {
    let policy = gateway.policy();
    let now = Timestamp::now();
    let asked = |scheme| Request { scheme, host: &place.host, port: place.port, method: None, path: None, now };
    let tcp = policy.decide(&asked(Scheme::Tcp));
    let https = policy.decide(&asked(Scheme::Https));
    if https.allowed
        && let Some(rule) = https.rule.filter(|rule| rule.tls == Tls::Passthrough)
    {
        return passthrough::serve(gateway, stream, &place, &connection, rule).await;
    }
    let raw = tcp.rule.filter(|_| tcp.allowed);
    if let Some(rule) = raw.filter(|rule| rule.scheme == Some(Scheme::Tcp)) {
        return relay::serve(gateway, stream, &place, &connection, rule, &[]).await;
    }
    let patience = match raw {
        Some(_) => SERVER_FIRST,
        None if may_speak_http(&policy, &place, now) => SILENT,
        None => REFUSED,
    };
    match (timeout(patience, spoken(&stream)).await, raw) {
        (Ok(Ok(Spoken::Http)), _) => http::serve(Rc::clone(gateway) as _, stream, place, connection).await,
        (Ok(Ok(_)) | Err(_), Some(rule)) => relay::serve(gateway, stream, &place, &connection, rule, &[]).await,
        (Ok(Ok(_)) | Err(_), None) => refuse::tcp(gateway, stream, &place, &connection).await,
        // It is gone, and has said nothing.
        (Ok(Err(_)), _) => Ok(()),
    }
}

fn may_speak_http(policy: &Policy, place: &Place, now: Timestamp) -> bool {
    policy.may_any(&place.host, now)
}

/// What a program says first; nothing is taken from the connection.
async fn spoken(stream: &TcpStream) -> io::Result<Spoken> {
    let mut beginning = [0u8; BEGINNING];
    let words = async {
        loop {
            let length = stream.peek(&mut beginning).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match look(&beginning[..length]) {
                Spoken::Unclear => sleep(Duration::from_millis(2)).await,
                spoken => return Ok(spoken),
            }
        }
    };
    // The first byte may take long; the rest of a word comes with it.
    stream.readable().await?;
    timeout(WORD, words).await.unwrap_or(Ok(Spoken::Other))
}

fn look(bytes: &[u8]) -> Spoken {
    // RFC 8446, section 5.1: ContentType handshake, and the legacy version, whose first byte is 3.
    if bytes[0] == 0x16 {
        return match bytes.get(1) {
            None => Spoken::Unclear,
            Some(3) => Spoken::Http,
            Some(_) => Spoken::Other,
        };
    }
    for method in METHODS.iter().map(|method| method.as_bytes()) {
        let common = method.len().min(bytes.len());
        if method[..common] == bytes[..common] {
            return if common == method.len() { Spoken::Http } else { Spoken::Unclear };
        }
    }
    Spoken::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        for (bytes, spoken) in [
            (&b"GET / HTTP/1.1\r\n"[..], Spoken::Http),
            (b"PRI * HTTP/2.0", Spoken::Http),
            (b"PRI * H", Spoken::Unclear),
            (b"PATC", Spoken::Unclear),
            (b"\x16\x03\x01\x02\x00", Spoken::Http),
            (b"\x16", Spoken::Unclear),
            (b"\x16\x05", Spoken::Other),
            (b"SSH-2.0-OpenSSH", Spoken::Other),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Spoken::Other),
            (b"get /", Spoken::Other),
        ] {
            assert_eq!(look(bytes), spoken, "{}", bytes.escape_ascii());
        }
    }
}
