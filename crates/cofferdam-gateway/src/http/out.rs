//! The way out of a request that policy allows: interceptors, server, and the answer's way back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cofferdam_core::event::RuleRef;
use cofferdam_exchange::{Answer, Awaits, Filter, Notes, Onward, Records, Refusal, Target, Verdict, Waiting, Whole};
use cofferdam_policy::{Policy, Rule};
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version, request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::exchange::Exchange;
use super::hops;
use super::passing::{Passing, Way};
use super::refusal;
use super::reply::Reply;
use super::request::{About, decide, leave};
use super::services::Unreachable;
use super::session::Session;
use super::upstream::{Upstream, words};
use super::whole::{self, Collected, NotWhole};

/// How long a body waits for the server to want it; curl waits as long.
const CONTINUE: Duration = Duration::from_secs(1);

/// A request that policy allows.
pub(super) struct Out<'a> {
    pub(super) session: &'a Rc<Session>,
    pub(super) upstream: &'a Rc<Upstream>,
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a Rule,
    pub(super) exchange: &'a Rc<Exchange>,
    pub(super) about: &'a About,
}

impl Out<'_> {
    /// Sends it; what the program is answered.
    pub(super) async fn go(
        &self,
        mut head: request::Parts,
        mut body: Incoming,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Reply> {
        let target = Target {
            connection: self.session.connection.number,
            tls: self.session.tls,
            host: self.session.place.host.clone(),
            port: self.session.place.port,
            rule: RuleRef::from(&self.rule.id),
            purpose: self.rule.purpose.clone(),
        };
        let mut asking = Asking::default();
        if let Err(stop) = self.intercept(&target, &mut head, &mut body, &mut asking).await {
            asking.awaits.into_iter().for_each(|awaits| awaits.unsent());
            leave(&head, body);
            return match stop {
                Stop::Refused(refusal, None) => self.refused(&refusal),
                Stop::Refused(refusal, Some(answer)) => self.refused_with(&refusal, *answer),
                Stop::Failed(why) => self.failed(StatusCode::BAD_GATEWAY, &why),
                Stop::Answered(answer) => self.answered(*answer),
            };
        }
        let Asking { filters, whole, awaits } = asking;
        let asked = head.clone();
        let wanted = (head.version == Version::HTTP_11 && expects(&head)).then(|| Arc::new(Notify::new()));
        let waits = wanted.clone().map(|wanted| -> Waiting<'static, ()> {
            Box::pin(async move {
                // A server that does not say so gets the body nevertheless (RFC 9110, section 10.1.1).
                let _silent = timeout(CONTINUE, wanted.notified()).await;
            })
        });
        let body = match whole {
            Some(Held { pieces, trailers, room }) => {
                Passing::whole(pieces, trailers, room, Rc::clone(self.exchange), filters)
            }
            None => Passing::new(body, Way::Out, Rc::clone(self.exchange), filters, waits),
        };
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
            Some(Err(Unreachable::Refused(refusal))) => {
                awaits.into_iter().for_each(|awaits| awaits.unsent());
                return self.refused(&refusal);
            }
            Some(Err(Unreachable::Timeout(detail))) => return self.failed(StatusCode::GATEWAY_TIMEOUT, &detail),
            Some(Err(Unreachable::Failed(detail))) => return self.failed(StatusCode::BAD_GATEWAY, &detail),
            None => return self.failed(StatusCode::BAD_GATEWAY, "its body was refused"),
        };
        self.back(&target, &asked, awaits, response, lease, upgrade)
    }

    /// Asks the interceptors, in order; what comes of it up to where one stops the request.
    async fn intercept(
        &self,
        target: &Target,
        head: &mut request::Parts,
        body: &mut Incoming,
        asking: &mut Asking,
    ) -> Result<(), Stop> {
        for interceptor in self.session.services.interceptors() {
            let before = head.clone();
            match interceptor.request(target, head).await {
                Verdict::Pass(filter) => asking.filters.extend(filter),
                Verdict::Whole(wants) => {
                    if self.whole(wants, head, body, asking).await? {
                        self.exchange.changed(interceptor.name());
                    }
                }
                Verdict::Refuse(refusal) => return Err(Stop::Refused(refusal, None)),
                Verdict::Fail(why) => return Err(Stop::Failed(why)),
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
        // In order: before the request is on its way.
        for what in head.extensions.remove::<Notes>().unwrap_or_default().0 {
            self.session.note(what);
        }
        Ok(())
    }

    /// Gives all of a request to who wants it; whether its body is another one now.
    async fn whole(
        &self,
        wants: Box<dyn Whole>,
        head: &mut request::Parts,
        body: &mut Incoming,
        asking: &mut Asking,
    ) -> Result<bool, Stop> {
        let filters = std::mem::take(&mut asking.filters);
        let collected = match asking.whole.take() {
            None => whole::collect(self.session.services.bodies(), self.exchange, head, body, filters).await,
            Some(held) => whole::again(held.joined(), filters),
        };
        let Collected { body, trailers, mut room } = match collected {
            Ok(collected) => collected,
            Err(NotWhole::Refused(refusal)) => {
                let answer = wants.refused(&refusal);
                return Err(Stop::Refused(refusal, answer));
            }
            Err(NotWhole::Broken(why)) => return Err(Stop::Failed(why)),
        };
        let records: Rc<dyn Records> = Rc::clone(self.session) as Rc<dyn Records>;
        let sent = self.exchange.sent.body();
        let all = cofferdam_exchange::Request { head, body: body.clone(), sent, records };
        match wants.request(all).await {
            Onward::Pass { body: other, awaits } => {
                asking.awaits.extend(awaits);
                let changed = other.is_some();
                let pieces = other.unwrap_or_else(|| vec![body]);
                let length = pieces.iter().map(Bytes::len).sum();
                if changed {
                    head.headers.remove(TRANSFER_ENCODING);
                    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                room.keep(length);
                asking.whole = Some(Held { pieces, trailers, room });
                Ok(changed)
            }
            Onward::Refuse(refusal, answer) => Err(Stop::Refused(refusal, answer)),
            Onward::Fail(why) => Err(Stop::Failed(why)),
        }
    }

    /// The answer, on its way to the program.
    fn back(
        &self,
        target: &Target,
        asked: &request::Parts,
        awaits: Vec<Box<dyn Awaits>>,
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
        // After all others: what they take out of answers nobody else sees.
        filters.extend(awaits.into_iter().filter_map(|awaits| awaits.answer(&mut head)));
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
                self.exchange.upgrade.replace(Some(cofferdam_exchange::cut(protocol.unwrap_or(""), 256)));
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
        self.session.denied(self.about.method.as_str(), &self.about.path, refusal, None);
        refusal::refused(self.about.of(), self.about.manner, refusal)
    }

    /// Refuses it with an answer that its program understands.
    fn refused_with(&self, refusal: &Refusal, answer: Answer) -> Response<Reply> {
        self.exchange.failed(format!("refused: {}", refusal.detail));
        self.session.denied(self.about.method.as_str(), &self.about.path, refusal, None);
        let mut response = Response::from_parts(answer.head, Reply::Own(Full::new(answer.body)));
        response.headers_mut().insert("x-cofferdam", HeaderValue::from_static("denied"));
        response
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

/// What interceptors want of a request that goes on.
#[derive(Default)]
struct Asking {
    filters: Vec<Box<dyn Filter>>,
    /// Its body, where one wanted it as a whole.
    whole: Option<Held>,
    awaits: Vec<Box<dyn Awaits>>,
}

/// A body that is there as a whole.
struct Held {
    pieces: Vec<Bytes>,
    trailers: Option<http::HeaderMap>,
    room: whole::Taken,
}

impl Held {
    fn joined(self) -> Collected {
        let body = match &self.pieces[..] {
            [one] => one.clone(),
            pieces => pieces.concat().into(),
        };
        Collected { body, trailers: self.trailers, room: self.room }
    }
}

/// A request does not go out.
enum Stop {
    Refused(Refusal, Option<Box<Answer>>),
    Failed(String),
    Answered(Box<Answer>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal, None)
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
