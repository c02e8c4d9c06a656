//! The least rules that a run needed, from what left and, if asked for, from what was denied.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_core::event::{EventKind, Mediation};
use cofferdam_policy::addition::Addition;
use cofferdam_policy::host::in_authority;
use cofferdam_policy::rule::Scheme;
use cofferdam_policy::{NormalPath, PathPattern, Target};

/// Most different paths that a rule names one by one; beyond that it names what they have in common.
const MOST_PATHS: usize = 8;

/// A rule that is proposed, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The rule, its purpose blank.
    pub rule: Addition,
    /// Requests or connections that it would have allowed.
    pub count: u64,
    /// The purposes under which they were allowed.
    pub purposes: BTreeSet<String>,
}

/// Collects events.
#[derive(Debug, Default)]
pub struct Suggestions {
    denied: bool,
    needs: BTreeMap<(String, u16, Kind), Need>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Http,
    Tcp,
    Passthrough,
}

#[derive(Debug, Default)]
struct Need {
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// A path that no pattern can name was among them.
    any_path: bool,
    count: u64,
    purposes: BTreeSet<String>,
}

impl Suggestions {
    /// Also for what was `denied`, where that is set.
    pub fn new(denied: bool) -> Suggestions {
        Suggestions { denied, ..Suggestions::default() }
    }

    /// Takes the next event. What rules of the person and the project allowed needs no further rule.
    pub fn take(&mut self, what: &EventKind) {
        let new = |layer: &str| !matches!(layer, "person" | "project");
        match what {
            EventKind::HttpExchange(exchange) if new(&exchange.rule.layer) => {
                if let Ok(target) = Target::parse(&exchange.url) {
                    let need = self.need(target.host, target.port, Kind::Http, &exchange.purpose);
                    need.request(&exchange.method, target.path.unwrap_or("/"));
                }
            }
            EventKind::NetConnect(connect) if connect.rule.as_ref().is_some_and(|rule| new(&rule.layer)) => {
                let kind = match connect.mediation {
                    Mediation::Http => return, // by its requests
                    Mediation::Relay => Kind::Tcp,
                    Mediation::Passthrough => Kind::Passthrough,
                };
                self.need(&connect.host, connect.port, kind, &connect.purpose);
            }
            // What no rule can allow is left out.
            EventKind::NetDenied(denied) if self.denied && denied.allow.is_some() => {
                match (&denied.method, &denied.path) {
                    (Some(method), Some(path)) => {
                        self.need(&denied.host, denied.port, Kind::Http, "").request(method, path);
                    }
                    _ => drop(self.need(&denied.host, denied.port, Kind::Tcp, "")),
                }
            }
            _ => {}
        }
    }

    fn need(&mut self, host: &str, port: u16, kind: Kind, purpose: &str) -> &mut Need {
        let need = self.needs.entry((host.to_owned(), port, kind)).or_default();
        need.count += 1;
        if !purpose.is_empty() {
            need.purposes.insert(purpose.to_owned());
        }
        need
    }

    /// The rules.
    pub fn finish(self) -> Vec<Suggestion> {
        self.needs.into_iter().map(|((host, port, kind), need)| need.suggest(&host, port, kind)).collect()
    }
}

impl Need {
    fn request(&mut self, method: &str, path: &str) {
        self.methods.insert(method.to_owned());
        match NormalPath::of(path) {
            Ok(path) => drop(self.paths.insert(path.as_str().to_owned())),
            Err(_) => self.any_path = true,
        }
    }

    fn suggest(self, host: &str, port: u16, kind: Kind) -> Suggestion {
        let written = in_authority(host);
        let usual = kind == Kind::Http && matches!(port, 80 | 443) || kind == Kind::Passthrough && port == 443;
        let rule = Addition {
            host: if usual { written.into_owned() } else { format!("{written}:{port}") },
            methods: self.methods.iter().cloned().collect(),
            paths: self.patterns(),
            scheme: (kind == Kind::Tcp).then_some(Scheme::Tcp),
            passthrough: kind == Kind::Passthrough,
            ..Addition::default()
        };
        Suggestion { rule, count: self.count, purposes: self.purposes }
    }

    /// Patterns for the paths; none where every path must be allowed.
    fn patterns(&self) -> Vec<String> {
        if self.any_path {
            return Vec::new();
        }
        let exact = |path: &String| NormalPath::of(path).map(|path| PathPattern::only(&path)).ok();
        if self.paths.len() <= MOST_PATHS {
            return self.paths.iter().filter_map(exact).collect();
        }
        let mut common: Option<Vec<&str>> = None;
        for path in &self.paths {
            let segments: Vec<&str> = path.split('/').collect();
            let above = &segments[..segments.len() - 1];
            common = Some(match common {
                None => above.to_vec(),
                Some(before) => before.iter().zip(above).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect(),
            });
        }
        let common = common.unwrap_or_default();
        match common.len() {
            0 | 1 => Vec::new(), // nothing but the root
            _ => vec![format!("{}/**", PathPattern::escape(&common.join("/")))],
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::Timestamp;
    use cofferdam_core::event::{HttpExchange, NetConnect, NetDenied};
    use cofferdam_policy::{Layer, LayerKind, Policy, Request, Source, parse};

    use super::*;
    use crate::export::samples;

    fn exchange(method: &str, url: &str, layer: &str) -> EventKind {
        let EventKind::HttpExchange(exchange) = samples::exchange(method, url, "fetch") else { unreachable!() };
        EventKind::HttpExchange(Box::new(HttpExchange { rule: samples::rule(layer), ..*exchange }))
    }

    fn relayed(host: &str, port: u16, mediation: Mediation) -> EventKind {
        let EventKind::NetConnect(connect) = samples::connect(host, port, 0, None) else { unreachable!() };
        EventKind::NetConnect(NetConnect { mediation, rule: Some(samples::rule("live")), ..connect })
    }

    fn denied(method: Option<&str>, allow: Option<&str>) -> EventKind {
        EventKind::NetDenied(NetDenied {
            host: "denied.example".to_owned(),
            port: 443,
            scheme: "https".to_owned(),
            method: method.map(str::to_owned),
            path: method.map(|_| "/p".to_owned()),
            reason: "no-rule".to_owned(),
            allow: allow.map(str::to_owned),
            ..NetDenied::default()
        })
    }

    /// The suggestions, each with its purpose filled in, as a policy.
    fn policy(suggestions: &[Suggestion]) -> Policy {
        let mut text = "version = 1\n".to_owned();
        for suggestion in suggestions {
            text.push_str(&Addition { purpose: "filled in".to_owned(), ..suggestion.rule.clone() }.text());
        }
        let parsed = parse(&Source::new("policy.toml", text.clone()), LayerKind::Person);
        assert!(parsed.diagnostics.is_empty(), "{text}\n{:?}", parsed.diagnostics);
        Policy::new([Layer { rules: parsed.rules }])
    }

    #[test]
    fn what_left_would_be_allowed_again_and_little_else() {
        let mut urls: Vec<(String, String)> =
            (0..20).map(|n| ("GET".to_owned(), format!("https://api.example/repos/acme/app/issues/{n}"))).collect();
        urls.push(("POST".to_owned(), "http://other.example:8080/a[b]c?q=1".to_owned()));
        urls.push(("GET".to_owned(), "https://npm.example/@scope%2fname".to_owned()));
        let mut all = Suggestions::new(false);
        urls.iter().for_each(|(method, url)| all.take(&exchange(method, url, "command-line")));
        all.take(&exchange("GET", "https://known.example/", "person"));
        all.take(&relayed("db.example", 5432, Mediation::Relay));
        all.take(&relayed("pinned.example", 443, Mediation::Passthrough));
        all.take(&denied(Some("GET"), Some("coffer run …")));
        let suggestions = all.finish();
        let hosts: Vec<_> = suggestions.iter().map(|s| s.rule.host.as_str()).collect();
        assert_eq!(hosts, ["api.example", "db.example:5432", "npm.example", "other.example:8080", "pinned.example"]);
        assert_eq!(suggestions[0].rule.paths, ["/repos/acme/app/issues/**"]);
        assert_eq!((suggestions[0].count, suggestions[0].purposes.contains("fetch")), (20, true));
        let policy = policy(&suggestions);
        let allowed = |method: &str, url: &str| {
            let Target { scheme, host, port, path } = Target::parse(url).unwrap();
            let now = Timestamp::now();
            policy.decide(&Request { scheme, host, port, method: Some(method), path, now }).allowed
        };
        for (method, url) in &urls {
            assert!(allowed(method, url), "{method} {url}");
        }
        for (method, url) in [
            ("POST", "https://api.example/repos/acme/app/issues/1"),
            ("GET", "https://api.example/repos/acme/other"),
            ("POST", "http://other.example:8080/abc"),
            ("GET", "https://denied.example/p"),
        ] {
            assert!(!allowed(method, url), "{method} {url}");
        }
    }

    #[test]
    fn what_was_denied_counts_only_where_it_is_asked_for_and_can_be_allowed() {
        let mut all = Suggestions::new(true);
        all.take(&denied(Some("PUT"), Some("coffer run …")));
        all.take(&denied(None, None));
        let suggestions = all.finish();
        assert_eq!(suggestions.len(), 1);
        assert_eq!(
            (&suggestions[0].rule.methods[..], &suggestions[0].rule.paths[..]),
            (&["PUT".into()][..], &["/p".into()][..])
        );
    }
}
