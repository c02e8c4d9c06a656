//! Answers of the gateway's own: refusals that teach, and failures that are honest.

use cofferdam_core::event::RuleRef;
use cofferdam_exchange::Refusal;
use cofferdam_policy::host::{HostPattern, in_authority};
use cofferdam_policy::{Explanation, Policy, Reason, Request, Rule, Scheme, explain};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version, request};
use hyper::ext::ReasonPhrase;
use serde_json::json;

use super::reply::Reply;

/// How a program wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As text.
    Plain,
    /// As JSON, in the shape that clients of APIs show.
    Json,
    /// As JSON, in the shape that npm shows: a text as `error`.
    Npm,
    /// As gRPC's trailers.
    Grpc,
}

impl Manner {
    /// As the request's fields say.
    pub(crate) fn of(head: &request::Parts) -> Manner {
        let has = |name, wanted: fn(&str) -> bool| {
            let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|value| {
                let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                wanted(&kind)
            })
        };
        let json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
        if has(CONTENT_TYPE, |kind| kind == "application/grpc" || kind.starts_with("application/grpc+")) {
            Manner::Grpc
        } else if head.headers.contains_key("npm-command") {
            Manner::Npm
        } else if has(ACCEPT, json) || has(CONTENT_TYPE, json) {
            Manner::Json
        } else {
            Manner::Plain
        }
    }
}

/// Why policy denies a request, with what would allow it.
pub(crate) fn by_policy(policy: &Policy, asked: &Request<'_>) -> Refusal {
    let explanation = explain(policy, asked);
    let rule = explanation.decision.rule;
    Refusal {
        reason: reason(&explanation.decision.reason, asked.host).to_owned(),
        detail: detail(&explanation),
        rule: rule.map(|rule| RuleRef::from(&rule.id)),
        allow: explanation.rule.is_some().then(|| allow(asked)).flatten(),
    }
}

/// The word for a denial. An address without a rule was not given by a look-up, which gives addresses of our own.
fn reason(reason: &Reason, host: &str) -> &'static str {
    if *reason == Reason::NoRule && host.parse::<std::net::IpAddr>().is_ok() {
        return "direct-address";
    }
    reason.as_str()
}

fn detail(explanation: &Explanation<'_>) -> String {
    let mut detail = explanation.decision.reason.to_string();
    // Without a rule about the host those that are near are about others.
    if let (Some(_), Some(near)) = (explanation.decision.rule, explanation.near.first()) {
        detail.push_str(&format!(" (nearest: {}: {})", rule(near.rule), near.differs.join("; ")));
    }
    detail
}

/// A rule in words.
pub(crate) fn rule(rule: &Rule) -> String {
    let id = &rule.id;
    match &id.name {
        Some(name) => format!("rule {name:?} of the {} layer", id.layer),
        None => format!("the rule for {} of the {} layer, line {}", rule.host, id.layer, id.line),
    }
}

/// What a person outside could type.
fn allow(asked: &Request<'_>) -> Option<String> {
    HostPattern::parse(asked.host).ok()?;
    Some(format!("coffer run --allow {} --purpose \"…\"", place(asked)))
}

/// The host, with the port where the scheme has another one or none.
fn place(asked: &Request<'_>) -> String {
    let host = in_authority(asked.host);
    match asked.scheme.default_port() == Some(asked.port) {
        true => host.into_owned(),
        false => format!("{host}:{}", asked.port),
    }
}

/// What is refused: for the words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of<'a> {
    /// The method.
    pub(crate) method: &'a str,
    /// The URL without its query.
    pub(crate) url: &'a str,
    /// The host, and the port where it is not the scheme's.
    pub(crate) place: &'a str,
    /// What the program speaks.
    pub(crate) version: Version,
}

/// The answer to a request that does not go out.
pub(crate) fn refused(of: Of<'_>, manner: Manner, refusal: &Refusal) -> Response<Reply> {
    let Of { method, url, place, .. } = of;
    let first = format!("Cofferdam refused {method} {url}: {}.", refusal.detail);
    let more = format!("coffer why {place}");
    let mut says = vec![first];
    says.extend(refusal.allow.as_ref().map(|allow| format!("A person outside can allow it: {allow}")));
    let body = match manner {
        Manner::Npm => json!({"error": says.join(" ")}).to_string(),
        Manner::Json => json!({"error": {
            "type": "cofferdam_denied",
            "message": says.join(" "),
            "reason": refusal.reason,
            "host": place,
            "rule": refusal.rule,
            "allow": refusal.allow,
        }})
        .to_string(),
        Manner::Plain | Manner::Grpc => {
            format!("{}\nMore: {more}  (or http://why.cofferdam/{place})\n", says.join("\n"))
        }
    };
    // 7: PERMISSION_DENIED.
    let mut answer = own(StatusCode::FORBIDDEN, manner, &body, of.version, 7, &says.join(" "));
    answer.headers_mut().insert("x-cofferdam", HeaderValue::from_static("denied"));
    // What pip and its like show of an answer.
    if of.version != Version::HTTP_2
        && manner != Manner::Grpc
        && let Ok(phrase) = ReasonPhrase::try_from(format!("Forbidden by Cofferdam, see {more}"))
    {
        answer.extensions_mut().insert(phrase);
    }
    answer
}

/// The answer to a request that was allowed and has none.
pub(crate) fn failed(of: Of<'_>, manner: Manner, status: StatusCode, detail: &str) -> Response<Reply> {
    let first = format!("Cofferdam has no answer to {} {}: {detail}.", of.method, of.url);
    let body = match manner {
        Manner::Json => json!({"error": {"type": "cofferdam_unreachable", "message": first}}).to_string(),
        Manner::Npm => json!({"error": first}).to_string(),
        Manner::Plain | Manner::Grpc => format!("{first}\n"),
    };
    // 14: UNAVAILABLE.
    let mut answer = own(status, manner, &body, of.version, 14, &first);
    answer.headers_mut().insert("x-cofferdam", HeaderValue::from_static("unreachable"));
    answer
}

/// The answer to a request that is none.
pub(crate) fn malformed(of: Of<'_>, detail: &str) -> Response<Reply> {
    let mut answer = own(StatusCode::BAD_REQUEST, Manner::Plain, &format!("{detail}\n"), of.version, 3, detail);
    answer.headers_mut().insert("x-cofferdam", HeaderValue::from_static("malformed"));
    answer
}

/// Text, as an answer to what was asked of the gateway itself.
pub(crate) fn text(body: &str, verdict: &'static str, version: Version) -> Response<Reply> {
    let mut answer = own(StatusCode::OK, Manner::Plain, body, version, 0, "");
    answer.headers_mut().insert("x-cofferdam", HeaderValue::from_static(verdict));
    answer
}

fn own(status: StatusCode, manner: Manner, body: &str, version: Version, grpc: u8, message: &str) -> Response<Reply> {
    let mut answer = Response::new(Reply::own(if manner == Manner::Grpc { "" } else { body }));
    let fields = answer.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match manner {
            Manner::Plain => "text/plain; charset=utf-8",
            Manner::Json | Manner::Npm => "application/json",
            Manner::Grpc => "application/grpc",
        }),
    );
    if manner == Manner::Grpc {
        fields.insert("grpc-status", HeaderValue::from(u16::from(grpc)));
        if let Ok(message) = HeaderValue::try_from(percent(message)) {
            fields.insert("grpc-message", message);
        }
    } else {
        *answer.status_mut() = status;
    }
    if version != Version::HTTP_2 {
        *answer.version_mut() = Version::HTTP_11;
    }
    answer
}

/// The form of `grpc-message`: all but printable ASCII percent-encoded (gRPC over HTTP/2, section Responses).
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What `coffer why` says, for `why.cofferdam`.
pub(crate) fn why(policy: &Policy, asked: &Request<'_>) -> (String, &'static str) {
    let explanation = explain(policy, asked);
    let what = match (asked.scheme, asked.path) {
        (Scheme::Tcp, _) => format!("A connection to {}", place(asked)),
        (scheme, path) => {
            let method = asked.method.map(|method| format!("{method} ")).unwrap_or_default();
            format!("{method}{}://{}{}", scheme.as_str(), place(asked), path.unwrap_or(""))
        }
    };
    let mut text = match explanation.decision.rule {
        Some(by) if explanation.decision.allowed => {
            format!("{what} is allowed by {} for {:?}.\n", rule(by), by.purpose)
        }
        _ => format!("{what} is refused: {}.\n", explanation.decision.reason),
    };
    for near in &explanation.near {
        text.push_str(&format!("Near: {}: {}.\n", rule(near.rule), near.differs.join("; ")));
    }
    if !explanation.decision.allowed {
        match allow(asked) {
            Some(allow) => text.push_str(&format!("A person outside can allow it: {allow}\n")),
            None => text.push_str("No rule can allow it.\n"),
        }
        if let Some(proposal) = &explanation.rule {
            text.push_str(&format!("Or, in a policy file:\n{proposal}"));
        }
    }
    (text, if explanation.decision.allowed { "allowed" } else { "denied" })
}
