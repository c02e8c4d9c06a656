//! What a connection speaks, and who serves it therefore.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use cofferdam_core::Timestamp;
use cofferdam_policy::rule::Tls;
use cofferdam_policy::{Decision, Reason, Request, Scheme};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::room::Seat;
use crate::{Connection, Gateway, Place, http, passthrough, refuse, relay};

/// How long a program may be silent where the server may be the one to speak first.
const SERVER_FIRST: Duration = Duration::from_millis(200);
/// How long it may be silent where nothing is allowed: after that it is refused, whatever it would have said.
const REFUSED: Duration = Duration::from_millis(300);
/// The same where it will speak first, and can be told why: at the ports of HTTP. A slow one (a JVM that starts on a busy
/// machine) must not be taken for one that waits.
const REFUSED_WITH_WORDS: Duration = Duration::from_secs(10);
/// How long it may be silent otherwise: programs connect ahead of need.
const SILENT: Duration = Duration::from_secs(300);
/// How long the beginning of a word may stay one.
const WORD: Duration = Duration::from_millis(300);
/// Longest method that is taken for one: `UPDATEREDIRECTREF` (RFC 4437).
const METHOD: usize = 17;
/// Longest beginning that is looked at: a method, a space, and the first byte of a target.
const BEGINNING: usize = METHOD + 2;

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
    seat: &Rc<Seat>,
) -> io::Result<()> {
    let policy = gateway.policy();
    let now = Timestamp::now();
    let asked = |scheme| Request { scheme, host: &place.host, port: place.port, method: None, path: None, now };
    let tcp = policy.decide(&asked(Scheme::Tcp));
    let https = policy.decide(&asked(Scheme::Https));
    if https.allowed
        && let Some(rule) = https.rule.filter(|rule| rule.tls == Tls::Passthrough)
    {
        return passthrough::serve(gateway, stream, &place, &connection, rule, seat).await;
    }
    let raw = tcp.rule.filter(|_| tcp.allowed);
    if let Some(rule) = raw.filter(|rule| rule.scheme == Some(Scheme::Tcp)) {
        seat.is_served();
        return relay::serve(gateway, stream, &place, &connection, rule, None).await;
    }
    let requests = may_request(&https) || may_request(&policy.decide(&asked(Scheme::Http)));
    let patience = match raw {
        Some(_) => SERVER_FIRST,
        None if requests => SILENT,
        None if matches!(place.port, 80 | 443) => REFUSED_WITH_WORDS,
        None => REFUSED,
    };
    let said = timeout(patience, spoken(&stream)).await;
    if !matches!(said, Ok(Ok(Spoken::Http))) {
        seat.is_served();
    }
    match (said, raw) {
        (Ok(Ok(Spoken::Http)), _) => http::serve(Rc::clone(gateway) as _, stream, place, connection, seat).await,
        (Ok(Ok(_)) | Err(_), Some(rule)) => relay::serve(gateway, stream, &place, &connection, rule, None).await,
        // It was connected ahead of a need that never came.
        (Err(_), None) if requests => Ok(()),
        (Ok(Ok(_)), None) if requests => refuse::not_http(gateway, stream, &place, &connection).await,
        (Ok(Ok(_)) | Err(_), None) => refuse::tcp(gateway, stream, &place, &connection).await,
        // It is gone, and has said nothing: what looks for open doors is evidence.
        (Ok(Err(_)), None) if !requests => refuse::tcp(gateway, stream, &place, &connection).await,
        (Ok(Err(_)), _) => Ok(()),
    }
}

/// Whether some request could be allowed, by what is decided of the connection alone.
fn may_request(decision: &Decision<'_>) -> bool {
    !matches!(
        decision.reason,
        Reason::InvalidHost(_) | Reason::NoRule | Reason::Port | Reason::Scheme | Reason::Expired
    )
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
    let method = bytes.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    match &bytes[method..] {
        _ if method > METHOD => Spoken::Other,
        [] => Spoken::Unclear,
        [b' '] if method > 0 => Spoken::Unclear,
        // Methods are extensible: what follows tells HTTP from other protocols. RFC 9112, section 3.2: the forms of a
        // target, a host for CONNECT only; `PRI *` is the preface of HTTP/2 (RFC 9113, section 3.4).
        [b' ', b'/' | b'*' | b'h' | b'H', ..] if method > 0 => Spoken::Http,
        [b' ', b'[' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z', ..] if bytes.starts_with(b"CONNECT ") => Spoken::Http,
        _ => Spoken::Other,
    }
}

/// Whether these first bytes are HTTP's or TLS's; `None` where more are needed.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn speaks_http(bytes: &[u8]) -> Option<bool> {
    match look(bytes.get(..bytes.len().min(BEGINNING)).filter(|bytes| !bytes.is_empty())?) {
        Spoken::Http => Some(true),
        Spoken::Other => Some(false),
        Spoken::Unclear => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        for (bytes, spoken) in [
            (&b"GET / HTTP/1.1\r\n"[..], Spoken::Http),
            (b"PRI * HTTP/2.0", Spoken::Http),
            (b"PRI", Spoken::Unclear),
            (b"PRI ", Spoken::Unclear),
            (b"PATC", Spoken::Unclear),
            (b"PROPFIND /calendars", Spoken::Http),
            (b"M-SEARCH * HTTP", Spoken::Http),
            (b"UPDATEREDIRECTREF /", Spoken::Http),
            (b"POST http://a.example/", Spoken::Http),
            (b"CONNECT a.example:443", Spoken::Http),
            (b"CONNECT {\"verbose\":1}", Spoken::Other),
            (b"ABCDEFGHIJKLMNOPQRS", Spoken::Other),
            (b"PING\r\n", Spoken::Other),
            (b"USER me", Spoken::Other),
            (b" /", Spoken::Other),
            (b"*1\r\n$4", Spoken::Other),
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
