//! Connections outside: made when the first request that may go out needs one, and used by one program's connection only.

use std::cell::RefCell;
use std::error::Error as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cofferdam_policy::Rule;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::exchange::Exchange;
use super::limits::{self, LocalExecutor};
use super::passing::Passing;
use super::services::{Unreachable, authority};
use super::session::Session;
use crate::tls;

/// Most connections of HTTP/1 that the streams of a program's HTTP/2 are spread over.
const SPREAD: usize = 8;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The connections.
pub(crate) struct Upstream {
    /// Whether the program speaks HTTP/2.
    h2: bool,
    multiplexed: Mutex<Option<Multiplexed>>,
    idle: RefCell<Vec<Single>>,
    slots: Arc<Semaphore>,
    tasks: RefCell<JoinSet<()>>,
}

/// One of HTTP/2.
#[derive(Clone)]
struct Multiplexed {
    sender: http2::SendRequest<Passing>,
    /// The special addresses that the rule named by which it was made: another rule's requests need their own.
    addresses: Vec<IpNet>,
}

/// One of HTTP/1.
struct Single {
    sender: http1::SendRequest<Passing>,
    addresses: Vec<IpNet>,
    task: AbortHandle,
}

enum Dialled {
    H1(Single),
    H2(Multiplexed),
}

/// A connection of HTTP/1 while it is used for an exchange.
pub(crate) struct Lease {
    upstream: Rc<Upstream>,
    single: Option<Single>,
    clean: bool,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer has ended; whether the request had, so that the connection can be used again.
    pub(crate) fn finished(&mut self, request: bool) {
        self.clean = request;
    }

    /// The connection became something else: it ends by itself.
    pub(crate) fn let_go(mut self) {
        self.single = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.single.take() {
            Some(single) if self.clean && !single.sender.is_closed() => self.upstream.idle.borrow_mut().push(single),
            Some(single) => single.task.abort(),
            None => {}
        }
    }
}

impl Upstream {
    /// None yet, for a program that speaks HTTP/2 or not.
    pub(crate) fn new(h2: bool) -> Rc<Upstream> {
        Rc::new(Upstream {
            h2,
            multiplexed: Mutex::default(),
            idle: RefCell::default(),
            slots: Arc::new(Semaphore::new(if h2 { SPREAD } else { 1 })),
            tasks: RefCell::default(),
        })
    }

    /// Ends them all.
    pub(crate) fn close(&self) {
        self.idle.borrow_mut().clear();
        self.tasks.borrow_mut().abort_all();
    }

    /// Sends a request that this rule allows, and waits for the head of its answer. The request's target is in origin
    /// form, its `Host` the program's; `authority` is what a program of HTTP/2 gave for it.
    ///
    /// # Errors
    /// Where no answer comes.
    pub(crate) async fn send(
        self: &Rc<Self>,
        exchange: &Rc<Exchange>,
        rule: &Rule,
        request: Request<Passing>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Unreachable> {
        let session = &exchange.session;
        if self.h2 {
            // Held while it is dialled: the streams that come meanwhile wait for this connection.
            let mut multiplexed = self.multiplexed.lock().await;
            let usable = |one: &Multiplexed| !one.sender.is_closed() && one.addresses == rule.addresses;
            if let Some(one) = multiplexed.as_ref().filter(|one| usable(one)).cloned() {
                drop(multiplexed);
                return Ok((over_h2(session, one.sender, request).await?, None));
            }
            if self.idle.borrow().is_empty() && self.slots.available_permits() == SPREAD {
                match self.dial(session, rule).await? {
                    Dialled::H2(one) => {
                        *multiplexed = Some(one.clone());
                        drop(multiplexed);
                        return Ok((over_h2(session, one.sender, request).await?, None));
                    }
                    Dialled::H1(single) => self.idle.borrow_mut().push(single),
                }
            }
        }
        self.over_h1(exchange, rule, request).await
    }

    async fn over_h1(
        self: &Rc<Self>,
        exchange: &Rc<Exchange>,
        rule: &Rule,
        request: Request<Passing>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Unreachable> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|e| Unreachable::Failed(e.to_string()))?;
        let mut request = for_h1(&exchange.session, request);
        let again = (request.body().is_end_stream() && request.method().is_idempotent()).then(|| {
            let mut copy = Request::new(());
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.headers_mut() = request.headers().clone();
            *copy.extensions_mut() = request.extensions().clone();
            copy
        });
        if let Some(single) = self.take_idle(rule).await {
            let mut lease = Lease { upstream: Rc::clone(self), single: Some(single), clean: false, _slot: slot };
            match (try_h1(&mut lease, request).await, again) {
                (Ok(answer), _) => return Ok((answer, Some(lease))),
                (Err(mut error), again) => match (error.take_message(), again) {
                    (Some(unsent), _) => request = unsent,
                    // Servers close connections that idle, and the request may meet it: RFC 9110, section 9.2.2.
                    (None, Some(again)) if is_closed(error.error()) => {
                        request = again.map(|()| Passing::none(Rc::clone(exchange)));
                    }
                    (None, _) => return Err(failure(&exchange.session, error.error())),
                },
            }
            drop(lease);
            let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|e| Unreachable::Failed(e.to_string()))?;
            return self.over_new(exchange, rule, request, slot).await;
        }
        self.over_new(exchange, rule, request, slot).await
    }

    async fn over_new(
        self: &Rc<Self>,
        exchange: &Rc<Exchange>,
        rule: &Rule,
        request: Request<Passing>,
        slot: OwnedSemaphorePermit,
    ) -> Result<(Response<Incoming>, Option<Lease>), Unreachable> {
        let session = &exchange.session;
        let single = match self.dial(session, rule).await? {
            Dialled::H1(single) => single,
            // A server that changed its mind: what it offered before was HTTP/1 only.
            Dialled::H2(one) => return Ok((over_h2(session, one.sender, request).await?, None)),
        };
        let mut lease = Lease { upstream: Rc::clone(self), single: Some(single), clean: false, _slot: slot };
        match try_h1(&mut lease, request).await {
            Ok(answer) => Ok((answer, Some(lease))),
            Err(error) => Err(failure(session, error.error())),
        }
    }

    /// An idle connection that still works.
    async fn take_idle(&self, rule: &Rule) -> Option<Single> {
        loop {
            let mut single = self.idle.borrow_mut().pop()?;
            if single.addresses == rule.addresses && single.sender.ready().await.is_ok() {
                return Some(single);
            }
            single.task.abort();
        }
    }

    async fn dial(&self, session: &Session, rule: &Rule) -> Result<Dialled, Unreachable> {
        session.opening().await?;
        let outgoing = session.services.connect(&session.place, rule).await?;
        session.opened(outgoing.address.to_string());
        outgoing.stream.set_nodelay(true).map_err(|error| Unreachable::Failed(error.to_string()))?;
        if !session.tls {
            return self.speak(TokioIo::new(outgoing.stream), self.h2, rule).await;
        }
        let host = &session.place.host;
        let handshake = session.services.servers().connect(outgoing.stream, host, self.h2);
        match timeout(HANDSHAKE, handshake).await {
            Ok(Ok((stream, h2))) => self.speak(TokioIo::new(stream), h2, rule).await,
            Ok(Err(error)) => Err(Unreachable::Failed(tls::of_server(host, &error))),
            Err(_) => Err(Unreachable::Timeout(format!("{host} did not finish the TLS handshake"))),
        }
    }

    async fn speak<S>(&self, stream: S, h2: bool, rule: &Rule) -> Result<Dialled, Unreachable>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let addresses = rule.addresses.clone();
        let begin = |error: hyper::Error| Unreachable::Failed(words(&error));
        // What ends a connection is told to whoever waits for an answer on it.
        if h2 {
            let (sender, connection) = http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                .initial_stream_window_size(limits::WINDOW)
                .initial_connection_window_size(limits::CONNECTION_WINDOW)
                .max_send_buf_size(limits::BUFFER)
                .max_header_list_size(limits::HEAD)
                .handshake(stream)
                .await
                .map_err(begin)?;
            self.tasks.borrow_mut().spawn_local(async move { drop(connection.await) });
            return Ok(Dialled::H2(Multiplexed { sender, addresses }));
        }
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_headers(limits::FIELDS)
            .max_buf_size(limits::BUFFER)
            .handshake(stream)
            .await
            .map_err(begin)?;
        let task = self.tasks.borrow_mut().spawn_local(async move { drop(connection.with_upgrades().await) });
        Ok(Dialled::H1(Single { sender, addresses, task }))
    }
}

async fn try_h1(
    lease: &mut Lease,
    request: Request<Passing>,
) -> Result<Response<Incoming>, TrySendError<Request<Passing>>> {
    match &mut lease.single {
        Some(single) => single.sender.try_send_request(request).await,
        None => unreachable!("a lease has its connection until it is let go"),
    }
}

async fn over_h2(
    session: &Session,
    mut sender: http2::SendRequest<Passing>,
    mut request: Request<Passing>,
) -> Result<Response<Incoming>, Unreachable> {
    let named = request.headers_mut().remove(HOST);
    let named = named.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
    let named = named.unwrap_or_else(|| authority(&session.place, session.tls));
    let scheme = session.scheme().as_str();
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = scheme.parse().ok();
    parts.authority = named.parse().ok();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| Unreachable::Failed(error.to_string()))?;
    *request.version_mut() = Version::HTTP_2;
    sender.send_request(request).await.map_err(|error| failure(session, &error))
}

/// As HTTP/1.1 has it: a `Host`, one `Cookie` (RFC 9113, section 8.2.3), and a body only where its framing says so.
fn for_h1(session: &Session, mut request: Request<Passing>) -> Request<Passing> {
    let is_h2 = request.version() == Version::HTTP_2;
    *request.version_mut() = Version::HTTP_11;
    let has_body = !request.body().is_end_stream();
    let fields = request.headers_mut();
    if !fields.contains_key(HOST) {
        let named = authority(&session.place, session.tls);
        if let Ok(named) = HeaderValue::try_from(named) {
            fields.insert(HOST, named);
        }
    }
    if is_h2 {
        let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if crumbs.len() > 1
            && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
        {
            fields.insert(COOKIE, cookie);
        }
        // hyper would leave the body of a GET out.
        if has_body && !fields.contains_key(CONTENT_LENGTH) {
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    request
}

/// Whether the server closed the connection before it answered.
fn is_closed(error: &hyper::Error) -> bool {
    let reset = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        )
    };
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || error.source().and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(reset)
}

fn failure(session: &Session, error: &hyper::Error) -> Unreachable {
    let host = &session.place.host;
    Unreachable::Failed(if is_closed(error) {
        format!("{host} closed the connection before it answered")
    } else if error.is_parse() {
        format!("the answer of {host} is not HTTP: {}", words(error))
    } else {
        format!("{host}: {}", words(error))
    })
}

/// An error and its causes.
pub(crate) fn words(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
