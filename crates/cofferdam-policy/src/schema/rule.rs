//! One `[[network.allow]]`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::walk::{Walk, integer};
use crate::diagnostic::{Class, Diagnostic};
use crate::expiry::expiry;
use crate::host::{HOST_SERVICES, HostPattern};
use crate::method;
use crate::pattern::PathPattern;
use crate::rule::{Expiry, LayerKind, Record, Rule, RuleId, Scheme, Tls};

const KEYS: &[&str] =
    &["host", "port", "scheme", "methods", "paths", "tls", "record", "addresses", "purpose", "expires", "name"];
const TLS: &[(&str, Tls)] = &[("intercept", Tls::Intercept), ("passthrough", Tls::Passthrough)];
const RECORD: &[(&str, Record)] = &[("digest", Record::Digest), ("head", Record::Head), ("full", Record::Full)];

/// Longest name of a rule.
const LONGEST_NAME: usize = 64;

/// Reads a rule; `None` where it is not in order.
pub(super) fn rule(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    span: Range<usize>,
    layer: LayerKind,
    names: &mut HashMap<String, Range<usize>>,
) -> Option<Rule> {
    let before = walk.found.len();
    let scope = Scope { table, meant: walk.known(table, KEYS, "a rule"), span: span.clone(), what: "rule" };
    let host = host(walk, &scope);
    let port = port(walk, table, host.as_ref());
    let scheme = walk.word(table, "scheme", Scheme::ALL);
    let methods = methods(walk, table);
    let paths = paths(walk, table);
    let tls = walk.word(table, "tls", TLS);
    let record = walk.word(table, "record", RECORD);
    let addresses = addresses(walk, table);
    let purpose = required(walk, &scope, "purpose", "say in a few words what it is for");
    let expires = expires(walk, table);
    let name = name(walk, table, "rule", names);
    contradictions(
        walk,
        &scope,
        Found {
            host: host.as_ref().map(|h| &h.pattern),
            port,
            scheme: scheme.as_ref().map(|s| s.0),
            tls: tls.as_ref().map(|t| t.0),
            record: record.as_ref().map(|r| r.0),
        },
    );
    if walk.found.len() > before {
        return None;
    }
    let passes = tls.as_ref().is_some_and(|t| t.0 == Tls::Passthrough);
    Some(Rule {
        id: RuleId { layer, file: Some(walk.source.path.clone()), line: walk.line(span.start), name },
        host: host?.pattern,
        addresses,
        port,
        // What passes as TLS is TLS.
        scheme: scheme.map(|s| s.0).or_else(|| passes.then_some(Scheme::Https)),
        methods,
        paths,
        tls: tls.map(|t| t.0).unwrap_or_default(),
        record: record.map(|r| r.0).unwrap_or_default(),
        purpose: purpose?.trim().to_owned(),
        expires,
    })
}

pub(super) struct FoundHost {
    pub(super) pattern: HostPattern,
    port: Option<u16>,
    span: Range<usize>,
}

/// The table that is being read.
pub(super) struct Scope<'t, 'i> {
    pub(super) table: &'t DeTable<'i>,
    /// Keys that are there, misspelt: not to be called missing as well.
    pub(super) meant: Vec<&'static str>,
    pub(super) span: Range<usize>,
    /// What it is, in a word.
    pub(super) what: &'static str,
}

pub(super) fn required<'t>(walk: &mut Walk<'_>, scope: &Scope<'t, '_>, key: &str, help: &str) -> Option<&'t str> {
    if scope.table.contains_key(key) {
        return walk.text(scope.table, key).map(|(text, _)| text);
    }
    if !scope.meant.contains(&key) {
        missing(walk, scope, key, help);
    }
    None
}

pub(super) fn missing(walk: &mut Walk<'_>, scope: &Scope<'_, '_>, key: &str, help: &str) {
    let what = scope.what;
    let error = Diagnostic::new(Class::Missing, scope.span.clone(), format!("the {what} has no `{key}`"));
    walk.found.push(error.label(format!("`{key}` is missing in this {what}")).help(help));
}

pub(super) fn host(walk: &mut Walk<'_>, scope: &Scope<'_, '_>) -> Option<FoundHost> {
    let text = required(walk, scope, "host", "name the host, as in `host = \"api.github.com\"`")?;
    let span = scope.table.get("host")?.span();
    match HostPattern::parse(text) {
        Ok((pattern, port)) => Some(FoundHost { pattern, port, span }),
        Err(problem) => {
            let error = Diagnostic::new(Class::Host, span, "`host` names no host that a rule can be about");
            walk.found.push(match text.contains("://") {
                true => error.label("this is a URL").help("name the host alone; its paths go into `paths`"),
                false => error.label(problem.to_string()),
            });
            None
        }
    }
}

pub(super) fn port(walk: &mut Walk<'_>, table: &DeTable<'_>, host: Option<&FoundHost>) -> Option<u16> {
    let with_host = host.and_then(|h| h.port.map(|port| (port, h.span.clone())));
    let Some(value) = table.get("port") else { return with_host.map(|(port, _)| port) };
    let DeValue::Integer(number) = value.get_ref() else {
        walk.wrong_type("port", "a number", value.get_ref(), value.span());
        return None;
    };
    let port = integer(number).and_then(|n| u16::try_from(n).ok()).filter(|port| *port > 0);
    if port.is_none() {
        let error = Diagnostic::new(Class::Port, value.span(), "there is no such port");
        walk.found.push(error.label("1 to 65535"));
    }
    if let Some((_, span)) = with_host {
        let error = Diagnostic::new(Class::Contradiction, value.span(), "the rule gives its port twice");
        walk.found.push(error.label("here").other(span, "and here"));
    }
    port
}

pub(super) fn methods(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<Vec<String>> {
    let mut methods = Vec::new();
    for (text, span) in walk.texts(table, "methods")? {
        if method::KNOWN.contains(&text) {
            methods.push(text.to_owned());
        } else {
            walk.unknown_value("methods", text, span, method::KNOWN);
        }
    }
    Some(methods)
}

pub(super) fn paths(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<Vec<PathPattern>> {
    let mut paths = Vec::new();
    for (text, span) in walk.texts(table, "paths")? {
        match PathPattern::parse(text) {
            Ok(pattern) => paths.push(pattern),
            Err(problem) => {
                let error = Diagnostic::new(Class::Path, span, "this is no pattern for paths");
                walk.found.push(error.label(problem.to_string()));
            }
        }
    }
    Some(paths)
}

/// Addresses, or ranges of them in CIDR notation (RFC 4632).
fn addresses(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Vec<IpNet> {
    let mut ranges = Vec::new();
    for (text, span) in walk.texts(table, "addresses").unwrap_or_default() {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(range) if range.trunc() == range => ranges.push(range),
            Ok(range) => {
                let error = Diagnostic::new(Class::Address, span, "this is no range of addresses");
                walk.found.push(error.label(format!("its first address is another: write `{}`", range.trunc())));
            }
            Err(_) => {
                let error = Diagnostic::new(Class::Address, span, "this is no address and no range of addresses");
                walk.found.push(error.label("write it as `10.1.2.3` or `10.0.0.0/8`"));
            }
        }
    }
    ranges
}

fn expires(walk: &mut Walk<'_>, table: &DeTable<'_>) -> Option<Expiry> {
    let value = table.get("expires")?;
    let error = match value.get_ref() {
        DeValue::Datetime(when) => match expiry(when) {
            Ok(expiry) => return Some(expiry),
            Err(problem) => {
                Diagnostic::new(Class::Expiry, value.span(), "`expires` is no end").label(problem.to_string())
            }
        },
        DeValue::String(text) => {
            let error = Diagnostic::new(Class::WrongType, value.span(), "`expires` is a date").label("this is text");
            match text.parse::<toml::value::Datetime>() {
                Ok(_) => error.help(format!("write it without quotes: `expires = {text}`")),
                Err(_) => error.help("write a date without quotes, as in `expires = 2027-01-31`"),
            }
        }
        other => {
            walk.wrong_type("expires", "a date", other, value.span());
            return None;
        }
    };
    walk.found.push(error);
    None
}

/// The name of what the table is, where no other of its kind has it.
pub(super) fn name(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    what: &str,
    names: &mut HashMap<String, Range<usize>>,
) -> Option<String> {
    let (text, span) = walk.text(table, "name")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > LONGEST_NAME || !text.chars().all(fits) {
        let error = Diagnostic::new(Class::Name, span, format!("`name` is no name for a {what}"));
        walk.found.push(error.label("letters, digits, `-`, `_` and `.`, at most 64 of them"));
        return None;
    }
    if let Some(first) = names.get(text) {
        let error = Diagnostic::new(Class::Name, span, format!("two {what}s are named `{text}`"));
        walk.found.push(error.label("the second").other(first.clone(), "the first"));
        return None;
    }
    names.insert(text.to_owned(), span);
    Some(text.to_owned())
}

/// What a rule says, as far as it could be read.
struct Found<'f> {
    host: Option<&'f HostPattern>,
    port: Option<u16>,
    scheme: Option<Scheme>,
    tls: Option<Tls>,
    record: Option<Record>,
}

/// Notes keys that cannot both be.
fn contradictions(walk: &mut Walk<'_>, scope: &Scope<'_, '_>, found: Found<'_>) {
    let table = scope.table;
    let span = |key: &str| table.get(key).map(toml::Spanned::span);
    let mut both = |key: &str, with: &str, why: &str, help: &str| {
        if let (Some(here), Some(there)) = (span(key), span(with)) {
            let error =
                Diagnostic::new(Class::Contradiction, here, format!("`{key}` cannot be with this `{with}`: {why}"));
            walk.found.push(error.label("this").other(there, "with this").help(help.to_owned()));
        }
    };
    if found.scheme == Some(Scheme::Tcp) {
        for key in ["methods", "paths"] {
            both(key, "scheme", "only HTTP has requests", "leave one of them out");
        }
    }
    if matches!(found.scheme, Some(Scheme::Tcp | Scheme::Http)) {
        both("tls", "scheme", "there is no TLS to intercept or to pass", "leave `tls` out");
    }
    if matches!(found.host, Some(HostPattern::Address(_))) {
        both("addresses", "host", "an address leads to itself", "leave `addresses` out");
    }
    if found.tls == Some(Tls::Passthrough) {
        for key in ["methods", "paths"] {
            both(key, "tls", "what passes is not seen", "leave one of them out");
        }
        if matches!(found.record, Some(Record::Head | Record::Full)) {
            both("record", "tls", "what passes is not seen", "leave one of them out");
        }
    }
    // A port that is there and wrong is noted already.
    let has_port = found.port.is_some() || table.contains_key("port");
    if !has_port && found.scheme == Some(Scheme::Tcp) {
        missing(walk, scope, "port", "`tcp` has no port of its own: name it");
    } else if !has_port && found.host.is_some_and(HostPattern::is_host_services) {
        missing(walk, scope, "port", &format!("a service of this machine is `{HOST_SERVICES}:PORT`"));
    }
}
