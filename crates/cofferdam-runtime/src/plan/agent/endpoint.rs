//! The endpoints of an agent's providers: the usual ones, or those that the person set outside.

use std::net::IpAddr;

use cofferdam_models::profile::{Base, Format, Provider};
use cofferdam_policy::host::{HOST_SERVICES, HostPattern};
use cofferdam_policy::rule::{Record, Tls};
use cofferdam_policy::{LayerKind, PathPattern, Rule, RuleId, Scheme};
use http::Uri;
use serde_json::{Map, Value};

use super::files::Brought;
use crate::plan::registries::PRIVATE;

/// Where an endpoint was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In a variable.
    Variable(String),
    /// In the word of the command line, behind `before`.
    Word { word: usize, before: usize },
    /// In a file, under these keys.
    File { file: String, keys: Vec<String> },
}

/// An endpoint that was set.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) at: At,
    /// As it is written.
    pub(super) url: String,
    /// Whether it stands beside the usual one, not in its place.
    pub(super) beside: bool,
    /// The variable with the key for it, where its file names one.
    pub(super) variable: Option<String>,
}

impl Set {
    /// Where it is set, for people.
    pub(super) fn place(&self) -> String {
        match &self.at {
            At::Variable(name) => name.clone(),
            At::Word { .. } => "the endpoint of the command line".to_owned(),
            At::File { file, keys } => format!("{} of ~/{file}", keys.join(".")),
        }
    }
}

/// Where a base may be set: the environment as the agent's would be outside, its words, its files.
pub(super) struct Around<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The words behind the agent's name, and which word the first is.
    pub(super) words: &'a [cofferdam_core::Bytes],
    pub(super) first: usize,
    pub(super) files: &'a [Brought],
}

impl Around<'_> {
    /// The endpoints of a provider that are set: the first place that sets one says it.
    pub(super) fn of(&self, provider: &Provider) -> Vec<Set> {
        provider.base.iter().map(|base| self.base(base)).find(|set| !set.is_empty()).unwrap_or_default()
    }

    fn base(&self, base: &Base) -> Vec<Set> {
        let one = |at, url| vec![Set { at, url, beside: false, variable: None }];
        if let Some(name) = &base.env {
            let value = (self.variable)(name).filter(|value| !value.trim().is_empty());
            return value.map_or_else(Vec::new, |url| one(At::Variable(name.clone()), url.trim().to_owned()));
        }
        if let Some(option) = &base.option {
            return self.option(option).map_or_else(Vec::new, |(at, url)| one(at, url));
        }
        let (Some(file), Some(key)) = (&base.file, &base.key) else { return Vec::new() };
        let Some(brought) = self.files.iter().find(|own| own.path == *file) else { return Vec::new() };
        if brought.format == Format::Yaml {
            let value = yaml(&brought.cleaned.text, key);
            return value
                .map_or_else(Vec::new, |url| one(At::File { file: file.clone(), keys: vec![key.clone()] }, url));
        }
        let keys: Vec<&str> = key.split('.').collect();
        let mut found = Vec::new();
        walk(&brought.cleaned.keys, &keys, &mut Vec::new(), &mut found);
        let chosen = base.chosen.as_ref().and_then(|key| brought.cleaned.keys.get(key)).and_then(Value::as_str);
        let star = keys.iter().position(|key| *key == "*");
        if let (Some(chosen), Some(star)) = (chosen, star) {
            found.retain(|(path, ..)| path.get(star).is_some_and(|key| key == chosen));
        }
        let beside = star.is_some() && chosen.is_none();
        let set = found.into_iter().map(|(keys, url, table)| {
            let variable = base.variable.as_ref().and_then(|name| table.get(name)).and_then(Value::as_str);
            let variable = variable.and_then(super::clean::variable).map(str::to_owned);
            Set { at: At::File { file: file.clone(), keys }, url, beside, variable }
        });
        set.collect()
    }

    fn option(&self, option: &str) -> Option<(At, String)> {
        let mut words = self.words.iter().enumerate();
        while let Some((at, word)) = words.next() {
            if word.0 == option.as_bytes() {
                let (at, value) = words.next()?;
                let url = String::from_utf8(value.0.clone()).ok()?;
                return Some((At::Word { word: self.first + at, before: 0 }, url));
            }
            if let Some(value) = word.0.strip_prefix(option.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                let url = String::from_utf8(value.to_vec()).ok()?;
                return Some((At::Word { word: self.first + at, before: option.len() + 1 }, url));
            }
        }
        None
    }
}

/// Every text under `keys`, of which one may be `*`, with the table that it stands in.
fn walk<'t>(
    table: &'t Map<String, Value>,
    keys: &[&str],
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String, &'t Map<String, Value>)>,
) {
    let Some((first, rest)) = keys.split_first() else { return };
    let names: Vec<&String> = table.keys().filter(|key| *first == "*" || key == first).collect();
    for name in names {
        path.push(name.clone());
        match &table[name] {
            Value::String(text) if rest.is_empty() => found.push((path.clone(), text.clone(), table)),
            Value::Object(inner) => walk(inner, rest, path, found),
            _ => {}
        }
        path.pop();
    }
}

/// The value of a key of a plain mapping, without quotes and comment.
fn yaml(text: &[u8], key: &str) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
    let bare = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split(" #").next()?.trim(),
    };
    (!bare.is_empty()).then(|| bare.to_owned())
}

/// Writes another endpoint in the place of one that a file sets; an empty one is none.
pub(super) fn rewrite(brought: &mut Brought, keys: &[String], old: &str, new: &str) {
    if brought.format == Format::Yaml {
        let text = String::from_utf8_lossy(&brought.cleaned.text);
        let own = |line: &str| keys.first().is_some_and(|key| line.starts_with(&format!("{key}:")));
        let mut out = String::with_capacity(text.len());
        for line in text.lines().filter(|line| !(own(line) && new.is_empty())) {
            out.push_str(&if own(line) { line.replacen(old, new, 1) } else { line.to_owned() });
            out.push('\n');
        }
        brought.cleaned.text = out.into_bytes();
        return;
    }
    let Some((last, tables)) = keys.split_last() else { return };
    let mut at = Some(&mut brought.cleaned.keys);
    for key in tables {
        at = at.and_then(|table| table.get_mut(key)).and_then(Value::as_object_mut);
    }
    match at {
        Some(table) if new.is_empty() => drop(table.remove(last)),
        Some(table) => drop(table.insert(last.clone(), Value::String(new.to_owned()))),
        None => {}
    }
}

/// An endpoint as a rule, and as it is called inside where that is another name.
pub(super) fn place(agent: &str, provider: &Provider, url: &str) -> Result<(Rule, Option<String>), String> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => return Err("only http and https are spoken to models".to_owned()),
    };
    let authority = uri.authority().ok_or_else(|| "its URL names no host".to_owned())?;
    if authority.as_str().contains('@') {
        return Err("its URL holds a password, which would be inside".to_owned());
    }
    let name = authority.host();
    let here = is_loopback(name) || name == HOST_SERVICES;
    let port = uri.port_u16().or_else(|| scheme.default_port());
    let (host, _) =
        HostPattern::parse(if here { HOST_SERVICES } else { name }).map_err(|problem| problem.to_string())?;
    let prefix = uri.path().trim_end_matches('/');
    let paths = match prefix {
        "" => None,
        prefix => {
            let escaped = PathPattern::escape(prefix);
            let pattern =
                |text: String| PathPattern::parse(&text).map_err(|e| format!("its path cannot be a rule: {e}"));
            Some(vec![pattern(escaped.clone())?, pattern(format!("{escaped}/**"))?])
        }
    };
    let private = PRIVATE.iter().filter_map(|range| range.parse().ok());
    let rule = Rule {
        addresses: if here { Vec::new() } else { private.collect() },
        port: port.filter(|port| here || scheme.default_port() != Some(*port)),
        scheme: Some(scheme),
        ..usual(agent, &provider.name, &provider.purpose, &host, paths.as_deref())
    };
    let inside = is_loopback(name).then(|| {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let rest = uri.path_and_query().map_or("", |rest| rest.as_str());
        // As it was written: a lone `/` behind the authority is the parser's.
        let rest = if rest == "/" && !url.ends_with('/') { "" } else { rest };
        format!("{}://{HOST_SERVICES}{port}{rest}", scheme.as_str())
    });
    Ok((rule, inside))
}

/// The rule for a usual endpoint, by TLS.
pub(super) fn usual(agent: &str, name: &str, purpose: &str, host: &HostPattern, paths: Option<&[PathPattern]>) -> Rule {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Rule {
        id: RuleId { layer: LayerKind::BuiltIn, file: None, line: 0, name: Some(format!("{agent}-{name}")) },
        host: host.clone(),
        addresses: Vec::new(),
        port: None,
        scheme: Some(Scheme::Https),
        methods: None,
        paths: paths.map(<[_]>::to_vec),
        tls: Tls::default(),
        record: Record::default(),
        purpose: purpose.to_owned(),
        expires: None,
    }
}

/// Whether a host of a URL is this machine's loopback, or all of its addresses, by which clients mean it as well.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = bare.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(url: &str) -> Result<(String, Option<String>), String> {
        let provider: Provider =
            serde_json::from_value(serde_json::json!({ "name": "x y", "purpose": "ask" })).unwrap();
        place("claude", &provider, url).map(|(rule, inside)| {
            assert_eq!((rule.id.layer, rule.id.name.as_deref()), (LayerKind::BuiltIn, Some("claude-x-y")));
            let paths = rule.paths.iter().flatten().map(|p| format!(" {}", p.as_str())).collect::<String>();
            (format!("{}://{}:{}{paths}", rule.scheme.unwrap().as_str(), rule.host, rule.ports()), inside)
        })
    }

    #[test]
    fn endpoints_become_rules_and_loopback_ones_this_machine() {
        for (url, rule, inside) in [
            ("https://llm.example.com", "https://llm.example.com:443", None),
            ("https://llm.example.com:8443/anthropic/", "https://llm.example.com:8443 /anthropic /anthropic/**", None),
            ("http://10.1.2.3:4000/v1", "http://10.1.2.3:4000 /v1 /v1/**", None),
            ("http://127.0.0.1:4000", "http://host.cofferdam:4000", Some("http://host.cofferdam:4000")),
            (
                "http://localhost:11434/v1",
                "http://host.cofferdam:11434 /v1 /v1/**",
                Some("http://host.cofferdam:11434/v1"),
            ),
            ("http://[::1]:9/", "http://host.cofferdam:9", Some("http://host.cofferdam:9/")),
            ("http://0.0.0.0", "http://host.cofferdam:80", Some("http://host.cofferdam:80")),
            ("http://host.cofferdam:77", "http://host.cofferdam:77", None),
        ] {
            assert_eq!(placed(url).unwrap(), (rule.to_owned(), inside.map(str::to_owned)), "{url}");
        }
        for bad in ["llm.example.com", "ftp://x.example", "https://me:pw@x.example/", "", "unix:///run/x"] {
            assert!(placed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_of_yaml_is_read_and_written_in_its_line() {
        let text = b"a: 1\nopenai-api-base: \"http://localhost:1/v1\" # mine\n";
        assert_eq!(yaml(text, "openai-api-base").as_deref(), Some("http://localhost:1/v1"));
        assert_eq!(yaml(b"x: y # z\n", "x").as_deref(), Some("y"));
        assert_eq!(yaml(b"xy: 1\n", "x"), None);
    }
}
