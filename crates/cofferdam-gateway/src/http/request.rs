//! One request: whether it is for where its connection goes, and what policy says of it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use cofferdam_core::Timestamp;
use cofferdam_core::event::RuleRef;
use cofferdam_exchange::{Interceptor, Refusal};
use cofferdam_policy::{Policy, Rule, Scheme, Target as Place};
use http::header::{EXPECT, HOST};
use http::{HeaderValue, Method, Request, Response, Version, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::destination::{self, Astray};
use super::exchange::{Asked, Exchange};
use super::out::Out;
use super::refusal::{self, Manner, Of};
use super::reply::Reply;
use super::services::authority;
use super::session::Session;
use super::upstream::Upstream;
use super::{heads, hops};

/// The name by which programs ask why something is refused.
pub(crate) const WHY: &str = "why.cofferdam";
/// Most bytes and longest time that the rest of a refused request is read, so that its program reads the answer instead
/// of meeting a closed connection.
const REST: (u64, Duration) = (64 * 1024 * 1024, Duration::from_secs(5));

/// What a request is, for the words about it.
pub(super) struct About {
    pub(super) method: Method,
    /// Without the query.
    url: String,
    pub(super) path: String,
    place: String,
    pub(super) version: Version,
    pub(super) manner: Manner,
}

impl About {
    pub(super) fn of(&self) -> Of<'_> {
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
        let word = match astray {
            Astray::Malformed(_) => "malformed",
            Astray::Mismatch(_) => "mismatch",
            Astray::Method(_) => "method",
        };
        let refusal = Refusal::new(word, astray.to_string());
        session.denied(about.method.as_str(), &about.path, &refusal, Some(permit));
        leave(&head, body);
        return Ok(match astray {
            Astray::Malformed(_) => refusal::malformed(about.of(), &refusal.detail),
            Astray::Mismatch(_) | Astray::Method(_) => refusal::refused(about.of(), about.manner, &refusal),
        });
    }
    let policy = session.services.policy();
    if session.place.host == WHY {
        leave(&head, body);
        return Ok(why(&policy, session.services.interceptors(), &head));
    }
    let rule = match decide(&session, &policy, &head) {
        Ok(rule) => rule,
        Err(refusal) => {
            session.denied(about.method.as_str(), &about.path, &refusal, Some(permit));
            leave(&head, body);
            return Ok(refusal::refused(about.of(), about.manner, &refusal));
        }
    };
    session.allowed(rule);
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let asked = Asked {
        method: head.method.as_str().to_owned(),
        url: format!("{}{query}", about.url),
        path: about.path.clone(),
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

/// The rule that allows a request.
///
/// # Errors
/// Where none does.
pub(super) fn decide<'p>(session: &Session, policy: &'p Policy, head: &request::Parts) -> Result<&'p Rule, Refusal> {
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
pub(super) fn leave(head: &request::Parts, mut body: Incoming) {
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
fn why(policy: &Policy, interceptors: &[Box<dyn Interceptor>], head: &request::Parts) -> Response<Reply> {
    let asked = head.uri.path_and_query().map_or("", |target| target.as_str()).trim_start_matches('/');
    let (place, path) = match asked.split_once('/') {
        _ if asked.contains("://") => (asked, None),
        Some((place, _)) => (place, Some(&asked[place.len()..])),
        None => (asked, None),
    };
    let (text, verdict) = match Place::parse(place) {
        Ok(target) => {
            let (mut text, verdict) = refusal::why(
                policy,
                &cofferdam_policy::Request {
                    scheme: target.scheme,
                    host: target.host,
                    port: target.port,
                    method: (path.is_some() || target.path.is_some()).then_some("GET"),
                    path: path.or(target.path),
                    now: Timestamp::now(),
                },
            );
            let schemes = [Scheme::Https, Scheme::Http]
                .into_iter()
                .filter(|scheme| *scheme == target.scheme || target.scheme == Scheme::Tcp);
            let told = schemes.flat_map(|scheme| {
                let tls = scheme == Scheme::Https;
                interceptors.iter().filter_map(move |one| one.tells(tls, target.host, target.port))
            });
            // What both schemes say is said once.
            let told: std::collections::BTreeSet<String> = told.collect();
            text.extend(told);
            (text, verdict)
        }
        Err(problem) => (format!("{problem}. Ask for http://{WHY}/HOST[:PORT][/PATH]\n"), "malformed"),
    };
    refusal::text(&text, verdict, head.version)
}
