//! What the network's events say, in a line each, safe for a terminal.

use std::net::SocketAddr;

use cofferdam_core::event::{
    CredentialFetch, CredentialUsed, EventKind, HttpExchange, Mediation, NetConnect, NetDenied, NetLookup,
    NetPublished, NetUnpublished,
};
use cofferdam_policy::host::in_authority;

use crate::text::{counted, duration, grouped, one_line, size};

/// Whichever of them it is; `None` for any other event.
pub fn says(what: &EventKind) -> Option<String> {
    Some(match what {
        EventKind::NetLookup(lookup) => format!("looked up {}", looked_up(lookup)),
        EventKind::NetConnect(connect) => format!("connected to {}", connected(connect)),
        EventKind::NetDenied(event) => denied(event),
        EventKind::HttpExchange(exchange) => exchanged(exchange),
        _ => return None,
    })
}

/// A look-up.
pub fn looked_up(lookup: &NetLookup) -> String {
    let answer = if lookup.allowed { "" } else { ": no rule could allow it" };
    one_line(format!("{}{answer}", lookup.name).as_bytes())
}

/// A connection.
pub fn connected(connect: &NetConnect) -> String {
    let how = match connect.mediation {
        Mediation::Http => counted(connect.exchanges, "request"),
        Mediation::Relay => "relayed".to_owned(),
        Mediation::Passthrough => "TLS passed through".to_owned(),
    };
    let error = connect.error.as_ref().map(|e| format!(", {e}")).unwrap_or_default();
    let text = format!(
        "{}:{} {how}, {} sent, {} received in {}{error} ({})",
        connect.host,
        connect.port,
        size(connect.sent),
        size(connect.received),
        duration(connect.milliseconds.saturating_mul(1000)),
        connect.purpose
    );
    one_line(text.as_bytes())
}

/// A refusal.
pub fn denied(denied: &NetDenied) -> String {
    let what = match (&denied.method, &denied.path) {
        (Some(method), Some(path)) => {
            let usual = matches!((denied.scheme.as_str(), denied.port), ("https", 443) | ("http", 80));
            let port = if usual { String::new() } else { format!(":{}", denied.port) };
            format!("{method} {}://{}{port}{path}", denied.scheme, in_authority(&denied.host))
        }
        _ => format!("{} {}:{}", denied.scheme, denied.host, denied.port),
    };
    one_line(format!("denied {what}: {} ({})", denied.detail, denied.reason).as_bytes())
}

/// A request and its answer.
pub fn exchanged(exchange: &HttpExchange) -> String {
    let status = exchange.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let error = exchange.error.as_ref().map(|e| format!(", {e}")).unwrap_or_default();
    let text = format!(
        "{} {} → {status}, {} sent, {} received in {}{error} ({})",
        exchange.method,
        exchange.url,
        size(exchange.sent.bytes),
        size(exchange.received.bytes),
        duration(exchange.microseconds),
        exchange.purpose
    );
    one_line(text.as_bytes())
}

/// A credential was fetched, or could not be.
pub fn fetched(fetch: &CredentialFetch) -> String {
    let text = match &fetch.error {
        None if fetch.refreshed => format!("credential {} refreshed outside ({})", fetch.name, fetch.source),
        None => format!("credential {} fetched outside ({})", fetch.name, fetch.source),
        Some(error) => format!("credential {} could not be fetched ({}): {error}", fetch.name, fetch.source),
    };
    one_line(text.as_bytes())
}

/// A request went out with a credential.
pub fn used(used: &CredentialUsed) -> String {
    let how = if used.placeholder { "for its placeholder" } else { "added" };
    let text =
        format!("credential {} {how} in {} to {}:{} ({})", used.name, used.header, used.host, used.port, used.purpose);
    one_line(text.as_bytes())
}

/// Rules that came while the run went on.
pub fn allowed(rules: &[serde_json::Value], uid: u32) -> String {
    let word = |rule: &serde_json::Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let each = rules.iter().map(|rule| format!("{} for \"{}\"", word(rule, "host"), word(rule, "purpose")));
    one_line(format!("uid {uid} allowed {}", each.collect::<Vec<_>>().join(", ")).as_bytes())
}

/// A port that can be reached from the host.
pub fn published(published: &NetPublished) -> String {
    format!("port {} published at {} by uid {}", published.port, joined(&published.addresses), published.uid)
}

/// What came of it.
pub fn unpublished(ended: &NetUnpublished) -> String {
    let unanswered = match ended.unanswered {
        0 => String::new(),
        count => format!(" ({} not answered)", grouped(count)),
    };
    format!(
        "port {} at {}: {}{unanswered} from outside, {} sent, {} received",
        ended.port,
        joined(&ended.addresses),
        counted(ended.connections, "connection"),
        size(ended.sent),
        size(ended.received)
    )
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
