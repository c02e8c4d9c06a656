//! The way of one request: destination, policy, interceptors, out; and of its answer back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use cofferdam_core::event::RuleRef;
use cofferdam_exchange::{Answer, Filter, Refusal, Target, Verdict, Waiting};
use cofferdam_policy::{Policy, Rule, Target as Place};
use http::header::{EXPECT, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::destination::{self, Astray};
use super::exchange::{Asked, Exchange};
use super::passing::{Passing, Way};
use super::refusal::{self, Manner, Of};
use super::reply::Reply;
use super::services::authority;
use super::session::Session;
use super::upstream::{Failure, Upstream, words};
use super::{heads, hops};

/// The name by which programs ask why something is refused.
pub(crate) const WHY: &str = "why.cofferdam";
/// How long a body waits for the server to want it; curl waits as long.
const CONTINUE: Duration = Duration::from_secs(1);
/// Most bytes and longest time that the rest of a refused request is read, so that its program reads the answer instead
/// of meeting a closed connection.
const REST: (u64, Duration) = (64 * 1024 * 1024, Duration::from_secs(5));

/// What a request is, for the words about it.
struct About {
    method: Method,
    /// Without the query.
    url: String,
    path: String,
    place: String,
    version: Version,
    manner: Manner,
}

impl About {
    fn of(&self) -> Of<'_> {
        Of { method: self.method.as_str(), url: &self.url, place: &self.place, version: self.version }
    }
}

/// Answers a request.
///
/// # Errors
/// Where the connection, or with HTTP/2 the stream, ends without an answer: nothing can be recorded any more.
pub(crate) async fn answer(
    session: Rc<Session>,
    upstream: Rc<Upstream>,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, tokio::sync::AcquireError> {
    let permit = session.room().await?;
    let began = Instant::now();
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let place = authority(&session.place, session.tls);
    let about = About {
        method: head.method.clone(),
        url: format!("{}://{place}{}", session.scheme().as_str(), head.uri.path()),
        path: head.uri.path().to_owned(),
        place,
        version: head.version,
        manner: Manner::of(&head),
    };
    if let Err(astray) = whereto(&session, &head) {
        let refusal = match astray {
            Astray::Malformed(_) => Refusal::new("malformed", astray.to_string()),
            Astray::Mismatch(detail) => Refusal::new("mismatch", detail),
            Astray::Method(_) => Refusal::new("method", astray.to_string()),
        };
        session.denied(Some(about.method.as_str()), Some(&about.path), &refusal);
        leave(&head, body);
        return Ok(match refusal.reason.as_str() {
            "malformed" => refusal::malformed(about.of(), &refusal.detail),
            _ => refusal::refused(about.of(), about.manner, &refusal),
        });
    }
    let policy = session.services.policy();
    if session.place.host == WHY {
        leave(&head, body);
        return Ok(why(&policy, &head));
    }
    let rule = match decide(&session, &policy, &head) {
        Ok(rule) => rule,
        Err(refusal) => {
            session.denied(Some(about.method.as_str()), Some(&about.path), &refusal);
            leave(&head, body);
            return Ok(refusal::refused(about.of(), about.manner, &refusal));
        }
    };
    session.allowed(rule);
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let asked = Asked {
        method: head.method.as_str().to_owned(),
        url: format!("{}{query}", about.url),
        version: match head.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        fields: heads::fields(&head.headers),
        rule: RuleRef::from(&rule.id),
        purpose: rule.purpose.clone(),
        record: rule.record,
    };
    let exchange = Exchange::new(Rc::clone(&session), asked, began, permit);
    in_origin_form(&mut head);
    let wants = hops::of_request(&mut head.headers, head.version);
    let out = Out { session: &session, upstream: &upstream, policy: &policy, rule, exchange: &exchange, about: &about };
    Ok(out.go(head, body, wants.map(|_| upgrade)).await)
}

/// Whether the request is for where its connection goes.
fn whereto(session: &Session, head: &request::Parts) -> Result<(), Astray> {
    if let Some(other) = &session.other {
        return Err(Astray::Mismatch(format!(
            "the ClientHello names {}, its connection goes to {}",
            other.escape_debug(),
            session.place.host
        )));
    }
    destination::check(head, &session.place, session.tls)
}

fn decide<'p>(session: &Session, policy: &'p Policy, head: &request::Parts) -> Result<&'p Rule, Refusal> {
    let asked = cofferdam_policy::Request {
        scheme: session.scheme(),
        host: &session.place.host,
        port: session.place.port,
        method: Some(head.method.as_str()),
        path: Some(head.uri.path()),
        now: Timestamp::now(),
    };
    let decision = policy.decide(&asked);
    match decision.rule {
        Some(rule) if decision.allowed => Ok(rule),
        _ => Err(refusal::by_policy(policy, &asked)),
    }
}

/// The target as servers are asked; the authority that it named moves to `Host`, with which it agrees.
fn in_origin_form(head: &mut request::Parts) {
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(named) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, named);
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = head.uri.path_and_query().cloned();
    if let Ok(origin) = http::Uri::from_parts(parts) {
        head.uri = origin;
    }
}

/// Reads what is left of a request that does not go out. One that waits to be told to send its body is
/// not, nor CONNECT, which has none.
fn leave(head: &request::Parts, mut body: Incoming) {
    if head.headers.contains_key(EXPECT) || head.method == Method::CONNECT {
        return;
    }
    tokio::task::spawn_local(async move {
        let (most, longest) = REST;
        let mut read = 0;
        let all = async {
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |piece| piece.len() as u64);
                if read > most {
                    return;
                }
            }
        };
        // Longer than this the program is not waited for: the connection closes.
        let _late = timeout(longest, all).await;
    });
}

/// `http://why.cofferdam/HOST[:PORT][/PATH]`, or a whole URL.
fn why(policy: &Policy, head: &request::Parts) -> Response<Reply> {
    let asked = head.uri.path_and_query().map_or("", |target| target.as_str()).trim_start_matches('/');
    let (place, path) = match asked.split_once('/') {
        _ if asked.contains("://") => (asked, None),
        Some((place, _)) => (place, Some(&asked[place.len()..])),
        None => (asked, None),
    };
    let (text, verdict) = match Place::parse(place) {
        Ok(target) => refusal::why(
            policy,
            &cofferdam_policy::Request {
                scheme: target.scheme,
                host: target.host,
                port: target.port,
                method: (path.is_some() || target.path.is_some()).then_some("GET"),
                path: path.or(target.path),
                now: Timestamp::now(),
            },
        ),
        Err(problem) => (format!("{problem}. Ask for http://{WHY}/HOST[:PORT][/PATH]\n"), "malformed"),
    };
    refusal::text(&text, verdict, head.version)
}

/// A request that policy allows.
struct Out<'a> {
    session: &'a Rc<Session>,
    upstream: &'a Rc<Upstream>,
    policy: &'a Policy,
    rule: &'a Rule,
    exchange: &'a Rc<Exchange>,
    about: &'a About,
}

impl Out<'_> {
    async fn go(&self, mut head: request::Parts, body: Incoming, upgrade: Option<OnUpgrade>) -> Response<Reply> {
        let target = Target {
            connection: self.session.connection.number,
            tls: self.session.tls,
            host: self.session.place.host.clone(),
            port: self.session.place.port,
            rule: RuleRef::from(&self.rule.id),
            purpose: self.rule.purpose.clone(),
        };
        let filters = match self.intercept(&target, &mut head).await {
            Ok(filters) => filters,
            Err(Stop::Refused(refusal)) => {
                leave(&head, body);
                return self.refused(&refusal);
            }
            Err(Stop::Answered(answer)) => {
                leave(&head, body);
                return self.answered(*answer);
            }
        };
        let asked = head.clone();
        let wanted = (head.version == Version::HTTP_11 && expects(&head)).then(|| Arc::new(Notify::new()));
        let waits = wanted.clone().map(|wanted| -> Waiting<'static, ()> {
            Box::pin(async move {
                // A server that does not say so gets the body nevertheless (RFC 9110, section 10.1.1).
                let _silent = timeout(CONTINUE, wanted.notified()).await;
            })
        });
        let body = Passing::new(body, Way::Out, Rc::clone(self.exchange), filters, waits);
        let mut request = Request::from_parts(head, body);
        if let Some(wanted) = wanted {
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    wanted.notify_one();
                }
            });
        }
        let sent = tokio::select! {
            sent = self.upstream.send(self.exchange, self.rule, request) => Some(sent),
            () = self.exchange.refusal.notified() => None,
        };
        // The body's refusal is why a request failed that was cut for it.
        if let Some(refusal) = self.exchange.take_refusal() {
            return self.refused(&refusal);
        }
        let (response, lease) = match sent {
            Some(Ok(answer)) => answer,
            Some(Err(Failure::Refused(refusal))) => return self.refused(&refusal),
            Some(Err(Failure::Timeout(detail))) => return self.failed(StatusCode::GATEWAY_TIMEOUT, &detail),
            Some(Err(Failure::Failed(detail))) => return self.failed(StatusCode::BAD_GATEWAY, &detail),
            None => return self.failed(StatusCode::BAD_GATEWAY, "its body was refused"),
        };
        self.back(&target, &asked, response, lease, upgrade)
    }

    /// Asks the interceptors, in order.
    async fn intercept(&self, target: &Target, head: &mut request::Parts) -> Result<Vec<Box<dyn Filter>>, Stop> {
        let mut filters = Vec::new();
        for interceptor in self.session.services.interceptors() {
            let before = head.clone();
            match interceptor.request(target, head).await {
                Verdict::Pass(filter) => filters.extend(filter),
                Verdict::Refuse(refusal) => return Err(Stop::Refused(refusal)),
                Verdict::Answer(answer) => {
                    self.exchange.changed(interceptor.name());
                    return Err(Stop::Answered(answer));
                }
            }
            let same = before.method == head.method && before.uri == head.uri;
            if !same || before.headers != head.headers {
                self.exchange.changed(interceptor.name());
            }
            // Where it goes was decided; and so must be what it became.
            match before.headers.get(HOST) {
                Some(host) => head.headers.insert(HOST, host.clone()),
                None => head.headers.remove(HOST),
            };
            if !same && decide(self.session, self.policy, head)?.id != self.rule.id {
                let by = interceptor.name();
                return Err(Refusal::new("changed", format!("{by} made another request of it, by another rule")).into());
            }
        }
        Ok(filters)
    }

    /// The answer, on its way to the program.
    fn back(
        &self,
        target: &Target,
        asked: &request::Parts,
        mut response: Response<Incoming>,
        lease: Option<super::upstream::Lease>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Reply> {
        let status = response.status();
        self.exchange.answered(status, response.headers());
        let becomes = (status == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        let (mut head, body) = response.into_parts();
        hops::of_answer(&mut head.headers, status, self.about.version);
        let mut filters = Vec::new();
        for interceptor in self.session.services.interceptors() {
            let (before, was) = (head.headers.clone(), head.status);
            match interceptor.response(target, asked, &mut head) {
                Ok(filter) => filters.extend(filter),
                Err(refusal) => return self.refused(&refusal),
            }
            if before != head.headers || was != head.status {
                self.exchange.changed(interceptor.name());
            }
        }
        head.version = if self.about.version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        match (becomes, upgrade, lease) {
            (None, _, lease) => {
                let body = Passing::new(body, Way::In, Rc::clone(self.exchange), filters, None);
                let body = match lease {
                    Some(lease) => body.on(lease),
                    None => body,
                };
                Response::from_parts(head, Reply::Passing(Box::new(body)))
            }
            (Some(server), Some(program), Some(lease)) => {
                let protocol = head.headers.get(http::header::UPGRADE).and_then(|name| name.to_str().ok());
                self.exchange.upgrade.replace(Some(heads::cut(protocol.unwrap_or(""), 256)));
                lease.let_go();
                tokio::task::spawn_local(tunnel(Rc::clone(self.exchange), program, server));
                Response::from_parts(head, Reply::own(""))
            }
            (Some(_), _, _) => {
                self.failed(StatusCode::BAD_GATEWAY, "the server went on with another protocol, which nobody asked for")
            }
        }
    }

    fn refused(&self, refusal: &Refusal) -> Response<Reply> {
        self.exchange.failed(format!("refused: {}", refusal.detail));
        self.session.denied(Some(self.about.method.as_str()), Some(&self.about.path), refusal);
        refusal::refused(self.about.of(), self.about.manner, refusal)
    }

    fn failed(&self, status: StatusCode, detail: &str) -> Response<Reply> {
        self.exchange.failed(detail);
        self.session.failed(detail);
        refusal::failed(self.about.of(), self.about.manner, status, detail)
    }

    /// An interceptor's answer.
    fn answered(&self, answer: Answer) -> Response<Reply> {
        self.exchange.answered(answer.head.status, &answer.head.headers);
        if let Err(error) = self.exchange.received.piece(&answer.body) {
            self.exchange.failed(error.to_string());
        }
        self.exchange.received.end();
        Response::from_parts(answer.head, Reply::Own(Full::new(answer.body)))
    }
}

/// A request does not go out.
enum Stop {
    Refused(Refusal),
    Answered(Box<Answer>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

fn expects(head: &request::Parts) -> bool {
    head.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Copies both ways after a 101, until both ends are over.
async fn tunnel(exchange: Rc<Exchange>, program: OnUpgrade, server: OnUpgrade) {
    let (program, server) = match tokio::try_join!(program, server) {
        Ok(ends) => ends,
        Err(error) => return exchange.failed(words(&error)),
    };
    let (mut program, mut server) = (TokioIo::new(program), TokioIo::new(server));
    match tokio::io::copy_bidirectional(&mut program, &mut server).await {
        Ok((sent, received)) => {
            exchange.sent.count(sent);
            exchange.received.count(received);
        }
        Err(error) => exchange.failed(format!("after the upgrade: {error}")),
    }
}
