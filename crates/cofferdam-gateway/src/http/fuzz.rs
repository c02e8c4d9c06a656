//! Requests through the real gateway to a server that reads strictly, by hands of its own: what it received is what was
//! decided.
#![allow(clippy::unwrap_used, reason = "a fuzzer looks for panics")]

use std::cell::RefCell;
use std::rc::Rc;

use cofferdam_policy::NormalPath;
use cofferdam_policy::host::{Host, split_port};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use super::fake::{Fake, listener, open, run};
use super::limits::LocalExecutor;

/// A request as a server that takes nothing but the strictest form reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| &value[..]).collect()
    }
}

/// The first request of these bytes, and how many they are; `None` where more are to come.
///
/// # Errors
/// In words, where another server could read them otherwise.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Received, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let mut lines = Vec::new();
    let mut rest = &bytes[..end];
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if let Some(line) = lines.iter().find(|line| line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))) {
        return Err(format!("a line end or NUL within a line: {}", line.escape_ascii()));
    }
    let first: Vec<&[u8]> = lines[0].split(|b| *b == b' ').collect();
    let [method, target, b"HTTP/1.1" | b"HTTP/1.0"] = first[..] else {
        return Err(format!("the first line: {}", lines[0].escape_ascii()));
    };
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if method.is_empty() || !method.iter().all(token) {
        return Err(format!("the method: {}", method.escape_ascii()));
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|b| *b == b':').ok_or_else(|| format!("a field: {}", line.escape_ascii()))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(token) {
            return Err(format!("a field's name: {}", name.escape_ascii()));
        }
        fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    }
    let mut received = Received {
        method: String::from_utf8_lossy(method).into_owned(),
        target: String::from_utf8_lossy(target).into_owned(),
        fields,
        body: Vec::new(),
    };
    let body = &bytes[end + 4..];
    let length = match (&received.all("transfer-encoding")[..], &received.all("content-length")[..]) {
        ([], []) => 0,
        ([], [digits]) => {
            let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            text.and_then(|text| text.parse().ok()).ok_or("a length that is no number")?
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => {
            let Some((content, length)) = chunks(body)? else { return Ok(None) };
            received.body = content;
            return Ok(Some((received, end + 4 + length)));
        }
        _ => return Err("more than one framing".to_owned()),
    };
    if body.len() < length {
        return Ok(None);
    }
    received.body = body[..length].to_vec();
    Ok(Some((received, end + 4 + length)))
}

/// A chunked body without extensions, and its length as it came.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
        let size = size.and_then(|t| usize::from_str_radix(t, 16).ok()).ok_or("the size of a chunk")?;
        at += line + 2;
        if size == 0 {
            // Trailers, which nothing here announces, or the end.
            let rest = &bytes[at..];
            if rest.starts_with(b"\r\n") {
                return Ok(Some((content, at + 2)));
            }
            return match rest.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => Ok(Some((content, at + end + 4))),
                None => Ok(None),
            };
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk's end".to_owned());
        }
        content.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

/// What a strict server heard, and what it could not read.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) requests: Vec<Received>,
    pub(crate) wrong: Option<String>,
}

/// A server that answers each request that it reads whole, until it cannot read one.
pub(crate) fn strict(listener: TcpListener) -> Rc<RefCell<Heard>> {
    let heard = Rc::<RefCell<Heard>>::default();
    let into = Rc::clone(&heard);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let into = Rc::clone(&into);
            tokio::task::spawn_local(async move {
                let (mut bytes, mut piece) = (Vec::new(), [0; 65_536]);
                // No method of HTTP/1 begins so (RFC 9113, section 3.4).
                if matches!(stream.peek(&mut piece).await, Ok(4..)) && piece.starts_with(b"PRI ") {
                    return http2(stream, into).await;
                }
                loop {
                    match read(&bytes) {
                        Err(why) => {
                            into.borrow_mut().wrong.get_or_insert(why);
                            return;
                        }
                        Ok(Some((request, length))) => {
                            bytes.drain(..length);
                            into.borrow_mut().requests.push(request);
                            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                                return;
                            }
                        }
                        Ok(None) => match stream.read(&mut piece).await {
                            Ok(more @ 1..) => bytes.extend_from_slice(&piece[..more]),
                            _ => return,
                        },
                    }
                }
            });
        }
    });
    heard
}

/// Serves HTTP/2 by hyper, which reads as strictly as we would.
async fn http2(stream: TcpStream, into: Rc<RefCell<Heard>>) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let into = Rc::clone(&into);
        async move {
            let (head, body) = request.into_parts();
            let host = head.uri.authority().map(|authority| ("host".to_owned(), authority.as_str().into()));
            let fields = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            into.borrow_mut().requests.push(Received {
                method: head.method.to_string(),
                target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                fields: host.into_iter().chain(fields).collect(),
                body: body.collect().await?.to_bytes().to_vec(),
            });
            Ok::<_, hyper::Error>(hyper::Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let stream = hyper_util::rt::TokioIo::new(stream);
    // How the connection ends is the gateway's to say.
    drop(hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(stream, service).await);
}

/// Checks what a server received against the rule of `b.example` (GET, `/ok/**`).
pub(crate) fn judge(received: &Received) {
    assert_eq!(received.method, "GET", "{received:?}");
    let normal = NormalPath::of(&received.target).unwrap();
    assert!(normal.as_str() == "/ok" || normal.as_str().starts_with("/ok/"), "{received:?}");
    let [host] = received.all("host")[..] else {
        // HTTP/1.0 may have none.
        assert!(received.all("host").is_empty(), "{received:?}");
        return;
    };
    let (host, port) = split_port(std::str::from_utf8(host).unwrap()).unwrap();
    assert_eq!((Host::parse(host).unwrap().to_string().as_str(), port.unwrap_or(80)), ("b.example", 80));
    assert!(received.all("upgrade").iter().all(|value| !value.to_ascii_lowercase().starts_with(b"h")), "{received:?}");
}

/// Bytes of a program to a host of which only some requests are allowed.
pub fn request(bytes: &[u8]) {
    run(async {
        let (listener, address) = listener().await;
        let heard = strict(listener);
        let fake = Rc::new(Fake::new(address));
        let (mut program, served) = open(&fake, "b.example", 80).await;
        // It may answer and close before all is sent.
        let _sent = program.write_all(bytes).await;
        let _closed = program.shutdown().await;
        let mut piece = [0; 4096];
        while let Ok(Ok(1..)) = timeout(Duration::from_secs(20), program.read(&mut piece)).await {}
        drop(program);
        served.await.unwrap().unwrap();
        let heard = heard.borrow();
        assert_eq!(heard.wrong, None, "{}", bytes.escape_ascii());
        let decided = fake.exchanges();
        assert!(heard.requests.len() <= decided.len(), "{}: {heard:?} {decided:?}", bytes.escape_ascii());
        for received in &heard.requests {
            judge(received);
            let url = format!("http://b.example{}", received.target);
            let same = |exchange: &&cofferdam_core::event::HttpExchange| {
                exchange.method == received.method && exchange.url == url
            };
            assert!(decided.iter().any(|e| same(&e)), "{}: {received:?} is none of {decided:?}", bytes.escape_ascii());
        }
    });
}
