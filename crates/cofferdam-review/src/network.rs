//! What the network's events say, in a line each, safe for a terminal.

use cofferdam_core::event::{EventKind, HttpExchange, Mediation, NetConnect, NetDenied, NetLookup};
use cofferdam_policy::host::in_authority;

use crate::text::{counted, duration, one_line, size};

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

/// Rules that came while the run went on.
pub fn allowed(rules: &[serde_json::Value], uid: u32) -> String {
    let word = |rule: &serde_json::Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let each = rules.iter().map(|rule| format!("{} for \"{}\"", word(rule, "host"), word(rule, "purpose")));
    one_line(format!("uid {uid} allowed {}", each.collect::<Vec<_>>().join(", ")).as_bytes())
}
