//! Exchanges as an HTTP archive (HAR 1.2, <http://www.softwareishard.com/blog/har-12-spec/>), which browsers' tools read.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_core::Timestamp;
use cofferdam_core::event::{Body, EventKind, HttpExchange};
use serde_json::{Value, json};

use super::{Content, Record, Result};

/// Most bytes of a body that come along.
const MOST: u64 = 8 << 20;

/// Writes the archive: an entry an exchange, in the order in which they ended. Each entry's `comment` says purpose and rule;
/// `_seq` is its place in the log and `_cause` the command's.
///
/// # Errors
/// Where the evidence cannot be read or `out` not be written.
pub fn write(record: &Record, out: &mut impl Write) -> Result<()> {
    let creator = json!({"name": "Cofferdam", "version": env!("CARGO_PKG_VERSION")});
    // In pieces, so that a long log need not be in memory.
    write!(out, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"entries\":[")?;
    let mut first = true;
    for event in record.events()? {
        let event = event?;
        let EventKind::HttpExchange(exchange) = &event.what else { continue };
        let mut entry = entry(record, exchange, event.time)?;
        entry["_seq"] = event.seq.into();
        entry["_cause"] = event.cause.into();
        write!(out, "{}{entry}", if first { "\n" } else { ",\n" })?;
        first = false;
    }
    out.write_all(b"\n]}}\n")?;
    Ok(out.flush()?)
}

fn entry(record: &Record, exchange: &HttpExchange, ended: Timestamp) -> Result<Value> {
    let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
    let began = Timestamp(ended.0 - i64::try_from(exchange.microseconds).unwrap_or(i64::MAX).saturating_mul(1000));
    let answered = exchange.answered.unwrap_or(exchange.microseconds);
    let rule = &exchange.rule;
    let mut request = json!({
        "method": exchange.method,
        "url": exchange.url,
        "httpVersion": exchange.version,
        "cookies": [],
        "headers": fields(&exchange.request),
        "queryString": query(&exchange.url),
        "headersSize": -1,
        "bodySize": exchange.sent.bytes,
    });
    if exchange.sent.bytes > 0 {
        let (text, encoding) = text(record, &exchange.sent)?;
        request["postData"] = json!({"mimeType": kind(&exchange.request), "params": [], "text": text});
        if encoding {
            request["postData"]["_encoding"] = "base64".into();
        }
    }
    let (body, encoding) = text(record, &exchange.received)?;
    let mut content = json!({"size": exchange.received.bytes, "mimeType": kind(&exchange.response), "text": body});
    if encoding {
        content["encoding"] = "base64".into();
    }
    Ok(json!({
        "startedDateTime": began.to_string(),
        "time": milliseconds(exchange.microseconds),
        "request": request,
        "response": {
            "status": exchange.status.unwrap_or(0),
            "statusText": "",
            "httpVersion": exchange.version,
            "cookies": [],
            "headers": fields(&exchange.response),
            "content": content,
            "redirectURL": of(&exchange.response, "location"),
            "headersSize": -1,
            "bodySize": exchange.received.bytes,
        },
        "cache": {},
        "timings": {
            "send": 0,
            "wait": milliseconds(answered),
            "receive": milliseconds(exchange.microseconds.saturating_sub(answered)),
        },
        "connection": exchange.connection.to_string(),
        "comment": format!("{} ({} rule, line {})", exchange.purpose, rule.layer, rule.line),
    }))
}

fn fields(fields: &[(String, String)]) -> Vec<Value> {
    fields.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn of<'a>(fields: &'a [(String, String)], wanted: &str) -> &'a str {
    fields.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value)
}

fn kind(fields: &[(String, String)]) -> &str {
    match of(fields, "content-type") {
        "" => "application/octet-stream",
        kind => kind,
    }
}

/// The pairs of a query as they stand in the URL: escapes are not undone.
fn query(url: &str) -> Vec<Value> {
    let Some((_, query)) = url.split_once('?') else { return Vec::new() };
    let pairs = query.split('#').next().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            json!({"name": name, "value": value})
        })
        .collect()
}

/// What is kept of a body, and whether it is in base64.
fn text(record: &Record, body: &Body) -> Result<(String, bool)> {
    let Some(blob) = &body.kept else { return Ok((String::new(), false)) };
    Ok(match record.content(blob, MOST)? {
        Content::Gone(_) => (String::new(), false),
        Content::Kept { bytes, .. } => match String::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(e) => (BASE64_STANDARD.encode(e.as_bytes()), true),
        },
    })
}
